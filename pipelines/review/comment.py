"""The trusted side of a proposal: say on its commit and its pull request what the gate found.

It runs with write permission, so it runs the default branch's code only and takes what a proposal's run left
as data from a stranger: the pull request is the one whose head the run had, never the one an artifact names.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import yaml

from pipelines.artifacts import verdict as verdicts
from pipelines.base.github import MOST, GitHub, one_line
from pipelines.console import output
from pipelines.errors import UserError
from pipelines.files import write_text
from pipelines.review import override, runs
from pipelines.review.scope import changes_model, judged_by

CONTEXT = "greenlight/gate"  # the required check, .github/rulesets/main.json
REPORT_LIMIT = 64_000  # characters; GitHub refuses a comment above 65,536, CML's mark and our note included

State = Literal["success", "failure", "error", "pending"]


@dataclass(frozen=True)
class Finding:
    """What the artifact says, checked; `verdict` is None where there is no evidence, `sentence` says why."""

    verdict: Literal["PASS", "INCONCLUSIVE", "FAIL"] | None
    sentence: str
    report: str | None = None


@dataclass(frozen=True)
class Decision:
    """The status; `by` is the maintainer without whom it would be no success."""

    state: State
    sentence: str
    by: str | None = None


def run(number: int, evidence: Path) -> int:
    """`ml comment`: set the status of the head that a run of `propose` judged, and name the pull request.

    `number` is the run's id; `evidence` the folder of its downloaded artifact, which may be missing or
    hostile. Nothing that was said before counts: whatever was first, the verdict or a maintainer's label,
    the status comes out the same. Writes `number` and `report` (is evidence/report.md fit to post?) to the
    step's outputs. Returns 0 when the status is set, or when no open pull request has this head any more.
    """
    github = GitHub.from_environment()
    judged = runs.check(github.call("GET", f"/actions/runs/{number}"), f"run {number}")
    pulls = open_pulls(github, judged)
    if not pulls:
        print(f"No open pull request has the head {judged['head_sha'][:12]}: it was closed or moved on.")
        return 0
    finding = examine(evidence, judged)
    decision = decide(github, judged, pulls, finding)
    if finding.report is not None:
        write_text(evidence / "report.md", _note(decision, pulls[0]) + finding.report)
    github.status(judged["head_sha"], CONTEXT, decision.state, decision.sentence, judged["html_url"])
    output("number", str(pulls[0]["number"]))
    output("report", str(finding.report is not None).lower())
    return 0


def decide(
    github: GitHub, judged: Mapping[str, Any], pulls: list[dict[str, Any]], finding: Finding
) -> Decision:
    """The status of a proposal and its sentence: PASS, or no model changed, is the only way to success.

    A maintainer's override adds two: INCONCLUSIVE, and what touches the judge. It never lets a FAIL through,
    nor a proposal without evidence.
    """
    if len(pulls) > 1:
        numbers = " and ".join(f"#{pull['number']}" for pull in pulls)
        return Decision("error", f"{numbers} have the same head, so one verdict would serve both: close one")
    (pull,) = pulls
    base = pull["base"]
    if base["ref"] != (main := base["repo"]["default_branch"]):
        return Decision("error", f"the gate judges proposals for {main}, not for {base['ref']}")
    if reason := runs.stale(github, judged, pull):
        return Decision("error", f"no evidence: {reason}")
    paths = changed_paths(github, pull)
    if paths == []:
        return Decision("error", "the pull request changes no file, so there is nothing to judge")
    if paths is not None and not changes_model(paths):
        verdict, reason = "PASS", "no model changed"
    elif finding.verdict is None:
        return Decision("error", finding.sentence)
    else:
        verdict, reason = finding.verdict, finding.sentence
    said = reason if reason == "no model changed" else f"{verdict}: {reason}"
    touched = judges(github, pull, paths)
    if verdict == "FAIL":
        return Decision("failure", said)
    if verdict == "PASS" and not touched:
        return Decision("success", said)
    if by := override.actor(github, pull):
        why = f"it touches the judge ({touched[0]}); {reason}" if touched else reason
        return Decision("success", f"{verdict}, let through by {by}: {why}", by)
    if verdict == "PASS":
        return Decision("pending", f"a maintainer decides: it touches the judge ({touched[0]}); {said}")
    return Decision("failure", said)


def _note(decision: Decision, pull: Mapping[str, Any]) -> str:
    """What a label has to do with the status, above the report."""
    sha = pull["head"]["sha"][:12]
    if decision.by:
        return f"> **Let through by {decision.by}**, for `{sha}`, by the label `{override.LABEL}`.\n\n"
    if override.labelled(pull) and decision.state != "success":
        return (
            f"> The label `{override.LABEL}` does not let `{sha}` through. It counts from a maintainer, "
            "for the commit that it was given to, and never for a FAIL: take it away, and give it again.\n\n"
        )
    return ""


def open_pulls(github: GitHub, judged: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The open pull requests whose head is the run's: same commit, same branch, same repository."""
    owner = (judged["head_repository"] or {}).get("owner", {}).get("login", "")
    head = f"{owner}:{judged['head_branch']}"
    found = github.list(f"/pulls?state=open&head={quote(head, safe=':')}")
    return [pull for pull in found if runs.Head.of_pull(pull) == runs.Head.of_run(judged)]


