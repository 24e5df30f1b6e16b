"""The trusted side of a proposal: say on its commit and its pull request what the gate found.

It runs with write permission, so it runs the default branch's code only and takes what a proposal's run left
as data from a stranger: the pull request is the one whose head the run had, never the one an artifact names.
"""

import base64
import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import yaml

from pipelines.console import output
from pipelines.errors import UserError
from pipelines.files import read_json, write_text
from pipelines.review.scope import changes_model, judged_by

CONTEXT = "greenlight/gate"  # the required check, .github/rulesets/main.json
WORKFLOW = ".github/workflows/propose.yml"
GATE_LIMIT = 1_000_000  # bytes of gate.json
REPORT_LIMIT = 64_000  # characters; GitHub refuses a comment above 65,536, CML's mark included
SENTENCE_LIMIT = 140  # characters of a commit status
FILES_LIMIT = 3000  # files that GitHub lists of a pull request

State = Literal["success", "failure", "error", "pending"]


@dataclass(frozen=True)
class Finding:
    """What the artifact says, checked; `verdict` is None where there is no evidence, `sentence` says why."""

    verdict: Literal["PASS", "INCONCLUSIVE", "FAIL"] | None
    sentence: str
    report: str | None = None


def run(event: Path, evidence: Path) -> int:
    """`ml comment`: set the status of the completed run's head, and name the pull request for the comment.

    `event` is the payload of `workflow_run`; `evidence` the folder of the downloaded artifact, which may be
    missing or hostile. Writes `number` and `report` (is evidence/report.md fit to post?) to the step's
    outputs. Returns 0 when the status is set, or when no open pull request has this head any more.
    """
    completed = completed_run(event)
    github = GitHub.from_environment()
    pulls = open_pulls(github, completed)
    if not pulls:
        print(f"No open pull request has the head {completed['head_sha'][:12]}: it was closed or moved on.")
        return 0
    finding = examine(evidence, completed)
    if finding.report is not None:
        write_text(evidence / "report.md", finding.report)
    state, sentence = decide(github, pulls, finding)
    sentence = sentence if len(sentence) <= SENTENCE_LIMIT else sentence[: SENTENCE_LIMIT - 1] + "…"
    status = {
        "state": state,
        "context": CONTEXT,
        "description": sentence,
        "target_url": completed["html_url"],
    }
    github.call("POST", f"/statuses/{completed['head_sha']}", status)
    print(f"{CONTEXT} on {completed['head_sha'][:12]}: {state}: {sentence}")
    output("number", str(pulls[0]["number"]))
    output("report", str(finding.report is not None).lower())
    return 0


def decide(github: "GitHub", pulls: list[dict[str, Any]], finding: Finding) -> tuple[State, str]:
    """The status of a proposal and its sentence: PASS, or no model changed, is the only way to success."""
    if len(pulls) > 1:
        numbers = " and ".join(f"#{pull['number']}" for pull in pulls)
        return "error", f"{numbers} have the same head, so one verdict would serve both: close one"
    (pull,) = pulls
    base = pull["base"]
    if base["ref"] != base["repo"]["default_branch"]:
        return (
            "error",
            f"the gate judges proposals for {base['repo']['default_branch']}, not for {base['ref']}",
        )
    paths = changed_paths(github, pull)
    if paths == []:
        return "error", "the pull request changes no file, so there is nothing to judge"
    judges = ["more files than GitHub lists"] if paths is None else judged_by(paths)
    if (
        paths is not None
        and "params.yaml" in paths
        and gate_of(github, pull, "base") != gate_of(github, pull, "head")
    ):
        judges.append("params.yaml: gate")
    if paths is not None and not changes_model(paths):
        verdict, sentence = "PASS", "no model changed"
    elif finding.verdict is None:
        return "error", finding.sentence
    else:
        verdict, sentence = finding.verdict, f"{finding.verdict}: {finding.sentence}"
    if verdict != "PASS":
        return "failure", sentence
    if judges:
        return "pending", f"a maintainer decides: it touches the judge ({judges[0]}); {sentence}"
    return "success", sentence


def completed_run(event: Path) -> dict[str, Any]:
    """The run that the event is about. UserError when it is not a run of `propose` for a pull request."""
    payload = read_json(event)
    completed = payload.get("workflow_run") if isinstance(payload, dict) else None
    if not isinstance(completed, dict):
        raise UserError(f"{event} is not the payload of a workflow_run event: it has no workflow_run")
    if completed.get("event") != "pull_request" or completed.get("path", "").partition("@")[0] != WORKFLOW:
        raise UserError(f"{event}: the run is not one of {WORKFLOW} for a pull request, so it gets no status")
    if not re.fullmatch(r"[0-9a-f]{40}", completed.get("head_sha", "")):
        raise UserError(f"{event}: workflow_run.head_sha is not a commit's SHA")
    return completed


