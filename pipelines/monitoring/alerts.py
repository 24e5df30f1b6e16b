"""`ml ci alert`: a drift check that found a fault, or could say nothing, is seen by somebody."""

import os
from pathlib import Path

from pipelines.artifacts.drift import Check
from pipelines.base.github import GitHub, token
from pipelines.pulls import issue

EXIT = {"INCONCLUSIVE": 3, "FAULT": 4}  # STEADY needs nobody, RETRAIN has a pull request of its own
MARKER = "<!-- greenlight: drift check of {} -->"


def alert(evidence: Path, github: GitHub | None = None) -> int:
    """Read EVIDENCE/drift.json; on FAULT and INCONCLUSIVE open the environment's issue with the report, or
    bring the open one up to date, and return 4 and 3: the scheduled job fails. Else close it and return 0.

    Without GITHUB_TOKEN and GITHUB_REPOSITORY only the sentence is printed."""
    check = Check.read(evidence)
    verdict, environment = check.verdict, check.environment
    title = f"Drift check of {environment}: {verdict}"
    print(f"{title}: {'; '.join(check.reasons)}")
    if github is None and token() and os.environ.get("GITHUB_REPOSITORY"):
        github = GitHub.from_environment()
    if github is not None:
        report = (evidence / "drift.md").read_text(encoding="utf-8")
        issue.keep(github, MARKER.format(environment), title, report, holds=verdict in EXIT)
    return EXIT.get(verdict, 0)
