"""A drift check that found a fault, or could say nothing, opens one issue and fails its job."""

from pathlib import Path
from typing import Any, cast

import pytest

from pipelines.base.errors import UserError
from pipelines.base.files import write_text
from pipelines.base.github import BOT, GitHub
from pipelines.monitoring.alerts import MARKER, alert
from tests.monitoring.checks import check

MINE = MARKER.format("production")


class Issues:
    """GitHub as far as issues go."""

    def __init__(self, *there: dict[str, Any]) -> None:
        self.issues = list(there)
        self.calls: list[str] = []

    def list(self, path: str) -> list[dict[str, Any]]:
        assert path == "/issues?state=open"
        return self.issues

    def call(self, method: str, path: str, body: dict[str, str]) -> dict[str, Any]:
        self.calls.append(f"{method} {path}")
        if method == "POST":
            number = len(self.issues) + 1
            self.issues.append(issue(number, body=""))
        else:
            number = int(path.rpartition("/")[2])
        self.issues[number - 1] |= body
        return self.issues[number - 1]


def issue(number: int, login: str = BOT, body: str = MINE, **more: Any) -> dict[str, Any]:
    about = {"state": "open", "html_url": "page"}
    return {"number": number, "user": {"login": login}, "body": body, **about, **more}


def evidence(folder: Path, verdict: str) -> Path:
    write_text(folder / "drift.md", f"## {verdict}\n")
    return check(verdict, reasons=["its labels have not come"]).write(folder).parent


def told(github: Issues) -> GitHub:
    return cast("GitHub", github)


@pytest.mark.parametrize(("verdict", "code"), [("INCONCLUSIVE", 3), ("FAULT", 4)])
def test_what_needs_somebody_opens_an_issue_and_fails(
    tmp_path: Path, verdict: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    github = Issues()
    assert alert(evidence(tmp_path, verdict), told(github)) == code
    (found,) = github.issues
    assert found["title"] == f"Drift check of production: {verdict}" and f"## {verdict}" in found["body"]
    assert f"{verdict}: its labels have not come" in capsys.readouterr().out

    assert alert(evidence(tmp_path, verdict), told(github)) == code  # again: brought up to date
    assert github.calls == ["POST /issues", "PATCH /issues/1"]


@pytest.mark.parametrize("verdict", ["STEADY", "RETRAIN"])
def test_what_needs_nobody_or_has_a_pull_request_opens_none(tmp_path: Path, verdict: str) -> None:
    github = Issues(issue(1, login="ada"))
    assert alert(evidence(tmp_path, verdict), told(github)) == 0
    assert github.calls == []


@pytest.mark.parametrize("verdict", ["STEADY", "RETRAIN"])
def test_an_issue_is_closed_with_the_report_that_needs_nobody(tmp_path: Path, verdict: str) -> None:
    github = Issues(issue(1, body=MARKER.format("staging")), issue(2))
    assert alert(evidence(tmp_path, verdict), told(github)) == 0
    assert github.calls == ["PATCH /issues/2"]
    other, mine = github.issues
    assert (other["state"], mine["state"], mine["state_reason"]) == ("open", "closed", "completed")
    assert f"## {verdict}" in mine["body"]


def test_an_issue_of_somebody_else_or_of_another_environment_is_left_alone(tmp_path: Path) -> None:
    staging = issue(3, body=MARKER.format("staging"))
    github = Issues(issue(1, login="ada"), issue(2, pull_request={}), staging)
    alert(evidence(tmp_path, "FAULT"), told(github))
    assert github.calls == ["POST /issues"]


def test_a_check_that_crashed_left_no_report(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"drift\.json does not exist"):
        alert(tmp_path, told(Issues()))
