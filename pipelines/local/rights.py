"""Who holds a token of the stand-in, and what its holder may do: a job what its `permissions` say."""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml import MappingNode

from pipelines.base.files import read_json, write_json
from pipelines.base.github import BOT
from pipelines.local.events import Event
from pipelines.local.uses import compose

ACTIONS = 15368  # the id of GitHub Actions, the app
EVERYTHING = "local-token"  # of the loop itself: the bot, with every right
SCOPES = ("actions", "checks", "contents", "issues", "pull-requests", "statuses")
UNSAID = {"contents": "read"}  # a new repository's default, where neither the job nor the workflow says
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

    def told(self) -> dict[str, str]:
        """What a route reads of it."""
        return {
            "by": self.login,
            "job": "" if self.rights is None else "yes",
            "writes": "yes" if self.may(("contents:write",)) else "",
            "app": "" if self.app is None else str(self.app),
            "key": self.key,
        }


def holder(token: str, state: Path, keys: Mapping[str, Any]) -> Holder | None:
    """`user:NAME` is a person's token, `app:NUMBER` another app's, `key:FINGERPRINT` stands for a deploy key
    of `keys`; a job has a token of its own while its run lasts. None: nobody's.
    """
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


def hand_out(workflow: Path, event: Event, folder: Path) -> dict[str, str]:
    """Give each job of a workflow file a token; the secrets that bring them.

    act knows one GITHUB_TOKEN for all jobs. So in the copy of the file that it runs, what names that token
    inside a job names a secret of the job's own; the one for all, which a local action may still name, has
    no rights. `folder` is the run's: tokens.json is there while it lasts.
    """
    definition = yaml.safe_load(workflow.read_text())
    text = with_tokens(workflow)
    workflow.write_text(text)
    given: dict[str, dict[str, Any]] = {}
    for name, (start, end) in reversed(spans(workflow).items()):
        text = text[:start] + NAMED.sub(f"secrets.{variable(name)}", text[start:end]) + text[end:]
        said = definition["jobs"][name].get("permissions", definition.get("permissions"))
        given[name] = {"token": f"job-{secrets.token_hex(16)}", "permissions": permissions(said, event)}
    workflow.write_text(text)
    nobody = {"token": f"job-{secrets.token_hex(16)}", "permissions": {}}
    write_json(folder / "tokens.json", {**given, "": nobody})
    return {variable(name): job["token"] for name, job in given.items()} | {"GITHUB_TOKEN": nobody["token"]}


def with_tokens(workflow: Path) -> str:
    """The file's text in which each checkout names the token that it takes where nothing else is said."""
    text, token = workflow.read_text(), 'token: "${{ github.token }}"'
    added = {}
    for step in steps_of(compose(workflow)):
        fields = {key.value: (key, value) for key, value in step.value}
        key, uses = fields.get("uses", (None, None))
        if key is None or not str(uses.value).startswith("actions/checkout@"):
            continue
        given = fields.get("with", (None, None))[1]
        if given is None:
            place, line, flow = key.start_mark, f"with: {{{token}}}", step.flow_style
        elif not given.value:  # `with: {}`, or nothing after it
            empty = isinstance(given, MappingNode)
            added[given.start_mark.index + empty] = token if empty else f" {{{token}}}"
            continue
        elif "token" in [name.value for name, _ in given.value]:
            continue
        else:
            place, line, flow = given.value[0][0].start_mark, token, given.flow_style
        added[place.index] = f"{line}, " if flow else f"{line}\n{' ' * place.column}"
    for index, line in sorted(added.items(), reverse=True):
        text = text[:index] + line + text[index:]
    return text


def steps_of(root: Any) -> list[Any]:
    """The YAML nodes of all steps of a workflow."""
    jobs = next(value for key, value in root.value if key.value == "jobs")
    lists = [value for _, job in jobs.value for key, value in job.value if key.value == "steps"]
    return [step for steps in lists for step in steps.value]


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


def spans(workflow: Path) -> dict[str, tuple[int, int]]:
    """Where each job is in the text."""
    jobs = next(value for key, value in compose(workflow).value if key.value == "jobs")
    return {key.value: (value.start_mark.index, value.end_mark.index) for key, value in jobs.value}


def variable(job: str) -> str:
    return f"TOKEN_OF_{re.sub(r'[^A-Za-z0-9]', '_', job).upper()}"
