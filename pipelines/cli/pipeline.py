"""The verbs that make a model; the stages of dvc.yaml are among them."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.arguments import labels, month

PANEL = "Pipeline"

verbs = typer.Typer()


@verbs.command(rich_help_panel=PANEL)
def ingest(
    through: Annotated[
        str,
        typer.Option(
            help="The newest month, such as 2013-06, or `latest`; by default params.yaml: data.through."
        ),
    ] = "",
    labels_to: Annotated[
        str,
        typer.Option(
            help="Write the months after data.through into this folder, not into data/; "
            "`host` is the labels of $GREENLIGHT_HOME."
        ),
    ] = "",
) -> None:
    """Make data/ what params.yaml says: the source's months, a file each, the same bytes each time."""
    from pipelines.training.ingest import ingest

    ingest(month(through) if through else None, labels_to=labels(labels_to))


@verbs.command(rich_help_panel=PANEL)
def restore() -> None:
    """Bring data/ back in a fresh clone, from the DVC remote or the source, and check it against data.dvc."""
    from pipelines.training.ingest import restore

    restore()


@verbs.command(rich_help_panel=PANEL)
def validate() -> None:
    """Stage 1: hold the data files against the contract (Great Expectations)."""
    from pipelines.core.params import load
    from pipelines.training import validate

    validate.run(load())


@verbs.command(rich_help_panel=PANEL)
def prepare() -> None:
    """Stage 2: make the features."""
    from pipelines.core.params import load
    from pipelines.training import prepare

    prepare.run(load())


@verbs.command(rich_help_panel=PANEL)
def train() -> None:
    """Stage 3: fit the estimator of params.yaml, export it as ONNX, log the run to MLflow."""
    from pipelines.core.params import load
    from pipelines.training import train

    train.run(load())


@verbs.command(rich_help_panel=PANEL)
def evaluate() -> None:
    """Stage 4: metrics, plots and golden rows on the days after training."""
    from pipelines.core.params import load
    from pipelines.training import evaluate

    evaluate.run(load())


@verbs.command(rich_help_panel=PANEL)
def verify() -> None:
    """Stage 5: train again from the same seed, and on shuffled outcomes, for the gate."""
    from pipelines.core.params import load
    from pipelines.training import verify

    verify.run(load())


@verbs.command(rich_help_panel=PANEL)
def reproduce(
    locked: Annotated[
        bool, typer.Option("--locked", help="Refuse when dvc.lock is not the one that was committed.")
    ] = False,
) -> None:
    """All stages: bring the data back, run what has changed, compare with the committed dvc.lock."""
    from pipelines.training.reproduce import reproduce

    reproduce(locked=locked)


@verbs.command(rich_help_panel=PANEL)
def rebuild(
    out: Annotated[Path, typer.Argument(help="The folder for the models; it does not exist yet.")],
) -> None:
    """Train again from lock and seed, and leave the models for `ml release --trained`."""
    from pipelines.training import again

    again.leave(out)


@verbs.command(rich_help_panel=PANEL)
def tune(
    trials: Annotated[
        int | None, typer.Option(min=1, help="So many trials in all; by default params.yaml: tune.trials.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Start no trial after so many minutes; again goes on.")
    ] = None,
    write: Annotated[
        bool,
        typer.Option("--write/--dry-run", help="Put better settings into params.yaml, or only show them."),
    ] = True,
) -> None:
    """Search params.yaml: tune for better settings, inside the training months; Ctrl-C keeps the best."""
    from pipelines.core.params import load
    from pipelines.training import tune

    tune.tune(load(), trials=trials, minutes=minutes, write=write)
