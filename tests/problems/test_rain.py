"""Another problem needs another room and other params, and nothing else."""

import ast
import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.problems.yours import FLIGHT_COLUMNS, FLIGHT_WORDS, REPOSITORY, ROOM, run


def test_only_the_team_s_room_and_params_differ(rain: Path) -> None:
    changed = set(run(rain, "git", "diff", "--name-only", "HEAD~2", "HEAD~1").stdout.split())
    assert changed <= {"params.yaml", *(f"pipelines/problem/{name}" for name in ROOM)}


def test_the_pipeline_runs_with_another_problem(rain: Path) -> None:
    card = json.loads((rain / "models/model.json").read_text())
    metrics = json.loads((rain / "models/metrics.json").read_text())
    assert card["name"] == "rain-soon" and "barometer_change" in card["features"]
    assert "rain_to_come" not in card["features"] and "wet" not in card["features"]
    assert metrics["roc_auc"] > 0.8 and metrics["brier_skill"] > 0.2
    assert "everything is as dvc.lock says" in run(rain, "ml", "reproduce", "--locked").stderr
    assert run(rain, "git", "status", "--short").stdout == ""


def code_words(file: Path) -> set[str]:
    """Every string (docstrings aside), name and attribute of a module."""
    tree = ast.parse(file.read_text())
    prose = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    words = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            words.add(node.value)
        elif isinstance(node, ast.Name):
            words.add(node.id)
        elif isinstance(node, ast.Attribute):
            words.add(node.attr)
    return words


OUTSIDE = sorted(
    file
    for file in (REPOSITORY / "pipelines").rglob("*.py")
    if not {"problem", "local"} & set(file.relative_to(REPOSITORY / "pipelines").parts[:1])
)


@pytest.mark.parametrize("file", OUTSIDE, ids=lambda file: str(file.relative_to(REPOSITORY)))
def test_no_column_and_no_flight_stands_outside_the_team_s_room(file: Path) -> None:
    words = code_words(file)
    assert words & FLIGHT_COLUMNS == set()
    assert [word for word in words if FLIGHT_WORDS.search(word)] == []


WRITTEN = sorted(
    REPOSITORY / name
    for name in subprocess.run(
        [
            "git",
            "ls-files",
            ".github",
            ".ci",
            "infra",
            "dvc.yaml",
            "bentofile.yaml",
            "pipelines/release/Dockerfile",
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
)


@pytest.mark.parametrize("file", WRITTEN, ids=lambda file: str(file.relative_to(REPOSITORY)))
def test_no_workflow_stage_or_module_of_terraform_speaks_of_flights(file: Path) -> None:
    words = set(re.findall(r"\w+", text := file.read_text()))
    assert words & FLIGHT_COLUMNS == set()
    assert FLIGHT_WORDS.search(text) is None


def test_a_column_outside_the_team_s_room_would_be_found(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text(
        '"""A flight in prose does not matter."""\nrows = table["distance"]\nprint("the flight")\n'
    )
    assert "distance" in code_words(bad)
    assert [word for word in code_words(bad) if FLIGHT_WORDS.search(word)] == ["the flight"]
