"""What anybody with write access to the repository can push, and a host that stays on what it runs."""

import time
from pathlib import Path

import asyncssh
import pytest

from pipelines.artifacts.release import Release
from pipelines.base.errors import UserError
from pipelines.base.files import read_json, write_bytes, write_json
from pipelines.edge.edge import Edge, Route
from pipelines.host import services, trust
from pipelines.host.slots import process
from pipelines.registry import merged
from pipelines.registry.attestation import ATTESTATION, OwnKey, statement
from pipelines.registry.ledger import BRANCH, Entry, Ledger
from pipelines.registry.signer import VARIABLE
from pipelines.registry.signing import LIST, Key
from pipelines.registry.store import Store
from pipelines.rollout import deploy, releases, rollback, status
from pipelines.rollout.journal import Journal
from pipelines.setup import host as doctor
from pipelines.setup.check import Check, State
from tests.delivery import tiny
from tests.delivery.merging import merge, small
from tests.delivery.test_store import IMAGE
from tests.delivery.world import World
from tests.project import git

ENV = "staging"


class Trusting(World):
    """A host that has a list of keys, a store, and origin's main; a move is only noted."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        super().__init__(folder)
        self.patch, self.store = patch, Store(self.home / "store")
        self.keys = {name: asyncssh.generate_private_key("ssh-ed25519") for name in ("ci", "other")}
        self.allow(f'ci namespaces="git" {self.public("ci")}')

    def public(self, name: str) -> str:
        return self.keys[name].export_public_key().decode().strip()

    def allow(self, *lines: str) -> None:
        (self.home / "list").write_text("\n".join(lines) + "\n")
        trust.allow(self.home / "list", self.host.folder)

    def signs(self, name: str | None) -> None:
        """Who signs what is written from now on."""
        self.patch.delenv(VARIABLE, raising=False)
        if name:
            self.patch.setenv(VARIABLE, self.keys[name].export_private_key().decode())

    def attest(self, folder: Path, by: str = "ci", repository: str | None = None, built: bool = True) -> None:
        """Sign the release in a folder, as `ml release` does where it has built the image."""
        key = Key.parse(self.keys[by].export_private_key().decode(), "the test's")
        ours = Ledger(self.writer).repository
        signed = OwnKey(key).sign(statement(folder, repository or ours, built))
        write_bytes(folder / "evidence" / ATTESTATION, signed)

    def merged(self, name: str, signed: bool = True) -> Entry:
        release = small(self.store, name)
        folder = self.store.folder / release
        made = merge(self.origin, folder)
        about = Release.read(folder).model_copy(update={"commit": made})
        about.write(folder)
        if signed:
            self.attest(folder)
        return Entry(release=release, commit=made, by="me", beside=merged.digest(folder))

    def write(self, entry: Entry, env: str = ENV, by: str | None = "ci") -> Entry:
        self.signs(by)
        assert Ledger(self.writer).write(env, entry)
        self.signs(None)
        return entry

    def moved(self, host, contract, release, releases, why, pause) -> int:
        self.deployed.append(release)
        self.route = Route("blue", release)
        return 0

    def head(self) -> str:
        return git(self.origin, "rev-parse", BRANCH)

    def set_back(self, to: str) -> None:
        git(self.origin, "update-ref", f"refs/heads/{BRANCH}", to)

    def refuses(self, why: str) -> None:
        """`ml watch` and `ml deploy` say one sentence, and what ran stays."""
        before, route = list(self.deployed), self.route
        watcher = self.watch()
        watcher.round()
        assert watcher.seen.trouble and why in watcher.seen.trouble.why, watcher.seen.trouble
        with pytest.raises(UserError) as caught:
            deploy.deploy(ENV, tiny.CONTRACT, self.home)
        assert why in str(caught.value) and "\n" not in str(caught.value)
        assert (self.deployed, self.route) == (before, route)

    def follows(self, entry: Entry) -> None:
        watcher = self.watch()
        watcher.round()
        assert watcher.seen.trouble is None, watcher.seen.trouble
        assert self.deployed[-1] == entry.release
        assert deploy.deploy(ENV, tiny.CONTRACT, self.home) == 0


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trusting:
    world = Trusting(tmp_path, monkeypatch)
    monkeypatch.chdir(world.checkout)
    monkeypatch.setenv("GREENLIGHT_HOME", str(world.home))
    monkeypatch.setattr(deploy, "move", world.moved)
    monkeypatch.setattr(deploy, "_live", lambda host, release: world.route and release == world.route.release)
    monkeypatch.setattr(services, "alive", lambda host: True)
    monkeypatch.setattr(process, "running", lambda slot: None)
    monkeypatch.setattr(Edge, "route", lambda edge: world.route)
    monkeypatch.setattr(Edge, "ready", lambda edge: False)
    return world


def test_doctor_says_whose_word_the_ledger_is(world: Trusting) -> None:
    def signed() -> Check:
        return next(one for one in doctor.checks(world.home, tiny.CONTRACT.name) if "signed" in one.what)

    entry = world.write(world.merged("first"))
    assert (signed().state, signed().says) == (State.ON, "by ci")
    world.write(entry.model_copy(update={"by": "them"}), env="production", by=None)
    assert signed().state is State.ON
    world.write(world.merged("second"), by="other")
    assert signed().fails and "ml promote" in signed().way_out
    (world.host.folder / LIST).unlink()
    assert (signed().state, signed().fails) == (State.OFF, False) and "--allowed-signers" in signed().way_out


def test_what_a_listed_key_signed_is_deployed_one_after_the_other(world: Trusting) -> None:
    for name in ("first", "second"):
        world.follows(world.write(world.merged(name)))
    world.write(world.merged("elsewhere"), env="production", by=None)  # no word for this environment
    world.follows(world.write(world.merged("third")))
    assert len(set(world.deployed)) == 3


def test_unsigned_and_unlisted_and_expired_are_refused_and_signing_it_again_is_the_way_out(
    world: Trusting,
) -> None:
    world.follows(world.write(world.merged("first")))
    second = world.write(world.merged("second"), by=None)
    world.refuses("is not signed: write it again with a listed key")
    world.write(second.model_copy(update={"commit": second.commit.upper()}), by="other")
    world.refuses("which " + str(world.host.folder / "allowed_signers") + " does not list")
    world.write(second)  # the same release: written again, because its writer does not know who signed
    world.allow(f'ci valid-before="20250101Z" {world.public("ci")}')
    world.refuses("is valid no longer")
    world.allow(f"ci {world.public('ci')}")
    world.follows(second)


def test_a_commit_that_was_changed_after_it_was_signed_is_refused(world: Trusting) -> None:
    world.follows(world.write(world.merged("first")))
    second = world.write(world.merged("second"))
    content = git(world.origin, "cat-file", "commit", BRANCH) + "\n"
    forged = world.home / "forged"
    forged.write_text(content.replace("staging: release", "staging: RELEASE"))
    world.set_back(git(world.origin, "hash-object", "-t", "commit", "-w", str(forged)))
    world.refuses("carries a signature that does not fit its content")
    forged.write_text(content)
    world.set_back(git(world.origin, "hash-object", "-t", "commit", "-w", str(forged)))
    world.follows(second)


def test_an_entry_of_another_environment_is_none_of_this_one(world: Trusting) -> None:
    world.follows(world.write(world.merged("first")))
    second = world.write(world.merged("second"), env="production")
    world.push({"staging.json": git(world.origin, "show", f"{BRANCH}:production.json") + "\n"})
    world.refuses("is not signed")  # the copy is another commit
    world.patch.setattr(Ledger, "_addressed", lambda ledger, env, entry: entry)
    copied = second.model_copy(
        update={"environment": "production", "repository": Ledger(world.writer).repository}
    )
    world.write(copied.model_copy(update={"by": "somebody who was tricked", "commit": "f" * 40}))
    world.refuses("was signed for the environment production, and this is staging")
    elsewhere = copied.model_copy(
        update={"environment": ENV, "repository": "somebody/else", "commit": "e" * 40}
    )
    world.write(elsewhere)
    world.refuses("was signed for the repository somebody/else")


def test_an_old_signed_state_that_is_pushed_again_moves_nothing_back(world: Trusting) -> None:
    states = []
    for name in ("first", "second", "third"):
        world.follows(world.write(world.merged(name)))
        states.append(world.head())
    for old in states[:2]:
        world.set_back(old)
        world.refuses("was rewritten")
    world.set_back(states[0])
    world.refuses("was rewritten")
    world.set_back(states[1])  # as if the second came on top of the first anew
    world.refuses("was rewritten")
    (world.host.place / "watch.json").unlink()
    world.refuses("was rewritten")
    world.set_back(states[2])
    watcher = world.watch()
    watcher.round()
    assert watcher.seen.trouble is None
    world.set_back(states[0])
    made = int(git(world.origin, "log", "-1", "--format=%ct", states[2]))
    time.sleep(max(0, made + 1 - time.time()))  # each was made a second after the one before, by its own word
    world.follows(world.write(world.merged("fourth")))  # a new word ends it


def test_an_old_entry_that_comes_by_a_merge_is_refused(world: Trusting) -> None:
    world.write(world.merged("first"))
    old = world.head()
    world.follows(world.write(world.merged("second")))
    tree = git(world.origin, "rev-parse", f"{old}^{{tree}}")
    for parents in ((old, world.head()), (world.head(), old)):
        joined = [word for parent in parents for word in ("-p", parent)]
        name = ("-c", "user.name=x", "-c", "user.email=x@x")
        world.set_back(git(world.origin, *name, "commit-tree", tree, *joined, "-m", "merge"))
        world.refuses("came by a merge")
        world.set_back(next(parent for parent in parents if parent != old))


def test_what_was_not_merged_is_refused_also_when_it_is_signed(world: Trusting) -> None:
    world.follows(world.write(world.merged("first")))
    evil = small(world.store, "evil", service="print('evil')\n")
    for commit_id in ("0" * 40, "f" * 40, "HEAD", "main"):
        world.write(Entry(release=evil, commit=commit_id, why="rollback", by="me", beside="0" * 64))
        world.refuses("was never the head of origin's branch main")
    world.write(world.merged("evil2").model_copy(update={"release": evil}))
    world.refuses("service.py is not the one of the commit")


def test_the_attack_by_hand_is_refused_also_without_a_list(world: Trusting) -> None:
    """production.json by hand, why rollback, a commit of zeros, a store entry by hand: no code of it runs."""
    (world.host.folder / "allowed_signers").unlink()
    first = world.write(world.merged("first"), by=None)
    world.follows(first)
    evil = small(world.store, "evil", service="print('evil')\n")
    attack = Entry(release=evil, commit="0" * 40, why="rollback", by="me")
    world.push({"staging.json": attack.model_dump_json()})
    world.refuses("the commit 000000000000 was never the head of origin's branch main")
    world.follows(world.write(world.merged("second"), by=None))


def test_a_list_that_cannot_be_read_lets_nothing_through(world: Trusting) -> None:
    world.follows(world.write(world.merged("first")))
    world.write(world.merged("second"))
    path = world.host.folder / "allowed_signers"
    path.write_text("# nobody\n")
    world.refuses("lists no key")
    path.unlink()
    path.symlink_to("nowhere")
    world.refuses("cannot be read")
    path.unlink()
    world.allow(f"ci {world.public('ci')}")
    (world.host.place / "followed.json").write_text("{")
    world.refuses("followed.json is not what `ml deploy` writes")


def test_status_says_whose_word_the_entry_is(world: Trusting, capsys: pytest.CaptureFixture[str]) -> None:
    def told() -> str:
        status.status(ENV, tiny.CONTRACT.name, world.home)
        return next(line for line in capsys.readouterr().out.splitlines() if "  signed " in line)

    world.write(world.merged("first"))
    assert told() == "  signed   by ci"
    world.write(world.merged("second"), by="other")
    assert "no, and it is not deployed: staging.json on the branch environments" in told()
    (world.host.folder / "allowed_signers").unlink()
    assert "entries are not verified" in told() and "allowed_signers does not exist" in told()


def test_a_list_that_is_none_does_not_replace_the_one_that_is(world: Trusting, tmp_path: Path) -> None:
    (tmp_path / "list").write_text("ci ssh-ed25519 rubbish\n")
    with pytest.raises(UserError, match="list, line 1"):
        trust.allow(tmp_path / "list", world.host.folder)
    assert world.public("ci") in (world.host.folder / "allowed_signers").read_text()


# --- from GitHub, without a host's journal ------------------------------------------------------------------


def test_a_rollback_by_the_ledger_goes_back_once_more_each_time_and_never_to_the_bad_one(
    world: Trusting, tmp_path: Path
) -> None:
    entries = [world.write(world.merged(name)) for name in ("first", "second", "third")]
    world.patch.chdir(world.writer)
    world.signs("ci")
    summary = tmp_path / "summary.md"
    world.patch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    for expected in reversed(entries[:2]):
        assert rollback.in_ledger(ENV) == 0
        found = Ledger(world.writer).wanted(ENV)
        assert found and (found.release, found.commit, found.why) == (
            expected.release,
            expected.commit,
            "rollback",
        )
        assert "signed with SHA256:" in summary.read_text()
    with pytest.raises(UserError, match="names no other release that may be gone back to"):
        rollback.in_ledger(ENV)
    world.signs(None)
    world.patch.chdir(world.checkout)
    world.follows(entries[0])


def test_a_rollback_by_the_ledger_signs_nothing_that_somebody_else_planted(world: Trusting) -> None:
    first, second = (world.write(world.merged(name)) for name in ("first", "second"))
    for name in ("planted", "planted too"):
        world.write(world.merged(name), by="other")
        world.write(world.merged(f"{name}, unsigned"), by=None)
    world.patch.chdir(world.writer)
    world.signs("ci")
    for expected in (second, first):
        assert rollback.in_ledger(ENV) == 0
        found = Ledger(world.writer).wanted(ENV)
        assert found and found.release == expected.release


def test_a_rollback_by_the_ledger_works_unsigned_and_says_so(
    world: Trusting, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first, _ = (world.write(world.merged(name), by=None) for name in ("first", "second"))
    monkeypatch.chdir(world.writer)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    assert rollback.in_ledger(ENV) == 0
    found = Ledger(world.writer).wanted(ENV)
    assert found and found.release == first.release
    assert "not signed; hosts that list who may sign need the secret" in (tmp_path / "summary.md").read_text()


def test_promote_signs_only_what_somebody_known_signed_and_what_was_merged(world: Trusting) -> None:
    good = world.write(world.merged("first"))
    world.patch.chdir(world.writer)
    world.signs("ci")

    def promote() -> Entry:
        return Ledger().promote(lambda entry: merged.require_merged(entry.commit))

    assert promote().release == good.release
    faults = {None: "is not signed, so it is not signed again", "other": "with another key than SHA256"}
    for by, fault in faults.items():
        world.write(world.merged(f"planted by {by}"), by=by)
        world.signs("ci")
        with pytest.raises(UserError, match=fault):
            promote()
    world.write(Entry(release=good.release, commit="0" * 40, by="me"))
    world.signs("ci")
    with pytest.raises(UserError, match="was never the head of origin's branch main"):
        promote()
    wanted = Ledger(world.writer).wanted("production")
    assert wanted and wanted.release == good.release and wanted.environment == "production"


def test_on_a_host_with_a_list_a_rollback_without_a_key_writes_nothing(world: Trusting) -> None:
    for name in ("first", "second"):
        world.follows(world.write(world.merged(name)))
    before = world.head()
    with pytest.raises(UserError, match="there is none here: set git"):
        rollback.rollback(ENV, tiny.CONTRACT, world.home)
    assert world.head() == before


def rolls_back(world: Trusting, to: Entry) -> None:
    """By the host's own journal, with the key at hand."""
    world.signs("ci")
    assert rollback.rollback(ENV, tiny.CONTRACT, world.home) == 0
    world.signs(None)
    found = Ledger(world.checkout).wanted(ENV)
    assert found and (found.release, found.commit, found.why) == (to.release, to.commit, "rollback")
    assert world.deployed[-1] == to.release


