"""`ml ci scope`, and the allow-list: what makes a model, what passes on the gate's word alone."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipelines.base.errors import UserError
from pipelines.base.github import GitHub
from pipelines.pulls import proposals, scope
from tests.workflows.conftest import Commit, git
from tests.workflows.proposal import BETTER, PARAMS, Propose, data, lock


def beyond(propose: Propose, files: dict[str, str | None], branch: str = "proposal") -> list[str]:
    """What of such a pull request waits for a maintainer."""
    head = proposals.Head.of_pull(propose(files, branch).pull)
    github = GitHub.from_environment()
    (found,) = proposals.find(github, head)
    return scope.beyond(proposals.changes(github, found))


def test_values_locks_and_pages_pass_on_the_gates_word_alone(propose: Propose) -> None:
    documents = {"README.md": "y\n", "docs/gate.md": "x\n", "docs/a/picture.png": "x\n"}
    assert beyond(propose, BETTER | {"data.dvc": data("2")} | documents) == []


PATHS = [
    "Makefile",
    "dvc.yaml",
    "pyproject.toml",
    "setup.py",
    ".github/workflows/ci.yml",
    ".github/pull_request_template.md",
    ".dvc/config",
    "pipelines/base/console.py",
    "pipelines/problem/features.py",
    "pipelines/problem/rules/__init__.py",
    "pipelines/serving/prompt.md",
    "docs/conf.py",
    "AGENTS.md",
    "tests/code/test_x.py",
]
VALUES = {
    "gate": (PARAMS.replace("days: 28 #", "days: 7 #"), ["params.yaml: gate"]),
    "the unit that is drawn": (
        PARAMS.replace("  days: 28 #", "  unit: week\n  days: 28 #"),
        ["params.yaml: gate"],
    ),
    "serving": (PARAMS.replace("batch: 1000", "batch: 10"), ["params.yaml: serving"]),
    "rollout": (PARAMS.replace("patience: 600.0", "patience: 1.0"), ["params.yaml: rollout"]),
    "drift": (PARAMS.replace("psi: 0.10", "psi: 5.0"), ["params.yaml: drift"]),
    "decision": (PARAMS.replace("miss: 3.0", "miss: 4.0"), ["params.yaml: decision"]),
    "a comment": (PARAMS.replace("days: 28 #", "days: 28 # full ones,"), []),
    "no file": (None, ["params.yaml"]),
    "no YAML": ("gate: [\n", ["params.yaml"]),
    "an unknown key": (PARAMS + "more: 1\n", ["params.yaml"]),
    "a key twice": (
        PARAMS + "drift: {psi: 5.0, brier_skill: 0.05, months: 2, days: 20}\n",
        ["params.yaml: drift"],
    ),
    "an alias": (
        PARAMS.replace("miss: 3.0", "miss: &a 3.0").replace("size: 2.0", "size: *a"),
        ["params.yaml"],
    ),
    "too large": (PARAMS + "#" * proposals.BLOB_BYTES, ["params.yaml"]),
}


def test_whatever_else_changes_waits_for_a_maintainer(propose: Propose) -> None:
    assert beyond(propose, BETTER | dict.fromkeys(PATHS, "x\n")) == sorted(PATHS)


def test_what_is_moved_or_taken_away_waits_under_its_old_name(propose: Propose) -> None:
    files = {
        "pipelines/core/stats.py": None,
        "docs/stats.md": "a = 1\n" * 9,
        "dvc.lock": None,
        "README.md": None,
    }
    assert beyond(propose, files) == ["dvc.lock", "pipelines/core/stats.py"]


@pytest.mark.parametrize(("text", "waits"), VALUES.values(), ids=VALUES)
def test_of_params_what_judges_or_moves_a_model_waits(
    propose: Propose, text: str | None, waits: list[str]
) -> None:
    assert beyond(propose, {"params.yaml": text}) == waits


OUT = "    - path: models/model.onnx\n"
LOCKS = {
    "another stage": lock("2")
    + "  old:\n    cmd: x\n    outs:\n    - path: ../../home\n      md5: "
    + "0" * 32,
    "another path": lock("2").replace("models/model.onnx", "models/../Makefile"),
    "another command": lock("2").replace("ml stage train", "sh"),
    "a name of an object that leads elsewhere": re.sub("md5: .{32}", "md5: ../../../../x", lock("2")),
    "a size that is none": lock("2").replace("size: 1", "size: [1]"),
    "one file more": lock("2").replace(OUT, f"{OUT}      remote: mine\n"),
    "an alias": lock("2").replace("ml stage train", "&a ml stage train").replace("size: 1", "size: *a"),
    "no YAML": "stages: [\n",
    "no mapping": "x\n",
}
DATA = {
    "another source": data("2") + "deps:\n- path: https://example.org/data\n",
    "a repository": data("2") + "deps:\n- path: data\n  repo: {url: https://example.org/x}\n",
    "another folder": data("2").replace("path: data", "path: ../.."),
    "a folder more": data("2") + "- md5: " + "0" * 32 + "\n  path: pipelines\n",
    "another place": data("2") + "wdir: ..\n",
    "a hash that leads elsewhere": re.sub("md5: .{32}.dir", "md5: ../../../../x", data("2")),
}


@pytest.mark.parametrize(
    ("name", "text"),
    [*(("dvc.lock", text) for text in LOCKS.values()), *(("data.dvc", text) for text in DATA.values())],
    ids=[*LOCKS, *DATA],
)
def test_a_lock_that_names_more_than_other_bytes_waits(propose: Propose, name: str, text: str) -> None:
    """What a lock names is fetched, copied and deleted, on every machine that builds what is merged."""
    assert beyond(propose, BETTER | {name: text}) == [name]


@pytest.mark.parametrize("name", ["params.yaml", "dvc.lock", "README.md", "docs/page.md"])
@pytest.mark.parametrize("kind", ["link", "executable", "submodule"])
def test_a_name_on_the_list_is_a_plain_file_or_it_waits(
    propose: Propose, commit: Commit, tmp_path: Path, name: str, kind: str
) -> None:
    """GitHub's contents and its compare follow a link, and call it a file."""
    propose({})
    clone = tmp_path / "clone"
    head = git(clone, "rev-parse", "HEAD")
    blob = git(clone, "rev-parse", "HEAD:params.yaml")
    entry = {"link": f"120000,{blob}", "executable": f"100755,{blob}", "submodule": f"160000,{head}"}[kind]
    git(clone, "checkout", "--quiet", "-B", "odd", "origin/main")
    git(clone, "update-index", "--add", "--cacheinfo", f"{entry},{name}")
    git(clone, "commit", "--quiet", "--message", "odd")
    git(clone, "push", "--quiet", "origin", "odd")
    git(clone, "checkout", "--quiet", "--force", "main")
    assert beyond(propose, {}, "odd") == [name]


