"""What a release holds beside its Bento: evidence/ and release.json.

The release's id does not cover them, and they steer SHADOW and the drift check. So the ledger's entry, which
is signed, names their SHA-256, and a host compares.
"""

import hashlib
import json
from pathlib import Path

from pipelines.artifacts.entry import Entry
from pipelines.artifacts.release import Release
from pipelines.base.errors import UserError
from pipelines.base.files import sha256_of_tree

CARD = "card.md"  # for people; it names the version in MLflow, which the same release made again may not keep
LATER = ("created", "image")  # of release.json: another each time, or noted later
AGAIN = "remove it and add it again as `ml release` made it, or write the entry again with `ml release`"


def digest(folder: Path) -> str:
    """SHA-256 of what is in a release's folder beside the Bento, less what another making of it changes."""
    about = Release.read(folder)
    said = {name: value for name, value in about.value.items() if name not in LATER}
    said["model"] = {"sha256": about.model.sha256}
    held = json.dumps([said, evidence(folder / "evidence")], sort_keys=True)
    return hashlib.sha256(held.encode()).hexdigest()


def evidence(folder: Path) -> str:
    """SHA-256 of what is in evidence/, less the card."""
    return sha256_of_tree(folder, [p for p in folder.rglob("*") if p.is_file() and p != folder / CARD])


def check(entry: Entry, folder: Path) -> None:
    """UserError where evidence/ or release.json is another one than the entry names, where it names one."""
    if entry.beside is not None and digest(folder) != entry.beside:
        what = f"release {entry.release[:12]}: evidence/ or release.json in {folder}"
        raise UserError(f"{what} is not what the ledger's entry names: {AGAIN}")
