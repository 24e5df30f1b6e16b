"""The run of a training in MLflow: what was tried, and how it went. Nothing reads it to decide anything."""

import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from pipelines.base import git
from pipelines.errors import UserError
from pipelines.files import sha256
from pipelines.params import Params
from pipelines.problem.columns import CONTRACT

LOCAL = Path(".greenlight/mlflow.db")


def log(params: Params, model: Path, rows: pd.DataFrame, figures: dict[str, float]) -> None:
    """Log a run to MLFLOW_TRACKING_URI (default: sqlite in .greenlight/): params, `figures`, and the tags
    model_sha256 and git_commit, by which a release finds it. UserError where the server does not answer.
    """
    train = params.train
    logged: dict[str, object] = {
        **{name: value for name, value in train.model_dump().items() if name != "settings"},
        **{f"settings.{name}": value for name, value in train.settings.items()},
        "rows": len(rows),
    }
    name = f"{train.estimator} {train.first} to {train.last}"
    _log(name, {"model_sha256": sha256(model)}, logged, figures)


def log_study(
    params: Params, best: Mapping[str, object], figures: dict[str, float], losses: dict[int, float]
) -> None:
    """Log a search for settings as one run: the `best`, `figures`, and each trial's log-loss by its number.
    UserError where the server does not answer.
    """
    train = params.train
    logged = {
        "first": train.first,
        "last": train.last,
        "seed": train.seed,
        "folds": params.tune.folds,
        **best,
    }
    _log(f"tune {train.first} to {train.last}", {"study": "tune"}, logged, figures, losses)


def _log(
    name: str,
    tags: dict[str, str],
    logged: dict[str, object],
    figures: dict[str, float],
    losses: dict[int, float] | None = None,
) -> None:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    try:
        client = MlflowClient(tracking_uri=address())
        experiment = client.get_experiment_by_name(CONTRACT.name)
        where = experiment.experiment_id if experiment else client.create_experiment(CONTRACT.name)
        run = client.create_run(where, run_name=name, tags=tags | {"git_commit": _commit()}).info.run_id
        for param, value in logged.items():
            client.log_param(run, param, value)
        for figure, number in figures.items():
            client.log_metric(run, figure, number)
        for trial, loss in (losses or {}).items():
            client.log_metric(run, "log_loss", loss, step=trial)
        client.set_terminated(run)
    except MlflowException as error:
        raise UserError(
            f"MLFLOW_TRACKING_URI names a server that refuses the run ({str(error).splitlines()[0][:200]}): "
            f"start it, or unset the variable to log to {LOCAL}"
        ) from None


def address() -> str:
    """MLFLOW_TRACKING_URI, by default sqlite in .greenlight/ of the working directory.

    Absolute, since MLflow keeps one connection for each address for the life of the process.
    """
    if given := os.environ.get("MLFLOW_TRACKING_URI"):
        return given
    LOCAL.parent.mkdir(exist_ok=True)
    return f"sqlite:///{LOCAL.absolute()}"


def _commit() -> str:
    try:
        return git.commit("HEAD") or "none"
    except git.NoRepository:
        return "none"
