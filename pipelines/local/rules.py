"""The branch rules of the repository behind the stand-in: ruleset files, as GitHub imports them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.base.files import read_json
from pipelines.local.events import MAIN

RULESET = Path(__file__).parents[2] / ".github/rulesets/main.json"
NOTHING = "0" * 40


@dataclass(frozen=True)
class Push:
    """An update of one ref; `before` or `after` of forty zeros: there is none."""

    ref: str
    before: str
    after: str
    forced: bool = False
    by_key: bool = False  # a deploy key's

    @property
    def kind(self) -> str:
        return {self.before: "creation", self.after: "deletion"}.get(NOTHING, "update")


@dataclass(frozen=True)
class Guard:
    """What one ruleset asks of pushes to the refs that it names."""

    include: tuple[str, ...]
    exclude: tuple[str, ...]
    rules: frozenset[str]
    checks: int  # required ones
    keys_pass: bool  # deploy keys are on its bypass list

    @classmethod
    def of(cls, ruleset: dict[str, Any]) -> "Guard":
        names, rules = ruleset["conditions"]["ref_name"], {r["type"]: r for r in ruleset["rules"]}
        checks = rules.get("required_status_checks", {}).get("parameters", {})
        passes = [(a["actor_type"], a["bypass_mode"]) for a in ruleset.get("bypass_actors", ())]
        return cls(
            tuple(names["include"]),
            tuple(names["exclude"]),
            frozenset(rules),
            len(checks.get("required_status_checks", ())),
            ("DeployKey", "always") in passes,
        )

    def broken(self, push: Push) -> list[str]:
        """Why this push may not be, as GitHub says it; empty where it may."""
        if not _named(push.ref, self.include) or _named(push.ref, self.exclude):
            return []
        if push.by_key and self.keys_pass:
            return []
        restricted = {
            "creation": "Cannot create ref due to creations being restricted",
            "update": "Cannot update this protected ref",
            "deletion": "Cannot delete this protected ref",
        }
        found = [restricted[push.kind]] if push.kind in self.rules else []
        if push.forced and "non_fast_forward" in self.rules:
            found.append("Cannot force-push to this branch")
        if push.kind == "update" and "pull_request" in self.rules:
            found.append("Changes must be made through a pull request")
        if push.kind == "update" and self.checks:
            found.append(f"{self.checks} of {self.checks} required status checks are expected")
        return found


@dataclass(frozen=True)
class Rules:
    """What a merge into the default branch needs, and what pushes are held to."""

    checks: tuple[str, ...] = ("greenlight/gate",)
    strict: bool = True  # the branch must be up to date
    methods: tuple[str, ...] = ("merge", "squash", "rebase")
    approvals: int = 0
    by_another: bool = False  # than who pushed last
    owners: bool = False  # of each changed file, one approves
    apps: Mapping[str, int] = field(default_factory=dict)  # of a check: the one app whose word counts
    guards: tuple[Guard, ...] = ()

    @classmethod
    def of(cls, file: Path = RULESET) -> "Rules":
        """Merges by this ruleset, pushes by all those beside it that are active."""
        found = {rule["type"]: rule.get("parameters", {}) for rule in read_json(file)["rules"]}
        checks, pulls = found.get("required_status_checks", {}), found.get("pull_request", {})
        beside = [read_json(path) for path in sorted(file.parent.glob("*.json"))]
        asked = checks.get("required_status_checks", ())
        return cls(
            tuple(check["context"] for check in asked),
            checks.get("strict_required_status_checks_policy", False),
            tuple(pulls.get("allowed_merge_methods", cls.methods)),
            pulls.get("required_approving_review_count", 0),
            pulls.get("require_last_push_approval", False),
            pulls.get("require_code_owner_review", False),
            {one["context"]: app for one in asked if (app := one.get("integration_id")) is not None},
            tuple(Guard.of(one) for one in beside if one["enforcement"] == "active"),
        )

    def broken(self, push: Push) -> list[str]:
        """Why the rulesets do not let a push in; empty where they do."""
        return [reason for guard in self.guards for reason in guard.broken(push)]


def _named(ref: str, patterns: tuple[str, ...]) -> bool:
    """Whether a ref is named; in a pattern `*` is anything but a slash, `**` anything."""
    for pattern in patterns:
        if pattern == "~ALL" or (pattern == "~DEFAULT_BRANCH" and ref == f"refs/heads/{MAIN}"):
            return True
        parts = (re.escape(part) for part in re.split(r"(\*\*|\*)", pattern))
        if re.fullmatch("".join({r"\*\*": ".*", r"\*": "[^/]*"}.get(part, part) for part in parts), ref):
            return True
    return False
