"""A release is what a merged commit holds; a hand-made one is refused by its file."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.base.errors import UserError
from pipelines.base.files import sha256
from pipelines.registry import merged
from pipelines.registry.ledger import Entry, Unreachable
from pipelines.registry.store import Store
from tests.delivery.merging import merge, small
from tests.project import commit, git


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet", "--bare", "origin.git")
    git(tmp_path, "clone", "--quiet", str(tmp_path / "origin.git"), "clone")
    return tmp_path / "clone"


@pytest.fixture
def check(store: Store, clone: Path) -> Callable[..., None]:
    """Merge the release `good`, change its folder, and look at it."""

    def look(change: Callable[[Path], Any] = lambda release: None, **evidence: Any) -> None:
        shutil.rmtree(store.folder, ignore_errors=True)
        release = small(store, "good")
        made = merge(clone.with_name("origin.git"), store.folder / release)
        change(store.folder / release / "bento")
        entry = Entry(release=release, commit=made, by="me", evidence=evidence)
        merged.check(entry, store.folder / release, clone)

    return look


def test_what_the_commit_holds_is_taken(check) -> None:
    check()


def written(path: str, text: str) -> Callable[[Path], Any]:
    def write(bento: Path) -> None:
        (bento / path).parent.mkdir(parents=True, exist_ok=True)
        (bento / path).write_text(text)

    return write


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (written("src/service.py", "evil"), r"service\.py is not the one of the commit"),
        (written("src/requirements/serve.txt", "evil"), r"serve\.txt is not the one of the commit"),
        (written("src/bentofile.yaml", "service: evil:S\n"), r"bentofile\.yaml is not the one of the commit"),
        (
            written("src/sitecustomize.py", "evil"),
            r"holds 'sitecustomize\.py', which is not a file of the commit",
        ),
        (written("src/a\nb.py", "evil"), r"holds 'a\\nb\.py', which is not a file of the commit"),
        (written("src/models/evil.py", "evil"), r"holds 'models/evil\.py', which dvc\.lock"),
        (written("src/models/model.onnx", "evil"), r"models/model\.onnx is not the one that dvc\.lock"),
        (written("bento.yaml", "service: os:S\n"), "starts another service"),
        (
            written("bento.yaml", "service: service:S\nenvs: [{name: PATH, value: /tmp}]\n"),
            "or with more",
        ),
        (written("bento.yaml", "service: service:S\nservices: [{models: [x]}]\n"), "or with more"),
        (written("bento.yaml", "["), "is not what `ml release` writes"),
        (written("bento.yaml", "[]"), "is not what `ml release` writes"),
    ],
)
def test_a_release_that_was_changed_by_hand_is_one_sentence(check, change, fault: str) -> None:
    with pytest.raises(UserError, match=fault) as caught:
        check(change)
    assert "\n" not in str(caught.value)


def test_a_model_that_was_made_again_is_the_one_that_the_ledger_names(check, store: Store) -> None:
    again = written("src/models/model.onnx", "the same answers in other bytes")
    with pytest.raises(UserError, match="nor one that the ledger names"):
        check(again)
    (model,) = store.folder.glob("*/bento/src/models/model.onnx")
    number = sha256(model)
    with pytest.raises(UserError, match="nor one that the ledger names"):
        check(again, sha256=number[:-1] + "x")
    check(again, sha256=number)


def test_a_commit_that_a_proposal_only_passed_through_was_never_merged(store: Store, clone: Path) -> None:
    """Its later commits hid what it held: nobody reviewed it."""
    origin = clone.with_name("origin.git")
    first = small(store, "first")
    merge(origin, store.folder / first)
    work = clone.with_name("origin.git-main")
    git(work, "checkout", "--quiet", "-b", "proposal")
    evil = small(store, "evil", service="evil")
    shutil.copy(store.folder / evil / "bento/src/service.py", work)
    on_the_way = commit(work, "hidden")
    shutil.copy(store.folder / first / "bento/src/service.py", work)
    commit(work, "as before")
    git(work, "checkout", "--quiet", "main")
    name = ("-c", "user.name=x", "-c", "user.email=x@x")
    git(work, *name, "merge", "--quiet", "--no-ff", "proposal", "-m", "merged")
    git(work, "push", "--quiet", str(origin), "main")
    merged.require_merged(git(work, "rev-parse", "HEAD"), clone)
    assert git(work, "merge-base", "--is-ancestor", on_the_way, "HEAD") == ""
    with pytest.raises(UserError, match="was never the head of origin's branch main"):
        merged.require_merged(on_the_way, clone)


def test_the_default_branch_is_the_one_that_the_remote_names(store: Store, clone: Path) -> None:
    origin = clone.with_name("origin.git")
    with pytest.raises(UserError, match="origin has no branch"):
        merged.require_merged("0" * 40, clone)
    made = merge(origin, store.folder / small(store, "first"))
    merged.require_merged(made, clone)
    git(origin, "branch", "trunk", made)
    git(origin, "symbolic-ref", "HEAD", "refs/heads/trunk")
    later = merge(origin, store.folder / small(store, "second"))  # on main
    with pytest.raises(UserError, match="was never the head of origin's branch trunk"):
        merged.require_merged(later, clone)
    origin.rename(origin.with_name("away"))
    with pytest.raises(Unreachable, match="the remote origin cannot be reached"):
        merged.require_merged(made, clone)


def test_what_ml_release_builds_is_what_its_commit_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files of a release of the template's own problem."""
    monkeypatch.undo()  # the project reads its own params.yaml
    from pipelines.release import commit as commits
    from tests.project import copy

    project = copy(tmp_path / "project")
    git(project, "push", "--quiet", "origin", "HEAD:refs/heads/main")
    bento = tmp_path / "release" / "bento"
    for path in commits.files(project):
        target = bento / "src" / path.relative_to(project)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    service = yaml.safe_load((project / "bentofile.yaml").read_text())["service"]
    (bento / "bento.yaml").write_text(yaml.safe_dump({"service": service, "envs": [], "services": []}))
    entry = Entry(release="a" * 64, commit=git(project, "rev-parse", "HEAD"), by="me")
    merged.check(entry, tmp_path / "release", project)
