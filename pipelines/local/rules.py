"""The branch rules of the repository behind the stand-in: a ruleset file, as GitHub imports it."""

from dataclasses import dataclass
from pathlib import Path

from pipelines.files import read_json

RULESET = Path(__file__).parents[2] / ".github/rulesets/main.json"


@dataclass(frozen=True)
class Rules:
    """What a merge into the default branch needs."""

    checks: tuple[str, ...] = ("greenlight/gate",)
    strict: bool = True  # the branch must be up to date
    methods: tuple[str, ...] = ("merge", "squash", "rebase")
    approvals: int = 0
    by_another: bool = False  # than who pushed last

    @classmethod
    def of(cls, file: Path = RULESET) -> "Rules":
        found = {rule["type"]: rule.get("parameters", {}) for rule in read_json(file)["rules"]}
        checks, pulls = found.get("required_status_checks", {}), found.get("pull_request", {})
        return cls(
            tuple(check["context"] for check in checks.get("required_status_checks", ())),
            checks.get("strict_required_status_checks_policy", False),
            tuple(pulls.get("allowed_merge_methods", cls.methods)),
            pulls.get("required_approving_review_count", 0),
            pulls.get("require_last_push_approval", False),
        )
