"""Who may change what behind the stand-in: ruleset files and CODEOWNERS, as GitHub reads them."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

from pipelines.base.files import read_json
from pipelines.local.events import MAIN

RULESET = Path(__file__).parents[2] / ".github/rulesets/main.json"
NOTHING = "0" * 40
OWNERS = (".github/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS")  # the first that there is
LARGEST_BYTES = 3 * 2**20  # of that; a larger file is not loaded


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
    def of(cls, ruleset: Mapping[str, Any], default: str = MAIN) -> "Guard":
        names, rules = ruleset["conditions"]["ref_name"], {r["type"]: r for r in ruleset["rules"]}
        known = {"~DEFAULT_BRANCH": f"refs/heads/{default}"}
        checks = rules.get("required_status_checks", {}).get("parameters", {})
        passes = [(a["actor_type"], a["bypass_mode"]) for a in ruleset.get("bypass_actors", ())]
        return cls(
            tuple(known.get(one, one) for one in names["include"]),
            tuple(known.get(one, one) for one in names["exclude"]),
            frozenset(rules),
            len(checks.get("required_status_checks", ())),
            ("DeployKey", "always") in passes,
        )

    def covers(self, ref: str) -> bool:
        """Whether it is about this ref."""
        return _named(ref, self.include) and not _named(ref, self.exclude)

    def broken(self, push: Push) -> list[str]:
        """Why this push may not be, as GitHub says it; empty where it may."""
        if not self.covers(push.ref):
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
    queue: bool = False  # merges go through a merge queue

    @classmethod
    def of(cls, file: Path = RULESET) -> "Rules":
        """What this ruleset and those beside it ask."""
        return cls.made([read_json(path) for path in sorted(file.parent.glob("*.json"))])

    @classmethod
    def made(cls, rulesets: Iterable[Mapping[str, Any]], default: str = MAIN) -> "Rules":
        """What all those that are active ask together: merges by those that name the default branch."""
        active = [one for one in rulesets if one["enforcement"] == "active"]
        guards = tuple(Guard.of(one, default) for one in active)
        rules = [
            (rule["type"], rule.get("parameters", {}))
            for one, guard in zip(active, guards, strict=True)
            if guard.covers(f"refs/heads/{default}")
            for rule in one["rules"]
        ]
        checks = [parameters for kind, parameters in rules if kind == "required_status_checks"]
        pulls = [parameters for kind, parameters in rules if kind == "pull_request"]
        asked = [check for one in checks for check in one.get("required_status_checks", ())]
        allowed = [set(one.get("allowed_merge_methods", cls.methods)) for one in pulls]
        return cls(
            tuple(dict.fromkeys(check["context"] for check in asked)),
            any(one.get("strict_required_status_checks_policy", False) for one in checks),
            tuple(method for method in cls.methods if all(method in those for those in allowed)),
            max((one.get("required_approving_review_count", 0) for one in pulls), default=0),
            any(one.get("require_last_push_approval", False) for one in pulls),
            any(one.get("require_code_owner_review", False) for one in pulls),
            {one["context"]: app for one in asked if (app := one.get("integration_id")) is not None},
            guards,
            any(kind == "merge_queue" for kind, _ in rules),
        )

    def broken(self, push: Push) -> list[str]:
        """Why the rulesets do not let a push in; empty where they do."""
        return [reason for guard in self.guards for reason in guard.broken(push)]


def _named(ref: str, patterns: tuple[str, ...]) -> bool:
    return any(one == "~ALL" or re.fullmatch(_glob(one), ref) for one in patterns)


def owners(text: str, paths: Iterable[str]) -> list[tuple[str, ...]]:
    """The owners of each path that has any by a CODEOWNERS, each set once: one of each set must approve."""
    lines = [line for line in map(_line, text.splitlines()) if line is not None]
    found: dict[tuple[str, ...], None] = {}
    for path in paths:
        fitting = [its for pattern, its in lines if pattern.fullmatch(path)]
        if fitting and fitting[-1]:  # the last line counts, also one that names nobody
            found[fitting[-1]] = None
    return list(found)


def _line(line: str) -> tuple[re.Pattern[str], tuple[str, ...]] | None:
    """A line's pattern and its owners, without the @; None for a comment and for what GitHub passes over.
    The pattern is as in a .gitignore, but that `FOLDER/*` is not a file further down."""
    words = list(takewhile(lambda word: not word.startswith("#"), line.split()))
    if not words or words[0].startswith(("!", "\\#")) or "[" in words[0]:
        return None
    anywhere = "" if "/" in words[0].rstrip("/") else "(?:.*/)?"
    below = "/.*" if words[0].endswith("/") else "" if words[0].endswith("/*") else "(?:/.*)?"
    pattern = re.compile(anywhere + _glob(words[0].strip("/")) + below)
    return pattern, tuple(word.removeprefix("@") for word in words[1:])


def _glob(pattern: str) -> str:
    """As a regular expression: `*` is anything but a slash, `**` anything."""
    kinds = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    return "".join(kinds.get(part, re.escape(part)) for part in parts)
