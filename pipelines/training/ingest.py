"""`ml ingest` writes the months of data/ from the source; `ml restore` brings data/ back in a fresh clone."""

from collections.abc import Callable
from pathlib import Path

from pipelines import params
from pipelines.console import step
from pipelines.errors import UserError
from pipelines.files import write_bytes
from pipelines.problem import source
from pipelines.problem.columns import CONTRACT
from pipelines.training import months


def ingest(
    through: str, first: str | None = None, folder: Path = months.DATA, labels_to: Path | None = None
) -> list[Path]:
    """Write the months up to `through` from pipelines/problem/source.py, one CSV a month, and return the
    files that changed.

    Into `folder`: from `first` (params.yaml: data.first) on. With `labels_to`, only the months after
    params.yaml: data.through, into that folder: what production needs to know later never dirties data/.
    A file that already says the same is left alone. UserError for a month that the source does not have.
    """
    wanted = params.load().data
    if labels_to is not None:
        folder = Path(labels_to)
        after = months.between(wanted.through, through)[1:]
    else:
        after = months.between(first or wanted.first, through)
    available = source.months()
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
    return [file for month in after if (file := _write(month, Path(folder)))]


def _write(month: str, folder: Path) -> Path | None:
    file = months.path(folder, month)
    table = source.read(month)
    names = {column.name for column in CONTRACT.raw}
    if wrong := sorted(names.symmetric_difference(table.columns)):
        verb = "lacks" if wrong[0] in names else "has the unknown"
        raise UserError(
            f"pipelines/problem/source.py: {month} {verb} column {wrong[0]}; columns.py names them"
        )
    try:
        content = months.to_csv(table)
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"pipelines/problem/source.py: {month} does not fit columns.py: {error}") from None
    if file.is_file() and file.read_bytes() == content:
        return None
    step(f"{file}: {len(table):,} rows")
    return write_bytes(file, content)


def restore(folder: Path = months.DATA) -> None:
    """Bring `folder` back as its .dvc file records it: from the DVC remote where one is configured, else
    from DVC's local cache, else from the source; then compare, because DVC accepts any difference in silence.

    UserError where the files differ from the record (changed by hand, or by the source) or a remote fails.
    """
    from pipelines.training import tracked

    record = tracked.Folder(folder)
    if record.is_as_recorded():
        return
    ways: list[tuple[str, Callable[[], None]]] = []
    if record.remote:
        ways.append((f"from the DVC remote {record.remote!r}", record.pull))
    if record.in_cache():
        ways.append(("from DVC's cache", record.checkout))
    ways.append(("from the source", lambda: _from_source(folder)))
    if not record.changed():  # what somebody changed by hand is not overwritten, but named below
        name, bring = ways[0]
        step(f"bringing {folder}/ back {name}")
        bring()
    if not record.is_as_recorded():
        raise UserError(
            f"{folder}/ differs from {folder}.dvc ({record.difference()}): restore the old data with "
            f"`rm -r {folder} && ml restore`, or accept the new with `dvc add {folder}` and a commit of "
            f"{folder}.dvc"
        )


def _from_source(folder: Path) -> None:
    """The months of params.yaml that are not there; a file that is there stays as it is, to be compared."""
    wanted = params.load().data
    for month in months.between(wanted.first, wanted.through):
        if not months.path(folder, month).exists():
            ingest(month, first=month, folder=folder)
