"""A folder of releases: ID/release.json, ID/bento/ and ID/evidence/. The id is the hash of the content."""

import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.artifacts.release import Image, Release
from pipelines.base.errors import UserError
from pipelines.base.files import sha256_of_tree

SHORTEST = 8  # characters of an id's beginning
STALE_SECONDS = 3600.0  # after which what a killed release left half-written is removed
AGAIN = "make the release again with `ml release` at its commit"
# What BentoML writes beside the source. The id does not cover it, and a server looks for modules in the
# Bento's own folder before its packages: a file such as uvicorn.py there would run.
BESIDE = {"bento.yaml", "README.md", "apis", "env", "src"}


class Store:
    """A folder of releases.

    Another kind keeps them elsewhere, and in its folder what it gave out. It has its own `where`, `get`,
    `has`, `list`, `note`, `remove`, `_ids` (where `_find` looks) and `_take` (of what `put` has verified)."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    @property
    def where(self) -> str:
        """The store in words."""
        return str(self.folder)

    def get(self, release: str) -> Path:
        """The folder of a release, by its id or the beginning. UserError where it is missing or changed."""
        release_id = self._find(release)
        folder = self.folder / release_id
        verify(folder, release_id)
        return folder

    def has(self, release: str) -> bool:
        """Whether a release of exactly this id is there."""
        return self._is_here(release)

    def list(self) -> list[Release]:
        """The release.json of each release, the newest first."""
        return newest_first([Release.read(self.folder / release_id) for release_id in self._ids()])

    def add(self, folder: Path | str) -> str:
        """Take in a release that another place made, such as a downloaded artifact; returns its id.

        Where the release is here already, what is beside its Bento is brought up to date: the ledger says
        which counts. UserError where it is not whole."""
        folder = Path(folder)
        about = Release.read(folder)
        verify(folder, release_id := about.id)
        if not self.has(release_id):
            with self.put(release_id) as new:
                shutil.copytree(folder, new, dirs_exist_ok=True)
        elif self._is_here(release_id):
            with self._new() as new:
                shutil.copytree(folder / "evidence", new / "evidence")
                (self.folder / release_id / "evidence").rename(new / "before")
                (new / "evidence").rename(self.folder / release_id / "evidence")
            about.write(self.folder / release_id)
        return release_id

    @contextmanager
    def put(self, release_id: str, replace: bool = False) -> Iterator[Path]:
        """An empty folder to fill; at the end it is verified and appears at once as the release, or never.

        With `replace` it takes the place of the one that is there."""
        with self._new() as new:
            yield new
            verify(new, release_id)
            self._take(new, release_id, replace)

    def note(self, release_id: str, image: Image) -> None:
        """Write a release's image into its release.json: the id does not cover it."""
        folder = self.get(release_id)
        Release.read(folder).model_copy(update={"image": image}).write(folder)

    def remove(self, release_id: str) -> None:
        """Take the release of exactly this id out, at once; nothing happens where it is not there."""
        if self._is_here(release_id):
            with self._new() as away:
                (self.folder / release_id).rename(away / release_id)

    @contextmanager
    def _new(self) -> Iterator[Path]:
        """An empty folder beside the releases, gone at the end; what is ready is renamed out of it before."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self.folder.glob(".new-*"):
            if time.time() - path.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(path, ignore_errors=True)
        new = Path(tempfile.mkdtemp(dir=self.folder, prefix=".new-"))
        try:
            yield new
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def _take(self, new: Path, release_id: str, replace: bool = False) -> None:
        """Let a verified folder appear as the release `release_id`."""
        if replace:
            Store.remove(self, release_id)  # the copy in the folder
        new.chmod(0o755)  # mkdtemp's 0700 would hide the release from the host's other users
        if not self._is_here(release_id):  # else another process was faster, with the same content
            new.rename(self.folder / release_id)

    def _is_here(self, release_id: str) -> bool:
        return (self.folder / release_id / Release.NAME).is_file()

    def _ids(self) -> tuple[str, ...]:
        found = self.folder.glob(f"*/{Release.NAME}")
        return tuple(sorted(file.parent.name for file in found if not file.parent.name.startswith(".")))

    def _find(self, release: str) -> str:
        """The whole id."""
        if not re.fullmatch(rf"[0-9a-f]{{{SHORTEST},64}}", release):
            way_out = f"give at least {SHORTEST} of its hexadecimal digits"
            raise UserError(f"{release!r} is not a release id: {way_out}")
        found = [release_id for release_id in self._ids() if release_id.startswith(release)]
        if len(found) > 1:
            raise UserError(f"{release} begins {len(found)} releases in {self.where}: give more of the id")
        if not found:
            raise self._missing(release)
        return found[0]

    def _missing(self, release: str) -> UserError:
        way_out = "make it with `ml release` at its commit, or add it with `ml store add FOLDER`"
        return UserError(f"release {release[:12]} is not in {self.where}: {way_out}")


def newest_first(releases: list[Release]) -> list[Release]:
    """Releases by the time at which they were made."""
    return sorted(releases, key=lambda release: (release.created, release.id), reverse=True)


def verify(folder: Path, release_id: str, way_out: str = f"remove the folder, and {AGAIN}") -> None:
    """UserError where what is in `folder` is not the release `release_id`, whole."""
    about, reason = Release.read(folder, way_out), None
    if about.id != release_id:
        reason = f"release.json is not of the release {release_id[:12]}"
    elif not (folder / "bento" / "bento.yaml").is_file() or not (folder / "evidence").is_dir():
        reason = "bento/bento.yaml or evidence/ is missing: the release is not whole"
    elif links := [path for path in folder.rglob("*") if path.is_symlink()]:
        reason = f"{links[0].relative_to(folder)} is a link, and a release's files are in its folder"
    elif strange := sorted({path.name for path in (folder / "bento").iterdir()} - BESIDE):
        reason = f"bento/ holds {strange[0]!r}, which `ml release` never writes there"
    elif (found := sha256_of_tree(folder / "bento" / "src")) != release_id:
        reason = f"bento/src was changed: it hashes to {found[:12]}"
    if reason:
        raise UserError(f"{folder}/{reason}: {way_out}")
