"""What was made yours goes the whole way: judged, released, deployed, asked and watched, by its own `ml`."""

import contextlib
import json
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipelines.base.files import read_json, write_json
from pipelines.core.contract import Contract
from pipelines.host.host import Host
from pipelines.host.slots.launch import MARK
from pipelines.rollout.rehearse import free_ports
from pipelines.serving.request import Reader
from tests.problems.rain.columns import CONTRACT as RAIN
from tests.problems.yours import FLIGHT_COLUMNS, FLIGHT_WORDS, ROOM, commit, run
from tests.problems.yours import RAIN as ROOM_OF_RAIN

pytestmark = pytest.mark.slow
MONTH = "2013-07"  # the first that production sees
BETTER, WORSE = "trees: 40", "trees: 2"  # instead of 60, which learns some noise


@dataclass
class Team:
    """A bare origin, its main checked out to judge, an author's clone and a host of their own; `said` is all
    that `ml` has printed.
    """

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
    def url(self) -> str:
        return Host.load("staging", RAIN.name, self.home).edge_url

    def ml(self, *verb: str, at: Path | None = None, ends: tuple[int, ...] = (0,)) -> int:
        """Run a verb, by default in the author's clone. AssertionError where it ends with another code."""
        done = run(at or self.author, "ml", *verb, check=False, home=self.home)
        self.said.append(f"$ ml {' '.join(verb)}\n{done.stdout}{done.stderr}")
        assert done.returncode in ends, f"ended with {done.returncode}: {self.said[-1]}"
        return done.returncode

    def git(self, *command: str, at: Path | None = None) -> str:
        return run(at or self.author, "git", *command).stdout.strip()

    def propose(self, branch: str, settings: str) -> None:
        """A pull request as its author makes it: params.yaml edited, the model made, both committed."""
        self.git("checkout", "--quiet", "-b", branch, "main")
        params = self.author / "params.yaml"
        old = params.read_text()
        params.write_text(old.replace("trees: 60", settings))
        assert params.read_text() != old
        self.ml("reproduce")
        commit(self.author, f"{branch}: {settings}")
        self.git("push", "--quiet", "origin", branch)
        self.git("fetch", "--quiet", "origin", at=self.base)

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


