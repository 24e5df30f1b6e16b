"""Who holds a token of the stand-in, and what its holder may do: a job what its `permissions` say."""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipelines.base.errors import UserError, one_line
from pipelines.base.files import read_json, write_json
from pipelines.base.github import ACTIONS, BOT
from pipelines.local import waits
from pipelines.local.events import Event

EVERYTHING = "local-token"  # of the loop itself: the bot, with every right
SCOPES = ("actions", "checks", "contents", "issues", "pull-requests", "statuses")
UNSAID = {"contents": "read"}  # a new repository's default, where neither the job nor the workflow says
INPUT = re.compile(r"\$\{\{ *inputs\.(\w+) *\}\}")
REFUSED = 'echo "{} is not allowed to deploy to {} due to environment protection rules." >&2; exit 1'
NAMED = re.compile(r"\b(?:github\.token|secrets\.GITHUB_TOKEN)\b")


@dataclass(frozen=True)
class Holder:
    """Whose token it is; `rights` None: every one."""

    login: str
    rights: Mapping[str, str] | None = None
    app: int | None = None  # the GitHub App whose token it is
    key: str = ""  # of a deploy key: `write` or `read-only`

    def may(self, needs: tuple[str, ...]) -> bool:
        """Whether one of `needs`, such as `issues:read`, is given; write includes read."""
        if self.rights is None or not needs:
            return True
        pairs = (need.split(":") for need in needs)
        return any(self.rights.get(scope) in (level, "write") for scope, level in pairs)


def holder(token: str, state: Path, keys: Mapping[str, Any]) -> Holder | None:
    """`user:NAME` is a person's token, `app:NUMBER` another app's, `key:FINGERPRINT` stands for a deploy key
    of `keys`; a job has a token of its own while its run lasts. None: nobody's."""
    if token == EVERYTHING:
        return Holder(BOT, app=ACTIONS)
    kind, _, name = token.partition(":")
    if kind == "user":
        return Holder(name)
    if kind == "app" and name.isdigit():
        return Holder(f"app-{name}[bot]", app=int(name))
    if kind == "key" and (known := keys.get(name)):
        return Holder(f"deploy key {known['title']}", {}, key="read-only" if known["read_only"] else "write")
    for file in state.glob("runs/*/tokens.json"):
        for job in read_json(file).values():
            if secrets.compare_digest(job["token"], token):
                return Holder(BOT, job["permissions"], ACTIONS)
    return None


def hand_out(
    workflow: Path, event: Event, folder: Path, environments: Mapping[str, Any], address: str = ""
) -> dict[str, str]:
    """Give each job of a workflow file a token, and the secrets of its environment; the secrets that bring
    them.

    act knows one GITHUB_TOKEN, and one secret of a name, for all jobs. So in the copy of the file that it
    runs, what names them inside a job names a secret of the job's own; the token for all, which a local
    action may still name, has no rights. A job whose environment does not admit the event's branch fails; one
    whose environment has reviewers waits for them. `folder` is the run's: tokens.json is there while it
    lasts. `environments`: as the API keeps them; `address`: where it takes the reviewers' word, if anywhere.
    """
    file = YAML()
    file.width = 10_000  # so that each line stays where it is
    try:
        definition = file.load(workflow)
    except YAMLError as error:
        raise UserError(f"{workflow} is not valid YAML ({one_line(error)})") from None
    given: dict[str, dict[str, Any]] = {}
    own: dict[str, str] = {}
    for name, job in definition["jobs"].items():
        if (environment := environments.get(named(job.get("environment"), event))) is not None:
            if not admits(environment, event.ref):
                job["steps"] = [{"run": REFUSED.format(event.ref, environment["name"])}]
            elif environment["reviewers"]:
                waits.hold(name, job, environment, folder, address)
            for secret, value in environment["secrets"].items():
                rename(job, re.compile(rf"\bsecrets\.{secret}\b"), f"secrets.{variable(name, secret)}")
                own[variable(name, secret)] = value
        for step in job.get("steps") or ():
            if str(step.get("uses")).startswith("actions/checkout@"):
                # what it takes anyway, but by the name that is changed below
                step["with"] = {"token": "${{ github.token }}"} | (step.get("with") or {})
        rename(job, NAMED, f"secrets.{variable(name)}")
        said = job.get("permissions", definition.get("permissions"))
        given[name] = {"token": f"job-{secrets.token_hex(16)}", "permissions": permissions(said, event)}
    file.dump(definition, workflow)
    nobody = {"token": f"job-{secrets.token_hex(16)}", "permissions": {}}
    write_json(folder / "tokens.json", {**given, "": nobody})
    tokens = {variable(name): job["token"] for name, job in given.items()}
    return own | tokens | {"GITHUB_TOKEN": nobody["token"]}


def named(said: Any, event: Event) -> str:
    """The environment that a job names, by itself or by an input of the event; empty where it names none."""
    text = str((said.get("name") if isinstance(said, Mapping) else said) or "")
    inputs: Mapping[str, Any] = event.payload.get("inputs") or {}
    return INPUT.sub(lambda found: str(inputs.get(found[1], "")), text)


def rename(node: Any, old: re.Pattern[str], name: str) -> None:
    """Give another name to a secret in all texts below a node."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        if isinstance(value, str) and old.search(value):
            node[key] = type(value)(old.sub(name, value))
        elif isinstance(value, dict | list):
            rename(value, old, name)


def admits(environment: Mapping[str, Any], ref: str) -> bool:
    """Whether a job that runs on this ref may name an environment."""
    if environment["deployment_branch_policy"] is None:
        return True
    branch = ref.removeprefix("refs/heads/")
    return branch != ref and any(fnmatchcase(branch, policy["name"]) for policy in environment["policies"])


def permissions(said: Any, event: Event) -> dict[str, str]:
    """What `permissions` gives; what it does not name is none. A fork's pull request gets no write."""
    if said is None:
        given = dict(UNSAID)
    elif isinstance(said, str):
        given = dict.fromkeys(SCOPES, said.removesuffix("-all"))
    else:
        given = {scope: level for scope, level in said.items() if level in ("read", "write")}
    if event.name == "pull_request" and from_fork(event):
        return dict.fromkeys(given, "read")
    return given


def from_fork(event: Event) -> bool:
    pull = event.payload.get("pull_request")
    return pull is not None and (pull["head"]["repo"]["full_name"] != pull["base"]["repo"]["full_name"])


def variable(job: str, secret: str = "TOKEN") -> str:
    return f"{secret}_OF_{re.sub(r'[^A-Za-z0-9]', '_', job).upper()}"
