"""The ledger, on a bare origin: what is wanted, by whom, and that no writer undoes another."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.base.errors import UserError
from pipelines.registry.ledger import BRANCH, Entry, Ledger
from tests.project import ROOT, git

A, B, C = ("a" * 64, "b" * 64, "c" * 64)


def entry(release: str, **fields: object) -> Entry:
    return Entry.model_validate({"release": release, "commit": "1" * 40, "by": "me", **fields})


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet", "--bare", "origin.git")
    return tmp_path / "origin.git"


@pytest.fixture
def clone(origin: Path) -> Path:
    return cloned(origin, "clone")


def cloned(origin: Path, name: str) -> Path:
    git(origin.parent, "clone", "--quiet", str(origin), name)
    return origin.parent / name


def wanted(ledger: Ledger, environment: str) -> str | None:
    found = ledger.wanted(environment)
    return found.release if found else None


def test_before_the_first_release_nothing_is_wanted(clone: Path) -> None:
    assert Ledger(clone).wanted("staging") is None
    assert Ledger(clone).history("staging") == []


def test_what_one_clone_writes_another_reads(origin: Path, clone: Path) -> None:
    written = entry(A, model="3", evidence={"verdict": "PASS", "roc_auc": 0.7})
    assert Ledger(clone).write("staging", written)
    found = Ledger(cloned(origin, "other")).wanted("staging")
    assert found == written.model_copy(
        update={"environment": "staging", "repository": f"{origin.parent.name}/origin".lower()}
    )


def test_the_first_write_makes_the_branch_and_nothing_else(origin: Path, clone: Path) -> None:
    git(
        clone, "-c", "user.name=x", "-c", "user.email=x@x", "commit", "--quiet", "--allow-empty", "-m", "code"
    )
    git(clone, "push", "--quiet", "origin", "HEAD:refs/heads/main")
    assert BRANCH not in git(origin, "for-each-ref", "--format=%(refname:short)").split()
    Ledger(clone).write("staging", entry(A))
    assert git(origin, "for-each-ref", "--format=%(refname:short)").split() == [BRANCH, "main"]
    assert git(origin, "ls-tree", "--name-only", BRANCH) == "staging.json"
    assert git(origin, "rev-list", "--count", BRANCH) == "1", "it shares no history with the code"


def test_a_reader_never_trusts_what_it_fetched_before(origin: Path, clone: Path) -> None:
    reader, writer = Ledger(clone), Ledger(cloned(origin, "other"))
    writer.write("staging", entry(A))
    assert wanted(reader, "staging") == A
    writer.write("staging", entry(B))
    assert wanted(reader, "staging") == B


def test_an_environment_keeps_its_entry_when_another_is_written(clone: Path) -> None:
    ledger = Ledger(clone)
    ledger.write("staging", entry(A))
    ledger.write("production", entry(B))
    assert (wanted(ledger, "staging"), wanted(ledger, "production")) == (A, B)


def test_promote_copies_stagings_entry(clone: Path) -> None:
    ledger = Ledger(clone)
    ledger.write("staging", entry(A, model="7", evidence={"verdict": "PASS"}))
    promoted = ledger.promote()
    assert (promoted.release, promoted.model, promoted.why) == (A, "7", "promote")
    assert ledger.wanted("production") == promoted


def test_promote_without_a_release_says_so(clone: Path) -> None:
    with pytest.raises(UserError, match="names no release for staging: run `ml release`"):
        Ledger(clone).promote()
    assert Ledger(clone).wanted("production") is None


def test_the_history_is_the_environments_own_newest_first(clone: Path) -> None:
    ledger = Ledger(clone)
    for release in (A, B):
        ledger.write("staging", entry(release))
    ledger.write("production", entry(C))
    ledger.write("staging", entry(A, why="rollback"))
    assert [(e.release, e.why) for e in ledger.history("staging")] == [
        (A, "rollback"),
        (B, "release"),
        (A, "release"),
    ]
    assert [e.release for e in ledger.history("production")] == [C]


HISTORIES = {  # the oldest first: release, why, superior; then the anchor
    "nothing yet": ("", None),
    "the first release": ("A", "A"),
    "the newest superior one": ("A B+ C+ D", "C"),
    "itself, when it is superior": ("A B+", "B"),
    "the first, when none is superior": ("A B C", "A"),
    "one that was rolled back is passed over": ("A B+ A< C", "A"),
    "also when it came twice": ("A+ B+ A< C+ A< D", "A"),
    "a rollback to a superior one": ("A B+ C B<", "B"),
    "a rollback further back": ("A B+ C D B< E", "B"),
    "a rollback to the first": ("A B+ A<", "A"),
    "superior before the one that it went back to": ("A+ B C+ B<", "A"),
    "a rollback to what the ledger no longer names": ("A< B", "A"),
}


@pytest.mark.parametrize(("history", "anchor"), HISTORIES.values(), ids=HISTORIES)
def test_the_anchor_is_the_newest_superior_release_that_stayed(
    clone: Path, history: str, anchor: str | None
) -> None:
    ledger = Ledger(clone)
    for word in history.split():
        why = "rollback" if "<" in word else "promote"
        evidence = {"superior": True} if "+" in word else {}
        ledger.write("production", entry(word[0].lower() * 64, why=why, evidence=evidence))
    found = ledger.anchor("production")
    assert (found.release[0].upper() if found else None) == anchor


def test_superior_is_a_truth_not_a_text(clone: Path) -> None:
    ledger = Ledger(clone)
    ledger.write("production", entry(A))
    ledger.write("production", entry(B, evidence={"superior": "false"}))
    found = ledger.anchor("production")
    assert found is not None and found.release == A


def test_what_was_released_last_is_no_rollback(clone: Path) -> None:
    ledger = Ledger(clone)
    assert ledger.released("staging") is None
    for release, why in ((A, "release"), (B, "release"), (A, "rollback")):
        ledger.write("staging", entry(release, why=why))
    found = ledger.released("staging")
    assert found is not None and found.release == B


def test_wanting_what_is_wanted_writes_nothing(origin: Path, clone: Path) -> None:
    ledger = Ledger(clone)
    ledger.write("staging", entry(A))
    before = git(origin, "rev-parse", BRANCH)
    assert not ledger.write("staging", entry(A, at="later"))
    assert git(origin, "rev-parse", BRANCH) == before
    assert ledger.write("staging", entry(A, commit="2" * 40)), "the same content, of another commit"


def test_the_checkout_is_not_touched(clone: Path) -> None:
    (clone / "file").write_text("mine")
    git(clone, "add", "file")
    before = git(clone, "status", "--porcelain", "--branch")
    Ledger(clone).write("staging", entry(A))
    assert git(clone, "status", "--porcelain", "--branch") == before


WRITER = """
import sys
from pipelines.registry.ledger import Entry, Ledger
for number in range(4):
    entry = Entry(release=sys.argv[2] * 63 + str(number), commit="1" * 40)
    assert Ledger(sys.argv[1]).write(sys.argv[3], entry)
