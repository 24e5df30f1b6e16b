"""A pull request of a small repository, and what its run of `propose` leaves."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.local import events
from pipelines.local.act import Run
from pipelines.local.github import call
from pipelines.review import comment, override, runs
from tests.verdicts import BASE, HEAD

REPOSITORY = "somebody/flights"
PASS = {"rule": "roc_auc", "verdict": "PASS", "sentence": "ROC-AUC is as good", "numbers": {}}
FAIL = {"rule": "log_loss", "verdict": "FAIL", "sentence": "log-loss is worse by 0.02", "numbers": {}}
UNSURE = {"rule": "window", "verdict": "INCONCLUSIVE", "sentence": "V has 7 days, not 28", "numbers": {}}
PARAMS = "train:\n  seed: 1\ngate:\n  days: 28\n"
BETTER = {"params.yaml": PARAMS.replace("seed: 1", "seed: 2"), "dvc.lock": "2\n"}


@dataclass(frozen=True)
class Proposal:
    """A pull request; `ran` is its newest run of `propose`."""

    api: str
    pull: dict[str, Any]
    state: Path  # of the stand-in: its runs and artifacts
    folder: Path
    output: Path
    ran: list[int] = field(default_factory=list)

    def leave(self, gate: Any, report: str = "# Report\n") -> None:
        """Let the folder of the evidence hold these."""
        self.folder.mkdir(exist_ok=True)
        if isinstance(gate, dict):
            gate = {"version": 1, "head": HEAD, "base": BASE} | gate
        (self.folder / "gate.json").write_text(gate if isinstance(gate, str) else json.dumps(gate))
        (self.folder / "report.md").write_text(report)

    def run(self, conclusion: str = "success", **changes: Any) -> dict[str, Any]:
        """A run of `propose` for the head as it is now has ended."""
        pull = call(f"{self.api}/pulls/{self.pull['number']}")
        number = 1 + max((int(path.name) for path in self.state.glob("runs/*")), default=0)
        made = Run(number, "propose", runs.WORKFLOW, events.pull_request(pull), 0, {}, "", Path())
        told = made.as_json(REPOSITORY) | {"conclusion": conclusion} | changes
        (self.state / f"runs/{number}").mkdir(parents=True)
        (self.state / f"runs/{number}/run.json").write_text(json.dumps(told))
        self.ran.append(number)
        return told

    def judge(self, conclusion: str = "success", **changes: Any) -> dict[str, str]:
        """A run of `propose`, and `ml comment` on it and on what lies in `folder`."""
        self.run(conclusion, **changes)
        return self.comment()

    def comment(self) -> dict[str, str]:
        """`ml comment` on the newest run: the status of the gate, and the outputs."""
        self.output.write_text("")
        assert comment.run(self.ran[-1], self.folder) == 0
        told = self.outputs()
        if status := self.status(comment.CONTEXT):
            told |= {"state": status["state"], "sentence": status["description"]}
        return told

    def outputs(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self.output.read_text().splitlines())

    def status(self, context: str) -> dict[str, Any] | None:
        """The newest status of the pull request's head."""
        sha = call(f"{self.api}/pulls/{self.pull['number']}")["head"]["sha"]
        found = call(f"{self.api}/commits/{sha}/status")["statuses"]
        return next((status for status in found if status["context"] == context), None)

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
        pull = call(f"{self.api}/pulls/{self.pull['number']}")
        number = len(list(self.folder.parent.glob("event-*")))
        path = self.folder.parent / f"event-{number}.json"
        path.write_text(json.dumps(events.label(pull, action, name, login).payload))
        return path

    def override(self, event: Path) -> tuple[str, str] | None:
        """`ml override` on the event: state and sentence of the head's status."""
        assert override.run(event) == 0
        status = self.status(override.CONTEXT)
        return (status["state"], status["description"]) if status else None

    def role(self, login: str, role: str) -> None:
        call(f"{self.api}/collaborators/{login}", "PUT", {"permission": role})


Propose = Callable[..., Proposal]
