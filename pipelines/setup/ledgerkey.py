"""The key that writes and signs the ledger: made here, and never on a disk.

Its private half becomes a secret of the environments, sealed to GitHub's own key; its public half a deploy
key, and a line of `.github/allowed_signers`, which a host is given by `ml infra up --allowed-signers`.
"""

import base64
import re
from datetime import datetime
from pathlib import Path
from typing import Any

from pipelines.base.files import write_text
from pipelines.base.github import GitHub
from pipelines.registry.signer import VARIABLE
from pipelines.registry.signing import LIST
from pipelines.setup.environments import NO_ENVIRONMENTS, title
from pipelines.setup.setting import REPOSITORY, Found, Setting
from pipelines.setup.tree import on_branch

KEY = "the ledger's key"
TITLE = "greenlight ledger"  # of the deploy key: so is ours told from others
FILE = Path(".github", LIST)
NAME = "greenlight-ledger"  # the principal of its line
HEAD = """\
# Who may sign the ledger. A host believes them once it is given this list:
# `ml infra up --env production --allowed-signers .github/allowed_signers` (docs/github.md).
"""


def settings(hub: GitHub, checkout: Path, branch: str, holders: list[str]) -> list[Setting]:
    """`holders`: the environments whose jobs write the ledger."""
    after = tuple(map(title, holders))
    return [
        Setting(KEY, lambda: look(hub, checkout, holders), NO_ENVIRONMENTS, after),
        Setting(str(FILE), lambda: listed(hub, checkout, branch), after=(KEY,), group=REPOSITORY),
    ]


def look(hub: GitHub, checkout: Path, holders: list[str]) -> Found:
    """Whether there is one deploy key of ours, and a secret in each environment that is no older.

    A secret cannot be read back: of a pair that was half set, nothing is known, and a new one takes its
    place."""
    keys = hub.list("/keys")
    ours = [one for one in keys if one["title"] == TITLE]
    path = "/environments/{}/secrets/" + VARIABLE
    secrets = [hub.call("GET", path.format(name), missing={}) for name in holders]
    writes = [one for one in keys if not one["read_only"]]
    if all(secrets) and not ours and writes:
        return Found(True, f"set by hand, {max(one['updated_at'] for one in secrets)[:10]}")
    since = moment(ours[0]["created_at"]) if len(ours) == 1 and ours[0] in writes else None
    if since and all(secret and moment(secret["updated_at"]) >= since for secret in secrets):
        return Found(True, f"deploy key {ours[0]['id']}, secret of {' and '.join(holders)}")
    if not any(secrets):
        hub.list("/rulesets")  # a plan without them keeps no secret for one branch either, and this says so
    if not ours and not any(secrets):
        says = "is missing, so whoever can push can write the ledger"
    else:
        says = "is half set"
    return Found(
        False,
        says,
        f"make it, as a deploy key and the secret {VARIABLE}",
        lambda: make(hub, checkout, holders),
    )


def make(hub: GitHub, checkout: Path, holders: list[str]) -> None:
    """A new pair. The line comes first and the old keys go last: killed anywhere, the next call sees it."""
    import asyncssh

    pair = asyncssh.generate_private_key("ssh-ed25519")
    private, public = pair.export_private_key(), " ".join(pair.export_public_key().decode().split()[:2])
    old = [one["id"] for one in hub.list("/keys") if one["title"] == TITLE]
    write_line(checkout / FILE, public)
    hub.call("POST", "/keys", {"title": TITLE, "key": public, "read_only": False})
    for name in holders:
        path = f"/environments/{name}/secrets"
        seal = hub.call("GET", f"{path}/public-key")
        sealed = {"encrypted_value": sealed_to(seal["key"], private), "key_id": seal["key_id"]}
        hub.call("PUT", f"{path}/{VARIABLE}", sealed)
    for number in old:
        hub.call("DELETE", f"/keys/{number}", missing=())


def sealed_to(key: str, secret: bytes) -> str:
    """A secret that the holder of a key's other half alone can read, as GitHub wants it."""
    from nacl.public import PublicKey, SealedBox

    return base64.b64encode(SealedBox(PublicKey(base64.b64decode(key))).encrypt(secret)).decode()


def listed(hub: GitHub, checkout: Path, branch: str) -> Found:
    """Whether the list of this checkout has the deploy key of ours."""
    file = checkout / FILE
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    known = [" ".join(one["key"].split()[:2]) for one in hub.list("/keys") if one["title"] == TITLE]
    if not known:
        says = "lists keys of yours" if text else "lists no key"
        return Found(bool(text), says, way_out="its line comes with the ledger's key", matters=False)
    if any(key in text for key in known):
        return on_branch(checkout, FILE, branch, f"lists {NAME}")
    says = f"lists another {NAME} than the deploy key" if NAME in text else f"does not list {NAME}"
    return Found(False, says, "write the deploy key's line", lambda: write_line(file, known[-1]))


def write_line(file: Path, public: str) -> None:
    """Put a public key into the list, in place of the one before; other lines stay."""
    text = file.read_text(encoding="utf-8") if file.is_file() else HEAD
    others = re.sub(rf"(?m)^{NAME} .*\n?", "", text)
    write_text(file, f'{others}{NAME} namespaces="git" {public}\n')


def moment(said: str) -> Any:
    return datetime.fromisoformat(said.replace("Z", "+00:00"))
