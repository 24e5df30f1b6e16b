"""A folder that DVC tracks, and whether it still holds what its .dvc file records."""

import sys
from functools import cached_property
from pathlib import Path
from typing import Any

from pipelines.base import programs
from pipelines.errors import UserError


class Folder:
    """`folder` and `folder`.dvc, at the top of the repository."""

    def __init__(self, folder: Path) -> None:
        """Open the DVC repository. UserError where `folder` is not tracked."""
        from dvc.repo import Repo

        self.folder = folder
        if not Path(f"{folder}.dvc").is_file():
            raise UserError(
                f"{folder}.dvc does not exist: make the data with `ml ingest`, then `dvc add {folder}` and "
                "commit it"
            )
        self._repo = Repo(".")

    @property
    def remote(self) -> str | None:
        """The name of the default DVC remote, if one is configured."""
        return self._repo.config["core"].get("remote")

    @property
    def _out(self) -> Any:
        # Asked anew each time: DVC keeps what it knows of a file for the life of the object.
        self._repo._reset()
        return self._repo.find_outs_by_path(str(self.folder))[0]

    def is_as_recorded(self) -> bool:
        """Whether the files hash to what the .dvc file says; known times and sizes spare most of the work."""
        if not self.folder.is_dir() or not any(self.folder.iterdir()):
            return False
        with self._repo.lock:
            out = self._out
            return out.get_hash() == out.hash_info

    def in_cache(self) -> bool:
        return not self._out.changed_cache()

    def pull(self) -> None:
        """Download from the remote. UserError with DVC's own words where that fails."""
        self._dvc("pull", f"the DVC remote {self.remote!r} did not bring {self.folder}/")

    def checkout(self) -> None:
        self._dvc("checkout", f"DVC's cache did not bring {self.folder}/")

    def changed(self) -> list[str]:
        """Files whose content is another one than recorded; what is merely missing does not count."""
        if (recorded := self._recorded) is None:
            return []
        found = self._found()
        return sorted(name for name in found if recorded.get(name) != found[name])

    def difference(self) -> str:
        """What differs, in a few words."""
        found = self._found()
        if (recorded := self._recorded) is None:
            return f"{len(found)} files whose hashes do not add up to {self._out.hash_info.value}"
        words = [f"{name} is missing" for name in sorted(recorded.keys() - found.keys())]
        words += [f"{name} is new" for name in sorted(found.keys() - recorded.keys())]
        words += [f"{name} has changed" for name in self.changed() if name in recorded]
        return ", ".join(words[:3]) + (f" and {len(words) - 3} more" if len(words) > 3 else "")

    @cached_property
    def _recorded(self) -> dict[str, str] | None:
        """MD5 by file, from DVC's listing of the folder; None where the cache does not have it."""
        out = self._out
        try:
            tree = out.get_obj()
        except Exception:  # DVC's object database has an exception of its own for each way of not having it
            return None
        return None if tree is None else {"/".join(key): info.value for key, _, info in tree}

    def _found(self) -> dict[str, str]:
        import hashlib

        files = (path for path in sorted(self.folder.rglob("*")) if path.is_file())
        return {p.relative_to(self.folder).as_posix(): hashlib.md5(p.read_bytes()).hexdigest() for p in files}

    def _dvc(self, command: str, what: str) -> None:
        run = programs.run([sys.executable, "-m", "dvc", command, "--quiet", f"{self.folder}.dvc"])
        if run.returncode:
            reason = " ".join((run.stderr or run.stdout).split())[:300]
            raise UserError(f"{what}: {reason}")
