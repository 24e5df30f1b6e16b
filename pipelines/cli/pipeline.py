"""The verbs that make a model."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from pipelines.cli.arguments import given, month, pairs, problem
from pipelines.cli.groups import Verbs

verbs = Verbs("Make a model")


@verbs.command(example="ml new tables/cars.csv\nml new tables/cars.csv --label price_eur --yes")
def new(
    table: Annotated[str, Argument(help="A CSV or Parquet file, a folder of them, a query, or its .sql.")],
    label: Annotated[str, Option(help="The column that is to be predicted.")] = "",
    time: Annotated[str, Option(help="When the event of a row happens; `none`: rows have no date.")] = "",
    key: Annotated[str, Option(help="The column that identifies a row; `none`: one is made.")] = "",
    kind: Annotated[list[str] | None, Option("--as", help="A column's type: digit=category.")] = None,
    yes: Annotated[bool, Option("--yes", help="Take what is proposed.")] = False,
    force: Annotated[bool, Option("--force", help="Drop edits that are not committed.")] = False,
) -> None:
    """Write the room, pipelines/problem/, and params.yaml for a table: columns, types, ranges, leaks,
    months and margins are proposed from it."""
    from pipelines.start import new

    new.run(table, {"label": label, "time": time, "key": key}, pairs(kind), yes=yes, force=force)


@verbs.command(example="ml explore")
def explore() -> None:
    """Write build/explore.html, to look at data/ before one models: each column and its link with the label,
    what is missing, what drifts, what leaks, and what a model must beat."""
    from pipelines.start import explore

    explore.run(*given())


@verbs.command(example="ml ingest\nml ingest --through 2013-07 --labels-to host")
def ingest(
    through: Annotated[
        str, Option(help="The newest month, or `latest`; by default params.yaml: data.through.")
    ] = "",
    labels_to: Annotated[
        str, Option(help="Write the months after data.through there; `host`: $GREENLIGHT_HOME/labels.")
    ] = "",
) -> None:
    """Make data/ what params.yaml says: the source's months, a file each, the same bytes each time."""
    from pipelines.base.machine import home
    from pipelines.training.ingest import ingest

    folder = home() / "labels" if labels_to == "host" else Path(labels_to) if labels_to else None
    ingest(problem(), month(through) if through else None, labels_to=folder)


@verbs.command(example="ml restore")
def restore() -> None:
    """Bring data/ back in a fresh clone, from the DVC remote or the source, and check it against data.dvc."""
    from pipelines.training.ingest import restore

    restore(problem())


@verbs.command(example="ml reproduce")
def reproduce(
    locked: Annotated[
        bool, Option("--locked", help="Refuse when dvc.lock is not the committed one.")
    ] = False,
) -> None:
    """All stages: bring the data back, run what has changed, compare with the committed dvc.lock."""
    from pipelines.training.reproduce import reproduce

    reproduce(problem(), locked=locked)


@verbs.command(example="ml push")
def push() -> None:
    """Put what data.dvc and dvc.lock record into the DVC remote, where it is not there or no longer."""
    from pipelines.training import reproduce

    reproduce.push()


@verbs.command(example="ml tune --minutes 5")
def tune(
    trials: Annotated[
        int | None, Option(min=1, help="So many trials in all; by default params.yaml: tune.trials.")
    ] = None,
    minutes: Annotated[
        float | None, Option(min=0, help="Start no trial after so many minutes; another run goes on.")
    ] = None,
    write: Annotated[
        bool, Option("--write/--dry-run", help="Write better settings into params.yaml, or show them.")
    ] = True,
) -> None:
    """Search params.yaml: tune for better settings, inside the training months; Ctrl-C keeps the best."""
    from pipelines.training import tune

    tune.tune(*given(), trials=trials, minutes=minutes, write=write)
