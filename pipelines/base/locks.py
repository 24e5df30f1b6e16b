"""Who may change what: one process at a time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from pipelines.base.errors import UserError


@contextmanager
def held(folder: Path, what: str, name: str) -> Iterator[None]:
    """Hold what `folder` is about, called `name`, for `what`; the kernel lets go when the holder dies.
    UserError that says who holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "lock"
    lock = FileLock(file)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise UserError(f"{name} is held by {_said(file)}: wait for it, then run this again") from None
    try:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        file.write_text(f"{what} (process {os.getpid()}, since {now})", encoding="utf-8")
        yield
    finally:
        lock.release()


def holder(folder: Path) -> str | None:
    """Who holds what `folder` is about, in words, as `held` wrote them; None where nobody does."""
    file = folder / "lock"
    if not file.is_file():
        return None
    try:
        with FileLock(file, blocking=False):
            return None
    except Timeout:
        return _said(file)


def _said(file: Path) -> str:
    return file.read_text(encoding="utf-8").strip() or "another process"