def open_pulls(github: "GitHub", completed: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The open pull requests whose head is the run's: same commit, same branch, same repository."""
    repository = completed["head_repository"]
    head = f"{repository['owner']['login']}:{completed['head_branch']}"
    found = github.list(f"/pulls?state=open&head={quote(head, safe=':')}")
    return [
        pull
        for pull in found
        if pull["head"]["sha"] == completed["head_sha"]
        and (pull["head"]["repo"] or {}).get("full_name") == repository["full_name"]
    ]


def changed_paths(github: "GitHub", pull: Mapping[str, Any]) -> list[str] | None:
    """Paths that the pull request changes, old names of moved files too; None past what GitHub lists."""
    files = github.list(f"/pulls/{pull['number']}/files")
    if len(files) >= FILES_LIMIT:
        return None
    return [name for file in files for name in (file["filename"], file.get("previous_filename")) if name]


def gate_of(github: "GitHub", pull: Mapping[str, Any], end: str) -> Any:
    """The thresholds in params.yaml at the base or the head; a file that cannot be read equals no other."""
    answer = github.call("GET", f"/contents/params.yaml?ref={pull[end]['sha']}", missing={})
    try:
        value = yaml.safe_load(base64.b64decode(answer["content"]))
        return value["gate"]
    except (KeyError, TypeError, ValueError, RecursionError, yaml.YAMLError):
        return object()


# --- the artifact: data from a stranger -------------------------------------------------------------------


def examine(evidence: Path, completed: Mapping[str, Any]) -> Finding:
    """Read gate.json and report.md. Whatever is missing, too large or of the wrong type is no evidence."""
    if not (evidence / "gate.json").exists() and not (evidence / "report.md").exists():
        return Finding(
            None, f"no evidence: the run ended ({completed.get('conclusion')}) before the gate did"
        )
    try:
        gate = json.loads(plain_file(evidence, "gate.json", GATE_LIMIT))
        verdict, sentence = gate["verdict"], reason(gate)
        report = plain_file(evidence, "report.md", 4 * REPORT_LIMIT)
    except (KeyError, TypeError, ValueError, RecursionError, OSError) as error:
        return Finding(None, f"no evidence: the artifact is not a report ({one_line(str(error))})")
    report = re.sub(r"@(?=\w)", "@\N{WORD JOINER}", report.replace("\0", ""))  # a report notifies nobody
    if len(report) > REPORT_LIMIT:
        return Finding(None, f"no evidence: report.md has {len(report)} characters, more than {REPORT_LIMIT}")
    return Finding(verdict, sentence, report)


def plain_file(folder: Path, name: str, limit: int) -> str:
    """The text of a regular file in a real folder. ValueError for a link, a device or a large file."""
    path = folder / name
    if folder.is_symlink() or path.is_symlink() or not path.is_file():
        raise ValueError(f"{name} is not a plain file")
    if path.stat().st_size > limit:
        raise ValueError(f"{name} is larger than {limit} bytes")
    return path.read_bytes().decode("utf-8")


def reason(gate: Mapping[str, Any]) -> str:
    """The sentence of the first finding that has the verdict."""
    if gate["verdict"] not in ("PASS", "INCONCLUSIVE", "FAIL"):
        raise ValueError("gate.json: verdict is none of PASS, INCONCLUSIVE, FAIL")
    if not isinstance(gate["findings"], list) or not gate["findings"]:
        raise ValueError("gate.json: findings is not a list of what was found")
    for finding in gate["findings"]:
        if not isinstance(finding["sentence"], str):
            raise ValueError("gate.json: a sentence is not text")
        if finding["verdict"] == gate["verdict"] != "PASS":
            return one_line(finding["sentence"])
    if gate["verdict"] != "PASS":
        raise ValueError(f"gate.json: {gate['verdict']} without a finding that says so")
    return f"all {len(gate['findings'])} rules hold"


def one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:SENTENCE_LIMIT]


# --- GitHub -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GitHub:
    """The API of one repository; paths are below /repos/OWNER/NAME."""

    url: str
    token: str

    @classmethod
    def from_environment(cls) -> "GitHub":
        """From the variables that every workflow has, and GITHUB_TOKEN, which its step must be given."""
        try:
            token, repository = os.environ["GITHUB_TOKEN"], os.environ["GITHUB_REPOSITORY"]
        except KeyError as error:
            raise UserError(
                f"{error.args[0]} is not set: ml comment runs in the workflow `comment`"
            ) from None
        api = os.environ.get("GITHUB_API_URL", "https://api.github.com").rstrip("/")
        return cls(f"{api}/repos/{repository}", token)

    def list(self, path: str) -> list[dict[str, Any]]:
        """All pages of a list, at most FILES_LIMIT entries (GitHub's own limit)."""
        found: list[dict[str, Any]] = []
        for page in range(1, FILES_LIMIT // 100 + 1):
            mark = "&" if "?" in path else "?"
            part = self.call("GET", f"{path}{mark}per_page=100&page={page}")
            found += part
            if len(part) < 100:
                break
        return found

    def call(self, method: str, path: str, body: Any = None, missing: Any = None) -> Any:
        """One call; `missing`, where given, is the answer for 404. UserError for every other refusal."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self.token}",
                "Accept": "application/vnd.github+json",
                "X-GitHub-Api-Version": "2022-11-28",
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code == 404 and missing is not None:
                return missing
            message = one_line(error.read(1000).decode(errors="replace"))
            raise UserError(f"GitHub refused {method} {path}: {error.code} {message}") from None
        except OSError as error:
            raise UserError(f"GitHub does not answer at {self.url}: {error}") from None
