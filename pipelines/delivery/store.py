"""Where releases lie: STORE/ID with release.json, bento/ and evidence/. The id is the hash of its content."""

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.delivery.host import home
from pipelines.errors import UserError
from pipelines.files import read_json, sha256_of_tree, write_json

SHORTEST = 8  # characters of an id's beginning
STALE = 3600.0  # seconds after which what a killed release left half-written is removed


class Store:
    """A folder of releases."""

    def __init__(self, folder: Path | str | None = None) -> None:
        """By default the folder that GREENLIGHT_STORE names, else `store` in $GREENLIGHT_HOME."""
        self.folder = Path(folder or os.environ.get("GREENLIGHT_STORE") or home() / "store")

    def get(self, release: str) -> Path:
        """The folder of a release, by its id or the beginning of it, once its content matches the id.

        UserError where it is missing, ambiguous, cut or changed.
        """
        number = self._find(release)
        folder = self.folder / number
        _verify(folder, number)
        return folder

    def has(self, release: str) -> bool:
        """Whether a release of exactly this id is there."""
        return (self.folder / release / "release.json").is_file()

    def list(self) -> list[dict[str, Any]]:
        """The release.json of each release, the newest first."""
        found = [read_json(self.folder / number / "release.json") for number in self._ids()]
        return sorted(found, key=lambda release: (str(release.get("created")), release["id"]), reverse=True)

    def add(self, folder: Path | str) -> str:
        """Take in a release that another place made, such as a downloaded artifact; returns its id.

        UserError where it is not whole.
        """
        folder = Path(folder)
        number = str(_described(folder).get("id"))
        _verify(folder, number)
        if not self.has(number):
            with self.put(number) as new:
                shutil.copytree(folder, new, dirs_exist_ok=True)
        return number

    @contextmanager
    def put(self, number: str) -> Iterator[Path]:
        """An empty folder to write the release `number` into; at the end it is verified and appears at once.

        Where the block fails, or the process is killed, no release appears.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sweep()
        new = Path(tempfile.mkdtemp(dir=self.folder, prefix=".new-"))
        try:
            yield new
            _verify(new, number)
            new.chmod(0o755)  # mkdtemp's 0700 would hide the release from the host's other users
            if not self.has(number):  # else another process was faster, with the same content
                new.rename(self.folder / number)
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def note(self, number: str, **fields: Any) -> None:
        """Change fields of a release.json that the id does not cover, such as the image."""
        path = self.get(number) / "release.json"
        write_json(path, {**read_json(path), **fields})

    def _ids(self) -> tuple[str, ...]:
        if not self.folder.is_dir():
            return ()
        names = (path.name for path in self.folder.iterdir() if not path.name.startswith("."))
        return tuple(sorted(name for name in names if self.has(name)))

    def _find(self, release: str) -> str:
        if not re.fullmatch(rf"[0-9a-f]{{{SHORTEST},64}}", release):
            raise UserError(
                f"{release!r} is no release id: give at least {SHORTEST} of its hexadecimal digits"
            )
        found = [number for number in self._ids() if number.startswith(release)]
        if len(found) > 1:
            raise UserError(f"{release} begins {len(found)} releases in {self.folder}: give more of the id")
        if not found:
            raise UserError(
                f"release {release[:12]} is not in {self.folder}: make it with `ml release` at its commit, "
                "or add it with `ml store add FOLDER`"
            )
        return found[0]

    def _sweep(self) -> None:
        for path in self.folder.glob(".new-*"):
            if time.time() - path.stat().st_mtime > STALE:
                shutil.rmtree(path, ignore_errors=True)


def _verify(folder: Path, number: str) -> None:
    """UserError where what lies in `folder` is not the release `number`, whole."""
    way_out = "remove the folder, and make the release again with `ml release` at its commit"
    if _described(folder).get("id") != number:
        raise UserError(f"{folder / 'release.json'} is not of the release {number[:12]}: {way_out}")
    if not (folder / "bento" / "bento.yaml").is_file() or not (folder / "evidence").is_dir():
        raise UserError(f"{folder} is not whole: it needs bento/bento.yaml and evidence/: {way_out}")
    if links := [path for path in folder.rglob("*") if path.is_symlink()]:
        raise UserError(f"{links[0]} is a link, and a release's files lie in its folder: {way_out}")
    if (found := sha256_of_tree(folder / "bento" / "src")) != number:
        raise UserError(f"{folder / 'bento' / 'src'} was changed: it hashes to {found[:12]}: {way_out}")


def _described(folder: Path) -> dict[str, Any]:
    value = read_json(folder / "release.json")
    if not isinstance(value, dict):
        raise UserError(f"{folder / 'release.json'} is no release's: it must be an object with an id")
    return value