def completed(world: Trusting, *entries: Entry) -> None:
    """The host's journal says that these rollouts completed, one after the other."""
    for number, entry in enumerate(entries, len(Journal(world.host.place).moves())):
        details = {"release": entry.release, "slot": "blue", "from": None, "why": "release"}
        Journal(world.host.place).write(f"m{number}", "begin", **details)
        Journal(world.host.place).write(f"m{number}", "end", result="completed")


@pytest.fixture
def past(world: Trusting) -> dict[str, Entry]:
    """Releases that completed here, the middle one by a forged entry; the checkout may push."""
    git(world.checkout, "remote", "set-url", "--push", "origin", str(world.origin))
    signed = {"first": "ci", "forged": None, "other": "other", "last": "ci"}
    entries = {name: world.write(world.merged(name), by=by) for name, by in signed.items()}
    completed(world, *entries.values())
    return entries


def test_on_a_host_with_a_list_a_rollback_passes_over_what_nobody_listed_signed(
    world: Trusting,
    past: dict[str, Entry],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GREENLIGHT_HOME", str(world.home))
    rolls_back(world, past["first"])
    (told,) = [line for line in capsys.readouterr().err.splitlines() if "passed over" in line]
    assert past["forged"].release[:12] in told and "is not signed" in told
    assert past["other"].release[:12] in told and "does not list" in told
    assert past["first"].release[:12] not in told and past["last"].release[:12] not in told
    assert past["forged"].release not in releases.needed()


def test_without_a_list_the_history_is_taken_as_it_is(world: Trusting, past: dict[str, Entry]) -> None:
    (world.host.folder / "allowed_signers").unlink()
    rolls_back(world, past["other"])


@pytest.mark.parametrize(("by", "expected"), [(None, "last"), ("ci", "first")])
def test_a_forged_rollback_bars_no_release_and_a_signed_one_does(
    world: Trusting, past: dict[str, Entry], by: str | None, expected: str
) -> None:
    world.write(past["first"].model_copy(update={"why": "rollback"}), by=by)
    completed(world, past["last"], world.write(world.merged("newest")))
    rolls_back(world, past[expected])


def test_a_release_that_no_listed_entry_names_is_no_place_to_go_back_to(world: Trusting) -> None:
    git(world.checkout, "remote", "set-url", "--push", "origin", str(world.origin))
    stray = world.merged("stray")
    completed(world, stray, only := world.write(world.merged("only")))
    world.signs("ci")
    with pytest.raises(UserError, match="nothing to go back to") as caught:
        rollback.rollback(ENV, tiny.CONTRACT, world.home)
    assert only.release[:12] in str(caught.value)


# --- what is beside the Bento, which the release's id does not cover --------------------------------------


@pytest.mark.parametrize("name", ["evidence/reference.json", "evidence/gate.json", "release.json"])
def test_a_store_entry_whose_evidence_was_edited_is_refused(world: Trusting, name: str) -> None:
    world.follows(world.write(world.merged("first")))
    second = world.write(world.merged("second"))
    file = world.store.folder / second.release / name
    before = file.read_bytes() if file.exists() else None
    write_json(file, (read_json(file) if before else {}) | {"model": {"sha256": "f" * 64, "version": "1"}})
    world.refuses("evidence/ or release.json in ")
    if before is None:
        file.unlink()
    else:
        file.write_bytes(before)
    world.store.note(second.release, IMAGE)  # noted later, by `ml image`
    world.follows(second)


def test_an_entry_of_an_earlier_version_is_refused_where_there_is_a_list_and_taken_where_there_is_none(
    world: Trusting,
) -> None:
    world.follows(world.write(world.merged("first")))
    second = world.merged("second")
    world.write(old := second.model_copy(update={"beside": None}))
    world.refuses("is of an earlier version and does not say what evidence/ holds: run `ml release` at its")
    world.follows(world.write(second))  # the same release, with the field: written again
    world.write(old)
    (world.host.folder / "allowed_signers").unlink()
    world.deployed.clear()
    world.route = None
    world.follows(old)


def test_nothing_goes_back_to_an_entry_of_an_earlier_version(world: Trusting) -> None:
    git(world.checkout, "remote", "set-url", "--push", "origin", str(world.origin))
    first, second = world.merged("first"), world.merged("second")
    entries = [first, second.model_copy(update={"beside": None}), world.merged("third")]
    completed(world, *(world.write(entry) for entry in entries))
    world.patch.chdir(world.writer)
    before = world.head()
    world.signs("ci")
    assert rollback.in_ledger(ENV) == 0
    found = Ledger(world.writer).wanted(ENV)
    assert found and (found.release, found.beside) == (first.release, first.beside)
    world.set_back(before)
    world.patch.chdir(world.checkout)
    rolls_back(world, first)