def test_a_list_that_github_cuts_is_no_list(propose: Propose, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.local.forge.TREE_LIMIT", 2)
    with pytest.raises(proposals.Cut, match="does not list all files"):
        beyond(propose, BETTER)


@contextmanager
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with monkeypatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("GITHUB_OUTPUT", str(folder.parent / "out.txt"))
        patch.setenv("GITHUB_STEP_SUMMARY", str(folder.parent / "sum.txt"))
        yield folder.parent


@pytest.mark.parametrize(
    ("files", "model"),
    [
        ({"README.md": "y"}, False),
        ({"docs/x.png": "y", "tests/code/test_x.py": "", ".github/workflows/ci.yml": "y"}, False),
        ({"params.yaml": "y"}, True),
        ({"README.md": "y", "dvc.lock": "y"}, True),
        ({"something/new": "y"}, True),
        ({"docs": "y"}, True),
        ({"docs/moved.py": "a = 1\n" * 9, "pipelines/core/stats.py": None}, True),
    ],
)
def test_scope_says_whether_a_change_can_make_another_model(
    commit: Commit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, Any], model: bool
) -> None:
    base = commit({"pipelines/core/stats.py": "a = 1\n" * 9, "README.md": "x"})
    head = commit(files)
    with inside(tmp_path / "clone", monkeypatch) as told:
        scope.run(base, head)
        commit_said = f"commit={head}\n" if model else ""
        assert (told / "out.txt").read_text() == f"model={str(model).lower()}\n{commit_said}"
        assert (told / "sum.txt").exists() is not model  # a run that does nothing says so


def test_scope_takes_an_unknown_base_for_a_change(
    commit: Commit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = commit({"README.md": "x"})
    with inside(tmp_path / "clone", monkeypatch) as told:
        scope.run("0" * 40, head)
        assert (told / "out.txt").read_text().startswith("model=true\n")
        with pytest.raises(UserError, match="git merge-base failed"):
            scope.run(head, "none")


def test_scope_names_the_commit_that_brought_the_model_though_others_came_after(
    commit: Commit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run of the merge was replaced by that of a later push of documentation, or it failed."""
    released = commit({"params.yaml": "a: 1\n"})
    commit({"params.yaml": "a: 2\n"}, "proposal")
    commit({"README.md": "in between"}, "proposal")
    clone = tmp_path / "clone"
    git(clone, "checkout", "--quiet", "main")
    git(clone, "merge", "--quiet", "--no-ff", "--message", "merge", "proposal")
    git(clone, "push", "--quiet", "origin", "main")
    merged = git(clone, "rev-parse", "HEAD")
    head = commit({"docs/a.md": "x"})
    with inside(clone, monkeypatch) as told:
        scope.run(released, head)
        assert (told / "out.txt").read_text() == f"model=true\ncommit={merged}\n"
        (told / "out.txt").unlink()
        scope.run(merged, head)
        assert (told / "out.txt").read_text() == "model=false\n"


def test_scope_takes_the_same_commit_for_a_run_that_is_run_again(
    commit: Commit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = commit({"README.md": "x"})
    with inside(tmp_path / "clone", monkeypatch) as told:
        scope.run(head, head)
        assert (told / "out.txt").read_text() == f"model=true\ncommit={head}\n"
