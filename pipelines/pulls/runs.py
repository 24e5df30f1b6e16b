"""Which run of the workflow `propose` built a head, and which run of `judge` let a merged commit through."""

import contextlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipelines.artifacts.release import Proposal
from pipelines.base.console import output, step, summary
from pipelines.base.errors import UserError
from pipelines.base.files import read_json
from pipelines.base.github import GitHub, NotFound
from pipelines.pulls import override, proposals, scope, values
from pipelines.pulls.proposals import GATE, Head

PROPOSE, JUDGE = ".github/workflows/propose.yml", ".github/workflows/judge.yml"
PULL_REQUEST, MERGE_GROUP = "pull_request", "merge_group"  # events
CANDIDATE = "candidate"  # the artifact of a run of `propose`
CANDIDATE_BYTES = 1 << 30  # its bytes, packed
REPORT = "report"  # the artifact of a run of `judge`: gate.json, report.md, report.html


@dataclass(frozen=True)
class Build:
    """How far the build of a head is, in words; `run` is there once it has left a candidate."""

    words: str
    run: int | None = None
    ended: bool = False


def of_event(event: Path) -> None:
    """`ml ci proposal --event`: is there a candidate to judge of the head that an event is about? Writes
    `run` (which left it, or empty), `build` (has the judge to make it?), `head` and `base` to the step's
    outputs."""
    head = head_of(event)
    github = GitHub.from_environment()
    found = next((p for p in proposals.find(github, head) if p.judged), None)
    run, build = "", False
    if found is None:
        step(f"no open pull request proposes {head.sha[:12]} for the default branch")
    elif found.draft:
        step(f"#{found.number} is a draft, and judged when it is ready for review")
    elif not needs_model(github, found):
        step(f"#{found.number} changes no model")
    elif why := behind_a_model(github, found):
        step(why)
    else:
        built, lock = of_head(github, head), lock_of(github, found)
        words = lock.words or ("the judge makes its dvc.lock" if lock.by_judge else built.words)
        step(f"#{found.number}, {head.sha[:12]} onto {found.base} {found.base_sha[:12]}: {words}")
        build = built.ended and lock.by_judge and not lock.waits
        run = str(built.run or "") if not lock.by_judge else ""
    output("run", run)
    output("build", str(build).lower())
    output("head", found.head.sha if found else "")
    output("base", found.base_sha if found else "")


def head_of(event: Path) -> Head:
    """The head that the event of a run of `propose`, or of a pull request, is about. UserError for others."""
    payload = read_json(event)
    if isinstance(payload, dict) and "workflow_run" in payload:
        return Head.of_run(_check(payload["workflow_run"], str(event)))
    if isinstance(payload, dict) and isinstance(payload.get("pull_request"), dict):
        return Head.of_pull(payload["pull_request"])
    raise UserError(f"{event} is neither the payload of a workflow_run nor of a pull_request_target event")


def needs_model(github: GitHub, proposal: proposals.Proposal) -> bool:
    """Whether a model has to be judged; so it is where GitHub does not say what changed."""
    try:
        return scope.changes_model(proposals.changes(github, proposal).paths)
    except proposals.Cut:
        return True


def behind_a_model(github: GitHub, proposal: proposals.Proposal) -> str | None:
    """Why a group gets no success: it is on top of another group, not merged yet, that changes the model, or
    its queue has to make it anew. A model on top would be judged against neither; and a queue that asks its
    newest group alone would merge with pages the model below them, whatever was said of that."""
    if not proposal.behind_another:
        return None
    try:
        ahead = proposals.between(github, proposal.base_sha, proposal.parent)
    except proposals.Cut as cut:
        return f"{cut}: make the proposal smaller"
    if ahead.behind:
        return f"{proposal.base} moved on without this group: add it to the queue again"
    if scope.changes_model(ahead.paths):
        return "the group before it changes the model: add it to the queue again when that is merged"
    return None


def lock_of(github: GitHub, proposal: proposals.Proposal) -> values.Lock:
    """What there is to say of its dvc.lock; nothing where GitHub does not say what changed."""
    try:
        changes = proposals.changes(github, proposal)
    except proposals.Cut:
        return values.Lock()
    fork = "a fork" if proposal.head.repository != github.repository else ""
    return values.of(changes, "a merge queue's group" if proposal.proposed else fork)


