"""The MLflow registry, which mirrors the ledger: a version for each model, an alias for each environment."""

import os
from pathlib import Path
from typing import Any

from pipelines.artifacts.release import Release
from pipelines.base.console import step
from pipelines.base.errors import UserError
from pipelines.base.files import sha256
from pipelines.core.contract import Contract
from pipelines.training import tracking

CHAMPION = ("champion", "production")  # the aliases of what production runs


def register(env: str, contract: Contract, model: Path, release: str, commit: str, stored: Path) -> str:
    """The version of this model in the registry, made where it has none, under the environment's alias.

    The registry is MLFLOW_TRACKING_URI's, by default sqlite in .greenlight/, which points at `stored`, the
    model's folder in the store; a server gets the file. UserError where it does not answer."""
    from mlflow.exceptions import MlflowException

    name = contract.name
    local = not os.environ.get("MLFLOW_TRACKING_URI")
    tags = {"model_sha256": sha256(model), "git_commit": commit}
    try:
        client = tracking.client()
        if (version := _version(client, name, tags["model_sha256"])) is None:
            run = _run(client, name, tags)
            if not local:
                client.log_artifact(run.info.run_id, str(model), "model")
            source = stored.absolute().as_uri() if local else f"{run.info.artifact_uri}/model"
            try:
                client.create_registered_model(name, description=contract.decision.says)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            made = client.create_model_version(name, source, run_id=run.info.run_id, tags=tags)
            version = str(made.version)
        client.set_registered_model_alias(name, env, version)
        client.set_model_version_tag(name, version, "release", release)
    except MlflowException as error:
        said = f"a server that does not take the model ({str(error).splitlines()[0][:200]})"
        way_out = f"start it, or unset the variable to use {tracking.LOCAL}"
        raise UserError(f"MLFLOW_TRACKING_URI names {said}: {way_out}") from None
    return version


def champion(name: str, folder: Path) -> None:
    """Let the aliases `champion` and `production` follow the release in `folder`, which production runs now.

    It never fails, as the traffic has moved; a line says how it went."""
    try:
        step(f"MLflow: {_crown(name, folder)}")
    except Exception as error:  # whatever a server, a database or a damaged file comes up with
        reason = (str(error).splitlines() or [repr(error)])[0][:200]
        step(f"MLflow: the alias champion stays where it is, and the next rollout sets it ({reason})")


def _crown(name: str, folder: Path) -> str:
    if not os.environ.get("MLFLOW_TRACKING_URI") and not tracking.LOCAL.exists():
        return "no registry is known here (set MLFLOW_TRACKING_URI), so the alias champion stays where it is"
    about = Release.read(folder)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")  # seconds; its own default is two minutes
    client = tracking.client()
    if (version := _version(client, name, about.model.sha256)) is None:
        return f"no version of {name} is this model, so the alias champion stays where it is"
    for alias in CHAMPION:
        client.set_registered_model_alias(name, alias, version)
    return f"{name} version {version} is the champion"


def _version(client: Any, name: str, sha256: str) -> str | None:
    found = client.search_model_versions(f"name = '{name}' and tags.model_sha256 = '{sha256}'")
    return str(found[0].version) if found else None


def _run(client: Any, name: str, tags: dict[str, str]) -> Any:
    """The run that trained the model; where it was trained under another registry, a new one."""
    experiment = client.get_experiment_by_name(name)
    where = experiment.experiment_id if experiment else client.create_experiment(name)
    runs = client.search_runs([where], f"tags.model_sha256 = '{tags['model_sha256']}'", max_results=1)
    if runs:
        return runs[0]
    run = client.create_run(where, run_name="release", tags=tags)
    client.set_terminated(run.info.run_id)
    return run
