"""Files that are whole or not there: temporary name, fsync, rename."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipelines.base.errors import UserError


def write_bytes(path: Path | str, content: bytes) -> Path:
    """Replace `path` by `content` in one step; parents are made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp's 0600 would hide results from the other users of a host
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path


def write_text(path: Path | str, text: str) -> Path:
    """Replace `path` by `text`, UTF-8."""
    return write_bytes(path, text.encode())


def write_json(path: Path | str, value: Any) -> Path:
    """Replace `path` by `value` as indented JSON with a final newline; NaN is refused (it is not JSON)."""
    return write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path | str) -> Any:
    """The value in a JSON file. UserError where the file is missing or is not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid JSON ({error})") from None


def sha256(path: Path | str) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_tree(folder: Path | str, paths: Iterable[Path] | None = None) -> str:
    """SHA-256 over the sorted lines `path sha256` of the files under `folder`, or of `paths` in it. UserError
    where a name has a line end: two files and one of such a name would have the same hash."""
    folder = Path(folder)
    files = sorted(paths if paths is not None else (p for p in folder.rglob("*") if p.is_file()))
    names = [path.relative_to(folder).as_posix() for path in files]
    if broken := next((name for name in names if "\n" in name), None):
        raise UserError(f"{broken!r} has a line end in its name: rename it")
    lines = [f"{name} {sha256(path)}\n" for name, path in zip(names, files, strict=True)]
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()
