"""What was made yours goes the whole way: judged, released, deployed beside what runs, asked, watched and
trained again, by its own `ml`: a problem of each kind of answer."""

import contextlib
import json
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import yaml
from jsonschema import validate

from pipelines.base.errors import Refused
from pipelines.base.files import read_json, write_json
from pipelines.core import params
from pipelines.core.problem import Problem
from pipelines.rollout import shadow, steps
from pipelines.rollout.journal import Journal
from pipelines.rollout.rehearse import free_ports
from pipelines.serving.request import Reader
from tests.problems.team import DELAY, HEAT, RAIN, TREES, Team
from tests.problems.yours import FLIGHT_COLUMNS, FLIGHT_WORDS, ROOM, commit, run

pytestmark = pytest.mark.slow
SEEN, MONTH = "2013-06", "2013-07"  # the test window; the first month that production sees afterwards
PAIRS = 1000


@pytest.fixture(scope="module", params=[RAIN, HEAT, DELAY], ids=lambda case: str(case.name))
def team(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """Whose first model serves on staging, in front of which later ones will be in the shadow first."""
    ours = request.getfixturevalue((case := request.param).name)
    team = Team(case, tmp_path_factory.mktemp("team"))
    run(team.folder, "git", "init", "--quiet", "--bare", "--initial-branch=main", "origin.git")
    shutil.copytree(ours, team.author, symlinks=True)
    shadowed = {"environments": ["staging"], "pairs": PAIRS, "patience": 60.0}
    drift = {f"drift.{name}": value for name, value in ({"months": 1} | case.asked).items()}
    team.edit({"rollout.shadow": shadowed, **drift})
    commit(team.author, "copies before callers, and a new model after one bad month")
    team.git("remote", "add", "origin", str(team.folder / "origin.git"))
    team.git("push", "--quiet", "origin", "main")
    shutil.copytree(team.author, team.base, symlinks=True)
    write_json(team.home / "staging/terraform.tfvars.json", {"port": free_ports()})
    try:
        team.ml("release")
        team.ml("infra", "up", "--env", "staging")
        team.ml("deploy", "--env", "staging")
        yield team
    finally:
        with contextlib.suppress(AssertionError):
            team.ml("infra", "down", "--env", "staging")
        left = team.processes()
        for _ in range(10):  # a supervisor that is not dead yet may start its program again
            for process in team.processes():
                with contextlib.suppress(psutil.Error):
                    process.kill()
        assert left == [], "`ml infra down` left something running"


@pytest.fixture(scope="module")
def first(team: Team) -> str:
    """The id of the release that was up before there was another."""
    return str(wanted(team)["release"])


@pytest.fixture(scope="module")
def merged(team: Team, first: str) -> tuple[dict[str, Any], str]:
    """A proposal that is as good: its gate.json and its report.md. It is merged then."""
    team.propose("better", team.case.better)
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
    return wanted(team)


def wanted(team: Team) -> dict[str, Any]:
    entry: dict[str, Any] = json.loads(
        team.git("show", "environments:staging.json", at=team.folder / "origin.git")
    )
    return entry


@pytest.fixture(scope="module")
def called(team: Team, first: str, released: dict[str, Any]) -> dict[str, Any]:
    """What became of the callers while the second release took the first one's place."""
    with team.callers(SEEN) as counts:
        team.ml("deploy", "--env", "staging")
    return counts


@pytest.fixture(scope="module")
def live(called: dict[str, Any], released: dict[str, Any]) -> str:
    """The id of the release that is up on staging."""
    return str(released["release"])


def test_a_worse_proposal_is_refused_for_its_reason(team: Team, first: str) -> None:
    team.propose("worse", team.case.worse)
    gate, report = team.judge(code=4)
    shutil.rmtree(team.author / "evidence")
    failed = {finding["rule"] for finding in gate["findings"] if finding["verdict"] == "FAIL"}
    assert gate["verdict"] == "FAIL" and team.case.worse_by <= failed
    assert failed <= team.case.worse_by | team.case.others
    change = f"| `train.settings.trees` | `{TREES}` | `{team.case.worse}` |"
    for words in ("FAIL", "shown worse", change, *team.case.told):
        assert words in report


def test_a_proposal_that_is_as_good_passes_on_each_rule(
    team: Team, merged: tuple[dict[str, Any], str]
) -> None:
    gate, report = merged
    task = team.case.problem.task
    found = {finding["rule"]: finding["verdict"] for finding in gate["findings"]}
    assert gate["verdict"] == "PASS" and set(found.values()) == {"PASS"}, gate["findings"]
    compared, floors = ({metric.key for metric in metrics} for metrics in (task.compared, task.floors))
    asked = {"cost", "calibration", "slices"} | ({"coverage"} if team.case.ships == "interval" else set())
    assert asked | compared | {f"floor_{key}" for key in floors} <= found.keys()
    shown = gate["explain"]["shap"]["candidate"]["rows"]
    assert shown and all(team.case.outcome(row["label"]) for row in shown)
    figures = {*task.ideal, *(f"{name}_interval" for name in task.ideal)}
    assert figures <= gate["calibration"]["candidate"].keys()
    assert all(f"| {name} |" in report for name in task.ideal)
    slices = {column.name for column in team.contract.slices}
    assert {part["slice"] for part in gate["slices"]} == slices | {"time of day"}
    assert gate["window"]["days"] == 30
    assert "PASS" in report and f"| `train.settings.trees` | `{TREES}` | `{team.case.better}` |" in report


def test_the_merged_commit_is_released(team: Team, released: dict[str, Any]) -> None:
    folder = team.home / "store" / released["release"]
    about = read_json(folder / "release.json")
    assert about["name"] == team.contract.name and about["rebuilt"]["max_dp"] <= 1e-9
    assert about["commit"] == released["commit"] == team.git("rev-parse", "main")
    assert released["evidence"]["verdict"] == "PASS"


def test_it_answered_copies_of_requests_first_as_the_gate_saw_and_no_caller_noticed(
    team: Team, first: str, live: str, called: dict[str, Any]
) -> None:
    move = Journal(team.host.place).moves()[-1]
    compared = move.first("fact", "SHADOW")["compared"]
    assert (move.result, move.release, move.origin and move.origin["release"]) == ("completed", live, first)
    assert compared["pairs"] >= PAIRS and compared["skew"] <= steps.SKEW and compared["why"] == []
    assert compared["dp"][0] < compared["dp"][-1]  # they are two models
    assert compared["wasserstein"] < np.mean(np.abs(_seen(team, live)))
    assert called["lost"] == called["mixed"] == 0 and set(called["releases"]) == {first, live}


def test_a_release_that_differs_more_than_the_gate_saw_is_turned_back(
    team: Team, first: str, live: str, tmp_path: Path
) -> None:
    """The copies that were answered just now, beside a gate that saw hardly a difference."""
    store, move = team.home / "store", Journal(team.host.place).moves()[-1]
    pairs = shadow.Shadow(
        team.host.predictions, str((move.origin or {})["slot"]), move.slot, move.at, team.case.problem.task
    )
    assert pairs.read() >= PAIRS
    limits = params.Rollout(healthy_within=1.0, drain_within=1.0, shadow=params.Shadow(wasserstein=1e-9))
    given = {"contract": team.contract, "slot": move.slot, "limits": limits}
    given["live_folder"] = lambda: store / first
    honest: Any = SimpleNamespace(folder=store / live, **given)
    assert steps._compare(honest, pairs).why == ()
    doubted: Any = SimpleNamespace(folder=Path(shutil.copytree(store / live, tmp_path / live)), **given)
    gate = read_json(doubted.folder / "evidence/gate.json")
    gate["dp"]["quantiles"] = [value / 1000 for value in gate["dp"]["quantiles"]]
    write_json(doubted.folder / "evidence/gate.json", gate)
    with pytest.raises(Refused, match=f"otherwise than the gate saw: Wasserstein-1 of Δ{_answer(team)}"):
        steps._compare(doubted, pairs)


def _seen(team: Team, release: str) -> list[float]:
    gate = read_json(team.home / "store" / release / "evidence/gate.json")
    return list(gate["dp"]["quantiles"])


def _answer(team: Team) -> str:
    return team.case.problem.task.answer


def test_nothing_but_the_room_the_params_and_the_data_has_changed(team: Team, live: str) -> None:
    template = team.git("rev-list", "--max-parents=0", "main")
    changed = set(team.git("diff", "--name-only", template, "main").split())
    assert changed <= {"params.yaml", "data.dvc", "dvc.lock", *(f"pipelines/problem/{name}" for name in ROOM)}
    assert team.git("status", "--short", "--", *changed, "pipelines", "infra") == ""


def test_a_request_through_the_edge_is_answered_by_that_release(team: Team, live: str) -> None:
    golden = team.shipped(live, "golden.json")
    row, p = golden["rows"][0], golden["p"][0]
    assert set(row) == {column.name for column in team.contract.features}
    status, headers, answer = team.ask("/predict", {"rows": [row]})
    served = team.shipped(live, "serving.json")
    assert not team.case.ships or team.case.ships in served
    assert status == 200 and headers["x-greenlight-release"] == answer["release"] == live
    (prediction,) = answer["predictions"]
    assert prediction == team.case.says(p, served)
    _, _, openapi = team.ask("/docs.json")
    told = json.dumps(openapi, ensure_ascii=False)
    assert team.case.about in told
    (said,) = openapi["paths"]["/predict"]["post"]["responses"]["200"]["content"].values()
    validate(answer, said["schema"])


@pytest.mark.parametrize(
    ("change", "named"),
    [({"barometer": "high"}, "rows[0].barometer"), ({"distance": 1.0}, "rows[0].distance")],
    ids=["text for a number", "a column of the flights"],
)
def test_a_wrong_field_is_named(team: Team, live: str, change: dict[str, Any], named: str) -> None:
    row = team.shipped(live, "golden.json")["rows"][0]
    status, headers, answer = team.ask("/predict", {"rows": [{**row, **change}]})
    assert status == 400 and answer["error"].startswith(f"{named}: ")
    assert headers["x-greenlight-release"] == live


def test_a_month_is_replayed_and_its_labels_are_judged(team: Team, live: str) -> None:
    tally, out = team.folder / "tally.json", team.author / "build/drift"
    team.ml("ci", "replay", "--month", MONTH, "--env", "staging", "--tally", str(tally))
    counts = read_json(tally)
    assert counts["lost"] == counts["mixed"] == 0 and counts["releases"] == {live: counts["sent"]}
    team.ml("ingest", "--through", MONTH, "--labels-to", "host")
    assert (team.home / f"labels/{MONTH}.parquet").is_file()

    team.ml("drift", "--env", "staging", "--through", MONTH, ends=(4,))
    check = read_json(out / "drift.json")
    (month,) = check["months"]
    assert month["month"] == MONTH and month["predictions"] == counts["rows"] > 2000
    assert month["faults"] == []  # what the model was asked is what the source says afterwards
    assert set(month["psi"]) == {column.name for column in team.contract.features}
    task, (floor,) = team.case.problem.task, team.case.asked.values()
    assert check["verdict"] == "RETRAIN" and 0 < month["brier_skill"] < floor
    team.said.append((out / "drift.md").read_text())
    assert f"the {task.skill.name} was below {floor:g}" in team.said[-1]


def test_the_drift_check_asks_for_a_model_that_knows_the_month(team: Team, live: str) -> None:
    """After the test above: a branch with what a proposal is made of, for the gate and for people."""
    team.ml("ci", "retrain", "build/drift")
    branch, origin = f"retrain/{MONTH}", team.folder / "origin.git"
    assert f"Open a pull request of {branch} into main" in team.said[-1]
    changed = team.git("diff", "--name-only", "main", branch, at=origin).split()
    assert changed == ["data.dvc", "dvc.lock", "params.yaml"]
    wanted = yaml.safe_load(team.git("show", f"{branch}:params.yaml", at=origin))
    assert (wanted["data"]["through"], wanted["train"]["last"]) == (MONTH, SEEN)
    before, after = (
        yaml.safe_load(team.git("show", f"{of}:dvc.lock", at=origin))["stages"] for of in ("main", branch)
    )
    assert before["train"]["outs"] != after["train"]["outs"] and before.keys() == after.keys()
    body = (team.author / "build/drift/proposal.md").read_text()
    assert (
        team.case.problem.task.skill.name in body
        and f"through {SEEN}; what is newer, through {MONTH}, judges" in body
    )


def words_of_flights(text: str, problem: Problem) -> list[str]:
    """What only the template's own problem says: its words, and its columns that this one has no word for."""
    english = set(re.findall(r"\w+", (problem.folder / "columns.py").read_text()))
    found = [match.group() for match in FLIGHT_WORDS.finditer(text)]
    found += [word for word in re.findall(r"\w+", text) if word in FLIGHT_COLUMNS]
    return [word for word in found if word not in english]


def test_nothing_speaks_of_flights(team: Team, live: str) -> None:
    folder = team.home / "store" / live
    _, _, openapi = team.ask("/docs.json")
    texts = {
        "docs.json": json.dumps(openapi),
        **{path.name: path.read_text() for path in (folder / "evidence").iterdir()},
        **{path.name: path.read_text() for path in (folder / "bento").glob("**/openapi.yaml")},
        "bento.yaml": (folder / "bento/bento.yaml").read_text(),
        "said": "\n".join(team.said),
    }
    assert {"model.json", "report.md", "gate.json", "openapi.yaml"} <= set(texts) and len(team.said) > 8
    spoken = {
        name: found for name, text in texts.items() if (found := words_of_flights(text, team.case.problem))
    }
    assert spoken == {}


def test_flights_would_be_found() -> None:
    rain = RAIN.problem
    assert {"flight", "carrier", "distance"} <= set(
        words_of_flights("a flight: its carrier, the distance", rain)
    )
    assert words_of_flights(json.dumps(Reader(rain.contract, 1).schema()), rain) == []


def test_infra_down_leaves_nothing_running(team: Team, live: str) -> None:
    assert team.processes() != []
    team.ml("infra", "down", "--env", "staging")
    assert team.processes() == []
    with pytest.raises(urllib.error.URLError):
        team.ask("/livez")
    assert (team.home / "store" / live / "release.json").is_file()
    assert any((team.home / "staging").glob("models/*/predictions/*.jsonl"))
