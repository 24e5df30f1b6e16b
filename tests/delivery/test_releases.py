"""`ml store list` and `ml store prune`: who needs a release, and that nothing that is needed goes."""

import shutil
from pathlib import Path

import pytest

from pipelines.artifacts.entry import Entry, Why
from pipelines.base.errors import UserError
from pipelines.edge.edge import Edge, Route
from pipelines.host.host import Host
from pipelines.host.slots import process
from pipelines.registry.ledger import Ledger
from pipelines.registry.store import Assets, Store
from pipelines.rollout import releases
from pipelines.rollout.journal import Journal
from tests.delivery import tiny
from tests.delivery.github_releases import REPOSITORY, Releases
from tests.delivery.test_store import fill


@pytest.fixture(autouse=True)
def limits() -> None:
    """Not the rollout's shorter waits."""


@pytest.fixture
def ledger(cloned: Ledger) -> Ledger:
    return cloned


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GREENLIGHT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def store(home: Path, tmp_path: Path) -> Store:
    """Five releases; r1 is the oldest."""
    return filled(Store(home / "store"), tmp_path)


def filled(store: Store, scratch: Path) -> Store:
    for day in range(1, 6):
        told = {"created": f"2026-01-0{day}T00:00:00+00:00", "version": str(day)}
        fill(scratch / f"r{day}", f"r{day}", **told, verdict="PASS" if day > 1 else None)
        store.add(scratch / f"r{day}")
    return store


@pytest.fixture
def r(store: Store) -> dict[str, str]:
    return ids(store)


def ids(store: Store) -> dict[str, str]:
    return {f"r{release.model.version}": release.id for release in store.list()}


def want(ledger: Ledger, env: str, release: str, why: Why = "release") -> None:
    ledger.write(env, Entry(release=release, commit=f"{release[:8]}{why}", by="ada", why=why))