def judges(github: GitHub, pull: Mapping[str, Any], paths: list[str] | None) -> list[str]:
    """What the pull request changes of that which judges it."""
    if paths is None:
        return ["more files than GitHub lists"]
    found = judged_by(paths)
    if "params.yaml" in paths and gate_of(github, pull, "base") != gate_of(github, pull, "head"):
        found.append("params.yaml: gate")
    return found


def changed_paths(github: GitHub, pull: Mapping[str, Any]) -> list[str] | None:
    """Paths that the pull request changes, old names of moved files too; None past what GitHub lists."""
    files = github.list(f"/pulls/{pull['number']}/files")
    if len(files) >= MOST:
        return None
    return [name for file in files for name in (file["filename"], file.get("previous_filename")) if name]


def gate_of(github: GitHub, pull: Mapping[str, Any], end: str) -> Any:
    """The thresholds in params.yaml at the base or the head; a file that cannot be read equals no other."""
    answer = github.call("GET", f"/contents/params.yaml?ref={pull[end]['sha']}", missing={})
    try:
        value = yaml.safe_load(base64.b64decode(answer["content"]))
        return value["gate"]
    except (KeyError, TypeError, ValueError, RecursionError, yaml.YAMLError):
        return object()


# --- the artifact: data from a stranger -------------------------------------------------------------------


def examine(evidence: Path, judged: Mapping[str, Any]) -> Finding:
    """Read gate.json and report.md. Whatever is missing, too large or of the wrong type is no evidence."""
    if not (evidence / "gate.json").exists() and not (evidence / "report.md").exists():
        return Finding(None, f"no evidence: the run ended ({judged.get('conclusion')}) before the gate did")
    try:
        verdict = verdicts.read(evidence)
        report = plain_file(evidence, "report.md", 4 * REPORT_LIMIT)
    except (UserError, ValueError, OSError) as error:
        return Finding(None, f"no evidence: the artifact is not a report ({one_line(str(error))})")
    report = re.sub(r"@(?=\w)", "@\N{WORD JOINER}", report.replace("\0", ""))  # a report notifies nobody
    if len(report) > REPORT_LIMIT:
        return Finding(None, f"no evidence: report.md has {len(report)} characters, more than {REPORT_LIMIT}")
    return Finding(verdict.verdict, one_line(verdict.reason), report)


def plain_file(folder: Path, name: str, limit: int) -> str:
    """The text of a regular file in a real folder. ValueError for a link, a device or a large file."""
    path = folder / name
    if folder.is_symlink() or path.is_symlink() or not path.is_file():
        raise ValueError(f"{name} is not a plain file")
    if path.stat().st_size > limit:
        raise ValueError(f"{name} is larger than {limit} bytes")
    return path.read_bytes().decode("utf-8")
