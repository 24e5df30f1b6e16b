"""The run of a training in MLflow: what was tried, and how it went. Nothing reads it to decide anything."""

import importlib.util
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.base import git
from pipelines.base.errors import UserError
from pipelines.base.files import sha256
from pipelines.core.params import Params

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

LOCAL = Path(".greenlight/mlflow.db")
Log = Callable[[Params, Path, int, dict[str, float]], None]  # params, the model, its rows, figures
ELSEWHERE = "move it away, or set MLFLOW_TRACKING_URI to another place"


@contextmanager
def beside(problem: str) -> Iterator[Log]:
    """Yields `log` for this problem, in a process of its own that begins at once: MLflow's import and
    database take seconds, in which a fit would wait. UserError before the block for an address that
    takes no run, as far as that can be known without MLflow (a server is waited for), and else from `log`."""
    current()
    given = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{LOCAL}"
    file = Path(given.removeprefix("sqlite:///")).absolute() if given.startswith("sqlite:///") else None
    if file:
        there = next(path for path in (file, *file.parents) if path.exists())
        if not os.access(there, os.W_OK) or (there != file and not there.is_dir()):
            raise UserError(_refused(OSError(f"{there} cannot be written")))
    how = multiprocessing.get_context("fork" if "mlflow.tracking" in sys.modules else "spawn")
    # At its end it is waited for: one that is ended while it makes MLflow's database leaves half of it.
    with ProcessPoolExecutor(1, how, _outlive_signals) as aside:
        asked = aside.submit(ready, problem)
        if not file:
            asked.result()

        def told(*run: Any) -> None:
            asked.result()
            aside.submit(log, problem, *run).result()

        yield told


def _outlive_signals() -> None:
    """Ctrl-C is for the training, and reaches all of a terminal's processes; its end is this one's too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if parent := multiprocessing.parent_process():
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def log(problem: str, params: Params, model: Path, rows: int, figures: dict[str, float]) -> None:
    """Log a training's run to MLFLOW_TRACKING_URI (default: sqlite in .greenlight/): params, `figures`, and
    the tags model_sha256 and git_commit, by which a release finds it. UserError where the server does not
    answer."""
    logged = params.train.model_dump()
    logged |= {f"settings.{name}": value for name, value in logged.pop("settings").items()}
    name = f"{params.train.estimator} {params.train.first} to {params.train.last}"
    run(problem, name, {"model_sha256": sha256(model)}, logged | {"rows": rows}, figures)


def run(
    problem: str,
    name: str,
    tags: dict[str, str],
    logged: dict[str, Any],
    figures: dict[str, float],
    losses: tuple[str, dict[int, float]] = ("", {}),
) -> None:
    """Log a run of this name with what is `logged` of its params and its figures; `losses` are of trials by
    their numbers, the name first. UserError where the server does not answer."""
    _quiet()
    from mlflow.entities import Metric, Param
    from mlflow.exceptions import MlflowException

    try:
        to = client()
        experiment = to.get_experiment_by_name(problem)
        where = experiment.experiment_id if experiment else to.create_experiment(problem)
        made = to.create_run(where, run_name=name, tags=tags | {"git_commit": _commit()}).info.run_id
        now = int(time.time() * 1000)
        metrics = [Metric(name, number, now, 0) for name, number in figures.items()]
        metrics += [Metric(losses[0], loss, now, trial) for trial, loss in losses[1].items()]
        to.log_batch(made, metrics, [Param(name, str(value)) for name, value in logged.items()])
        to.set_terminated(made)
    except MlflowException as error:
        raise UserError(_refused(error)) from None


def ready(problem: str) -> None:
    """UserError where no run could be logged: asked before the long work, whose end it would be."""
    current()
    _quiet()
    from mlflow.exceptions import MlflowException

    try:
        client().get_experiment_by_name(problem)
    except (MlflowException, OSError) as error:
        raise UserError(_refused(error)) from None


def current() -> None:
    """UserError where the address is a database of another MLflow than the installed one, or no database.

    One that does not exist yet is none of these; nothing is written."""
    if not (os.environ.get("MLFLOW_TRACKING_URI") or LOCAL.exists()):
        return
    import sqlalchemy
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    try:
        url = sqlalchemy.make_url(address())
    except ArgumentError:
        return  # a folder
    _quiet()
    if url.get_backend_name() == "sqlite":
        there = bool(url.database) and Path(str(url.database)).exists()
    else:
        from mlflow.store.db.db_types import DATABASE_ENGINES

        there = url.get_backend_name() in DATABASE_ENGINES
    if not there:  # no database to ask
        return
    named = url.render_as_string(hide_password=True)
    where = url.database if url.get_backend_name() == "sqlite" else named
    try:
        with sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool).connect() as connection:
            tables = sqlalchemy.inspect(connection).get_table_names()
            asked = "select version_num from alembic_version"
            found = connection.scalar(sqlalchemy.text(asked)) if "alembic_version" in tables else None
    except (SQLAlchemyError, ImportError) as error:  # a server's driver need not be installed
        reason = str(getattr(error, "orig", None) or error).splitlines()[0][:200]
        raise UserError(f"{where} is not a database that MLflow can read ({reason}): {ELSEWHERE}") from None
    revisions, newest = _revisions()
    if found == newest or not tables:
        return
    if found is None:
        raise UserError(f"{where} holds other tables than MLflow's: {ELSEWHERE}")
    if found in revisions:
        raise UserError(
            f"{where} is of an older MLflow (its schema is {found}, now it is {newest}): copy it, then run "
            f"`mlflow db upgrade {named}`, or {ELSEWHERE}"
        )
    raise UserError(
        f"{where} is of a newer MLflow (its schema {found} is unknown here): install the MLflow that made "
        f"it, or {ELSEWHERE}"
    )


def _revisions() -> tuple[set[str], str]:
    """The schemas that the installed MLflow knows, and its own: as Alembic would say, which would import each
    step between them and so MLflow, for 2 s."""
    found = importlib.util.find_spec("mlflow")
    assert found is not None and found.origin
    steps = Path(found.origin).parent.glob("store/db_migrations/versions/*.py")
    text = "".join(step.read_text(encoding="utf-8") for step in steps)
    known, older = (set(re.findall(rf"^{of}revision = \W(\w+)", text, re.M)) for of in ("", "down_"))
    (newest,) = known - older
    return known, newest


def client() -> "MlflowClient":
    """MLflow's client of `address()`, for runs and for models."""
    _quiet()
    from mlflow.tracking import MlflowClient

    where = address()
    return MlflowClient(tracking_uri=where, registry_uri=where)


def _quiet() -> None:
    """What MLflow reads when it is imported."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")


def _refused(error: Exception) -> str:
    reason = (str(error).splitlines() or [repr(error)])[0][:200]
    if os.environ.get("MLFLOW_TRACKING_URI"):
        return (
            f"MLFLOW_TRACKING_URI names a server that refuses the run ({reason}): start it, or unset the "
            f"variable to log to {LOCAL}"
        )
    return f"{LOCAL} does not take the run ({reason}): {ELSEWHERE}"


def address() -> str:
    """MLFLOW_TRACKING_URI, by default sqlite in .greenlight/ of the working directory.

    Absolute, since MLflow keeps one connection for each address for the life of the process."""
    if given := os.environ.get("MLFLOW_TRACKING_URI"):
        return given
    LOCAL.parent.mkdir(exist_ok=True)
    return f"sqlite:///{LOCAL.absolute()}"


def _commit() -> str:
    try:
        return git.commit("HEAD") or "none"
    except git.NoRepository:
        return "none"
