"""Releases as those of a GitHub repository: a tag, the release.json in the notes, one asset with everything.

A release is a draft, which nobody else sees, until its asset is whole. What came down is in a folder, so a
host can go back to what it ran while GitHub is out of reach.
"""

import contextlib
import json
import os
import re
import shutil
import tarfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from pipelines.artifacts.release import Image, Release
from pipelines.base import git
from pipelines.base.console import step
from pipelines.base.errors import UserError
from pipelines.base.files import sha256
from pipelines.base.github import GitHub, NotFound, hosted
from pipelines.registry.store.folder import AGAIN, STALE_SECONDS, Store, newest_first, verify

ASSET = "release.tar"
PARTS = ("bento", "evidence", Release.NAME)
TAG = "greenlight-"
NOTES = "A release of Greenlight. `ml` reads what follows: do not edit it.\n\n```json\n{}\n```\n"


class Assets(Store):
    """The releases of a repository on GitHub; `folder` keeps those that were given out."""

    def __init__(self, repository: str, folder: Path | str) -> None:
        super().__init__(folder)
        self.repository = repository

    @property
    def _api(self) -> GitHub:
        return GitHub.of(self.repository)

    @property
    def where(self) -> str:
        return f"the releases of {self.repository} on GitHub"

    def get(self, release: str) -> Path:
        """As the folder's; what is not there, or is damaged, is downloaded and hashed first."""
        release_id = self._find(release)
        folder = self.folder / release_id
        if damaged := self._is_here(release_id):
            with contextlib.suppress(UserError):
                verify(folder, release_id)
                return folder
        with self._new() as new:
            self._download(release_id, new)
            super()._take(new, release_id, replace=damaged)
        return folder

    def has(self, release: str) -> bool:
        """Whether GitHub has it, whole; a copy here does not count."""
        return _asset(self._record(release)) is not None

    def list(self) -> list[Release]:
        """The release.json of each release on GitHub, the newest first; notes that were edited are named."""
        return newest_first([about for record in self._records() if (about := _about(record))])

    def note(self, release_id: str, image: Image) -> None:
        """As the folder's, on GitHub and here."""
        folder = self.get(release_id)
        if (record := self._record(release_id)) is None:
            raise self._missing(release_id)
        about = (_about(record) or Release.read(folder)).model_copy(update={"image": image})
        self._api.call("PATCH", f"/releases/{record['id']}", {"body": _notes(about)})
        about.write(folder)

    def remove(self, release_id: str) -> None:
        """Take the release out of GitHub, with its tag, and out of the folder."""
        if record := self._record(release_id):
            self._delete(record)
        super().remove(release_id)

    def _take(self, new: Path, release_id: str, replace: bool = False) -> None:
        """What `put` has verified goes to GitHub before it appears here."""
        if _asset(record := self._record(release_id)) is None or replace:
            if record:  # its asset was cut, or somebody has deleted it
                self._delete(record)
            self._upload(new, release_id)
            replace = True
        super()._take(new, release_id, replace)

    def _upload(self, folder: Path, release_id: str) -> None:
        """A draft, its asset, and once that is whole the release. What fails leaves nothing behind."""
        about = Release.read(folder)
        for record in self._records(drafts=True):  # that a killed upload left; a young one may be under way
            with contextlib.suppress(ValueError):  # its time may not be one
                old = _about(record)
                if old and time.time() - datetime.fromisoformat(old.created).timestamp() > STALE_SECONDS:
                    self._api.call("DELETE", f"/releases/{record['id']}")
        step(f"uploading release {release_id[:12]} to {self.repository}")
        told = {"name": f"{about.name} {release_id[:12]}", "body": _notes(about)}
        told |= {"tag_name": _tag(release_id), "target_commitish": about.commit}
        draft = self._api.call("POST", "/releases", {**told, "draft": True})
        release = f"/releases/{draft['id']}"
        try:
            with self._new() as scratch:
                tar = _pack(folder, scratch / ASSET)
                _check(self._api.upload(draft["upload_url"], tar), tar)
            # not `latest`: the repository may have releases of its own
            self._api.call("PATCH", release, {"draft": False, "make_latest": "false"})
        except BaseException as error:
            with contextlib.suppress(UserError):
                self._api.call("DELETE", release)
            if not isinstance(error, UserError) or not self.has(release_id):
                raise
            step(f"another process has uploaded release {release_id[:12]} meanwhile")

    def _download(self, release_id: str, new: Path) -> None:
        if (record := self._record(release_id)) is None:
            raise self._missing(release_id)
        what = f"{_tag(release_id)} of {self.repository}"
        way_out = f"delete it and its tag on GitHub, and {AGAIN}"
        if (asset := _asset(record)) is None:
            raise UserError(f"{what} has no whole {ASSET}: {way_out}")
        step(f"downloading release {release_id[:12]} from {self.repository}")
        with self._new() as scratch:
            tar = scratch / ASSET
            self._api.download(f"/releases/assets/{asset['id']}", tar)
            _check(asset, tar)
            try:
                _unpack(tar, new)
                verify(new, release_id, way_out)
            except (UserError, tarfile.TarError, EOFError, ValueError, FileExistsError) as error:
                reason = str(error).replace(f"{new}/", "").removesuffix(f": {way_out}")
                other = f"{what} is not the release {release_id[:12]} ({reason})"
                raise UserError(f"{other}: {way_out}") from None
        if (about := _about(record)) and about.id == release_id:
            about.write(new)  # with what was noted since

    def _find(self, release: str) -> str:
        return release if re.fullmatch(r"[0-9a-f]{64}", release) else super()._find(release)

    def _ids(self) -> tuple[str, ...]:
        return tuple(about.id for about in self.list())

    def _records(self, drafts: bool = False) -> Iterator[dict[str, Any]]:
        try:
            found = self._api.list("/releases")
        except NotFound:
            known = f"no repository {self.repository} that this token may see"
            raise UserError(f"GREENLIGHT_STORE: GitHub has {known}") from None
        return (r for r in found if r["draft"] is drafts and str(r["tag_name"]).startswith(TAG))

    def _record(self, release_id: str) -> dict[str, Any] | None:
        return self._api.call("GET", f"/releases/tags/{_tag(release_id)}", missing={}) or None

    def _delete(self, record: dict[str, Any]) -> None:
        self._api.call("DELETE", f"/releases/{record['id']}")
        with contextlib.suppress(UserError):  # an own tag stays where GitHub protects it; it names a commit
            self._api.call("DELETE", f"/git/refs/tags/{record['tag_name']}")


