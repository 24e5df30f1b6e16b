"""The release before staging's, for a runner whose store is empty: found by the run that made it."""

import json
from pathlib import Path

import pytest

from pipelines.local import github
from pipelines.local.rights import EVERYTHING
from pipelines.registry.ledger import Entry
from pipelines.registry.store import Store
from pipelines.rollout.rehearse import locate, previous
from tests.delivery.test_store import fill
from tests.project import git

A, B, C = ("a" * 64, "b" * 64, "c" * 64)


def entry(release: str, why: str = "release") -> Entry:
    return Entry.model_validate({"release": release, "commit": release[:40], "by": "me", "why": why})


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """GitHub's stand-in, with runs 1 to 3 of the release A's commit; told() is the output and the summary."""
    git(tmp_path, "init", "--quiet", "--bare", "origin.git")
    for number in (1, 2, 3):
        run = {"id": number, "path": ".github/workflows/release.yml", "head_sha": A[:40], "event": "push"}
        (tmp_path / f"runs/{number}").mkdir(parents=True)
        (tmp_path / f"runs/{number}/run.json").write_text(json.dumps(run))
    for name in ("output", "summary"):
        (tmp_path / name).write_text("")
    with github.serve(tmp_path, tmp_path / "origin.git", "you/flights") as url:
        for name, value in {
            "GITHUB_API_URL": url,
            "GITHUB_REPOSITORY": "you/flights",
            "GITHUB_TOKEN": EVERYTHING,
            "GITHUB_OUTPUT": str(tmp_path / "output"),
            "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
            "NO_PROXY": "127.0.0.1",
        }.items():
            monkeypatch.setenv(name, value)
        yield lambda: ((tmp_path / "output").read_text(), (tmp_path / "summary").read_text())


@pytest.fixture
def empty(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_the_one_before_is_the_newest_other_one() -> None:
    history = [entry(C), entry(B, "rollback"), entry(C), entry(B), entry(A)]
    found = previous(C, history)
    assert found is not None and found.release == B
    assert previous(A, [entry(A)]) is None


def test_it_is_the_newest_run_that_still_has_it(told, empty: Store, tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"artifacts/{number}/release").mkdir(parents=True)
    locate(entry(A), empty)
    assert told() == ("run=2\n", "")


def test_one_that_has_expired_is_named_in_the_summary(told, empty: Store) -> None:
    for release in (A, B):  # no run has the artifact; no run is of its commit
        locate(entry(release), empty)
        assert f"no run of release.yml has the release {release[:12]}" in told()[1]
    assert told()[0] == "run=\nrun=\n"


def test_before_the_first_release_there_is_none_and_nothing_to_say(told, empty: Store) -> None:
    locate(None, empty)
    assert told() == ("run=\n", "")


def test_one_that_the_store_has_needs_no_run(told, empty: Store, tmp_path: Path) -> None:
    (tmp_path / "artifacts/1/release").mkdir(parents=True)
    number = fill(tmp_path / "download", "one")
    here = entry(number).model_copy(update={"commit": A[:40]})
    locate(here, empty)
    empty.add(tmp_path / "download")
    locate(here, empty)
    assert told() == ("run=1\nrun=\n", "")