@pytest.fixture
def routes(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the route file of each environment names."""
    found: dict[str, str] = {}

    def route(edge: Edge) -> Route | None:
        release = found.get(edge.folder.parent.name)
        return Route("blue", release) if release else None

    monkeypatch.setattr(Edge, "route", route)
    return found


def host(home: Path, env: str) -> Host:
    """A host whose processes are down."""
    folder = home / env
    made = Host.told(
        {
            "environment": env,
            **{name: str(folder / name) for name in ("tools", "socket")},
            "home": str(home),
            "folder": str(folder),
            "edge_url": "http://127.0.0.1:9",
            "admin_url": "http://127.0.0.1:9",
            "models": [{"name": tiny.CONTRACT.name, "blue": 9, "green": 9}],
        }
    )
    made.write(folder)
    return made


def moved(host: Host, *moves: tuple[str, str | None]) -> None:
    journal, before = Journal(host.place), None
    for number, (release, result) in enumerate(moves):
        origin = {"slot": "blue", "release": before} if before else None
        told = {"release": release, "slot": "green", "from": origin, "why": "release"}
        journal.write(f"m{number}", "begin", **told)
        if result:
            journal.write(f"m{number}", "end", result=result)
        before = release


def kept(store: Store) -> set[str]:
    return set(ids(store))


def test_a_release_is_told_with_who_wants_and_who_runs_it(store, ledger, home, r, routes) -> None:
    want(ledger, "staging", r["r5"])
    want(ledger, "production", r["r4"])
    for env in ("staging", "production"):
        host(home, env)
        routes[env] = r["r4"]
    header, first, second, *_, last = releases.table().splitlines()
    assert header.split("  ")[0] == "RELEASE"
    assert first.split() == [r["r5"][:12], "c" * 12, "2026-01-05T00:00:00+00:00", "5", "PASS", "staging", "-"]
    assert second.split()[-3:] == ["production", "production,", "staging"]
    assert last.split()[-3:] == ["-", "-", "-"], "no verdict, not wanted, does not run"


def test_a_wanted_release_that_the_store_lacks_is_named(store, ledger, home) -> None:
    want(ledger, "production", "f" * 64)
    told = releases.table().splitlines()[-1]
    assert told.startswith("ffffffffffff is not in") and told.endswith("is wanted by production")


def test_an_empty_store_says_how_a_release_is_made(ledger, home) -> None:
    assert "`ml release` makes one" in releases.table()
    assert releases.prune(1).startswith("no release")


def test_only_the_newest_stay_where_nobody_needs_more(store, ledger, home, r) -> None:
    told = releases.prune(2).splitlines()
    assert kept(store) == {"r5", "r4"}
    assert [line.split()[2] for line in told] == ["kept", "kept", "removed", "removed", "removed"]
    assert told[0].endswith("one of the newest 2")


def test_what_an_environment_wants_stays(store, ledger, home, r) -> None:
    want(ledger, "production", r["r1"])
    want(ledger, "staging", r["r2"])
    told = releases.prune(1)
    assert kept(store) == {"r5", "r2", "r1"}
    assert told.splitlines()[-1].endswith("production wants it")


def test_what_it_wanted_once_goes(store, ledger, home, r) -> None:
    want(ledger, "production", r["r1"])
    want(ledger, "production", r["r4"])
    releases.prune(1)
    assert kept(store) == {"r5", "r4"}


def test_what_the_edge_sends_traffic_to_stays(store, ledger, home, r, routes) -> None:
    host(home, "staging")
    routes["staging"] = r["r1"]
    told = releases.prune(1)
    assert kept(store) == {"r5", "r1"} and told.endswith("staging runs it here")


def test_what_a_slot_still_serves_stays(store, ledger, home, r, monkeypatch) -> None:
    host(home, "staging")
    monkeypatch.setattr(process, "running", lambda slot: r["r2"] if slot.colour == "green" else None)
    releases.prune(1)
    assert kept(store) == {"r5", "r2"}


def test_both_ends_of_a_move_that_was_killed_stay(store, ledger, home, r) -> None:
    moved(host(home, "staging"), (r["r1"], "completed"), (r["r2"], "completed"), (r["r3"], None))
    told = releases.prune(1)
    assert {"r3", "r2"} <= kept(store)
    assert "staging's last move here names it" in told


def test_what_a_rollback_would_go_to_stays(store, ledger, home, r) -> None:
    """r4 was rolled back from, so r2 is next, and nothing else names it any more."""
    for release, why in ((r["r2"], "release"), (r["r4"], "release"), (r["r3"], "rollback")):
        want(ledger, "production", release, why)
    there = host(home, "production")
    moved(
        there, (r["r2"], "completed"), (r["r3"], "completed"), (r["r4"], "completed"), (r["r3"], "completed")
    )
    told = releases.prune(1)
    assert {"r5", "r3", "r2"} <= kept(store) and "r1" not in kept(store)
    assert "production would go back to it" in told


def test_a_dry_run_says_it_and_removes_nothing(store, ledger, home, r) -> None:
    told = releases.prune(2, dry_run=True)
    assert told.count("would be removed") == 3 and len(kept(store)) == 5


@pytest.mark.parametrize("trouble", ["journal", "ledger", "origin"])
def test_what_cannot_be_read_is_no_reason_to_remove(trouble, store, ledger, home, r, tmp_path) -> None:
    there = host(home, "staging")
    want(ledger, "staging", r["r5"])
    if trouble == "journal":
        there.place.mkdir(parents=True)
        Journal(there.place).path.write_text("damaged\n")
    elif trouble == "ledger":
        ledger.write("qa", Entry.model_construct(release="none", commit="c", by="ada", why="release", at=""))
    else:
        shutil.rmtree(tmp_path / "origin.git")
    with pytest.raises(UserError):
        releases.prune(1)
    assert len(kept(store)) == 5


def test_the_ledger_names_every_environment(ledger: Ledger) -> None:
    assert ledger.entries() == {}
    want(ledger, "staging", "a" * 64)
    want(ledger, "qa", "b" * 64)
    assert {env: entry.release[0] for env, entry in ledger.entries().items()} == {"staging": "a", "qa": "b"}


def test_on_github_they_go_there_and_here(
    github: Releases, ledger, home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREENLIGHT_STORE", f"github:{REPOSITORY}")
    assets = filled(Assets(REPOSITORY, home / "store"), tmp_path)
    r = ids(assets)
    Assets(REPOSITORY, tmp_path / "other").remove(r["r1"])  # another machine pruned; the copy is here
    assert len(list(assets.folder.iterdir())) == 5
    want(ledger, "production", r["r2"])
    releases.prune(1)
    assert kept(assets) == kept(Store(assets.folder)) == {"r5", "r2"}
    assert len(github.tags) == 2
    assert releases.table().count("2026-01") == 2
