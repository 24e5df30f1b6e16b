"""The machine that a job runs on here: what stands for GitHub, and the environment of a hosted runner."""

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.base import loopback, programs
from pipelines.local.events import MAIN, Event

# How this machine reaches an index or the network, and where the tests put what a host needs.
REACHES = re.compile(
    programs.REACHES.pattern + r"|(?i:https?|all)_proxy|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE"
    r"|GIT_SSL_CAINFO|TMPDIR|TZ|DOCKER_\w+"
)
CONFIGURED = {
    "PIP_CONFIG_FILE": Path("~/.config/pip/pip.conf"),
    "UV_CONFIG_FILE": Path("~/.config/uv/uv.toml"),
    "TF_CLI_CONFIG_FILE": Path("~/.terraformrc"),
}


@dataclass(frozen=True)
class Place:
    """What stands for GitHub: the bare repository, and a folder of runs, artifacts and caches."""

    origin: Path
    state: Path
    repository: str = "you/greenlight"
    api: str = "http://127.0.0.1:9"  # GITHUB_API_URL: the address of github.serve; port 9 answers nobody
    variables: Mapping[str, str] = field(default_factory=dict)  # the repository's `vars`
    environment: Mapping[str, str] = field(default_factory=dict)  # the runner's own: GREENLIGHT_HOME, ...


def environment(place: Place, event: Event, folder: Path) -> dict[str, str]:
    """What a hosted runner's step sees of the machine, and what the stand-ins need; nothing of the user's.

    act adds CI, GITHUB_* and RUNNER_*. What says how to reach a package index, a mirror or a proxy stays."""
    own, home = str(Path(sys.executable).parent), folder / "home"
    # Whose caches it sees, its own first: a pull request's merge ref, its base, the default branch. What a
    # run writes is its own's: a pull request's is seen by that pull request alone.
    base = event.payload["pull_request"]["base"]["ref"] if event.name == "pull_request" else MAIN
    scopes = dict.fromkeys([event.ref, f"refs/heads/{base}", f"refs/heads/{MAIN}"])
    home.mkdir(exist_ok=True)
    path = [entry for entry in os.environ.get("PATH", os.defpath).split(os.pathsep) if entry != own]
    files = {name: file.expanduser() for name, file in CONFIGURED.items()}
    return {
        **{name: str(file) for name, file in files.items() if file.is_file()},
        **programs.only(REACHES),
        **loopback.spared(os.environ),
        "PATH": os.pathsep.join(path),
        "HOME": str(home.absolute()),
        "USER": "runner",
        "LOGNAME": "runner",
        "SHELL": "/bin/bash",
        "LANG": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_PAGER": "cat",  # steps have a terminal, so a pager would wait for a key
        "PAGER": "cat",
        "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR") or str(Path("~/.cache/uv").expanduser()),
        "GREENLIGHT_ORIGIN": str(place.origin.absolute()),
        "GREENLIGHT_ARTIFACTS": str((place.state / "artifacts").absolute()),
        "GREENLIGHT_CACHES": str((place.state / "caches").absolute()),
        "GREENLIGHT_SCOPES": "\n".join(scopes),
        "GREENLIGHT_PYTHON": sys.executable,
        # This environment serves the jobs whose lock is the same; each imports its own checkout.
        "GREENLIGHT_VENV": sys.prefix,
        "PYTHONPATH": ".",
        # Not by --env, which would win over the `env` of a job.
        **place.environment,
    }
