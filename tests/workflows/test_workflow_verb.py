"""`ml ci workflow`: runs the checkout's HEAD, and says what it leaves out."""

import json
from pathlib import Path

import pytest

from pipelines.base.errors import UserError
from pipelines.local import workflow
from tests.workflows.conftest import Commit, git

PROPOSE = """
name: propose
on: {pull_request: }
permissions: {}
jobs:
  only:
    runs-on: ubuntu-24.04
    steps:
      - run: echo "$BASE $HEAD" >> "$GITHUB_STEP_SUMMARY"
        env:
          BASE: ${{ github.event.pull_request.base.sha }}
          HEAD: ${{ github.event.pull_request.head.sha }}
"""
AFTER = """
name: after
on: {workflow_run: {workflows: [propose], types: [completed]}}
permissions: {}
jobs:
  only:
    runs-on: ubuntu-24.04
    steps:
      - run: echo "after run $RUN of $HEAD" >> "$GITHUB_STEP_SUMMARY"
        env:
          RUN: ${{ github.event.workflow_run.id }}
          HEAD: ${{ github.event.workflow_run.head_sha }}
"""
BY_HAND = """
name: by-hand
on:
  workflow_dispatch:
    inputs:
      month: {type: string, default: "2013-01"}
      where: {type: choice, options: [staging, production], default: staging}
      loud: {type: boolean, default: false}
permissions: {}
jobs:
  only:
    runs-on: ubuntu-24.04
    steps:
      - run: echo "month $MONTH at $GREENLIGHT_HOME" >> "$GITHUB_STEP_SUMMARY" && test "$MONTH" != none
        env: {MONTH: "${{ inputs.month }}"}
"""


@pytest.fixture
def checkout(commit: Commit, tmp_path: Path) -> Path:
    commit({".gitignore": ".greenlight/\n", ".github/workflows/propose.yml": PROPOSE})
    commit({f".github/workflows/{n}.yml": t for n, t in (("after", AFTER), ("by-hand", BY_HAND))})
    return tmp_path / "clone"


@pytest.mark.slow
def test_the_last_commit_is_run_as_a_pull_request_and_what_is_not_committed_is_named(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (checkout / "new.txt").write_text("x")
    assert workflow.run("propose", checkout=checkout) == 0
    shown = capsys.readouterr()
    assert shown.out.split() == [git(checkout, "rev-parse", "HEAD~1"), git(checkout, "rev-parse", "HEAD")]
    assert "1 uncommitted changes are not part of this run" in shown.err
    git(checkout, "commit", "--quiet", "--allow-empty", "--message", "newer")
    head = git(checkout, "rev-parse", "HEAD~1")
    assert workflow.run("after", checkout=checkout) == 0
    main = git(checkout / ".greenlight/workflow/origin.git", "rev-parse", "main")
    assert main == git(checkout, "rev-parse", "HEAD~2")  # the followed run's base, not this commit
    assert capsys.readouterr().out == f"after run 1 of {head}\n"
    assert workflow.run("propose", checkout=checkout) == 0  # again, with the pull request of before
    assert git(checkout, "status", "--porcelain") == "?? new.txt"


@pytest.mark.slow
def test_inputs_events_and_exit_codes_pass_through(
    checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert workflow.run("by-hand", inputs={"month": "2013-07"}, checkout=checkout) == 0
    assert capsys.readouterr().out == f"month 2013-07 at {checkout}/.greenlight/workflow/home\n"
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"inputs": {"month": "none"}}))
    assert workflow.run("by-hand", event=event, checkout=checkout) == 1


def test_what_cannot_be_run_is_said_in_one_sentence(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "event.json").write_text("[]")
    with pytest.raises(UserError, match=r"no workflow 'none'.*after, by-hand, propose"):
        workflow.run("none", checkout=checkout)
    with pytest.raises(UserError, match="has no input 'mnth'; it has: month"):
        workflow.run("by-hand", inputs={"mnth": "x"}, checkout=checkout)
    with pytest.raises(UserError, match="the input where is one of staging, production, not 'prod'"):
        workflow.run("by-hand", inputs={"where": "prod"}, checkout=checkout)
    with pytest.raises(UserError, match="the input loud is one of true, false, not 'yes'"):
        workflow.run("by-hand", inputs={"loud": "yes"}, checkout=checkout)
    with pytest.raises(UserError, match="by-hand has no job 'onyl'; it has: only"):
        workflow.run("by-hand", job="onyl", checkout=checkout)
    with pytest.raises(UserError, match="propose takes no inputs: it starts on pull_request"):
        workflow.run("propose", inputs={"month": "x"}, checkout=checkout)
    with pytest.raises(UserError, match="run `ml ci workflow propose` first"):
        workflow.run("after", checkout=checkout)
    with pytest.raises(UserError, match=r"event\.json is not a payload"):
        workflow.run("by-hand", event=tmp_path / "event.json", checkout=checkout)


def test_an_input_that_must_be_given_is_asked_for() -> None:
    known = {"where": {"type": "choice", "options": ["a", "b"], "required": True}}
    loud = {"loud": {"type": "boolean", "default": False}}
    assert workflow.fill("x", known | loud, {"where": "a"}) == {"where": "a", "loud": "false"}
    with pytest.raises(UserError, match="x needs the input where: --input where=VALUE"):
        workflow.fill("x", known, {})


def test_the_list_shows_what_starts_each_workflow(checkout: Path) -> None:
    assert workflow.names(checkout) == {
        "after": ["workflow_run"],
        "by-hand": ["workflow_dispatch"],
        "propose": ["pull_request"],
    }
