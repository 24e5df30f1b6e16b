"""The checkers of `make lint`, each with a workflow that it must refuse."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipelines.local.runner import STAND_INS
from tests.workflows.conftest import ROOT, WORKFLOWS

BIN = Path(sys.executable).parent
GIT_ENVIRONMENT = {"PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The repository's .github in a repository of its own."""
    shutil.copytree(ROOT / ".github", tmp_path / ".github")
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    return tmp_path


(ACTIONLINT,) = re.findall(r"ACTIONLINT := \.venv/(\S+)", (ROOT / "Makefile").read_text())
ACTIONLINT = f"../{ACTIONLINT}"
CHECKERS: dict[str, list[str | Path]] = {
    "zizmor": ["zizmor", "--offline", "--quiet", "--no-progress", "--persona=auditor", "."],
    "schema": ["check-jsonschema", "--builtin-schema", "vendor.github-workflows", *WORKFLOWS],
    "act": ["act", "--validate", "--strict"],
    "actionlint": [ACTIONLINT],
}
BAD = {
    "zizmor": ("run: make lint", "run: make lint ${{ github.event.pull_request.title }}"),
    "schema": ("runs-on: ubuntu-24.04", "runs_on: ubuntu-24.04"),
    "act": ("timeout-minutes: 10", "timeout-minuets: 10"),
    "actionlint": ("runs-on: ubuntu-24.04", "runs-on: ubuntu-2404"),
}


def check(checker: str, folder: Path) -> int:
    command = [
        str(folder / word.relative_to(ROOT)) if isinstance(word, Path) else word for word in CHECKERS[checker]
    ]
    command[0] = str(BIN / command[0])
    done = subprocess.run(
        command,
        cwd=folder,
        env=GIT_ENVIRONMENT | {"HOME": str(folder.parent)},  # act wants one that it may write
        capture_output=True,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode


@pytest.mark.parametrize("checker", CHECKERS)
def test_the_workflows_are_clean_and_a_bad_one_is_not(checker: str, checkout: Path) -> None:
    if checker == "actionlint" and not (BIN / ACTIONLINT).exists():
        pytest.skip("actionlint is not built here: `make lint` does that where there is Go")
    assert check(checker, checkout) == 0
    file = checkout / ".github/workflows/ci.yml"
    good, bad = BAD[checker]
    assert good in file.read_text()
    file.write_text(file.read_text().replace(good, bad))
    assert check(checker, checkout) != 0


def test_the_dockerfile_is_clean_and_a_bad_one_is_not(tmp_path: Path) -> None:
    good = (ROOT / "pipelines/release/Dockerfile").read_text()
    for text, clean in ((good, True), (f"{good}RUN apt-get install gcc\n", False)):
        (tmp_path / "Dockerfile").write_text(text)
        command = [str(BIN / "hadolint"), str(tmp_path / "Dockerfile")]
        assert (subprocess.run(command, capture_output=True).returncode == 0) == clean


def test_what_a_checker_is_told_to_leave_alone_has_a_reason() -> None:
    folders = (ROOT / ".github", STAND_INS)
    lines = [
        line
        for folder in folders
        for file in folder.rglob("*.y*ml")
        for line in file.read_text().splitlines()
    ]
    told = [line for line in lines if "ignore[" in line]
    assert told and not [line for line in told if not re.search(r"zizmor: ignore\[[a-z-]+\] [`\w]+", line)]


def test_the_hooks_come_from_the_locked_environment() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}
    programs = {hook["entry"].split()[0] for hook in repository["hooks"]}
    others = {"shellcheck", "hadolint", "zizmor", "check-jsonschema", "act", "ml", "ml-terraform"}
    assert programs == {"ruff", "mypy", *others}
    assert not [program for program in programs if not (BIN / program).exists()]
