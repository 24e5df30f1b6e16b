"""What GitHub lets in when somebody pushes: by the right of who comes, and by the rulesets.

The hook of a checkout's pushes asks here (actions/actions-checkout/door.py); what is put into the bare
repository past it is the loop's own.
"""

import sys
from pathlib import Path
from typing import Any

from pipelines.base import programs
from pipelines.base.errors import UserError
from pipelines.local.forge import ApiError, Forge, invalid, route
from pipelines.local.marks import may_write
from pipelines.local.rules import Push
from pipelines.local.uses import STAND_INS

DOOR = STAND_INS / "actions-checkout" / "door.py"


@route("POST", "/git-receive-pack")
def receive(forge: Forge, at: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
    """Each of these updates may be, or none is. Whose push a branch had last is written down."""
    if at["key"] == "read-only":
        raise ApiError(403, "ERROR: The key you are authenticating with has been marked as read only.")
    if not at["key"] and not (at["writes"] and (at["job"] or may_write(forge, at["by"]))):
        raise ApiError(403, f"Permission to {forge.repository}.git denied to {at['by']}.")
    for update in body["updates"]:
        push = Push(update["ref"], update["before"], update["after"], update["forced"], bool(at["key"]))
        if broken := forge.rules.broken(push):
            words = "".join(f"\n- {reason}." for reason in broken)
            raise ApiError(403, f"error: GH013: Repository rule violations found for {push.ref}.{words}")
    for update in body["updates"]:
        forge.state["pushers"][update["ref"]] = {"sha": update["after"], "by": at["by"]}
    return 200, {}


@route("POST", "/keys", "administration:write")
def create_key(forge: Forge, at: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
    """A deploy key, by its public half."""
    import asyncssh

    try:
        fingerprint = asyncssh.import_public_key(body["key"]).get_fingerprint()
    except (KeyError, ValueError, asyncssh.KeyImportError):
        message = "key is invalid. You must supply a key in OpenSSH public key format"
        raise invalid(field="key", message=message) from None
    key = {"title": body.get("title", ""), "read_only": bool(body.get("read_only")), "id": forge.next_id()}
    forge.state["keys"][fingerprint] = key
    return 201, key


def door(verb: str, folder: Path, *api: str, login: str = "") -> None:
    """`guard` holds the pushes of jobs into `folder` to what the API says, whichever clone they come from;
    `enter` has a person's, from the checkout `folder`, come with their login: `api` ends with the repository.
    """
    command = [sys.executable, "-I", str(DOOR), verb, str(folder), *api]
    done = programs.run(command, env=programs.environment(TOKEN=login))
    if done.returncode:
        raise UserError(f"the pushes of {folder} cannot be guarded: {done.stderr.strip()[-300:]}")
