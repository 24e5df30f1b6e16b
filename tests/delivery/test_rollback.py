"""Deploy, rollback and status as the ledger drives them, and the rehearsal."""

import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.base.errors import UserError
from pipelines.host.host import Host
from pipelines.registry import ledger
from pipelines.registry.ledger import Entry
from pipelines.registry.store import Store
from pipelines.rollout import deploy, rollback, status
from pipelines.rollout.journal import Journal
from pipelines.rollout.rehearse import rehearse
from pipelines.setup import host as doctor
from pipelines.setup.check import Check, State
from tests.delivery import tiny
from tests.delivery.merging import merge

A, B, C = ("a" * 64, "b" * 64, "c" * 64)


def looked(home: Path) -> dict[str, Check]:
    """What `ml doctor` finds of the host."""
    return {check.what: check for check in doctor.checks(home, tiny.CONTRACT.name)}


def journal_of(path: Path, *moves: tuple[str, str]) -> Journal:
    journal = Journal(path)
    for number, (release, result) in enumerate(moves):
        journal.write(
            str(number), "begin", **{"release": release, "slot": "blue", "from": None, "why": "release"}
        )
        journal.write(str(number), "end", result=result)
    return journal


def history_of(*entries: tuple[str, str]) -> list[Entry]:
    """Oldest first here; the ledger's is newest first."""
    return [Entry(release=release, commit="0" * 40, by="me", why=why) for release, why in reversed(entries)]  # type: ignore[arg-type]


def test_the_target_is_the_newest_release_that_completed(tmp_path: Path) -> None:
    journal = journal_of(tmp_path, (A, "completed"), (B, "failed"), (C, "completed"))
    history = history_of((A, "release"), (B, "release"), (C, "release"))
    assert rollback.safe(journal, history) == A


def test_a_wanted_release_that_was_refused_gives_way_to_the_one_that_runs(tmp_path: Path) -> None:
    journal = journal_of(tmp_path, (A, "completed"), (B, "completed"), (C, "failed"))
    assert rollback.safe(journal, history_of((A, "release"), (B, "release"), (C, "release"))) == B


def test_a_release_that_was_rolled_back_from_never_comes_back(tmp_path: Path) -> None:
    journal = journal_of(tmp_path, (A, "completed"), (B, "completed"), (C, "completed"), (B, "completed"))
    history = history_of((A, "release"), (B, "release"), (C, "release"), (B, "rollback"))
    assert rollback.safe(journal, history) == A
    journal.write("9", "begin", **{"release": A, "slot": "blue", "from": None, "why": "rollback"})
    journal.write("9", "end", result="completed")
    with pytest.raises(UserError, match="nothing to go back to"):
        rollback.safe(journal, [*history_of((A, "rollback")), *history])