def of_head(github: GitHub, head: Head) -> Build:
    """How far the newest run of `propose` for this head is: same commit, same branch, same repository. One
    that somebody cancelled counts only where there is no other; where none may run, what the run of `judge`
    left that spoke of this head last: GitHub starts nothing by itself for a commit that the judge made."""
    event = MERGE_GROUP if proposals.is_group(github, head) else PULL_REQUEST
    path = f"/actions/workflows/{Path(PROPOSE).name}/runs?event={event}&head_sha={quote(head.sha)}"
    listed = github.list(path, "workflow_runs")
    fit = [run for run in listed if Head.of_run(run) == head and run["event"] == event]
    run = max(fit, key=lambda run: (run["conclusion"] != "cancelled", int(run["run_number"])), default=None)
    waits = run and ("action_required" in (run["status"], run["conclusion"]) or run["status"] == "waiting")
    if run is None or waits:
        made = _spoke(override.newest(github, head.sha, GATE))
        with contextlib.suppress(NotFound):  # a run that somebody deleted
            if made is not None and artifact(github, made, CANDIDATE):
                return Build(f"built by run {made}", made, ended=True)
    if run is None:
        return Build("waits for a run of `propose`")
    if waits:
        return Build('waits for "Approve and run", by a person with write access')
    if run["status"] != "completed":
        return Build("is being built")
    left = artifact(github, run["id"], CANDIDATE)
    if left is None:
        return Build(f"its build ended ({run['conclusion']}) and left no candidate", ended=True)
    if left.get("size_in_bytes", 0) > CANDIDATE_BYTES:
        return Build(f"its candidate is larger than {CANDIDATE_BYTES:,} bytes", ended=True)
    return Build(f"built by run {run['id']}", run["id"], ended=True)


def artifact(github: GitHub, run: int, name: str) -> Mapping[str, Any] | None:
    """An artifact of a run that GitHub still has."""
    found = github.list(f"/actions/runs/{run}/artifacts?name={name}", "artifacts")
    return next((one for one in found if one["name"] == name and not one["expired"]), None)


def here() -> str:
    """The page of the run that this is part of."""
    server = os.environ.get("GITHUB_SERVER_URL", "https://github.com")
    names = os.environ.get("GITHUB_REPOSITORY", ""), os.environ.get("GITHUB_RUN_ID", "0")
    return "{}/{}/actions/runs/{}".format(server, *names)


def _check(run: Any, where: str) -> Mapping[str, Any]:
    """The run itself. UserError when it is not one of `propose` for a pull request or a merge queue's
    group."""
    if not isinstance(run, dict):
        raise UserError(f"{where} is not a workflow's run")
    if (
        run.get("event") not in (PULL_REQUEST, MERGE_GROUP)
        or run.get("path", "").partition("@")[0] != PROPOSE
    ):
        raise UserError(f"{where}: the run is not one of {PROPOSE} for a pull request, so it gets no status")
    if not re.fullmatch(r"[0-9a-f]{40}", run.get("head_sha", "")):
        raise UserError(f"{where}: the run's head_sha is not a commit's SHA")
    return run


def of_commit(commit: str, out: Path) -> None:
    """`ml ci evidence`: the run that judged the pull request which brought a commit of the main branch.
    Writes proposal.json into `out`, and `run` and `report` to the step's outputs; the summary says where
    there is no such pull request, or its report is gone."""
    github = GitHub.from_environment()
    pulls = [pull for pull in github.list(f"/commits/{commit}/pulls") if pull["merged_at"]]
    pull = next((pull for pull in pulls if pull["merge_commit_sha"] == commit), None)
    (out / Proposal.NAME).unlink(missing_ok=True)
    if pull is None:
        return _without(f"no pull request brought {commit[:12]}, so no gate judged it")
    head = pull["head"]["sha"]
    run = _judged(github, commit) or _judged(github, head)  # a merge queue's group is the commit itself
    by = override.recorded(github, pull["number"], head)
    Proposal(number=pull["number"], title=pull["title"], head=head, run=run, override=by).write(out)
    if run is None:
        return _without(f"#{pull['number']} has no {GATE} that a run of {JUDGE} set to success")
    if artifact(github, run, REPORT) is None:
        return _without(f"#{pull['number']}: its run {run} left no report, or it has expired")
    step(f"{head[:12]} was judged by run {run}")
    output("run", str(run))
    output("report", "true")


def _judged(github: GitHub, head: str) -> int | None:
    """The run of `judge` that set the newest status of the gate, where that is a success."""
    status = override.newest(github, head, GATE)
    page = _spoke(status)
    if status is None or page is None or status["state"] != "success":
        return None
    run = github.call("GET", f"/actions/runs/{page}", missing={})
    ours = run.get("path", "").partition("@")[0] == JUDGE
    return page if ours and run["event"] in ("workflow_run", "pull_request_target") else None


def _spoke(status: Mapping[str, Any] | None) -> int | None:
    """The run that set a status, by its own word."""
    page = re.fullmatch(r".*/actions/runs/(\d+)", (status or {}).get("target_url") or "")
    return int(page[1]) if page else None


def _without(reason: str) -> None:
    step(f"no evidence: {reason}")
    summary(f"No evidence of the gate goes with this release: {reason}.")
    output("run", "")
    output("report", "false")
