"""`ml stage`: the stages of dvc.yaml, which `ml reproduce` runs where something has changed."""

import sys

import typer

from pipelines.base import preloaded
from pipelines.cli.arguments import given
from pipelines.cli.groups import Verbs

verbs = Verbs(help="One stage of dvc.yaml; `ml reproduce` runs those that something has changed for.")


@verbs.callback()
def run(context: typer.Context) -> None:
    """Where `ml reproduce` has the imports ready, the stage runs there."""
    name = context.invoked_subcommand
    if (code := preloaded.elsewhere(name if name in ("validate", "verify") else "others")) is not None:
        sys.exit(code)


@verbs.command(example="ml stage validate")
def validate() -> None:
    """Hold the data files against the contract (Great Expectations)."""
    from pipelines.training import validate

    validate.run(*given())


@verbs.command(example="ml stage prepare")
def prepare() -> None:
    """Make the features."""
    from pipelines.training import prepare

    prepare.run(*given())


@verbs.command(example="ml stage train")
def train() -> None:
    """Fit the estimator of params.yaml, export it as ONNX, log the run to MLflow."""
    from pipelines.training import train

    train.run(*given())


@verbs.command(example="ml stage evaluate")
def evaluate() -> None:
    """Write metrics, plots and golden rows of the days after training."""
    from pipelines.training import evaluate

    evaluate.run(*given())


@verbs.command(example="ml stage verify")
def verify() -> None:
    """Train again from the same seed, and on shuffled outcomes, for the gate."""
    from pipelines.training import verify

    verify.run(*given())


@verbs.command(example="ml stage card")
def card() -> None:
    """Write the model card, models/card.md."""
    from pipelines.report import card

    card.run(*given())
