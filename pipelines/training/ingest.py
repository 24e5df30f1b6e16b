"""`ml ingest` writes the months of data/ from the source; `ml restore` brings data/ back in a fresh clone."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.base.console import step
from pipelines.base.errors import UserError, few
from pipelines.base.files import write_bytes
from pipelines.core import datafiles, params, periods, rows, tables
from pipelines.core.problem import Problem

if TYPE_CHECKING:
    from pipelines.training.tracked import Folder


NAME = f"(?:{'|'.join(form.pattern for form in periods.NAMES.values())})"


def ingest(
    problem: Problem,
    through: str | None = None,
    first: str | None = None,
    folder: Path = datafiles.DATA,
    labels_to: Path | None = None,
) -> list[Path]:
    """Write the months up to `through` (params.yaml: data.through) from pipelines/problem/source.py, one file
    a month, and return the files that changed.

    Into `folder`: from `first` (params.yaml: data.first) on; what is there of other months goes. With
    `labels_to`, only the months after params.yaml: data.through, into that folder: what production needs to
    know later never dirties data/.
    A file that already says the same is left alone. UserError for a month that the source does not have."""
    wanted = params.load().data
    through = through or wanted.through
    if labels_to is not None:
        folder = Path(labels_to)
        after = periods.between(wanted.through, through)[1:]
    else:
        after = periods.between(first or wanted.first, through)
    available = rows.known(problem)
    if unknown := [month for month in [*after, through] if month not in available]:
        raise UserError(
            f"the source has no month {unknown[0]}: pipelines/problem/source.py has "
            f"{available[0]} to {available[-1]}"
        )
    if not after:
        raise UserError(
            f"there is nothing to ingest: {through} is not after "
            + (f"data.through of params.yaml, {wanted.through}" if labels_to else f"{first or wanted.first}")
        )
    changed = [file for month in after if (file := _write(month, Path(folder), problem))]
    if labels_to is None and first is None:
        _remove_others(Path(folder), wanted.first, max(through, wanted.through))
    return changed


def _remove_others(folder: Path, first: str, last: str) -> None:
    """Delete the months before and after, those in CSV of an older template, and what a killed run left of
    one; name them."""
    kept = periods.between(first, last)
    for file in sorted(folder.iterdir()):
        found = re.fullmatch(rf"({NAME})\.parquet|{NAME}\.csv|\.{NAME}\.parquet\..+", file.name)
        if found and file.is_file() and found[1] not in kept:
            file.unlink()
            step(
                f"{file}: removed, since params.yaml: data begins with {first} and ends with {last}, "
                f"a .parquet file a {periods.grain(first)}"
            )


def _write(month: str, folder: Path, problem: Problem) -> Path | None:
    file = datafiles.path(folder, month)
    table = rows.of_source(month, problem)
    content = tables.encoded(table)
    if file.is_file() and file.read_bytes() == content:
        return None
    step(f"{file}: {table.num_rows:,} rows")
    return write_bytes(file, content)


def restore(problem: Problem, folder: Path = datafiles.DATA) -> None:
    """Bring `folder` back as its .dvc file records it: from the DVC remote where one is configured, else
    from DVC's local cache, else from the source. What one way brings is hashed, byte by byte, because DVC
    takes a file's name for its content; where it is another, it is dropped and the next way is tried.

    UserError where the record is not of the months of params.yaml, where files differ from the record
    (changed by hand, or by the source), or where a remote fails."""
    from pipelines.training import tracked

    record = tracked.Folder(folder)
    require_months(record)
    if record.is_as_recorded():
        return
    before = record.found()
    if not record.changed():  # what somebody changed by hand is not overwritten, but named below
        if bad := record.drop_bad():
            step(f"DVC's cache held {len(bad)} of {folder}/ with other bytes than recorded: dropped")
        for name, bring in _ways(record, problem):
            for brought in record.changed():
                if brought not in before:
                    (folder / brought).unlink()
            step(f"bringing {folder}/ back {name}")
            bring()
            if record.is_as_recorded():
                return
            record.drop_bad()
    raise UserError(
        f"{folder}/ differs from {folder}.dvc ({record.difference()}): restore the old data with "
        f"`rm -r {folder} && ml restore`, or accept the new with `dvc add {folder}` and a commit of "
        f"{folder}.dvc"
    )


def _ways(record: "Folder", problem: Problem) -> Iterator[tuple[str, Callable[[], None]]]:
    """Each is looked for when the one before has failed."""
    if record.remote:
        yield f"from the DVC remote {record.remote!r}", lambda: _from_remote(record)
    if record.in_cache():
        yield "from DVC's cache", record.checkout
    yield "from the source", lambda: _from_source(record.folder, problem)


def _from_remote(record: "Folder") -> None:
    """What the remote has; what it has lost is named, for the next way to bring. UserError where it fails."""
    from pipelines.training import remote

    lost = remote.bring(record.repo, [record.name])
    if lost and not remote.there(record.repo):
        raise remote.refusal(record.repo, f"{record.folder}/", FileNotFoundError("its folder is not there"))
    record.checkout()
    if lost:
        listed = record.recorded or {}
        names = [name for name, md5 in listed.items() if md5 in lost] or ["its list of files"]
        step(f"the DVC remote {record.remote!r} has lost {few(names)} of {record.folder}/: {remote.PUT_BACK}")


def require_months(record: "Folder") -> None:
    """UserError where the .dvc file is of other months than params.yaml: no way could bring both."""
    data = params.load().data
    wanted = {datafiles.path("", month).name for month in periods.between(data.first, data.through)}
    if (recorded := record.recorded) is not None:
        words = [f"holds {name}" for name in sorted(recorded.keys() - wanted)]
        words += [f"lacks {name}" for name in sorted(wanted - recorded.keys())]
    else:
        words = [f"is of {record.count} files"] if record.count not in (None, len(wanted)) else []
    if words:
        raise UserError(
            f"{record.folder}.dvc {few(words)}, and params.yaml: data says {data.first} to {data.through}, "
            f"{len(wanted)} months: run `ml ingest`, which makes {record.folder}/ so, then "
            f"`dvc add {record.folder}`, and commit {record.folder}.dvc"
        )


def _from_source(folder: Path, problem: Problem) -> None:
    """The months of params.yaml that are not there; a file that is there stays as it is, to be compared."""
    wanted = params.load().data
    for month in periods.between(wanted.first, wanted.through):
        if not datafiles.path(folder, month).exists():
            _write(month, folder, problem)
