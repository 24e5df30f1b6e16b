"""`ml alert`: a drift check that found a fault, or could say nothing, is seen by somebody."""

import os
from pathlib import Path
from typing import Any

from pipelines.base.github import GitHub, token
from pipelines.console import step
from pipelines.files import read_json

EXIT = {"INCONCLUSIVE": 3, "FAULT": 4}  # STEADY needs nobody, RETRAIN has a pull request of its own
BOT = "github-actions[bot]"
MARKER = "<!-- greenlight: drift check of {} -->"


def alert(evidence: Path, github: GitHub | None = None) -> int:
    """Read EVIDENCE/drift.json; on FAULT and INCONCLUSIVE open the environment's issue with the report, or
    bring the one that is open up to date, and return 4 and 3, so that the scheduled job fails; else 0.

    Without GITHUB_TOKEN and GITHUB_REPOSITORY only the sentence is printed. UserError where there is no
    report, or GitHub refuses.
    """
    check = read_json(evidence / "drift.json")
    verdict, environment = check["verdict"], check["environment"]
    if verdict not in EXIT:
        step(f"nobody needs to look: the drift check's verdict is {verdict}")
        return 0
    title = f"Drift check of {environment}: {verdict}"
    print(f"{title}: {'; '.join(check['reasons'])}")
    if github is None and token() and os.environ.get("GITHUB_REPOSITORY"):
        github = GitHub.from_environment()
    if github is not None:
        marker = MARKER.format(environment)
        report = (evidence / "drift.md").read_text(encoding="utf-8")
        issue = _written(github, marker, {"title": title, "body": f"{marker}\n{report}"})
        print(f"#{issue['number']}: {issue['html_url']}")
    return EXIT[verdict]


def _written(github: GitHub, marker: str, content: dict[str, str]) -> Any:
    """The open issue of ours, with this content. An issue of somebody else's with the marker is none."""
    for issue in github.list("/issues?state=open"):
        ours = issue["user"]["login"] == BOT and "pull_request" not in issue
        if ours and (issue.get("body") or "").startswith(marker):
            return github.call("PATCH", f"/issues/{issue['number']}", content)
    return github.call("POST", "/issues", content)