def repository(name: str) -> str:
    """OWNER/REPO: the name that was given, else GITHUB_REPOSITORY's, else that of origin's address."""
    found = name or os.environ.get("GITHUB_REPOSITORY", "")
    if not found:
        found = (hosted(git.remote_url()) or ("", ""))[1]
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", found):
        named = f"{found or 'origin'} names no repository on GitHub"
        raise UserError(f"GREENLIGHT_STORE: {named}: write github:OWNER/REPO")
    return found


def _tag(release_id: str) -> str:
    return f"{TAG}{release_id[:12]}"


def _notes(about: Release) -> str:
    return NOTES.format(json.dumps(about.value, indent=2, ensure_ascii=False))


def _about(record: dict[str, Any]) -> Release | None:
    """The release.json of the notes; None, and a line that says so, where somebody has edited it away."""
    match = re.search(r"```json\s(.*?)```", record["body"] or "", re.DOTALL)
    with contextlib.suppress(UserError):
        about = Release.parse(match[1]) if match else None
        if about and _tag(about.id) == record["tag_name"]:
            return about
    step(f"the notes of {record['tag_name']} on GitHub are not what was written there: passed over")
    return None


def _asset(record: dict[str, Any] | None) -> dict[str, Any] | None:
    assets = record["assets"] if record else ()
    return next((a for a in assets if (a["name"], a["state"]) == (ASSET, "uploaded")), None)


def _check(asset: dict[str, Any], tar: Path) -> None:
    """UserError where GitHub's asset and the file differ; older servers tell no digest."""
    size, digest = tar.stat().st_size, asset.get("digest")
    if asset["state"] != "uploaded" or asset["size"] != size:
        raise UserError(f"the asset {ASSET} was cut on its way ({size} and {asset['size']} bytes): try again")
    if digest and digest != f"sha256:{sha256(tar)}":
        raise UserError(f"the asset {ASSET} was changed on its way ({digest}): try again")


def _pack(folder: Path, tar: Path) -> Path:
    """The same release is the same bytes: sorted, without times and owners."""
    paths = sorted(path for part in PARTS for path in (folder / part, *(folder / part).rglob("*")))
    with tarfile.open(tar, "w", format=tarfile.PAX_FORMAT) as archive:
        for path in paths:
            entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
            if path.is_dir():
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(entry)
                continue
            entry.size, entry.mode = path.stat().st_size, 0o755 if path.stat().st_mode & 0o100 else 0o644
            with path.open("rb") as file:
                archive.addfile(entry, file)
    return tar


def _unpack(tar: Path, folder: Path) -> None:
    """Plain files and folders only, all of them inside; ValueError for anything else."""
    with tarfile.open(tar, "r:") as archive:
        for entry in archive:
            name = Path(entry.name)
            if name.is_absolute() or ".." in name.parts or entry.name.partition("/")[0] not in PARTS:
                raise ValueError(f"{entry.name} is outside")
            target = folder / name
            if entry.type == tarfile.DIRTYPE:
                target.mkdir(parents=True, exist_ok=True)
            elif entry.type == tarfile.REGTYPE and (file := archive.extractfile(entry)):
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("xb") as out:
                    shutil.copyfileobj(file, out)
                target.chmod(entry.mode & 0o755)
            else:
                raise ValueError(f"{entry.name} is not a plain file")
