"""What `ml doctor` looks at of GitHub's Actions: the last runs, a schedule that sleeps, the host's runner."""

from datetime import UTC, datetime
from functools import partial
from typing import Any

from pipelines.base.github import GitHub, NotFound
from pipelines.setup.beside import beside, unknown
from pipelines.setup.check import Check, State

GROUP = "GitHub"
WORKFLOWS = ("judge", "release", "drift")
FINE = ("success", "neutral", "skipped")
NO_WORD = ("cancelled", "skipped", "action_required", None)  # of which an older run says more
LATE_DAYS = {"drift": 35}  # it runs on the second of each month
RUNNER = "GREENLIGHT_RUNNER"
TOKEN = "give GITHUB_TOKEN the right to read Actions"
ADMIN = "ask with a token of an administrator: only they may list runners"


def checks(github: GitHub) -> list[Check]:
    """The last run of each workflow that keeps the loop going, and the runner that the variable names."""
    runs = [(unknown(GROUP, f"runs of {name}", TOKEN), partial(_runs, github, name)) for name in WORKFLOWS]
    return beside([*runs, (unknown(GROUP, "runner", ADMIN), partial(_runner, github))])


def _runs(github: GitHub, name: str) -> Check:
    check = partial(Check, GROUP, f"runs of {name}")
    try:
        workflow = github.call("GET", f"/actions/workflows/{name}.yml")
    except NotFound:
        says = f"the default branch has no .github/workflows/{name}.yml, or the token may not see it"
        return check(state=State.OFF, says=says, way_out="push it")
    if workflow["state"] != "active":
        why = {"disabled_inactivity": "GitHub switched it off after 60 days without a commit"}
        says = why.get(workflow["state"], f"it is switched off ({workflow['state']})")
        return check(state=State.OFF, says=says, way_out=f"`gh workflow enable {name}`")
    found = github.call("GET", f"/actions/workflows/{name}.yml/runs?status=completed&per_page=30")
    runs = found["workflow_runs"]
    if not runs:
        return check(state=State.OFF, says="it has not run yet", way_out=STARTS[name], matters=False)
    run = next((run for run in runs if run["conclusion"] not in NO_WORD), runs[0])
    days = (datetime.now(UTC) - datetime.fromisoformat(run["created_at"])).days
    says = f"{run['conclusion']}, {_ago(days)}"
    if run["conclusion"] not in FINE:
        return check(state=State.OFF, says=says, way_out=f"look at {run['html_url']}")
    if days > LATE_DAYS.get(name, days):
        says += ", and it is due each month: GitHub switches schedules off after 60 days without a commit"
        return check(state=State.OFF, says=says, way_out=f"`gh workflow run {name}`")
    return check(state=State.ON, says=says)


STARTS = {
    "judge": "open a pull request",
    "release": "merge into the default branch",
    "drift": "wait for the second of the month, or `gh workflow run drift`",
}


def _runner(github: GitHub) -> Check:
    variables = github.list("/actions/variables", "variables")
    label = next((one["value"] for one in variables if one["name"] == RUNNER), "")
    if not label:
        says = f"the variable {RUNNER} is not set: releases are rehearsed, or hosts pull"
        way_out = f"docs/host.md, then `gh variable set {RUNNER}`"
        return Check(GROUP, "runner", State.OFF, says, way_out, matters=False)
    return of_runners(label, github.list("/actions/runners", "runners"))


def of_runners(label: str, runners: list[dict[str, Any]]) -> Check:
    """What GitHub's list of runners says of the one with a label."""
    ours = [one for one in runners if label in {each["name"] for each in one["labels"]}]
    if not ours:
        way_out = f"give a runner that label, or change the variable {RUNNER} (docs/host.md)"
        return Check(GROUP, "runner", State.OFF, f"no runner has the label {label}", way_out)
    words = {one["name"]: f"{one['name']} {one.get('version') or ''}".rstrip() for one in ours}
    online = [words[one["name"]] for one in ours if one["status"] == "online"]
    if online:
        return Check(GROUP, "runner", State.ON, f"{', '.join(online)} is online")
    says = f"{', '.join(words.values())} is offline: jobs wait for it"
    return Check(GROUP, "runner", State.OFF, says, "start it on the host (`./svc.sh start`)")


def _ago(days: int) -> str:
    return {0: "today", 1: "yesterday"}.get(days, f"{days} days ago")