"""


@pytest.mark.parametrize("shared", [False, True], ids=["a clone each", "one clone"])
def test_writers_at_the_same_time_all_get_through(origin: Path, clone: Path, shared: bool) -> None:
    names = {"staging": "a", "production": "b", "canary": "c"}
    running = []
    for environment, letter in names.items():
        folder = clone if shared else cloned(origin, environment)
        command = [sys.executable, "-c", WRITER, str(folder), letter, environment]
        running.append(subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True))
    for process in running:
        assert process.wait(60) == 0, process.stderr and process.stderr.read()
    ledger = Ledger(cloned(origin, "reader"))
    for environment, letter in names.items():
        assert [e.release[-1] for e in ledger.history(environment)] == list("3210")
        assert wanted(ledger, environment) == letter * 63 + "3"


def test_a_write_that_loses_the_race_starts_again_from_what_won(
    origin: Path, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, fast = Ledger(clone), Ledger(cloned(origin, "other"))
    once, made = [True], slow._commit

    def after_another(*arguments: object) -> str:
        if once.pop() if once else False:
            fast.write("production", entry(B))
        return made(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(slow, "_commit", after_another)
    assert slow.write("staging", entry(A))
    assert (wanted(fast, "staging"), wanted(fast, "production")) == (A, B)


def push(clone: Path, content: str) -> None:
    """What a person's hand can do to the branch."""
    if git(clone, "branch", "--show-current") != BRANCH:
        git(clone, "checkout", "--quiet", "--orphan", BRANCH)
    (clone / "staging.json").write_text(content)
    git(clone, "add", "staging.json")
    git(clone, "-c", "user.name=x", "-c", "user.email=x@x", "commit", "--quiet", "-m", "by hand")
    git(clone, "push", "--quiet", "origin", BRANCH)


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ("{", "Invalid JSON"),
        ('{"release": "abc", "commit": "1"}', "release"),
        (json.dumps({"release": A, "commit": "1", "why": "because"}), "why"),
        (json.dumps({"release": A}), "commit"),
    ],
)
def test_a_broken_file_is_one_sentence(clone: Path, content: str, field: str) -> None:
    push(clone, content)
    with pytest.raises(
        UserError,
        match=rf"staging\.json on the branch environments \(\w+\) is not what `ml` writes \({field}",
    ):
        Ledger(clone).wanted("staging")


