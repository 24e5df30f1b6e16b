"""A release whose DVC remote is a bucket: the reviewed bytes come from there, else from the judged run, else
the model is made again; one that denies ends with a sentence, and nothing is released."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.artifacts.release import Release
from pipelines.base import recorded
from pipelines.base.errors import UserError
from pipelines.base.files import sha256, write_bytes, write_json
from pipelines.registry.ledger import Ledger
from pipelines.registry.store import Store
from pipelines.release import reviewed
from pipelines.release.release import release
from tests import project
from tests.bucket import Bucket, key, served
from tests.data.test_restore import refused
from tests.delivery.releasing.test_reviewed import other_bytes
from tests.problems.parcels import PROBLEM
from tests.problems.yours import commit, run
from tests.verdicts import candidate, verdict

MODEL = Path("models/model.onnx")


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with served("reviewed") as found, pytest.MonkeyPatch.context() as patch:
        for name, value in found.environment.items():
            patch.setenv(name, value)
        yield found


@pytest.fixture(scope="module")
def merged(bucket: Bucket, yours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose merged model another processor made, and the bucket has: training here gives other
    bytes."""
    folder = Path(shutil.copytree(yours, tmp_path_factory.mktemp("merged") / "yours", symlinks=True))
    here, lock = recorded.md5(folder / MODEL), folder / recorded.LOCK
    size = (folder / MODEL).stat().st_size
    (folder / MODEL).unlink()  # DVC's cache has the same file
    write_bytes(folder / MODEL, other_bytes((yours / MODEL).read_bytes()))
    there = recorded.md5(folder / MODEL)
    text = lock.read_text().replace(f"size: {size}\n", f"size: {(folder / MODEL).stat().st_size}\n")
    lock.write_text(text.replace(here, there))
    shutil.copyfile(folder / MODEL, cached(folder, there))
    run(folder, "dvc", "remote", "add", "--quiet", "--default", "storage", bucket.remote)
    run(folder, "dvc", "remote", "modify", "--local", "storage", "endpointurl", bucket.url)
    run(folder, "ml", "push")
    commit(folder, "a model, made elsewhere")
    return folder


def cached(folder: Path, md5: str) -> Path:
    place = folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


@pytest.fixture
def clone(bucket: Bucket, merged: Path, tmp_path: Path) -> Iterator[Path]:
    """A runner's clone: no data, no models, no cache; a ledger of its own."""
    ignored = shutil.ignore_patterns("data", "build", "cache", "tmp", "__pycache__", ".greenlight")
    folder = Path(shutil.copytree(merged, tmp_path / "clone", symlinks=True, ignore=ignored))
    run(folder, "git", "clean", "-dfxq", "models")
    run(tmp_path, "git", "init", "--quiet", "--bare", "origin.git")
    run(folder, "git", "remote", "add", "origin", str(tmp_path / "origin.git"))
    with project.inside(folder):
        yield folder
    bucket.answer = lambda method, key: None


def released(folder: Path) -> tuple[str, str]:
    """The SHA-256 of the model that a release ships, and of the one that was made again to compare."""
    store = Store(folder.parent / "store")
    about = Release.read(store.get(release(PROBLEM, store=store)))
    entry = Ledger(folder).required("staging")
    assert (entry.release, entry.evidence["sha256"]) == (about.id, about.model.sha256)
    assert about.rebuilt.max_dp == 0.0
    return about.model.sha256, about.rebuilt.sha256


def judged(merged: Path) -> None:
    """What the judge's run left: its verdict, and the model that it judged."""
    write_bytes(reviewed.CANDIDATE / MODEL, (merged / MODEL).read_bytes())
    write_json(reviewed.REVIEW / "gate.json", verdict(candidate=candidate(sha256(merged / MODEL))))


def test_the_bytes_that_the_remote_has_ship(clone: Path, merged: Path, yours: Path) -> None:
    said = run(clone, "ml", "reproduce", "--locked").stderr
    assert "everything is as dvc.lock says" in said and "Running stage" not in said
    assert released(clone) == (sha256(merged / MODEL), sha256(yours / MODEL))


def test_what_the_remote_has_lost_comes_from_the_judged_run_else_is_made_again(
    bucket: Bucket, clone: Path, merged: Path, yours: Path
) -> None:
    lost = key(recorded.md5(merged / MODEL))
    bucket.answer = lambda method, asked: "NoSuchKey" if asked == lost else None
    said = run(clone, "ml", "reproduce", "--locked").stderr
    assert f"has not, or no longer, {MODEL}: made again" in said
    assert f"the same inputs gave another {MODEL}" in said
    reviewed.take(clone)
    assert sha256(MODEL) == sha256(yours / MODEL)

    judged(merged)
    assert released(clone) == (sha256(merged / MODEL), sha256(yours / MODEL))


def test_one_that_denies_ends_with_a_sentence_and_nothing_is_released(
    bucket: Bucket, clone: Path, merged: Path
) -> None:
    denied = key(recorded.md5(merged / MODEL))
    bucket.answer = lambda method, asked: "AccessDenied" if asked == denied else None
    assert "AccessDenied: give this machine a role or keys" in refused(clone, "ml", "reproduce", "--locked")
    assert not MODEL.exists()
    judged(merged)  # which is no way round: what the model was judged by is not here
    store = Store(clone.parent / "store")
    with pytest.raises(UserError, match=r"does not exist: run `ml reproduce`"):
        release(PROBLEM, store=store)
    assert not list(store.folder.glob("*"))
    assert Ledger(clone).wanted("staging") is None
