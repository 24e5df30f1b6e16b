"""A folder that DVC tracks, and whether it still holds what its .dvc file records; DVC's cache by its bytes:
DVC takes the word of a name or a time for what a file holds, a hash does not."""

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from pipelines.base import conflicts, programs, recorded
from pipelines.base.console import step
from pipelines.base.errors import UserError, few
from pipelines.base.files import write_bytes

Repo = Any  # dvc.repo.Repo, which takes half a second to import


class Folder:
    """`folder` and `folder`.dvc, at the top of the repository."""

    def __init__(self, folder: Path) -> None:
        """Open the DVC repository. UserError where `folder` is not tracked, git left a conflict, or the .dvc
        file names anything else than `folder`."""
        self.folder = folder
        if not Path(f"{folder}.dvc").is_file():
            raise UserError(
                f"{folder}.dvc does not exist: make the data with `ml ingest`, then `dvc add {folder}` and "
                "commit it"
            )
        for name in (f"{folder}.dvc", "dvc.lock", "dvc.yaml", "params.yaml"):
            conflicts.refuse(Path(name))
        recorded.check_folder(Path(f"{folder}.dvc"), folder)
        self.repo = repo(Path())
        self._out: Any = self.repo.find_outs_by_path(str(folder))[0]

    @property
    def remote(self) -> str | None:
        """The name of the default DVC remote, if one is configured."""
        return self.repo.config["core"].get("remote")

    @property
    def name(self) -> str:
        """The hash that the .dvc file records."""
        return str(self._out.hash_info.value)

    @property
    def count(self) -> int | None:
        """How many files the .dvc file records, where it says so."""
        count = self._out.meta.nfiles if self._out.meta else None
        return None if count is None else int(count)

    def is_as_recorded(self) -> bool:
        """Whether the files' bytes hash to what the .dvc file says."""
        return md5_of_folder(self.found()) == self.name

    def found(self) -> dict[str, str]:
        """MD5 by file, of the files that are there."""
        files = (path for path in sorted(self.folder.rglob("*")) if path.is_file())
        return {
            path.relative_to(self.folder).as_posix(): recorded.md5(path)
            for path in files
            if not self.repo.dvcignore.is_ignored_file(str(path.absolute()))
        }

    @cached_property
    def recorded(self) -> dict[str, str] | None:
        """MD5 by file, from DVC's list of the folder; None where the cache does not have it."""
        return listing(self.repo, self.name)

    def in_cache(self) -> bool:
        return self.recorded is not None and has(self.repo, self.recorded.values())

    def drop_bad(self) -> list[str]:
        """Delete what DVC's cache has of the folder with other bytes than recorded."""
        dropped = drop_bad(self.repo, [self.name])
        self.__dict__.pop("recorded", None)  # the list may have been among them, or come since
        return dropped

    def checkout(self) -> None:
        """Bring what the cache has, be it not all. UserError with DVC's own words where that fails."""
        self.__dict__.pop("recorded", None)  # the list may have come since
        if not self.in_cache():  # DVC brings all or nothing
            for name, md5 in (self.recorded or {}).items():
                if has(self.repo, [md5]) and not (self.folder / name).exists():
                    write_bytes(self.folder / name, place(self.repo, md5).read_bytes())
            return
        run = programs.run(
            [sys.executable, "-m", "dvc", "checkout", "--quiet", f"{self.folder}.dvc"],
            env=programs.environment(own_code=True),
        )
        if run.returncode:
            reason = " ".join((run.stderr or run.stdout).split())[:300]
            raise UserError(f"DVC's cache did not bring {self.folder}/: {reason}")

    def keep(self) -> None:
        """Put the files, which are as recorded, into DVC's cache: where there is a remote, DVC would else
        bring them from there, and a remote that is new has nothing."""
        if not self.in_cache():
            self.repo.commit(f"{self.folder}.dvc", force=True)
            self.__dict__.pop("recorded", None)

    def changed(self) -> list[str]:
        """Files whose content is another one than recorded; what is merely missing does not count."""
        if self.recorded is None:
            return []
        return sorted(name for name, md5 in self.found().items() if self.recorded.get(name) != md5)

    def difference(self) -> str:
        """What differs, in a few words."""
        found = self.found()
        if self.recorded is None:
            return f"{len(found)} files whose hashes do not add up to {self.name}"
        words = [f"{name} is missing" for name in sorted(self.recorded.keys() - found.keys())]
        words += [f"{name} is new" for name in sorted(found.keys() - self.recorded.keys())]
        words += [f"{name} has changed" for name in self.changed() if name in self.recorded]
        return few(words)


def begin(folder: Path) -> None:
    """Track `folder` where it has files and nothing tracks it yet: the first data of a problem."""
    record = Path(f"{folder}.dvc")
    if not record.exists() and folder.is_dir() and any(folder.iterdir()):
        repo(Path()).add(str(folder))
        step(f"{record} is new: commit it")


# --- DVC's cache ------------------------------------------------------------------------------------------


def repo(at: Path) -> Repo:
    """The DVC repository of a checkout."""
    from dvc.repo import Repo

    return Repo(str(at))


def md5_of_folder(files: Mapping[str, str]) -> str:
    """How DVC names a folder of these files (MD5 by relative path): the MD5 of its list of them."""
    listed = [{"md5": files[name], "relpath": name} for name in sorted(files)]
    content = json.dumps(listed, sort_keys=True).encode()
    return f"{hashlib.md5(content, usedforsecurity=False).hexdigest()}.dir"


def md5_of_output(path: Path) -> str | None:
    """How DVC names a stage's output, file or folder; None where it is missing."""
    if path.is_dir():
        files = (file for file in path.rglob("*") if file.is_file())
        return md5_of_folder({file.relative_to(path).as_posix(): recorded.md5(file) for file in files})
    return recorded.md5(path) if path.is_file() else None


def listing(repo: Repo, name: str) -> dict[str, str] | None:
    """The MD5 by file of a folder of that name; None where the cache does not have the list, whole.
    UserError where it names what it may not."""
    path = place(repo, name)
    if not path.is_file() or f"{recorded.md5(path)}.dir" != name:
        return None
    return recorded.listed(path.read_bytes(), name)


def has(repo: Repo, names: Iterable[str]) -> bool:
    """Whether the cache has an object of each name; `drop_bad` first, for what they hold."""
    return all(place(repo, name).is_file() for name in names)


def drop_bad(repo: Repo, names: Iterable[str]) -> list[str]:
    """Delete the objects among these that hold other bytes than their names say, with what a folder lists;
    the names of those. What is gone can be brought anew, what is bad would be taken for good."""
    dropped = []
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        path = place(repo, name)
        if not path.is_file():
            continue
        if recorded.md5(path) != name.removesuffix(".dir"):
            path.unlink()
            dropped.append(name)
        elif name.endswith(".dir"):
            waiting += (listing(repo, name) or {}).values()
    return dropped


def place(repo: Repo, name: str) -> Path:
    """Where the cache keeps the object of that name. UserError for a name that would lead elsewhere."""
    if why := recorded.why_no_object(name):
        raise UserError(f"DVC's cache has no object {ascii(name)[:80]}, which {why}")
    return Path(repo.cache.local.oid_to_path(name))
