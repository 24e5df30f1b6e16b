"""Teams that have made this repository their own, each with a problem of another kind of answer: what they do
by `ml`, and what is to be expected of it."""

import contextlib
import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipelines.base.files import read_json
from pipelines.core import params
from pipelines.core.problem import Problem
from pipelines.host.host import Host
from pipelines.host.slots.launch import MARK
from tests.problems.yours import commit, environment, run

TREES = 60  # of each first model


@dataclass(frozen=True)
class Case:
    """A problem of tests/problems, two other numbers of trees, and what is said of its answers."""

    name: str
    better: int
    worse: int
    worse_by: set[str]  # the rule by which it is refused
    others: set[str]  # that may refuse it too: it is worse, and nothing else
    told: tuple[str, ...]  # in the report on the worse one
    asked: dict[str, Any]  # of params.yaml: drift, what no model keeps
    says: Callable[[Any, dict[str, Any]], dict[str, Any]]  # in the HTTP contract, with a serving.json
    outcome: Callable[[Any], bool]  # whether that is what came true, as a report shows it
    about: str  # in the service's description
    ships: str = ""  # in serving.json, what other kinds of answers have not

    @property
    def problem(self) -> Problem:
        return Problem(f"tests.problems.{self.name}")


RAIN = Case(
    name="rain",
    better=40,  # 60 learn some noise
    worse=2,
    worse_by={"log_loss"},
    others={"roc_auc", "cost", "slices", "calibration"},
    told=("Log-loss",),
    asked={"brier_skill": 0.95},
    says=lambda p, served: {"p": pytest.approx(p, abs=1e-6), "act": p >= 0.25},
    outcome=lambda came: came in ("yes", "no"),
    about="rains in the next three hours",
)
HEAT = Case(
    name="heat",
    better=64,
    worse=5,
    worse_by={"mae", "rmse"},
    others={"cost", "slices", "calibration"},
    told=("Mean absolute error", "by over 1.4 °F"),
    asked={"r2": 0.995},
    says=lambda y, served: {
        name: pytest.approx(y + sign * served["interval"]["half_width"], abs=1e-4)
        for name, sign in {"y": 0, "low": -1, "high": 1}.items()
    },
    outcome=lambda came: -20 <= float(came) <= 120,
    about="The air temperature in three hours, in °F",
    ships="interval",
)


def cheapest(p: list[float], served: dict[str, Any]) -> dict[str, Any]:
    """The class with the least expected cost, beside the probabilities."""
    of = dict(zip(("on time", "late", "very late"), p, strict=True))
    cost = {said: sum(of[true] * served["costs"][true].get(said, 0) for true in of) for said in of}
    return {"p": pytest.approx(of, abs=1e-6), "class": min(cost, key=lambda said: cost[said])}


DELAY = Case(
    name="delay",
    better=30,
    worse=2,
    worse_by={"log_loss"},
    others={"roc_auc", "cost", "slices", "calibration"},
    told=("Log-loss",),
    asked={"brier_skill": 0.95},
    says=cheapest,
    outcome=lambda came: came in ("on time", "late", "very late"),
    about="how late the flight arrives",
    ships="costs",
)


@dataclass
class Team:
    """A bare origin, its main checked out to judge, an author's clone and a host of their own; `said` is all
    that `ml` has printed.
    """

    case: Case
    folder: Path
    said: list[str] = field(default_factory=list)

    @property
    def base(self) -> Path:
        return self.folder / "base"

    @property
    def author(self) -> Path:
        return self.folder / "author"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @cached_property
    def contract(self) -> Any:
        return self.case.problem.contract

    @property
    def host(self) -> Host:
        return Host.load("staging", self.contract.name, self.home)

    @cached_property
    def url(self) -> str:
        return self.host.edge_url

    def shipped(self, release: str, name: str) -> dict[str, Any]:
        return dict(read_json(self.home / "store" / release / "bento/src/models" / name))

    def ml(self, *verb: str, at: Path | None = None, ends: tuple[int, ...] = (0,)) -> int:
        """Run a verb, by default in the author's clone. AssertionError where it ends with another code."""
        done = run(at or self.author, "ml", *verb, check=False, home=self.home)
        self.said.append(f"$ ml {' '.join(verb)}\n{done.stdout}{done.stderr}")
        assert done.returncode in ends, f"ended with {done.returncode}: {self.said[-1]}"
        return done.returncode

    def git(self, *command: str, at: Path | None = None) -> str:
        return run(at or self.author, "git", *command).stdout.strip()

    def propose(self, branch: str, trees: int) -> None:
        """A pull request as its author makes it: params.yaml edited, the model made, both committed."""
        self.git("checkout", "--quiet", "-b", branch, "main")
        self.edit({"train.settings.trees": trees})
        self.ml("reproduce")
        commit(self.author, f"{branch}: {trees} trees")
        self.git("push", "--quiet", "origin", branch)
        self.git("fetch", "--quiet", "origin", at=self.base)

    def edit(self, values: dict[str, Any]) -> None:
        """Write these into the author's params.yaml."""
        file = self.author / "params.yaml"
        file.write_text(params.edited(file.read_text(), values))

    @contextlib.contextmanager
    def callers(self, month: str) -> Iterator[dict[str, Any]]:
        """A month's events are asked, round and round; what became of them is there afterwards."""
        stop, tally, found = self.folder / "stop", self.folder / "callers.json", dict[str, Any]()
        verb = ("ci", "replay", "--month", month, "--env", "staging", "--rate", "20")
        process = subprocess.Popen(
            ["ml", *verb, "--until", str(stop), "--tally", str(tally)],
            cwd=self.base,
            env=environment(self.base, self.home),
        )
        try:
            yield found
        finally:
            stop.touch()
            process.wait(30)
        found |= read_json(tally)

    def judge(self, code: int) -> tuple[dict[str, Any], str]:
        """gate.json and report.md of what the author has checked out, judged from main's checkout."""
        evidence, head = str(self.author / "evidence"), self.git("rev-parse", "HEAD")
        build = ("--candidate", str(self.author), "--base", ".", "--head", head, "--out", evidence)
        self.ml("gate", *build, at=self.base, ends=(code,))
        self.ml("report", evidence, at=self.base)
        report = (self.author / "evidence/report.md").read_text()
        self.said.append(report)
        return read_json(self.author / "evidence/gate.json"), report

    def ask(self, path: str, body: Any = None) -> tuple[int, dict[str, str], Any]:
        """Status, headers and JSON of an answer of the edge."""
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, content, {"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, dict(answer.headers), json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, dict(error.headers), json.load(error)

    def processes(self) -> list[psutil.Process]:
        """What runs of this team's host, whoever its parent is."""
        return [process for process in psutil.process_iter() if _mark(process).startswith(str(self.home))]


def _mark(process: psutil.Process) -> str:
    try:
        return process.environ().get(MARK, "")
    except psutil.Error:
        return ""
