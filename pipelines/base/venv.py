"""Virtual environments: made once from a lock with hashes, named after it, shared."""

import hashlib
import sys
from pathlib import Path

from filelock import FileLock

from pipelines.base import programs
from pipelines.base.errors import Refused, UserError
from pipelines.base.files import write_text


def make(folder: Path, lock: Path) -> Path:
    """The environment `folder` with what `lock` lists; two that need the same one take turns.

    It cannot be made elsewhere and renamed, because its scripts name their folder: the file `ready`, written
    last, makes it whole. Refused with uv's last words when it cannot be made."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder = folder.parent.resolve() / folder.name  # its scripts keep working when a link to it is gone
    # The base interpreter: the caller's own environment may be a job's, and go.
    base = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    python = str(folder / "bin" / "python")
    with FileLock(folder.parent / f"{folder.name}.lock"):
        if (folder / "ready").exists():
            return folder
        if (uv := programs.find("uv")) is None:
            raise UserError("uv is not on PATH: run this by `make`, or in .venv")
        for command in (
            [uv, "venv", "--quiet", "--clear", "--python", str(base), str(folder)],
            [uv, "pip", "sync", "--quiet", "--require-hashes", "--python", python, str(lock)],
        ):
            if (done := programs.run(command)).returncode:
                said = " ".join(done.stderr.split())[-600:]
                raise Refused(f"{folder} could not be made from {lock}: {said}")
        write_text(folder / "ready", "")
    return folder


def name(lock: Path) -> str:
    """What an environment of this lock is called: 12 digits of its SHA-256."""
    return hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