def test_a_broken_file_that_was_mended_is_left_out_of_the_history(clone: Path) -> None:
    ledger = Ledger(clone)
    push(clone, entry(A).model_dump_json())
    push(clone, "{")
    with pytest.raises(UserError, match="is not what `ml` writes"):
        ledger.history("staging")
    push(clone, entry(B).model_dump_json())
    assert [one.release for one in ledger.history("staging")] == [B, A]


def test_a_folder_of_the_repository_has_the_same_ledger(clone: Path) -> None:
    top, below = Ledger(clone), Ledger(clone / "docs")
    (clone / "docs").mkdir()
    top.write("staging", entry(A))
    assert below.write("production", entry(B))
    assert below.entries() == top.entries() and set(top.entries()) == {"staging", "production"}
    assert wanted(below, "staging") == A and below.look("staging") == top.look("staging")
    assert below.history("staging") == top.history("staging") != []


def test_a_remote_out_of_reach_is_one_sentence_and_not_an_empty_ledger(clone: Path, origin: Path) -> None:
    Ledger(clone).write("staging", entry(A))
    origin.rename(origin.with_name("gone.git"))
    for ask in (lambda: Ledger(clone).wanted("staging"), lambda: Ledger(clone).write("staging", entry(B))):
        with pytest.raises(UserError, match="the remote origin cannot be reached"):
            ask()


def test_an_origin_that_refuses_is_one_sentence(clone: Path, origin: Path) -> None:
    hook = origin / "hooks/pre-receive"
    hook.write_text("#!/bin/sh\necho protected branch\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(UserError, match="origin refused the ledger's branch environments"):
        Ledger(clone).write("staging", entry(A))


@pytest.mark.parametrize("name", ["", "../staging", "Staging", "a b", "staging.json"])
def test_what_is_no_environments_name_is_refused(clone: Path, name: str) -> None:
    with pytest.raises(UserError, match="is not an environment's name"):
        Ledger(clone).write(name, entry(A))


def test_a_runner_without_a_name_can_write(
    clone: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [name for name in os.environ if name.startswith(("GIT_AUTHOR", "GIT_COMMITTER", "EMAIL"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "none"))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", str(tmp_path / "none"))
    monkeypatch.setenv("GITHUB_ACTOR", "octocat")
    assert Ledger(clone).write("staging", Entry(release=A, commit="1" * 40))
    found = Ledger(clone).wanted("staging")
    assert found is not None and found.by == "octocat"
    assert git(clone, "log", "-1", "--format=%an", "refs/greenlight/environments") == "greenlight"


def test_an_entry_names_no_version_and_is_read_with_one(clone: Path) -> None:
    """A host of an earlier checkout reads the same branch, and refuses a field that it does not know."""
    Ledger(clone).write("staging", entry(A))
    git(clone, "fetch", "--quiet", "origin", BRANCH)
    written = json.loads(git(clone, "show", "FETCH_HEAD:staging.json"))
    assert "version" not in written and "release" in written
    assert Entry.parse(written) == Entry.parse(written | {"version": 1})


def test_an_entry_of_a_later_version_is_one_sentence(clone: Path) -> None:
    push(clone, json.dumps({"version": 2, "release": A, "of": "later"}))
    with pytest.raises(UserError, match="is of version 2: update this checkout, which reads version 1, or"):
        Ledger(clone).wanted("staging")