def test_without_a_past_there_is_nothing_to_go_back_to(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to go back to"):
        rollback.safe(journal_of(tmp_path, (A, "completed")), history_of((A, "release")))


def test_a_rollback_is_what_the_journal_says_not_what_anybody_wrote(tmp_path: Path) -> None:
    journal = journal_of(tmp_path, (A, "completed"), (B, "failed"))
    assert journal.goes_back(A) and not journal.goes_back(B) and not journal.goes_back(C)


def test_what_a_rollback_left_is_no_way_back_until_it_completes_again(tmp_path: Path) -> None:
    journal = journal_of(tmp_path, (A, "completed"), (B, "completed"))

    def completes(id: str, release: str, origin: str, why: str) -> None:
        details = {
            "release": release,
            "slot": "blue",
            "from": {"release": origin, "slot": "green"},
            "why": why,
        }
        journal.write(id, "begin", **details)
        journal.write(id, "end", result="completed")

    completes("8", A, B, "rollback")
    assert journal.goes_back(A) and not journal.goes_back(B)
    completes("9", B, A, "release")
    assert journal.goes_back(A) and journal.goes_back(B)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone whose origin holds the ledger; the verbs run in it."""
    origin, clone = tmp_path / "origin.git", tmp_path / "clone"
    for command in (["init", "-q", "--bare", str(origin)], ["clone", "-q", str(origin), str(clone)]):
        subprocess.run(["git", *command], check=True, capture_output=True)
    monkeypatch.chdir(clone)
    return clone


@pytest.fixture
def want(store: Store, repository: Path) -> Callable[[str], None]:
    """Merge what the release holds, and have staging want it."""

    def write(release: str) -> None:
        made = merge(repository.parent / "origin.git", store.folder / release)
        ledger.Ledger().write("staging", Entry(release=release, commit=made, by="me"))

    return write


@pytest.mark.slow
def test_rollback_twice_never_brings_the_bad_one_back(
    host: Host,
    home: Path,
    make: Callable[..., str],
    repository: Path,
    want: Callable[[str], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(UserError, match="wants nothing for staging"):
        deploy.deploy("staging", tiny.CONTRACT)
    first, second = make("first"), make("second")
    for release in (first, second):
        want(release)
        assert deploy.deploy("staging", tiny.CONTRACT) == 0
    status.status("staging", tiny.CONTRACT.name)
    assert "differs" not in capsys.readouterr().out
    seen = looked(home)
    off = {what: check.matters for what, check in seen.items() if check.state is not State.ON}
    assert off == {"staging signed": False, "staging address": False}
    assert "healthy" in seen["staging slots"].says

    assert rollback.rollback("staging", tiny.CONTRACT) == 0
    entry, route = ledger.Ledger().wanted("staging"), host.edge.route()
    assert entry and route and entry.release == route.release == first
    assert entry.why == "rollback" and entry.commit == ledger.Ledger().history("staging")[-1].commit
    with pytest.raises(UserError, match=f"nothing to go back to .*{second[:12]}"):
        rollback.rollback("staging", tiny.CONTRACT)
    entry = ledger.Ledger().wanted("staging")
    assert entry and entry.release == first

    want(make("unwell", p=0.9))
    assert deploy.deploy("staging", tiny.CONTRACT) == 4
    status.status("staging", tiny.CONTRACT.name)
    told = capsys.readouterr().out
    assert "differs: run `ml deploy" in told and "refused  2" in told and "max |Δp| is" in told
    assert looked(home)["staging ledger"].fails and not looked(home)["staging slots"].fails
    assert rollback.rollback("staging", tiny.CONTRACT) == 0  # to what runs: nothing moves
    status.status("staging", tiny.CONTRACT.name)
    assert "differs" not in capsys.readouterr().out

    (repository.parent / "origin.git").rename(repository.parent / "away")
    status.status("staging", tiny.CONTRACT.name)
    told = capsys.readouterr().out
    assert "wanted   not known: the remote origin cannot be reached" in told
    assert f"traffic  {first[:12]} on" in told and "differs" not in told
    assert looked(home)["staging ledger"].state is State.UNKNOWN


@pytest.mark.slow
def test_a_host_that_is_down_comes_back_or_says_why_not(
    host: Host, home: Path, make: Callable[..., str]
) -> None:
    first, store = make("first"), Store(home / "store")
    host.supervisor.shutdown()
    assert {f"staging {what}" for what in ("edge", "supervisor", "slots")} <= {
        what for what, check in looked(home).items() if check.fails
    }
    with (
        socket.create_server(("127.0.0.1", host.ports["edge"])),
        pytest.raises(UserError, match=f"port {host.ports['edge']} .edge of staging. is in use by"),
    ):
        deploy.move(host, tiny.CONTRACT, first, store)
    assert not host.supervisor.alive()
    assert deploy.move(host, tiny.CONTRACT, first, store) == 0


@pytest.mark.slow
def test_a_rehearsal_counts_what_it_sent_and_leaves_nothing(
    store: Store,
    make: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    first, second = make("first"), make("second")
    assert rehearse(second, tiny.CONTRACT, first, store) == 0
    told = capsys.readouterr().out
    assert "| lost | 0 |" in told and f"| answered by `{second[:12]}` |" in told
    assert rehearse(make("unwell", p=0.9), tiny.CONTRACT, None, store) == 4
    assert not list(tmp_path.glob("greenlight-rehearsal-*"))
