"""The rulesets of .github/rulesets, at GitHub exactly as the files say."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.base.errors import UserError
from pipelines.base.github import ACTIONS, API, GitHub
from pipelines.setup.setting import Found, Setting

FOLDER = Path(".github/rulesets")
FREE = "private repository without Pro: rules are not enforced; whoever can push can {}"
MEANS = {"main": "merge", "ledger": "write the ledger", "releases": "move the tag of a release"}
Ruleset = Mapping[str, Any]


def settings(hub: GitHub, checkout: Path, key: str) -> list[Setting]:
    """A ruleset a file. One that lets deploy keys alone pass comes after the setting `key`: before, nobody
    could write what it guards."""
    found = []
    for file in sorted((checkout / FOLDER).glob("*.json")):
        wanted = read(file)
        passes = [actor["actor_type"] for actor in wanted.get("bypass_actors", ())]
        found.append(
            Setting(
                f"ruleset {wanted['name']}",
                lambda wanted=wanted: look(hub, wanted),  # type: ignore[misc]
                FREE.format(MEANS.get(wanted["name"], "pass by what it says")),
                after=(key,) if "DeployKey" in passes else (),
            )
        )
    return found


def read(file: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if not {"name", "enforcement", "conditions", "rules"} <= set(found):
            raise ValueError("it lacks name, enforcement, conditions or rules")
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{file} is not a ruleset ({error}): take it as the template has it") from None
    return found


def look(hub: GitHub, wanted: Ruleset) -> Found:
    known = hub.list("/rulesets?includes_parents=false")
    of_ours = [one["id"] for one in known if one["name"] == wanted["name"]]
    sent = at_home(hub, wanted)
    if not of_ours:
        return Found(False, "is missing", "create it", lambda: hub.call("POST", "/rulesets", sent))
    path = f"/rulesets/{of_ours[0]}"
    if not (other := differences(sent, hub.call("GET", path))):
        return Found(True, str(wanted["enforcement"]))
    says = f"differs from {FOLDER}: {', '.join(other)}"
    return Found(False, says, "make it what the file says", lambda: hub.call("PUT", path, sent))


def at_home(hub: GitHub, wanted: Ruleset) -> dict[str, Any]:
    """A ruleset with the id that GitHub Actions has there: on a server of one's own it is another."""
    sent: dict[str, Any] = json.loads(json.dumps(wanted))
    if hub.api == API:
        return sent
    checks = [
        check
        for rule in sent["rules"]
        for check in rule.get("parameters", {}).get("required_status_checks", ())
        if check.get("integration_id") == ACTIONS
    ]
    own = hub.outside("/apps/github-actions")["id"] if checks else ACTIONS
    for check in checks:
        check["integration_id"] = own
    return sent


def differences(wanted: Ruleset, has: Ruleset) -> list[str]:
    """Where GitHub's ruleset is another than wanted; what it adds to a rule by itself is none."""
    found = [name for name in ("target", "enforcement") if wanted.get(name, "branch") != has.get(name)]
    ours, theirs = (one.get("conditions", {}).get("ref_name", {}) for one in (wanted, has))
    if any(set(ours.get(part, ())) != set(theirs.get(part, ())) for part in ("include", "exclude")):
        found.append("conditions")
    if "bypass_actors" in has and actors(wanted) != actors(has):
        found.append("bypass_actors")
    rules, set_ = (
        {rule["type"]: rule.get("parameters") or {} for rule in one["rules"]} for one in (wanted, has)
    )
    found += [kind for kind in {**rules, **set_} if (kind in rules) != (kind in set_)]
    found += [
        f"{kind}.{name}"
        for kind, parameters in rules.items()
        for name, value in parameters.items()
        if kind in set_ and not same(value, set_[kind].get(name))
    ]
    return found


def actors(ruleset: Ruleset) -> set[tuple[str, int | None, str]]:
    """Who may pass it by. A deploy key has no id: all of them may."""
    return {
        (one["actor_type"], None if one["actor_type"] == "DeployKey" else one["actor_id"], one["bypass_mode"])
        for one in ruleset.get("bypass_actors") or ()
    }


def same(ours: Any, theirs: Any) -> bool:
    """Whether a value is the same, whatever the order of a list and what an object has besides."""
    if isinstance(ours, dict):
        return isinstance(theirs, dict) and all(same(value, theirs.get(key)) for key, value in ours.items())
    if isinstance(ours, list):
        if not isinstance(theirs, list) or len(ours) != len(theirs):
            return False
        return all(any(same(one, other) for other in theirs) for one in ours)
    return bool(ours == theirs)