@pytest.fixture(scope="module")
def team(rain: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    team = Team(tmp_path_factory.mktemp("team"))
    run(team.folder, "git", "init", "--quiet", "--bare", "--initial-branch=main", "origin.git")
    shutil.copytree(rain, team.author, symlinks=True)
    team.git("remote", "add", "origin", str(team.folder / "origin.git"))
    team.git("push", "--quiet", "origin", "main")
    shutil.copytree(team.author, team.base, symlinks=True)
    write_json(team.home / "staging/terraform.tfvars.json", {"port": free_ports()})
    yield team
    try:
        if (team.home / "staging/terraform").exists():
            team.ml("infra", "down", "--env", "staging")
    finally:
        left = team.processes()
        for _ in range(10):  # a supervisor that is not dead yet may start its program again
            for process in team.processes():
                with contextlib.suppress(psutil.Error):
                    process.kill()
        assert left == [], "`ml infra down` left something running"


@pytest.fixture(scope="module")
def merged(team: Team) -> tuple[dict[str, Any], str]:
    """A better proposal: its gate.json and its report.md. It is merged then."""
    team.propose("better", BETTER)
    judged = team.judge(code=0)
    team.git("checkout", "--quiet", "main")
    team.git("merge", "--quiet", "--ff-only", "better")
    team.git("push", "--quiet", "origin", "main")
    return judged


@pytest.fixture(scope="module")
def released(team: Team, merged: tuple[dict[str, Any], str]) -> dict[str, Any]:
    """The ledger's entry after the release of main."""
    team.ml("reproduce", "--locked")
    team.ml("release")
    said = team.git("show", "environments:staging.json", at=team.folder / "origin.git")
    entry: dict[str, Any] = json.loads(said)
    return entry


@pytest.fixture(scope="module")
def live(team: Team, released: dict[str, Any]) -> str:
    """The id of the release that is up on staging."""
    team.ml("infra", "up", "--env", "staging")
    team.ml("deploy", "--env", "staging")
    return str(released["release"])


def test_a_worse_proposal_is_refused_for_its_reason(team: Team) -> None:
    team.propose("worse", WORSE)
    gate, report = team.judge(code=4)
    failed = {finding["rule"] for finding in gate["findings"] if finding["verdict"] == "FAIL"}
    assert gate["verdict"] == "FAIL" and "log_loss" in failed
    assert failed <= {"log_loss", "roc_auc", "cost", "slices", "calibration"}  # worse, and nothing else
    assert (
        "FAIL" in report and "shown worse" in report and "| `train.settings.trees` | `60` | `2` |" in report
    )


def test_a_better_proposal_passes(merged: tuple[dict[str, Any], str]) -> None:
    gate, report = merged
    assert gate["verdict"] == "PASS"
    assert {part["slice"] for part in gate["slices"]} == {"station", "time of day"}
    assert gate["window"]["days"] == 30
    assert "PASS" in report and "| `train.settings.trees` | `60` | `40` |" in report


def test_the_merged_commit_is_released(team: Team, released: dict[str, Any]) -> None:
    folder = team.home / "store" / released["release"]
    about = read_json(folder / "release.json")
    assert about["name"] == RAIN.name and about["rebuilt"]["max_dp"] <= 1e-9
    assert about["commit"] == released["commit"] == team.git("rev-parse", "main")
    assert released["evidence"]["verdict"] == "PASS"


def test_nothing_but_the_room_the_params_and_the_data_has_changed(team: Team, live: str) -> None:
    template = team.git("rev-list", "--max-parents=0", "main")
    changed = set(team.git("diff", "--name-only", template, "main").split())
    assert changed <= {"params.yaml", "data.dvc", "dvc.lock", *(f"pipelines/problem/{name}" for name in ROOM)}
    assert team.git("status", "--short", "--", *changed, "pipelines", "infra") == ""


def test_a_request_through_the_edge_is_answered_by_that_release(team: Team, live: str) -> None:
    golden = read_json(team.home / "store" / live / "bento/src/models/golden.json")
    row, p = golden["rows"][0], golden["p"][0]
    assert set(row) == {column.name for column in RAIN.features}
    status, headers, answer = team.ask("/predict", {"rows": [row]})
    assert status == 200 and headers["x-greenlight-release"] == answer["release"] == live
    (prediction,) = answer["predictions"]
    assert prediction["p"] == pytest.approx(p, abs=1e-6) and prediction["act"] == (p >= 0.25)


@pytest.mark.parametrize(
    ("change", "named"),
    [({"barometer": "high"}, "rows[0].barometer"), ({"distance": 1.0}, "rows[0].distance")],
    ids=["text for a number", "a column of the flights"],
)
def test_a_wrong_field_is_named(team: Team, live: str, change: dict[str, Any], named: str) -> None:
    row = read_json(team.home / "store" / live / "bento/src/models/golden.json")["rows"][0]
    status, headers, answer = team.ask("/predict", {"rows": [{**row, **change}]})
    assert status == 400 and answer["error"].startswith(f"{named}: ")
    assert headers["x-greenlight-release"] == live


def test_a_month_is_replayed_and_its_labels_are_judged(team: Team, live: str) -> None:
    tally, out = team.folder / "tally.json", team.folder / "drift"
    team.ml("ci", "replay", "--month", MONTH, "--env", "staging", "--tally", str(tally))
    counts = read_json(tally)
    assert counts["lost"] == counts["mixed"] == 0 and counts["releases"] == {live: counts["sent"]}
    team.ml("ingest", "--through", MONTH, "--labels-to", "host")
    assert (team.home / f"labels/{MONTH}.parquet").is_file()

    verdicts = {0: {"STEADY"}, 3: {"INCONCLUSIVE"}, 4: {"RETRAIN", "FAULT"}}
    verb = ("drift", "--env", "staging", "--through", MONTH, "--out", str(out))
    code = team.ml(*verb, ends=tuple(verdicts))
    check = read_json(out / "drift.json")
    assert check["verdict"] in verdicts[code]
    (month,) = check["months"]
    assert month["month"] == MONTH and month["predictions"] == counts["rows"] > 2000
    assert month["faults"] == []  # what the model was asked is what the source says afterwards
    assert set(month["psi"]) == {column.name for column in RAIN.features}
    team.said.append((out / "drift.md").read_text())


def words_of_flights(text: str) -> list[str]:
    """What only the template's own problem says: its words, and its columns that the rain has no word for."""
    english = (ROOM_OF_RAIN / "columns.py").read_text()
    columns = FLIGHT_COLUMNS - set(re.findall(r"\w+", english))
    found = [match.group() for match in FLIGHT_WORDS.finditer(text)]
    return found + [word for word in re.findall(r"\w+", text) if word in columns]


def test_nothing_speaks_of_flights(team: Team, live: str) -> None:
    folder = team.home / "store" / live
    status, _, openapi = team.ask("/docs.json")
    assert status == 200 and "rains in the next three hours" in json.dumps(openapi)
    texts = {
        "docs.json": json.dumps(openapi),
        **{path.name: path.read_text() for path in (folder / "evidence").iterdir()},
        **{path.name: path.read_text() for path in (folder / "bento").glob("**/openapi.yaml")},
        "bento.yaml": (folder / "bento/bento.yaml").read_text(),
        "said": "\n".join(team.said),
    }
    assert {"model.json", "report.md", "gate.json", "openapi.yaml"} <= set(texts) and len(team.said) > 8
    assert {name: found for name, text in texts.items() if (found := words_of_flights(text))} == {}


def schema_of(contract: Contract) -> str:
    return json.dumps(Reader(contract, 1).schema())


def test_flights_would_be_found() -> None:
    assert {"flight", "carrier", "distance"} <= set(words_of_flights("a flight: its carrier, the distance"))
    assert words_of_flights(schema_of(RAIN)) == []


def test_infra_down_leaves_nothing_running(team: Team, live: str) -> None:
    assert team.processes() != []
    team.ml("infra", "down", "--env", "staging")
    assert team.processes() == []
    with pytest.raises(urllib.error.URLError):
        team.ask("/livez")
    assert (team.home / "store" / live / "release.json").is_file()
    assert any((team.home / "staging").glob("models/*/predictions/*.jsonl"))
