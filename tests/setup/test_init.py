"""`ml init` against the stand-in of GitHub: a fresh copy becomes a repository whose checks mean something."""

from pathlib import Path
from typing import Any

import asyncssh
import pytest

from pipelines.local.plans import Plan
from pipelines.registry.signing import Key, Signers
from pipelines.setup.check import State
from pipelines.setup.settings import github_checks
from tests.setup.conftest import Copy, fresh, lines, mistake

ENVIRONMENTS = ("staging", "production")


def test_from_nothing_to_all_on(copy: Copy) -> None:
    assert copy.init(variables={"GREENLIGHT_STORE": "github"}) == 0
    state = copy.state
    assert {one["name"] for one in state["rulesets"]} == {"main", "ledger", "releases"}
    assert "gate:override" in state["labels"] and state["pulls by workflows"] and state["merge commits"]
    assert state["variables"]["GREENLIGHT_STORE"]["value"] == "github"
    for name in ENVIRONMENTS:
        assert [policy["name"] for policy in state["environments"][name]["policies"]] == ["main"]
    assert state["environments"]["production"]["reviewers"] == ["grace"]
    assert state["environments"]["staging"]["reviewers"] == []
    assert set(copy.files()) == {".github/CODEOWNERS"}
    assert "@OWNER" not in copy.files()[".github/CODEOWNERS"]


def test_the_key_at_github_is_the_one_that_signs_and_that_hosts_are_told_of(copy: Copy) -> None:
    copy.init()
    ((fingerprint, key),) = copy.state["keys"].items()
    assert not key["read_only"]
    secrets = [
        copy.state["environments"][name]["secrets"]["GREENLIGHT_LEDGER_KEY"]["value"] for name in ENVIRONMENTS
    ]
    assert secrets[0] == secrets[1]
    signer = Key.parse(secrets[0], "the secret")
    assert signer.fingerprint == fingerprint == asyncssh.import_public_key(key["key"]).get_fingerprint()
    commit = signer.sign(b"tree 1\nauthor x\n\nx\n")
    assert Signers.load(copy.checkout / ".github/allowed_signers").who(commit) == "greenlight-ledger"


def test_run_twice_it_writes_nothing(copy: Copy) -> None:
    copy.init()
    copy.push()
    copy.writes.clear()
    assert copy.init() == 0
    assert copy.writes == [] and copy.files() == {}


def test_a_plan_writes_nothing_and_says_all(copy: Copy, capsys: pytest.CaptureFixture[str]) -> None:
    assert copy.init(plan=True) == 0
    assert copy.writes == [] and copy.files() == {}
    assert not (copy.checkout / ".github/allowed_signers").exists()
    shown = lines(capsys.readouterr().out)
    for what in (
        "ruleset main",
        "label gate:override",
        "environment production",
        "the ledger's key",
        "code owners",
    ):
        assert shown[what].startswith("would: "), what
    assert shown["merge commits"] == "is set: allowed"


PLANS = [
    (Plan.FREE_PRIVATE, {"environment staging", "environment production", "ruleset main"}),
    (Plan.PRO_PRIVATE, {"reviewers of production"}),
    (Plan.ENTERPRISE_PRIVATE, set()),
    (Plan.PUBLIC, set()),
]


@pytest.mark.parametrize(("plan", "refused"), PLANS)
def test_what_a_plan_refuses_is_named_and_the_rest_is_set(
    plan: Plan, refused: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with fresh(tmp_path, plan) as copy:
        assert copy.init() == (3 if refused else 0)
        shown = lines(capsys.readouterr().out)
        no = {what for what, came in shown.items() if came.startswith("REFUSED")}
        assert refused <= no and bool(refused) == bool(no)
        if plan is Plan.FREE_PRIVATE:
            words = "private repository without Pro: rules are not enforced; whoever can push can merge"
            assert shown["ruleset main"] == f"REFUSED: {words}"
            assert {"the ledger's key", "ruleset ledger"} <= no
            assert not copy.state["rulesets"] and not copy.state["keys"], "a key that no environment keeps"
        assert "gate:override" in copy.state["labels"] and copy.state["pulls by workflows"]
        off = {check.what for check in github_checks_of(copy) if check.fails}
        assert {one for one in refused if not one.startswith("reviewers")} <= off
        copy.writes.clear()
        copy.push()
        assert copy.init() == (3 if refused else 0)


def github_checks_of(copy: Copy) -> list[Any]:
    copy.writes.clear()
    found = github_checks(copy.hub(), copy.checkout)
    assert copy.writes == [], "a check wrote"
    return found


def test_the_checks_are_off_before_and_on_after(copy: Copy) -> None:
    before = {check.what: check for check in github_checks_of(copy)}
    assert before["ruleset main"].fails and before["ruleset main"].way_out == "ml init"
    copy.init()
    copy.push()
    after = github_checks_of(copy)
    assert {check.what for check in after if check.state is not State.ON} == set()
    assert set(before) == {check.what for check in after}


def shape(copy: Copy) -> dict[str, Any]:
    """What is set, without ids, times and the key itself, of which there is one."""
    state = copy.state
    return {
        "rulesets": sorted(ruleset["name"] for ruleset in state["rulesets"]),
        "environments": {
            name: ([policy["name"] for policy in one["policies"]], one["reviewers"], list(one["secrets"]))
            for name, one in state["environments"].items()
        },
        "keys": len(state["keys"]),
        "others": [*state["labels"], state["merge commits"], state["pulls by workflows"]],
        "files": copy.files(),
    }


@pytest.mark.slow
def test_killed_between_any_two_writes_the_same_command_finishes(copy: Copy, tmp_path: Path) -> None:
    """Each number of writes, in a copy of its own, then the same command without a hindrance."""
    copy.init()
    every = len(copy.writes)
    assert every >= 12
    for most in range(every):
        with fresh(tmp_path / str(most)) as other:
            other.most = most
            assert "run the same command again" in mistake(other.init)
            other.most = None
            assert other.init() == 0
            assert shape(other) == shape(copy)
