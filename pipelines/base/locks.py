"""Who may change what: one process at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pipelines.base.errors import UserError


@contextmanager
def held(folder: Path, what: str, name: str) -> Iterator[None]:
    """Hold what `folder` is about, called `name`, for `what`; the kernel lets go when the holder dies.

    UserError that says who holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise UserError(f"{name} is held by {holder}: wait for it, then run this again") from None
        file.truncate(0)
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        file.write(f"{what} (process {os.getpid()}, since {now})")
        file.flush()
        yield


def holder(folder: Path) -> str | None:
    """Who holds what `folder` is about, in words, as `held` wrote them; None where nobody does."""
    try:
        with (folder / "lock").open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read().strip() or "another process"
    except FileNotFoundError:
        pass
    return None
