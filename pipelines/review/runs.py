"""`ml evidence`: which run of the workflow `propose` judged a proposal, and whether it left a report."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipelines.base.github import GitHub
from pipelines.console import output, step, summary
from pipelines.errors import UserError
from pipelines.files import read_json, write_json
from pipelines.review import override

WORKFLOW = ".github/workflows/propose.yml"
REPORT = "report"  # the artifact


@dataclass(frozen=True)
class Head:
    """What a pull request proposes: a commit, on a branch, of a repository (None: a fork since deleted)."""

    sha: str
    branch: str
    repository: str | None

    @classmethod
    def of_pull(cls, pull: Mapping[str, Any]) -> "Head":
        head = pull["head"]
        return cls(head["sha"], head["ref"], (head["repo"] or {}).get("full_name"))

    @classmethod
    def of_run(cls, run: Mapping[str, Any]) -> "Head":
        repository = (run["head_repository"] or {}).get("full_name")
        return cls(run["head_sha"], run["head_branch"], repository)


def of_event(event: Path) -> int:
    """`ml evidence --event`: the newest run for the head that a workflow_run or a label's event is about.

    Writes `run` (its id; empty where none has ended yet) and `report` (did it leave one?) to the step's
    outputs. Returns 0.
    """
    payload = read_json(event)
    at_hand = []
    if isinstance(payload, dict) and "workflow_run" in payload:
        at_hand = [check(payload["workflow_run"], str(event))]  # GitHub's list may lag behind its events
        head = Head.of_run(at_hand[0])
    elif isinstance(payload, dict) and "pull_request" in payload:
        head = Head.of_pull(payload["pull_request"])
    else:
        raise UserError(
            f"{event} is neither the payload of a workflow_run nor of a pull_request_target event"
        )
    github = GitHub.from_environment()
    _tell(github, newest(github, head, at_hand), head.sha)
    return 0


def of_commit(commit: str, out: Path) -> int:
    """`ml evidence --commit`: the run that judged the pull request that brought a commit of the main branch.

    Writes `out` (number, head, run, and who let it through), and `run` and `report` to the step's outputs.
    A commit that no pull request brought has no evidence; that, and a report that is gone, the summary
    says. Returns 0.
    """
    github = GitHub.from_environment()
    pulls = [pull for pull in github.list(f"/commits/{commit}/pulls") if pull["merged_at"]]
    pull = next((pull for pull in pulls if pull["merge_commit_sha"] == commit), None)
    out.unlink(missing_ok=True)
    if pull is None:
        return _without(f"no pull request brought {commit[:12]}, so no gate judged it")
    run = newest(github, Head.of_pull(pull))
    by = override.recorded(github, pull)
    proposal = {"number": pull["number"], "title": pull["title"], "head": pull["head"]["sha"]}
    write_json(out, {**proposal, "run": run and run["id"], "override": by})
    if run is None:
        return _without(f"#{pull['number']} has no finished run of {WORKFLOW}")
    if reason := stale(github, run, pull):
        return _without(f"#{pull['number']}: {reason}")
    if not left(github, run["id"], REPORT):
        return _without(f"#{pull['number']}: its run {run['id']} left no report, or it has expired")
    _tell(github, run, pull["head"]["sha"])
    return 0


def newest(github: GitHub, head: Head, at_hand: Iterable[Mapping[str, Any]] = ()) -> Mapping[str, Any] | None:
    """The newest run of `propose` that has ended for this head: same commit, same branch, same repository."""
    name = Path(WORKFLOW).name
    path = f"/actions/workflows/{name}/runs?event=pull_request&head_sha={quote(head.sha)}"
    found = [*github.list(path, "workflow_runs"), *at_hand]
    ended = [run for run in found if run["status"] == "completed" and run["conclusion"] != "cancelled"]
    fit = [run for run in ended if Head.of_run(run) == head and run["event"] == "pull_request"]
    return max(fit, key=lambda run: int(run["run_number"]), default=None)


def check(run: Any, where: str) -> Mapping[str, Any]:
    """The run itself. UserError when it is not one of `propose` for a pull request."""
    if not isinstance(run, dict):
        raise UserError(f"{where} is not a workflow's run")
    if run.get("event") != "pull_request" or run.get("path", "").partition("@")[0] != WORKFLOW:
        raise UserError(f"{where}: the run is not one of {WORKFLOW} for a pull request, so it gets no status")
    if not re.fullmatch(r"[0-9a-f]{40}", run.get("head_sha", "")):
        raise UserError(f"{where}: the run's head_sha is not a commit's SHA")
    return run


def stale(github: GitHub, run: Mapping[str, Any], pull: Mapping[str, Any]) -> str | None:
    """Why a run did not judge this pull request as it is: its gate was another base's. None where it did.

    A pull request's author may change its base, or open another one with the same head, at any time.
    """
    events = github.list(f"/issues/{pull['number']}/events")
    moved = [event["created_at"] for event in events if event["event"] == "base_ref_changed"]
    if run["created_at"] < pull["created_at"] or any(run["created_at"] <= at for at in moved):
        return "its run began before it had this base: push to it, and the gate judges it again"
    return None


def left(github: GitHub, run: int, name: str) -> bool:
    """Whether a run left an artifact of this name that GitHub still has."""
    found = github.list(f"/actions/runs/{run}/artifacts?name={name}", "artifacts")
    return any(artifact["name"] == name and not artifact["expired"] for artifact in found)


def _tell(github: GitHub, run: Mapping[str, Any] | None, sha: str) -> None:
    report = run is not None and left(github, run["id"], REPORT)
    said = f"run {run['id']}{'' if report else ', without a report'}" if run else "no run that has ended"
    step(f"{sha[:12]} has {said}")
    output("run", str(run["id"]) if run else "")
    output("report", str(report).lower())


def _without(reason: str) -> int:
    step(f"no evidence: {reason}")
    summary(f"No evidence of the gate goes with this release: {reason}.")
    output("run", "")
    output("report", "false")
    return 0
