"""Who holds a token of the stand-in, and what its holder may do: a job what its `permissions` say."""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipelines.files import read_json, write_json
from pipelines.local.events import Event
from pipelines.local.uses import compose

BOT = "github-actions[bot]"
EVERYTHING = "local-token"  # of the loop itself: the bot, with every right
SCOPES = ("actions", "checks", "contents", "issues", "pull-requests", "statuses")
UNSAID = {"contents": "read"}  # a new repository's default, where neither the job nor the workflow says
NAMED = re.compile(r"\b(?:github\.token|secrets\.GITHUB_TOKEN)\b")


@dataclass(frozen=True)
class Holder:
    """Whose token it is; `rights` None: every one."""

    login: str
    rights: Mapping[str, str] | None = None

    def may(self, needs: tuple[str, ...]) -> bool:
        """Whether one of `needs`, such as `issues:read`, is given; write includes read."""
        if self.rights is None or not needs:
            return True
        given = {f"{scope}:{level}" for scope, level in self.rights.items()}
        given |= {f"{scope}:read" for scope, level in self.rights.items() if level == "write"}
        return bool(given & set(needs))


def holder(token: str, state: Path) -> Holder | None:
    """`user:NAME` is a person's token; a job has one of its own while its run lasts. None: nobody's."""
    if token == EVERYTHING:
        return Holder(BOT)
    if token.startswith("user:"):
        return Holder(token.removeprefix("user:"))
    for file in state.glob("runs/*/tokens.json"):
        for job in read_json(file).values():
            if secrets.compare_digest(job["token"], token):
                return Holder(BOT, job["permissions"])
    return None


def hand_out(workflow: Path, event: Event, folder: Path) -> dict[str, str]:
    """Give each job of a workflow file a token; the secrets that bring them.

    act knows one GITHUB_TOKEN for all jobs. So in the copy of the file that it runs, what names that token
    inside a job names a secret of the job's own; the one for all, which a local action may still name, has
    no rights. `folder` is the run's: tokens.json lies there while it lasts.
    """
    definition = yaml.safe_load(workflow.read_text())
    text = workflow.read_text()
    given: dict[str, dict[str, Any]] = {}
    for name, (start, end) in reversed(spans(workflow).items()):
        text = text[:start] + NAMED.sub(f"secrets.{variable(name)}", text[start:end]) + text[end:]
        said = definition["jobs"][name].get("permissions", definition.get("permissions"))
        given[name] = {"token": f"job-{secrets.token_hex(16)}", "permissions": permissions(said, event)}
    workflow.write_text(text)
    nobody = {"token": f"job-{secrets.token_hex(16)}", "permissions": {}}
    write_json(folder / "tokens.json", {**given, "": nobody})
    return {variable(name): job["token"] for name, job in given.items()} | {"GITHUB_TOKEN": nobody["token"]}


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
    """Where each job stands in the text."""
    jobs = next(value for key, value in compose(workflow).value if key.value == "jobs")
    return {key.value: (value.start_mark.index, value.end_mark.index) for key, value in jobs.value}


def variable(job: str) -> str:
    return f"TOKEN_OF_{re.sub(r'[^A-Za-z0-9]', '_', job).upper()}"
