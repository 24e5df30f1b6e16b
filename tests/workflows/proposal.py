"""A pull request of a small repository, and what its run of `propose` and the gate leave."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.local import events
from pipelines.local.act import Run
from pipelines.local.github import call
from pipelines.pulls import override, runs, status
from pipelines.pulls.proposals import GATE, OVERRIDE
from tests.problems.parcels import PARAMS_FILE, PROBLEM

REPOSITORY = "somebody/flights"
PASS = {"rule": "roc_auc", "verdict": "PASS", "sentence": "ROC-AUC is as good", "numbers": {}}
FAIL = {"rule": "log_loss", "verdict": "FAIL", "sentence": "log-loss is worse by 0.02", "numbers": {}}
UNSURE = {
    "rule": "window",
    "verdict": "INCONCLUSIVE",
    "sentence": "The test window has 7 days, not 28",
    "numbers": {},
}
GOOD = {"verdict": "PASS", "findings": [PASS]}
WORSE = {"verdict": "FAIL", "findings": [FAIL]}
UNDECIDED = {"verdict": "INCONCLUSIVE", "findings": [UNSURE]}
PARAMS = PARAMS_FILE.read_text()


def lock(word: str, **values: Any) -> str:
    """A dvc.lock of these values of params.yaml's `train`; another word is another training."""
    recorded = {f"train.{name}": value for name, value in (values or {"last": "2013-05"}).items()}
    return f"""\
schema: '2.0'
stages:
  train:
    cmd: ml stage train
    deps:
    - path: pipelines/core/stats.py
      hash: md5
      md5: 6f1ed002ab5595859014ebf0951522d9
      size: 54
    params:
      params.yaml: {json.dumps(recorded)}
    outs:
    - path: models/model.onnx
      hash: md5
      md5: {hashlib.md5(word.encode()).hexdigest()}
      size: {len(word)}
"""


def data(word: str) -> str:
    """A data.dvc; another word is other data."""
    name = hashlib.md5(word.encode()).hexdigest()
    return f"outs:\n- md5: {name}.dir\n  size: 7\n  nfiles: {len(word)}\n  hash: md5\n  path: data\n"


BETTER = {"params.yaml": PARAMS.replace("seed: 7", "seed: 8"), "dvc.lock": lock("2", seed=8)}


