"""The one place that makes the environment of a program that we start, and starts it.

What a person has set to steer some other program of that name (another Python, another target, another
repository) is dropped. What says how to reach an index, a mirror or a proxy, and whom to trust, is kept.
"""

import contextlib
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.base import git, loopback
from pipelines.base.errors import UserError

FILES = 1024  # that supervisord wants to be able to open (its `minfds`); it ends without a word below that
CODE = Path(__file__).parents[2]  # the code that this process runs: a checkout's

# A variable that matches the first is dropped, unless it matches the second.
STEERS = re.compile(
    r"(UV|PIP|GIT|TF|BENTO|BENTOML|PYTEST|COV|SUPERVISOR|CONDA)_\w+|PYTHON\w+|MAKE\w+|MFLAGS"
    r"|VIRTUAL_ENV(_PROMPT)?|__PYVENV_LAUNCHER__|BASH_ENV|ENV|CDPATH"
    r"|GREENLIGHT_LEDGER_KEY|GREENLIGHT_REGISTRY_PASSWORD"  # used in this process, and nobody else's to read
)
REACHES = re.compile(
    r"UV_(DEFAULT_INDEX|INDEX\w*|EXTRA_INDEX_URL|FIND_LINKS|KEYRING_PROVIDER|CONFIG_FILE|OFFLINE|CACHE_DIR)"
    r"|UV_(LINK_MODE|NATIVE_TLS|SYSTEM_CERTS|INSECURE_HOST|HTTP_\w+|REQUEST_TIMEOUT|CONCURRENT_\w+)"
    r"|PIP_(INDEX_URL|EXTRA_INDEX_URL|NO_INDEX|FIND_LINKS|KEYRING_PROVIDER|CONFIG_FILE|CACHE_DIR)"
    r"|PIP_(CERT|CLIENT_CERT|TRUSTED_HOST|PROXY|TIMEOUT|DEFAULT_TIMEOUT|RETRIES|NO_CACHE_DIR)"
    r"|TF_(CLI_CONFIG_FILE|TOKEN_\w+|PLUGIN_CACHE_\w+|REGISTRY_\w+|HTTP_\w+)"
    r"|BENTOML_DO_NOT_TRACK|PYTHONUTF8"
)


def environment(own_code: bool = False, **given: str) -> dict[str, str]:
    """This process's environment less what would steer a program, with `given`; loopback asks no proxy. With
    `own_code` a Python in it finds this environment's commands first, and imports the code that runs here."""
    dropped = {name for name in os.environ if STEERS.fullmatch(name) and not REACHES.fullmatch(name)}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    kept |= git.variables() | loopback.spared(kept) | {"UV_PYTHON_DOWNLOADS": "never"}
    if own_code:
        kept |= {"PATH": path(kept.get("PATH")), "PYTHONPATH": str(CODE)}
    return kept | given


def only(names: "re.Pattern[str]", **given: str) -> dict[str, str]:
    """An environment of the variables alone whose whole name fits, with `given`: for what outlives its
    caller, or plays another machine."""
    return {name: value for name, value in os.environ.items() if names.fullmatch(name)} | given


def path(before: str | None = None) -> str:
    """PATH with the commands of this environment first."""
    return os.pathsep.join([str(Path(sys.executable).parent), before or os.environ.get("PATH") or os.defpath])


def find(name: str) -> str | None:
    """A program of this environment, else the machine's; None where neither has it."""
    return shutil.which(name, path=path())


def run(
    command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, **options: Any
) -> "subprocess.CompletedProcess[Any]":
    """Run a program to its end: its exit code and what it said. `options` are subprocess.run's; `env` is made
    here, or `environment()`. UserError where there is no such program."""
    if "input" not in options:
        options.setdefault("stdin", subprocess.DEVNULL)
    if not {"stdout", "stderr"} & options.keys():
        options.setdefault("capture_output", True)
    return _begun(subprocess.run, command, env, options)


def start(
    command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, **options: Any
) -> "subprocess.Popen[str]":
    """Start a program, as `run`; `options` are subprocess.Popen's."""
    options.setdefault("stdin", subprocess.DEVNULL)
    return _begun(subprocess.Popen, command, env, options)


def check_files() -> None:
    """UserError where a program that we start may not open FILES at a time, whatever it asks for."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < FILES:
        raise UserError(
            f"a process may open {hard} files at most here, and a host needs {FILES}: raise the hard limit "
            "(`ulimit -Hn`; LimitNOFILE of a systemd service, nofile in /etc/security/limits.conf)"
        )


@contextlib.contextmanager
def lent(env: Mapping[str, str]) -> Iterator[None]:
    """Make `env` this process's own while the block runs, for a library that hands on nothing else."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(env)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _begun(
    how: Any, command: Sequence[str | Path], env: Mapping[str, str] | None, options: dict[str, Any]
) -> Any:
    if options.setdefault("text", True):
        options.setdefault("errors", "replace")
    env = dict(environment() if env is None else env)
    try:
        return how([str(word) for word in command], env=env, **options)
    except (FileNotFoundError, PermissionError):  # the latter also where a folder of PATH may not be read
        folder = options.get("cwd")
    if folder and not os.access(folder, os.X_OK):
        raise UserError(f"{folder} is not a folder that may be entered: make it, or let this user read it")
    if found := shutil.which(command[0], mode=os.F_OK):
        raise UserError(f"{found} may not be run: make it executable (`chmod +x`)")
    raise UserError(f"{command[0]} is not installed, or not on PATH: install it")
