"""DVC's cache by its bytes: DVC takes the word of a name or a time for what a file holds, a hash does not."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipelines.base import recorded
from pipelines.base.errors import UserError
from pipelines.base.files import write_bytes

Repo = Any  # dvc.repo.Repo, which takes half a second to import


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


def bring_lists(repo: Repo, names: Iterable[str]) -> None:
    """Copy the lists of folders from the default DVC remote into the cache, each looked at before: DVC would
    bring list and files in one, and write wherever it says. What the remote does not have stays away.

    UserError where a list names what it may not, or the remote fails."""
    bring(repo, (name for name in names if name.endswith(".dir") and listing(repo, name) is None))


def bring(repo: Repo, names: Iterable[str]) -> None:
    """Copy objects from the default DVC remote into the cache, where their bytes are those of their names."""
    for name in names:
        try:
            remote = repo.cloud.get_remote_odb(hash_name="md5")
            content = remote.fs.cat_file(remote.oid_to_path(name))
        except FileNotFoundError:
            continue
        except Exception as error:  # whatever its client raises
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise UserError(f"the DVC remote did not bring {name}: {reason}") from None
        if hashlib.md5(content, usedforsecurity=False).hexdigest() == name.removesuffix(".dir"):
            if name.endswith(".dir"):
                recorded.listed(content, name)
            write_bytes(place(repo, name), content)


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