@dataclass(frozen=True)
class Proposal:
    """A pull request; `ran` is its newest run of `propose`."""

    api: str
    pull: dict[str, Any]
    state: Path  # of the stand-in: its runs and artifacts
    folder: Path
    output: Path
    ran: list[int] = field(default_factory=list)

    def now(self) -> dict[str, Any]:
        return dict(call(f"{self.api}/pulls/{self.pull['number']}"))

    def tip(self) -> str:
        """The newest commit of the base."""
        return str(call(f"{self.api}/git/ref/heads/{self.now()['base']['ref']}")["object"]["sha"])

    def leave(self, gate: Any, **changes: Any) -> None:
        """The gate of this run has said this of the head and the base as they are now."""
        self.folder.mkdir(exist_ok=True)
        (self.folder / "report.md").unlink(missing_ok=True)
        if isinstance(gate, dict):
            gate = {"version": 1, "head": self.now()["head"]["sha"], "base": self.tip()} | gate | changes
        (self.folder / "gate.json").write_text(gate if isinstance(gate, str) else json.dumps(gate))

    def run(self, conclusion: str = "success", candidate: bool = True, **changes: Any) -> dict[str, Any]:
        """A run of `propose` for the head as it is now has ended."""
        number = 1 + max((int(path.name) for path in self.state.glob("runs/*")), default=0)
        made = Run(number, "propose", runs.PROPOSE, events.pull_request(self.now()), 0, {}, "", Path())
        told = made.as_json(REPOSITORY) | {"conclusion": conclusion} | changes
        (self.state / f"runs/{number}").mkdir(parents=True)
        (self.state / f"runs/{number}/run.json").write_text(json.dumps(told))
        if candidate:
            self.keep("candidate", number)
        self.ran.append(number)
        return told

    def keep(self, name: str, number: int) -> None:
        """A run has left this artifact."""
        (self.state / f"artifacts/{number}/{name}").mkdir(parents=True)

    def ended(self, told: dict[str, Any]) -> Path:
        """The payload of the event that a run has ended."""
        path = self.folder.parent / "ended.json"
        path.write_text(json.dumps(events.workflow_run(REPOSITORY, told).payload))
        return path

    def judge(self, gate: Any = None, conclusion: str = "success", **changes: Any) -> tuple[str, str]:
        """A run of `propose` has ended, and the gate says `gate`: state and sentence of greenlight/gate."""
        if gate is not None:
            self.leave(gate)
        return self.speak(self.ended(self.run(conclusion, **changes)))

    def speak(self, event: Path | None = None, context: str = GATE) -> tuple[str, str]:
        """`ml ci verdict` on what is in `folder`: state and sentence of the head's status."""
        self.output.write_text("")
        number = self.ran[-1] if self.ran else 0
        told = event or self.ended(json.loads((self.state / f"runs/{number}/run.json").read_text()))
        status.run(told, self.folder, PROBLEM.contract)
        found = self.status(context)
        return (found["state"], found["description"]) if found else ("none", "")

    def outputs(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self.output.read_text().splitlines())

    def report(self) -> str:
        return (self.folder / "report.md").read_text()

    def status(self, context: str = GATE) -> dict[str, Any] | None:
        """The newest status of the pull request's head."""
        found = call(f"{self.api}/commits/{self.now()['head']['sha']}/status")["statuses"]
        return next((status for status in found if status["context"] == context), None)

    def patch(self, **changes: str) -> None:
        call(f"{self.api}/pulls/{self.pull['number']}", "PATCH", changes)

    def draft(self, draft: bool) -> Path:
        """Somebody makes it a draft, or ready; the payload of that event."""
        call(f"{self.api}/pulls/{self.pull['number']}/draft", "PUT", {"draft": draft})
        told = events.targeted(self.now(), "converted_to_draft" if draft else "ready_for_review")
        path = self.folder.parent / "drafted.json"
        path.write_text(json.dumps(told.payload))
        return path

    # labels

    def label(self, login: str, name: str = override.LABEL) -> Path:
        """Somebody gives a label; the payload of that event, whose run has not begun."""
        url = f"{self.api}/issues/{self.pull['number']}/labels"
        call(url, "POST", {"labels": [name]}, token=f"user:{login}")
        return self.event("labeled", name, login)

    def unlabel(self, login: str, name: str = override.LABEL) -> Path:
        url = f"{self.api}/issues/{self.pull['number']}/labels/{name}"
        call(url, "DELETE", token=f"user:{login}")
        return self.event("unlabeled", name, login)

    def event(self, action: str, name: str, login: str) -> Path:
        number = len(list(self.folder.parent.glob("event-*")))
        path = self.folder.parent / f"event-{number}.json"
        path.write_text(json.dumps(labelled(self.now(), action, name, login).payload))
        return path

    def override(self, event: Path) -> tuple[str, str] | None:
        """`ml ci override` on the event: state and sentence of the head's status."""
        override.run(event)
        status = self.status(OVERRIDE)
        return (status["state"], status["description"]) if status else None

    def role(self, login: str, role: str) -> None:
        call(f"{self.api}/collaborators/{login}", "PUT", {"permission": role})


Propose = Callable[..., Proposal]


def labelled(pull: dict[str, Any], action: str, name: str, sender: str) -> events.Event:
    """A label was put on a pull request or taken from it: a run of the default branch's commit."""
    return events.targeted(pull, action, sender=events.user(sender), label={"name": name})
