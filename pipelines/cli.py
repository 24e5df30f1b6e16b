"""`ml`: every verb of the template. A verb's module is imported when that verb runs."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from pipelines.errors import Refused, UserError

app = typer.Typer(
    name="ml",
    help="Propose, judge, release, deploy and watch a model. Start with `make demo`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
infra = typer.Typer(help="Set up a host with Terraform: edge, supervisor, folders.", no_args_is_help=True)
store = typer.Typer(help="Look into the store of releases, or add to it.", no_args_is_help=True)

PIPELINE, REVIEW, DELIVERY, MONITORING, LOCAL = (
    "Pipeline",
    "Review",
    "Delivery",
    "Monitoring",
    "On this machine",
)

app.add_typer(infra, name="infra", rich_help_panel=DELIVERY)
app.add_typer(store, name="store", rich_help_panel=DELIVERY)

Env = Annotated[str, typer.Option("--env", help="The environment: staging or production.")]


def main() -> None:
    """Run `ml`: 0 done or PASS, 2 the user's mistake, 3 INCONCLUSIVE, 4 FAIL; anything else is a bug."""
    try:
        app()
    except (UserError, Refused) as error:
        print(f"ml: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UserError) else 4)


# --- pipeline ---------------------------------------------------------------------------------------------


@app.command(rich_help_panel=PIPELINE)
def ingest(
    through: Annotated[str, typer.Option(help="The newest month to write, such as 2013-06.")],
    labels_to: Annotated[
        Path | None, typer.Option(help="Write the months after data.through there, not into data/.")
    ] = None,
) -> None:
    """Write the source's months into data/, a file each; the same bytes each time."""
    from pipelines.training.ingest import ingest

    ingest(through, labels_to=labels_to)


@app.command(rich_help_panel=PIPELINE)
def restore() -> None:
    """Bring data/ back in a fresh clone, from the DVC remote or the source, and check it against data.dvc."""
    from pipelines.training.ingest import restore

    restore()


@app.command(rich_help_panel=PIPELINE)
def validate() -> None:
    """Stage 1: hold the data files against the contract (Great Expectations)."""
    from pipelines.params import load
    from pipelines.training import validate

    validate.run(load())


@app.command(rich_help_panel=PIPELINE)
def prepare() -> None:
    """Stage 2: make the features."""
    from pipelines.params import load
    from pipelines.training import prepare

    prepare.run(load())


@app.command(rich_help_panel=PIPELINE)
def train() -> None:
    """Stage 3: fit the estimator of params.yaml, export it as ONNX, log the run to MLflow."""
    from pipelines.params import load
    from pipelines.training import train

    train.run(load())


@app.command(rich_help_panel=PIPELINE)
def evaluate() -> None:
    """Stage 4: metrics, plots and golden rows on the days after training."""
    from pipelines.params import load
    from pipelines.training import evaluate

    evaluate.run(load())


@app.command(rich_help_panel=PIPELINE)
def reproduce(
    locked: Annotated[
        bool, typer.Option("--locked", help="Refuse when dvc.lock is not the one that was committed.")
    ] = False,
) -> None:
    """All stages: bring the data back, run what has changed, compare with the committed dvc.lock."""
    from pipelines.training.reproduce import reproduce

    reproduce(locked=locked)


def _finish(code: int) -> None:
    raise typer.Exit(code)


if __name__ == "__main__":
    main()
