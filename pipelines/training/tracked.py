"""A folder that DVC tracks, and whether it still holds what its .dvc file records."""

import sys
from functools import cached_property
from pathlib import Path
from typing import Any

from pipelines.base import conflicts, programs, recorded
from pipelines.base.console import step
from pipelines.base.errors import UserError, few
from pipelines.training import cache


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
        self._repo = cache.repo(Path())
        self._out: Any = self._repo.find_outs_by_path(str(folder))[0]

    @property
    def remote(self) -> str | None:
        """The name of the default DVC remote, if one is configured."""
        return self._repo.config["core"].get("remote")

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
        return cache.md5_of_folder(self.found()) == self.name

    def found(self) -> dict[str, str]:
        """MD5 by file, of the files that are there."""
        files = (path for path in sorted(self.folder.rglob("*")) if path.is_file())
        return {
            path.relative_to(self.folder).as_posix(): recorded.md5(path)
            for path in files
            if not self._repo.dvcignore.is_ignored_file(str(path.absolute()))
        }

    @cached_property
    def recorded(self) -> dict[str, str] | None:
        """MD5 by file, from DVC's list of the folder; None where the cache does not have it."""
        return cache.listing(self._repo, self.name)

    def in_cache(self) -> bool:
        return self.recorded is not None and cache.has(self._repo, self.recorded.values())

    def drop_bad(self) -> list[str]:
        """Delete what DVC's cache has of the folder with other bytes than recorded."""
        dropped = cache.drop_bad(self._repo, [self.name])
        self.__dict__.pop("recorded", None)  # the list may have been among them, or come since
        return dropped

    def pull(self) -> None:
        """Download from the remote. UserError with DVC's own words where that fails."""
        cache.bring_lists(self._repo, [self.name])
        self.__dict__.pop("recorded", None)
        self._dvc("pull", f"the DVC remote {self.remote!r} did not bring {self.folder}/")

    def checkout(self) -> None:
        self._dvc("checkout", f"DVC's cache did not bring {self.folder}/")

    def keep(self) -> None:
        """Put the files, which are as recorded, into DVC's cache: where there is a remote, DVC would else
        bring them from there, and a remote that is new has nothing."""
        if not self.in_cache():
            self._repo.commit(f"{self.folder}.dvc", force=True)
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

    def _dvc(self, command: str, what: str) -> None:
        run = programs.run(
            [sys.executable, "-m", "dvc", command, "--quiet", f"{self.folder}.dvc"],
            env=programs.environment(own_code=True),
        )
        if run.returncode:
            reason = " ".join((run.stderr or run.stdout).split())[:300]
            raise UserError(f"{what}: {reason}")


def begin(folder: Path) -> None:
    """Track `folder` where it has files and nothing tracks it yet: the first data of a problem."""
    record = Path(f"{folder}.dvc")
    if not record.exists() and folder.is_dir() and any(folder.iterdir()):
        cache.repo(Path()).add(str(folder))
        step(f"{record} is new: commit it")
