"""What somebody has changed at GitHub is seen, and made what it must be; what is theirs stays."""

import base64
from typing import Any

import asyncssh
import pytest

from pipelines.local import settings as behind
from pipelines.setup import ledgerkey, rulesets
from tests.setup.conftest import Copy
from tests.setup.test_enforced_settings import ask
from tests.setup.test_init import ENVIRONMENTS, github_checks_of

SECRET = "/environments/{}/secrets/GREENLIGHT_LEDGER_KEY"


def ruleset(copy: Copy, name: str) -> dict[str, Any]:
    (found,) = [one for one in copy.state["rulesets"] if one["name"] == name]
    return dict(found)


def states(copy: Copy) -> dict[str, str]:
    return {check.what: check.says for check in github_checks_of(copy) if check.state != "on"}


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("main", {"enforcement": "disabled"}, "enforcement"),
        ("main", {"rules": []}, "deletion, non_fast_forward, pull_request"),
        ("main", {"bypass_actors": []}, "bypass_actors"),
        (
            "ledger",
            {"bypass_actors": [{"actor_id": 4, "actor_type": "RepositoryRole", "bypass_mode": "always"}]},
            "bypass",
        ),
        (
            "ledger",
            {"conditions": {"ref_name": {"include": ["refs/heads/other"], "exclude": []}}},
            "conditions",
        ),
        ("releases", {"target": "branch"}, "target"),
    ],
)
def test_a_ruleset_that_was_changed_is_made_what_its_file_says(
    name: str, change: dict[str, Any], says: str, copy: Copy
) -> None:
    copy.init()
    copy.push()
    before = ruleset(copy, name)
    ask(copy, "PUT", f"/rulesets/{before['id']}", change)
    assert f"differs from .github/rulesets: {says}" in states(copy)[f"ruleset {name}"]
    copy.writes.clear()
    assert copy.init() == 0 and copy.writes == [f"PUT /rulesets/{before['id']}"]
    assert {**ruleset(copy, name), "updated_at": ""} == {**before, "updated_at": ""}


def test_each_parameter_of_a_rule_counts_and_what_github_adds_does_not() -> None:
    file: dict[str, Any] = {
        "name": "x",
        "enforcement": "active",
        "conditions": {"ref_name": {"include": ["a"], "exclude": []}},
    }
    checks: list[dict[str, Any]] = [{"context": "b", "integration_id": 1}, {"context": "a"}]
    file["rules"] = [
        {"type": "update"},
        {"type": "checks", "parameters": {"strict": True, "required": checks}},
    ]
    there = {**file, "id": 1, "target": "branch", "bypass_actors": [], "current_user_can_bypass": "never"}
    added = {"strict": True, "required": [{**checks[1], "integration_id": None}, checks[0]], "more": False}
    there["rules"] = [
        {"type": "checks", "parameters": added},
        {"type": "update", "parameters": {"merge": False}},
    ]
    assert rulesets.differences(file, there) == []
    for parameter, value in (("strict", False), ("required", checks[:1]), ("required", [checks[0]] * 2)):
        other = {
            **there,
            "rules": [there["rules"][1], {"type": "checks", "parameters": {**added, parameter: value}}],
        }
        assert rulesets.differences(file, other) == [f"checks.{parameter}"]
    other = {**there, "rules": [*there["rules"], {"type": "creation"}]}
    assert rulesets.differences(file, other) == ["creation"]


def test_a_server_of_ones_own_has_another_id_of_its_actions(
    copy: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(behind, "ACTIONS", 77)
    assert copy.init() == 0
    (rule,) = [rule for rule in ruleset(copy, "main")["rules"] if rule["type"] == "required_status_checks"]
    assert {check["integration_id"] for check in rule["parameters"]["required_status_checks"]} == {77}
    copy.push()
    copy.writes.clear()
    assert copy.init() == 0 and copy.writes == []


# --- the ledger's key -------------------------------------------------------------------------------------


def add_key(copy: Copy, title: str, read_only: bool = False) -> str:
    public = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    return str(ask(copy, "POST", "/keys", {"title": title, "key": public, "read_only": read_only})["key"])


def add_secret(copy: Copy, name: str) -> None:
    seal = ask(copy, "GET", f"/environments/{name}/secrets/public-key")
    sealed = ledgerkey.sealed_to(seal["key"], b"x")
    assert base64.b64decode(sealed) != b"x"
    ask(copy, "PUT", SECRET.format(name), {"encrypted_value": sealed, "key_id": seal["key_id"]})


def test_a_key_that_somebody_has_set_by_hand_stays(copy: Copy) -> None:
    copy.refused = lambda call: call == "POST /keys"
    copy.refusal = (422, {"message": "x"})
    copy.init()
    copy.refused = lambda call: False
    mine = add_key(copy, "my own")
    for name in ENVIRONMENTS:
        add_secret(copy, name)
    assert copy.init() == 0
    assert [key["key"] for key in copy.state["keys"].values()] == [mine]
    assert {one["name"] for one in copy.state["rulesets"]} == {"main", "ledger", "releases"}


@pytest.mark.parametrize("lost", ["deploy key", "secret", "second key", "no write"])
def test_half_of_a_pair_is_no_pair_and_a_new_one_takes_its_place(lost: str, copy: Copy) -> None:
    copy.init()
    (old,) = copy.state["keys"].values()
    other = add_key(copy, "somebody's reader", read_only=True)
    if lost == "second key":
        add_key(copy, ledgerkey.TITLE)
    elif lost == "secret":
        ask(copy, "DELETE", SECRET.format("production"))
    else:
        ask(copy, "DELETE", f"/keys/{old['id']}")
    if lost == "no write":
        add_key(copy, ledgerkey.TITLE, read_only=True)
    says = states(copy)["the ledger's key"]
    assert says == "is half set"
    assert copy.init() == 0
    ours = [key for key in copy.state["keys"].values() if key["key"] != other]
    assert len(ours) == 1 and ours[0]["key"] != old["key"] and not ours[0]["read_only"]
    signers = (copy.checkout / ledgerkey.FILE).read_text()
    assert ours[0]["key"] in signers and old["key"] not in signers


def test_another_checkout_gets_the_line_of_the_key_and_other_lines_stay(copy: Copy) -> None:
    copy.init()
    file = copy.checkout / ledgerkey.FILE
    line = file.read_text().splitlines()[-1]
    file.write_text("ada ssh-ed25519 AAAA\n")
    copy.writes.clear()
    assert copy.init() == 0 and copy.writes == []
    assert file.read_text() == f"ada ssh-ed25519 AAAA\n{line}\n"
