"""`make .venv/ready` fills the environment of its own checkout, whatever is set and wherever that is."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.code.test_programs import KEPT, STEERING

ROOT = Path(__file__).parents[2]
UV = """#!/bin/bash
# Stands for uv: writes down what it was asked, and makes what `uv venv` makes.
printf '%s\\n' "$*" >>"$LOG"
env >"$LOG.env"
if [ "$1" = venv ]; then mkdir -p .venv/bin; touch .venv/bin/python; fi
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "a b" / "green light"
    (folder / "requirements").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "requirements/dev.txt"):
        shutil.copyfile(ROOT / name, folder / name)
    (tmp_path / "bin of uv").mkdir()
    uv = tmp_path / "bin of uv/uv"
    uv.write_text(UV)
    uv.chmod(0o755)
    return folder


def ready(checkout: Path, **given: str) -> tuple[list[str], dict[str, str]]:
    """What uv was asked, call by call, and the environment that it had."""
    log, bin = checkout.parents[1] / "log", checkout.parents[1] / "bin of uv"
    known = {name: os.environ[name] for name in ("HOME",) if name in os.environ}
    path = os.pathsep.join([str(checkout / ".venv/bin"), str(bin), "/usr/local/bin", "/usr/bin", "/bin"])
    environment = known | {"PATH": path, "LOG": str(log), "PYTHON": sys.executable} | given
    done = subprocess.run(
        ["make", ".venv/ready"], cwd=checkout, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    said = log.read_text().splitlines() if log.exists() else []
    told = Path(f"{log}.env").read_text() if said else ""
    return said, dict(line.partition("=")[::2] for line in told.splitlines())


def test_a_space_in_the_checkout_s_path_does_no_harm(checkout: Path) -> None:
    said, _ = ready(checkout)
    assert [line.split()[0] for line in said] == ["venv", "pip", "pip"]
    assert (checkout / ".venv/lock").read_bytes() == (checkout / "requirements/dev.txt").read_bytes()


def test_what_is_set_for_another_environment_changes_nothing(checkout: Path) -> None:
    said, told = ready(checkout, **{k: v for k, v in (STEERING | KEPT).items() if k != "MAKEFLAGS"})
    assert all("--python .venv/bin/python" in line for line in said if line.startswith("pip"))
    names = [name for name in STEERING if name.startswith(("UV_", "PIP_", "PYTHON", "VIRTUAL", "CONDA"))]
    wrong = {name for name in names if told.get(name) == STEERING[name] and name != "PYTHONOPTIMIZE"}
    assert len(names) > 5 and not wrong
    kept = [name for name in KEPT if name.startswith(("UV_", "PIP_", "SSL_", "HTTPS_"))]
    assert {name: told.get(name) for name in kept} == {name: KEPT[name] for name in kept}


def test_an_environment_that_a_link_names_is_not_filled(checkout: Path) -> None:
    other = checkout.parent / "other"
    other.mkdir()
    (checkout / ".venv").symlink_to(other)
    ready(checkout)
    assert not (checkout / ".venv").is_symlink()
    assert list(other.iterdir()) == []


def test_an_environment_of_the_same_lock_is_linked_and_left_as_it_is(checkout: Path) -> None:
    other = checkout.parent / "other"
    other.mkdir()
    shutil.copyfile(checkout / "requirements/dev.txt", other / "lock")
    said, _ = ready(checkout, GREENLIGHT_VENV=str(other))
    assert said == []
    assert (checkout / ".venv").resolve() == other.resolve()
    assert [path.name for path in other.iterdir()] == ["lock"]
