"""The lock: one version of each package for every supported Python; pins stay until they are renewed."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.project import ROOT

GROUPS = ("dev", "train", "host", "serve")
LOCKS = (*GROUPS, "checkov")  # the last has versions of its own
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
MACHINES = (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"), ("darwin", "x86_64"))


def pins(text: str) -> list[Requirement]:
    return [Requirement(line.rstrip(" \\")) for line in text.splitlines() if re.match(r"[a-z0-9]", line)]


def versions(text: str, python: str, machine: tuple[str, str]) -> dict[str, str]:
    """What one machine installs of a lock file."""
    system, processor = machine
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.1",
        "sys_platform": system,
        "platform_system": system.capitalize(),
        "platform_machine": processor,
    }
    fit = [pin for pin in pins(text) if pin.marker is None or pin.marker.evaluate(environment)]
    assert len({pin.name for pin in fit}) == len(fit), "a package is pinned twice"
    return {pin.name: str(pin.specifier) for pin in fit}


def differ(text: str) -> dict[str, set[str]]:
    """Packages of which two supported Pythons would install different versions."""
    found: dict[str, set[str]] = {}
    for machine in MACHINES:
        for python in PYTHONS:
            for name, version in versions(text, python, machine).items():
                found.setdefault(f"{name} on {machine}", set()).add(version)
    return {name: several for name, several in found.items() if len(several) > 1}


@pytest.mark.parametrize("group", LOCKS)
def test_every_python_gets_the_same_versions(group):
    assert differ((ROOT / f"requirements/{group}.txt").read_text()) == {}


def test_a_lock_that_forks_by_python_is_found():
    forked = (
        "numpy==2.4.6 ; python_full_version < '3.12' \\\nnumpy==2.5.5 ; python_full_version >= '3.12' \\\n"
    )
    assert set(differ(forked)) == {f"numpy on {machine}" for machine in MACHINES}


def test_the_groups_have_the_same_versions():
    whole = (ROOT / "requirements/dev.txt").read_text()
    known = {(pin.name, str(pin.specifier)) for pin in pins(whole)}
    for group in GROUPS:
        part = (ROOT / f"requirements/{group}.txt").read_text()
        assert {(pin.name, str(pin.specifier)) for pin in pins(part)} <= known


def test_the_lock_names_no_address():
    for group in LOCKS:
        assert "://" not in (ROOT / f"requirements/{group}.txt").read_text()


@pytest.fixture
def project(tmp_path):
    """A project with a package `old` that is pinned to 1.0, though an index has 2.0 as well."""
    shutil.copyfile(ROOT / "Makefile", tmp_path / "Makefile")
    (tmp_path / "wheels").mkdir()
    for name, version in (("old", "1.0"), ("old", "2.0"), ("added", "1.0")):
        wheel(tmp_path / "wheels", name, version)
    groups(tmp_path, "old")
    (tmp_path / "requirements").mkdir()
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / "requirements/dev.txt").write_text("")
    (tmp_path / "wheels/old-2.0-py3-none-any.whl").rename(tmp_path / "later.whl")
    make_lock(tmp_path)
    (tmp_path / "later.whl").rename(tmp_path / "wheels/old-2.0-py3-none-any.whl")
    assert locked(tmp_path) == {"old": "==1.0"}
    return tmp_path


def test_a_package_more_changes_only_what_it_needs(project):
    groups(project, "old", "added")
    make_lock(project)
    assert locked(project) == {"old": "==1.0", "added": "==1.0"}


def test_upgrade_renews_the_pins(project):
    make_lock(project, "UPGRADE=1")
    assert locked(project) == {"old": "==2.0"}


def make_lock(project: Path, *words: str) -> None:
    (project / ".venv/ready").touch()
    found = {"UV_NO_INDEX": "1", "UV_FIND_LINKS": str(project / "wheels")}
    done = subprocess.run(
        ["make", "--silent", "lock", *words],
        cwd=project,
        env={**environment(), **found},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def environment() -> Mapping[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("UV_", "PIP_", "MAKE"))}


def locked(project: Path) -> dict[str, str]:
    found = [
        versions((project / f"requirements/{group}.txt").read_text(), "3.12", MACHINES[0]) for group in GROUPS
    ]
    assert all(part == found[0] for part in found), "the groups name the same packages here"
    return found[0]


def groups(project: Path, *packages: str) -> None:
    lines = "\n".join(f"{group} = {list(packages)}" for group in LOCKS)
    (project / "pyproject.toml").write_text(
        f'[project]\nname = "tiny"\nversion = "1"\nrequires-python = ">=3.11"\n[dependency-groups]\n{lines}\n'
    )


def wheel(folder: Path, name: str, version: str) -> None:
    about = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")


def python(project: Path, *found: tuple[str, str]) -> subprocess.CompletedProcess[str]:
    """What make takes for its Python where these programs are on PATH: name and shell text."""
    (project / "bin").mkdir()
    for name, text in found:
        (project / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (project / "bin" / name).chmod(0o755)
    shutil.copyfile(ROOT / "Makefile", project / "Makefile")
    make, path = shutil.which("make"), {"PATH": str(project / "bin")}
    assert make
    kept = {name: value for name, value in environment().items() if name != "PYTHON"}
    command = [make, "--silent", "SHELL=/bin/bash", "python"]
    return subprocess.run(command, cwd=project, env=kept | path, capture_output=True, text=True)


def test_make_takes_the_first_python_that_runs_and_is_supported(tmp_path: Path) -> None:
    real = f'exec "{sys.executable}" "$@"'
    switched_off = ("python3.11", "echo 'python3.11: command not found' >&2; exit 127")
    too_old = ("python3.12", "echo 'it prints nothing'> /dev/null")
    found = python(tmp_path, switched_off, too_old, ("python3.13", real)).stdout.strip()
    assert found == getattr(sys, "_base_executable")  # noqa: B009


def test_without_a_python_make_says_which_to_install(tmp_path: Path) -> None:
    assert python(tmp_path, ("python3.11", "exit 127")).stdout.strip() == ""
    done = subprocess.run(
        ["make", "environment", "PYTHON="], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 2 and "no Python from 3.11 to 3.14 on PATH" in done.stderr
