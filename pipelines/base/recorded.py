"""What dvc.lock, a .dvc file and a folder's list in DVC's cache may name: the one place that decides.

A proposal writes the first two, and whoever can write the DVC remote the third. DVC and `ml` copy, read and
delete what they name, so nothing is done for a name that was not looked at here.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from pipelines.base import conflicts
from pipelines.base.errors import UserError

LOCK = "dvc.lock"
OBJECT = re.compile(r"[0-9a-f]{32}(\.dir)?")
UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
OWN = (".git", ".dvc")  # wherever they are: another repository, and DVC's settings
LONGEST = 1000  # characters of a path
SHOWN = 80
ELSEWHERE = ("files", "cloud")  # lists of more names, which only a cloud with versions has
WAYS_OUT = {
    LOCK: f"take {LOCK} as the default branch has it, then run `ml reproduce`",
    ".dvc": "take it as the default branch has it, or make it with `dvc add`",
    ".dir": "delete it from the DVC remote and from .dvc/cache, and push the folder again",
}


def stages(content: bytes, file: Path | str = LOCK, at: Path | None = None) -> dict[str, dict[str, Any]]:
    """The stages of a dvc.lock, each output of which may be read, written and removed; with `at`, the folder
    that the paths start from, none of them is a link or leads through one. UserError where the file is not
    one that DVC wrote, or names what it may not."""
    text = content.decode("utf-8", "replace")
    conflicts.refuse(Path(file), text)
    try:
        value = yaml.safe_load(text)["stages"]
        found = {str(name): dict(stage) for name, stage in value.items()}
        entries = [
            (name, kind, dict(entry))
            for name, stage in found.items()
            for kind in ("deps", "outs")
            for entry in stage.get(kind) or ()
        ]
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise UserError(f"{file} is not one that DVC wrote: {WAYS_OUT[LOCK]}") from None
    for stage, kind, entry in entries:
        field = f"stages.{stage[:SHOWN]}.{kind}"
        if kind == "outs":  # never hidden files: settings are
            path, hidden = entry.get("path"), "is a hidden file, and no stage makes one"
            why = why_no_path(path) or (hidden if re.search(r"(^|/)\.", str(path)) else None)
            _refuse(why, file, f"{field}.path", path)
        if kind == "outs" or "md5" in entry:
            _check_object(entry, file, field)
    if at is not None:
        _refuse_links(outputs(found), at, file)
    return found


def outputs(of: Mapping[str, Any]) -> dict[str, str]:
    """The object of each output, file or folder, by its path."""
    return {out["path"]: out["md5"] for stage in of.values() for out in stage.get("outs") or ()}


def files(of: Mapping[str, Any], kind: str = "outs") -> Iterator[tuple[str, str]]:
    """The path and the MD5 of each file, not folder, that the stages make; with "deps", that they read."""
    for stage in of.values():
        for entry in stage.get(kind) or ():
            if not str(entry.get("md5", ".dir")).endswith(".dir"):
                yield str(entry["path"]), str(entry["md5"])


def md5(path: Path) -> str:
    """The MD5 of a file, which is its name in DVC's cache."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def check_folder(file: Path, folder: Path) -> None:
    """UserError where the .dvc file of a folder names anything else, or the folder is a link."""
    check_tracked(file.read_bytes(), folder.name, file)
    _refuse_links([folder.as_posix()], Path(), file)


def check_tracked(content: bytes, name: str, file: Path | str) -> None:
    """UserError where the bytes of a .dvc file track anything but `name`, beside it."""
    text = content.decode("utf-8", "replace")
    conflicts.refuse(Path(file), text)
    try:
        value = dict(yaml.safe_load(text))
        entries = [dict(entry) for entry in value["outs"]]
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise UserError(f"{file} is not one that DVC wrote: {WAYS_OUT['.dvc']}") from None
    wdir = value.get("wdir", ".")
    _refuse(None if wdir == "." else "leads to another folder", file, "wdir", wdir)
    for entry in entries:
        path = entry.get("path")
        _refuse(None if path == name else f"is not {name}", file, "outs.path", path)
        _check_object(entry, file, "outs")


def listed(content: bytes, name: str) -> dict[str, str]:
    """The object of each file in a folder, by its path there, from DVC's list of that name. UserError where
    it is not a list, or names what it may not."""
    file = f"DVC's list {name}"
    try:
        entries = [(entry["relpath"], entry["md5"]) for entry in json.loads(content)]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UserError(f"{file} is not one that DVC wrote: {WAYS_OUT['.dir']}") from None
    for path, md5 in entries:
        _refuse(why_no_path(path), file, "relpath", path)
        _refuse(why_no_object(md5, folder=False), file, "md5", md5)
    return dict(entries)


def why_no_object(name: object, folder: bool = True) -> str | None:
    """Why that cannot be an object's name in DVC's cache, which is its MD5; None where it can."""
    if isinstance(name, str) and OBJECT.fullmatch(name) and (folder or not name.endswith(".dir")):
        return None
    return "is not 32 digits of an MD5" + (", with .dir for a folder" if folder else "")


def why_no_path(path: object) -> str | None:
    """Why that is not a path of a file below a folder; None where it is."""
    if not isinstance(path, str) or not path or len(path) > LONGEST or UNSEEN.search(path):
        return "is not a path"
    if path.startswith(("/", "~")) or "\\" in path or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", path):
        return "is not a path of this repository"
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return "does not stay where it starts"
    return "belongs to git or DVC" if any(part.casefold() in OWN for part in parts) else None


def _check_object(entry: Mapping[str, Any], file: Path | str, field: str) -> None:
    _refuse(why_no_object(entry.get("md5")), file, f"{field}.md5", entry.get("md5"))
    kind = entry.get("hash", "md5")
    _refuse(None if kind == "md5" else "is not md5", file, f"{field}.hash", kind)
    for more in ELSEWHERE:
        _refuse("is not supported" if more in entry else None, file, f"{field}.{more}", entry.get(more))


def _refuse_links(paths: Iterable[str], at: Path, file: Path | str) -> None:
    for path in paths:
        whole = PurePosixPath(path)
        steps = [*list(whole.parents)[-2::-1], whole]  # all but the folder `at` itself
        if link := next((step for step in steps if (at / step).is_symlink()), None):
            why = f"because {link} is a link and may lead anywhere: remove the link"
            raise UserError(f"{file}: {path} cannot be made, {why}")


def _refuse(why: str | None, file: Path | str, field: str, value: object) -> None:
    if why is not None:
        shown = ascii(value)
        shown = shown if len(shown) <= SHOWN else shown[:SHOWN] + "..."
        kind = next((end for end in WAYS_OUT if str(file).endswith(end)), LOCK)
        raise UserError(f"{file}: {field} is {shown}, which {why}: {WAYS_OUT[kind]}")
