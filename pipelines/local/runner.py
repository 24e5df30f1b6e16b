"""The machine that a job runs on here: what stands for GitHub and for remote actions, and the environment of
a hosted runner."""

import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pipelines.base import git, loopback, programs
from pipelines.base.errors import UserError
from pipelines.local.events import Event

STAND_INS = Path(__file__).parent / "actions"

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

    @property
    def default(self) -> str:
        """The default branch."""
        return git.run("symbolic-ref", "--short", "HEAD", at=self.origin)


def environment(place: Place, event: Event, folder: Path) -> dict[str, str]:
    """What a hosted runner's step sees of the machine, and what the stand-ins need; nothing of the user's.

    act adds CI, GITHUB_* and RUNNER_*. What says how to reach a package index, a mirror or a proxy stays."""
    own, home = str(Path(sys.executable).parent), folder / "home"
    # Whose caches it sees, its own first: a pull request's merge ref, its base, the default branch. What a
    # run writes is its own's: a pull request's is seen by that pull request alone.
    base = event.payload["pull_request"]["base"]["ref"] if event.name == "pull_request" else place.default
    scopes = dict.fromkeys([event.ref, f"refs/heads/{base}", f"refs/heads/{place.default}"])
    home.mkdir(exist_ok=True)
    # Programs name their folders below /tmp by the user: two people of one machine must not meet there.
    user = f"runner-{os.getuid()}"
    path = [entry for entry in os.environ.get("PATH", os.defpath).split(os.pathsep) if entry != own]
    files = {name: file.expanduser() for name, file in CONFIGURED.items()}
    return {
        **{name: str(file) for name, file in files.items() if file.is_file()},
        **programs.only(REACHES),
        **loopback.spared(os.environ),
        "PATH": os.pathsep.join(path),
        "HOME": str(home.absolute()),
        "USER": user,
        "LOGNAME": user,
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


@dataclass(frozen=True)
class Use:
    """One `uses:` of a remote action: `OWNER/NAME[/SUB]@REF`, where it is and what it is given."""

    name: str
    ref: str
    file: Path
    line: int
    inputs: tuple[str, ...]

    @property
    def repository(self) -> str:
        return "/".join(self.name.split("/")[:2])

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}: uses: {self.name}@{self.ref}"


def stand_ins(root: Path, workflow: Path) -> dict[str, Path]:
    """`OWNER/NAME@REF` → stand-in folder, for each remote action that `workflow` reaches in the tree `root`.

    UserError, naming file and line, for an action without a stand-in and for an input that the stand-in
    does not know: both would otherwise show up in the middle of a run, or not at all."""
    found = {}
    for use in remote_uses(root, workflow):
        folder = STAND_INS / use.repository.replace("/", "-")
        definition = folder.joinpath(*use.name.split("/")[2:], "action.yml")
        if not definition.is_file():
            missing = f"pipelines/local/actions/{definition.relative_to(STAND_INS)}"
            raise UserError(f"{use} has no stand-in here; write {missing}, or use an action that has one")
        known = yaml.safe_load(definition.read_text()).get("inputs", {})
        if strange := [name for name in use.inputs if name not in known]:
            sets = f"{use} sets the input {strange[0]!r}"
            raise UserError(f"{sets}, which its stand-in {definition} does not know")
        found[f"{use.repository}@{use.ref}"] = folder
    return found


def remote_uses(root: Path, workflow: Path) -> Iterator[Use]:
    """The remote actions of a workflow file and of the local actions that it uses, at any depth."""
    seen, waiting = set(), [workflow]
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        shown = file.relative_to(root) if file.is_relative_to(root) else file
        try:
            whole = yaml.compose(file.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise UserError(f"{file} is not valid YAML ({' '.join(str(error).split())})") from None
        for node, given in uses_of(whole):
            value, line = node.value, node.start_mark.line + 1
            if value.startswith("./"):
                files = (root / value, root / value / "action.yml", root / value / "action.yaml")
                if not (found := [one for one in files if one.is_file()]):
                    raise UserError(f"{shown}, line {line}: uses: {value} names no action in this repository")
                waiting.append(found[0])
            elif "@" in value and not value.startswith("docker://"):
                name, _, ref = value.partition("@")
                yield Use(name, ref, shown, line, given)
            else:
                way_out = "name OWNER/NAME@SHA or ./FOLDER"
                raise UserError(f"{shown}, line {line}: uses: {value} cannot run here; {way_out}")


def uses_of(node: Any) -> Iterator[tuple[yaml.ScalarNode, tuple[str, ...]]]:
    """Each `uses` value below a YAML node, with the names in the `with` beside it."""
    if isinstance(node, yaml.MappingNode):
        fields = {key.value: value for key, value in node.value}
        if isinstance(uses := fields.get("uses"), yaml.ScalarNode):
            given = fields.get("with")
            names = [key.value for key, _ in given.value] if isinstance(given, yaml.MappingNode) else []
            yield uses, tuple(names)
        for value in fields.values():
            yield from uses_of(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from uses_of(value)
