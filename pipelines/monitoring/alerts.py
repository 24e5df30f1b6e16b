"""`ml ci alert`: a drift check that found a fault, or could say nothing, is seen by somebody."""

import os
from pathlib import Path
from typing import Any

from pipelines.artifacts.drift import Check
from pipelines.base.github import BOT, GitHub, token

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
        marker, report = MARKER.format(environment), (evidence / "drift.md").read_text(encoding="utf-8")
        content = {"title": title, "body": f"{marker}\n{report}"}
        if issue := _written(github, marker, content, wanted=verdict in EXIT):
            print(f"#{issue['number']}, {issue['state']}: {issue['html_url']}")
    return EXIT.get(verdict, 0)


def _written(github: GitHub, marker: str, content: dict[str, str], wanted: bool) -> Any:
    """Our open issue with this content, or a new one; closed, or none, where nobody needs to look."""
    if not wanted:
        content = {**content, "state": "closed", "state_reason": "completed"}
    for issue in github.list("/issues?state=open"):
        ours = issue["user"]["login"] == BOT and "pull_request" not in issue
        if ours and (issue.get("body") or "").startswith(marker):
            return github.call("PATCH", f"/issues/{issue['number']}", content)
    return github.call("POST", "/issues", content) if wanted else None
