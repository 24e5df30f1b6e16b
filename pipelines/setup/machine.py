"""What `ml doctor` looks at on this machine: does it have what `ml` and an environment need?"""

import os
import platform
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from pipelines.artifacts.host import Slots
from pipelines.base import git, programs
from pipelines.base.errors import UserError
from pipelines.base.files import read_json
from pipelines.host import services
from pipelines.host.host import Host
from pipelines.setup import project
from pipelines.setup.beside import beside, unknown
from pipelines.setup.check import Check, State

GROUP = "machine"
GIT = "2.38"  # the first with `git merge-tree --write-tree`, for `ml update`
GLIBC = "2.35"  # of the wheel that is Terraform
FREE_BYTES = 2 * 2**30  # an environment of the lock, and some releases
DOCKER_SECONDS = 5.0
PORTS = {"staging": 8080, "production": 8090}  # the first of each, as infra/local says


def checks(home: Path) -> list[Check]:
    """Python, its environment, git, disk, glibc, Docker, and the ports of both environments."""
    ports = [(unknown(GROUP, f"ports of {env}", matters=False), partial(_ports, env, home)) for env in PORTS]
    return beside(
        [
            (unknown(GROUP, "Python"), _python),
            (unknown(GROUP, "environment"), _environment),
            (unknown(GROUP, "git", "install git"), _git),
            (unknown(GROUP, "disk"), partial(_disk, home)),
            (unknown(GROUP, "glibc"), _glibc),
            (unknown(GROUP, "Docker", "start its engine", matters=False), _docker),
            *ports,
        ]
    )


def _python() -> Check:
    said = project.pythons()
    here = platform.python_version()
    state = State.ON if SpecifierSet(said).contains(here, prereleases=True) else State.OFF
    way_out = f"install a Python {said}, remove .venv, then `make .venv/ready`"
    return Check(GROUP, "Python", state, f"{here}; the lock is for {said}", way_out)


def _environment() -> Check:
    made, lock = Path(sys.prefix, "lock"), programs.CODE / "requirements/dev.txt"
    same = made.is_file() and made.read_bytes() == lock.read_bytes()
    says = "it is requirements/dev.txt" if same else f"{sys.prefix} is not what requirements/dev.txt says"
    state = State.ON if same else State.OFF
    return Check(GROUP, "environment", state, says, "`make .venv/ready`, and call the `ml` in .venv/bin")


def _git() -> Check:
    here = git.run("version").split()[2]
    numbers = ".".join(part for part in here.split(".")[:3] if part.isdigit())
    if Version(numbers) >= Version(GIT):
        return Check(GROUP, "git", State.ON, here)
    way_out = f"install git {GIT} or newer"
    return Check(GROUP, "git", State.OFF, f"{here}, too old for `ml update`", way_out, matters=False)


def _disk(home: Path) -> Check:
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    free = {shutil.disk_usage(folder).free: folder for folder in (there, Path.cwd())}
    least = min(free)
    state = State.ON if least >= FREE_BYTES else State.OFF
    way_out = f"make room for {size(FREE_BYTES)}: `ml store prune` removes old releases"
    return Check(GROUP, "disk", state, f"{size(least)} free at {free[least]}", way_out)


def _glibc() -> Check:
    try:
        here = (os.confstr("CS_GNU_LIBC_VERSION") or "").removeprefix("glibc ")
    except (ValueError, OSError):
        here = ""
    terraform = shutil.which("terraform")
    fine = bool(here) and Version(here) >= Version(GLIBC)
    says = here or "this machine has another C library"
    if not fine and terraform:
        says = f"{says}, and {terraform} is in place of the lock's Terraform"
    state = State.ON if fine or terraform else State.OFF
    way_out = f"use a system with glibc {GLIBC} or newer, or put a `terraform` on PATH"
    return Check(GROUP, "glibc", state, says, way_out)


def _docker() -> Check:
    """Whether an engine answers: only images need one."""
    way_out, says = "install an engine and start it: only images need one", "not installed"
    if found := programs.find("docker"):
        asked = [found, "version", "--format", "{{.Server.Version}}"]
        try:
            done = programs.run(asked, timeout=DOCKER_SECONDS)
        except subprocess.TimeoutExpired:
            return Check(GROUP, "Docker", State.OFF, "its engine does not answer", way_out, matters=False)
        if done.returncode == 0 and done.stdout.strip():
            return Check(GROUP, "Docker", State.ON, f"engine {done.stdout.strip()}", way_out, matters=False)
        says = "no engine runs, or this user may not ask it"
    return Check(GROUP, "Docker", State.OFF, says, way_out, matters=False)


def _ports(env: str, home: Path) -> Check:
    """Whether nobody else holds a port of the environment. Of one that is not set up it does not matter."""
    found = Host.found(home / env)
    host = found or _planned(env, home)
    ports = sorted(host.ports.values())
    says = f"{ports[0]} to {ports[-1]} are {'its own' if found else 'free'}"
    try:
        services.check_ports(host)
    except UserError as error:
        says, _, way_out = str(error).partition(": ")
        return Check(GROUP, f"ports of {env}", State.OFF, says, way_out, matters=bool(found))
    return Check(GROUP, f"ports of {env}", State.ON, says, matters=bool(found))


def _planned(env: str, home: Path) -> Host:
    """The ports that `ml infra up` would take."""
    file = home / env / "terraform.tfvars.json"
    told = read_json(file) if file.exists() else {}
    first = int(told.get("port") or PORTS[env])
    return Host(
        environment=env,
        home=home,
        folder=home / env,
        tools=home / "tools",
        edge_url=f"http://127.0.0.1:{first}",
        admin_url=f"http://127.0.0.1:{first + 1}",
        models=[Slots(name="model", blue=first + 2, green=first + 3)],
        socket=home / env / "supervisor/socket",
    )


def size(count: float) -> str:
    """Bytes, as a person reads them."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
