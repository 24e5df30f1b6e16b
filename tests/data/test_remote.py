"""A DVC remote in S3: data and models reach another clone; what it denies, delays or has lost ends well."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.base.errors import UserError
from pipelines.training import ingest, remote, reproduce, tracked
from tests.bucket import Bucket, Fault, key, served
from tests.data.test_restore import MONTH, refused
from tests.problems.parcels import PROBLEM
from tests.problems.yours import run
from tests.project import inside

MODEL = "models/model.onnx"
PLOT = "models/plots/roc.csv"


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with served("greenlight") as found, pytest.MonkeyPatch.context() as patch:
        for name, value in found.environment.items():
            patch.setenv(name, value)
        yield found


@pytest.fixture(scope="module")
def kept(bucket: Bucket, yours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`yours` with the bucket as its DVC remote, all of it pushed."""

    folder = Path(shutil.copytree(yours, tmp_path_factory.mktemp("kept") / "yours", symlinks=True))
    run(folder, "dvc", "remote", "add", "--quiet", "--default", "storage", bucket.remote)
    run(folder, "dvc", "remote", "modify", "--local", "storage", "endpointurl", bucket.url)
    run(folder, "dvc", "push", "--quiet")
    return folder


@pytest.fixture
def clone(bucket: Bucket, kept: Path, tmp_path: Path) -> Iterator[Path]:
    """Another clone: no data, no models, no cache."""
    ignored = shutil.ignore_patterns("data", "build", "cache", "tmp", "__pycache__")
    folder = Path(shutil.copytree(kept, tmp_path / "clone", symlinks=True, ignore=ignored))
    run(folder, "git", "clean", "-dfxq", "models")
    yield folder
    bucket.answer = lambda method, key: None


def md5(file: Path) -> str:
    return hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()


def only(fault: Fault, file: Path) -> Callable[[str, str], Fault]:
    """That answer for this file alone."""
    name = key(md5(file))
    return lambda method, asked: fault if asked == name else None


def test_data_and_models_reach_another_clone(kept: Path, clone: Path) -> None:
    said = run(clone, "ml", "reproduce", "--locked").stderr
    assert "bringing data/ back from the DVC remote 'storage'" in said and "Running stage" not in said
    for name in (MONTH, MODEL, PLOT):
        assert (clone / name).read_bytes() == (kept / name).read_bytes()
    assert run(clone, "git", "status", "--porcelain", "data.dvc", "dvc.lock").stdout == ""


def test_what_the_remote_has_lost_is_made_again_and_said_and_ml_push_puts_it_back(
    bucket: Bucket, kept: Path, clone: Path
) -> None:
    lost = [kept / name for name in (MONTH, MODEL)]
    for file in lost:
        bucket.lose(md5(file))
    said = run(clone, "ml", "reproduce", "--locked").stderr
    assert "the DVC remote 'storage' has lost 2013-03.parquet of data/: `ml push` puts it there" in said
    assert (
        "data/2013-03.parquet: " in said and "data/2013-02.parquet: " not in said
    )  # the source makes no other
    assert f"has not, or no longer, {MODEL}, " in said and "Running stage 'train'" in said
    assert "Running stage 'prepare'" not in said
    for name in (MONTH, MODEL):
        assert (clone / name).read_bytes() == (kept / name).read_bytes()

    with inside(clone):
        bucket.answer = lambda method, key: "AccessDenied" if method in ("PUT", "POST") else None
        with pytest.raises(UserError, match=r"did not take \w+: .*role or keys that may write to it"):
            reproduce.push()
        bucket.answer = lambda method, key: None
        reproduce.push()
        assert all(bucket.has(md5(file)) for file in lost)
        bucket.asked.clear()
        reproduce.push()
        assert not [key for method, key in bucket.asked if method == "PUT"]


@pytest.mark.parametrize(
    ("code", "name", "verb", "sentence"),
    [
        ("InternalError", MONTH, ingest.restore, "InternalError: run this again when it answers"),
        ("AccessDenied", MODEL, reproduce.reproduce, "AccessDenied: give this machine a role or keys"),
    ],
)
def test_a_remote_that_denies_or_fails_is_one_sentence_and_nothing_is_half_written(
    bucket: Bucket, kept: Path, clone: Path, code: str, name: str, verb: Callable[[Any], None], sentence: str
) -> None:
    with inside(clone):
        bucket.answer = only(code, kept / name)
        bucket.asked.clear()
        with pytest.raises(UserError, match=rf"'storage' did not bring {md5(kept / name)}: .*{sentence}"):
            verb(PROBLEM)
        assert not Path(name).exists() and not list(Path(".dvc/tmp").glob("tmp*"))
        assert 1 <= len([asked for _, asked in bucket.asked if asked == key(md5(kept / name))]) <= 20

        run(clone, "dvc", "config", "--quiet", "--local", "core.remote", "")  # the other way out
        bucket.answer = lambda method, key: code
        ingest.restore(PROBLEM)
        assert md5(Path(MONTH)) == md5(kept / MONTH)


def test_a_bucket_that_is_not_there_is_named(clone: Path) -> None:
    run(clone, "dvc", "remote", "modify", "storage", "url", "s3://nobodys/dvc")
    assert "specified bucket does not exist: correct its url" in refused(clone, "ml", "restore")


def test_a_slow_remote_is_waited_for_and_a_silent_one_is_not(
    bucket: Bucket, kept: Path, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with inside(clone):
        with monkeypatch.context() as patch:
            patch.setattr(remote, "PATIENCE_SECONDS", 1.0)
            bucket.answer = only(30.0, kept / MONTH)
            with pytest.raises(UserError, match=r"did not bring \w+: TimeoutError: nothing moved"):
                ingest.restore(PROBLEM)
        assert not tracked.Folder(Path("data")).in_cache() and not Path("data").exists()
        bucket.answer = lambda method, key: 0.2
        ingest.restore(PROBLEM)
        assert tracked.Folder(Path("data")).is_as_recorded()


def test_nothing_is_pushed_where_there_is_no_remote(copy_of_yours: Path) -> None:
    assert "no DVC remote is configured: docs/remotes/" in refused(copy_of_yours, "ml", "push")
