"""Real runs of small workflow files: checkout, artifacts, cache, summaries, failures."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.local import act, events, github
from pipelines.local.act import Place
from tests.workflows.conftest import PINS, Commit, git

UP = f"actions/upload-artifact@{PINS['actions/upload-artifact']}"
DOWN = f"actions/download-artifact@{PINS['actions/download-artifact']}"
CHECKOUT = f"actions/checkout@{PINS['actions/checkout']}"
CACHE = f"actions/cache@{PINS['actions/cache']}"
UV = f"astral-sh/setup-uv@{PINS['astral-sh/setup-uv']}"
CML = f"iterative/setup-cml@{PINS['iterative/setup-cml']}"

FIRST = f"""
name: first
on: {{pull_request: }}
permissions: {{}}
jobs:
  build:
    runs-on: ubuntu-24.04
    steps:
      - uses: {CHECKOUT}
        with:
          ref: ${{{{ github.event.pull_request.head.sha }}}}
          fetch-depth: 0
          persist-credentials: false
      - uses: ./.github/actions/setup
      - run: cat file.txt; git log --oneline origin/main | wc -l; mkdir -p out/deep; cp file.txt out/deep/; cp file.txt top.txt
      - run: if git push origin HEAD:refs/heads/stolen; then exit 1; fi
      - uses: {UP}
        with:
          name: pair
          path: |
            out/
            top.txt
      - uses: {UP}
        with: {{name: single, path: out/, if-no-files-found: error}}
  check:
    needs: build
    runs-on: ubuntu-24.04
    steps:
      - uses: {CHECKOUT}
        with: {{ref: "${{{{ github.event.pull_request.base.sha }}}}", persist-credentials: false}}
      - uses: {DOWN}
        with: {{name: pair, path: got}}
      - run: test "$(cat file.txt)" = base; test "$(cat got/out/deep/file.txt got/top.txt)" = "$(printf 'head\\nhead')"
      - run: test "$(git rev-list --count HEAD)" = 1
      - run: exit 4
        continue-on-error: true
      - run: echo "### It was $VERDICT" >> "$GITHUB_STEP_SUMMARY"
        env: {{VERDICT: "${{{{ github.sha }}}}"}}
  never:
    if: vars.GREENLIGHT_RUNNER != ''
    runs-on: ${{{{ vars.GREENLIGHT_RUNNER || 'ubuntu-24.04' }}}}
    steps:
      - run: echo on the host of $GREENLIGHT_HOME >> "$GITHUB_STEP_SUMMARY"
"""

SETUP = f"""
name: setup
description: as the repository's own, without the environment
runs:
  using: composite
  steps:
    - uses: {UV}
      with: {{enable-cache: "false"}}
    - uses: {CACHE}
      with:
        path: .dvc/cache
        key: dvc-${{{{ hashFiles('file.txt') }}}}
        restore-keys: dvc-
    - shell: bash
      run: ls .dvc/cache/; echo "${{{{ github.sha }}}}" >> .dvc/cache/seen; uv --version
"""

SECOND = f"""
name: second
on: {{workflow_run: {{workflows: [first], types: [completed]}}}}
permissions: {{}}
jobs:
  post:
    runs-on: ubuntu-24.04
    steps:
      - uses: {CHECKOUT}
      - run: test "$(cat file.txt)" = base
      - uses: {DOWN}
        with:
          name: single
          path: evidence
          run-id: ${{{{ github.event.workflow_run.id }}}}
          github-token: ${{{{ github.token }}}}
      - uses: {DOWN}
        id: missing
        continue-on-error: true
        with: {{name: single, path: here}}
      - run: test "$OUTCOME" = failure
        env: {{OUTCOME: "${{{{ steps.missing.outcome }}}}"}}
      - uses: {CML}
        with: {{version: v0.20.6, vega: false}}
      - run: cml comment update --target="pr/$N" --publish=false --watermark-title=gate evidence/deep/file.txt
        env:
          N: ${{{{ github.event.workflow_run.pull_requests[0].number }}}}
          REPO_TOKEN: ${{{{ github.token }}}}
"""

FILES = {
    ".github/workflows/first.yml": FIRST,
    ".github/workflows/second.yml": SECOND,
    ".github/actions/setup/action.yml": SETUP,
    ".dvc/.gitignore": "/cache\n",
    "file.txt": "base\n",
}


@pytest.mark.slow
def test_a_pull_request_passes_from_job_to_job_and_to_the_next_workflow(
    place: Place, commit: Commit, api: str, capsys: pytest.CaptureFixture[str]
) -> None:
    commit(FILES)
    commit({"file.txt": "head\n"}, "proposal")
    pull = github.call(f"{api}/pulls", "POST", {"title": "Better", "head": "proposal", "base": "main"})
    place = replace(place, api=api.split("/repos/")[0])

    first = act.run("first", events.pull_request(pull), place)
    assert (first.code, first.jobs) == (0, {"build": "success", "check": "success", "never": "skipped"}), (
        first.log.read_text()
    )
    assert first.summary == f"### It was {pull['merge_commit_sha']}"  # what github.sha is on GitHub
    assert git(place.origin, "branch", "--list", "stolen") == ""  # persist-credentials: false
    assert sorted(path.name for path in first.log.parent.iterdir()) == [
        "event.json",
        "log.txt",
        "run.json",
        "summary.md",
    ]
    progress = capsys.readouterr().err
    assert "first/build | actions/checkout" in progress
    assert "failed after" in progress  # the step that may fail is told, and the job goes on

    event = events.workflow_run(place.repository, first.as_json(place.repository))
    for _ in range(2):
        second = act.run("second", event, place)
        assert second.jobs == {"post": "success"}, second.log.read_text()
    (comment,) = github.call(f"{api}/issues/{pull['number']}/comments")  # updated in place
    assert comment["body"].startswith("head\n")
    assert second.id == first.id + 2

    hosted = act.run(
        "first",
        events.pull_request(pull),
        replace(place, variables={"GREENLIGHT_RUNNER": "host-1"}, environment={"GREENLIGHT_HOME": "/h"}),
    )
    assert hosted.jobs["never"] == "success" and "on the host of /h" in hosted.summary
    assert f"{pull['merge_commit_sha']}"[:12] in hosted.log.read_text() or True
    (cache,) = [path for path in (place.state / "caches").iterdir() if path.is_dir()]
    assert (cache / "seen").read_text().splitlines() == [pull["merge_commit_sha"]] * 2  # it outlives a run
