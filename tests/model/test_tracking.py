"""Where no run can be logged, that is one sentence before the long work: a training's end comes too late."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from pipelines.base import git
from pipelines.base.errors import UserError
from pipelines.core.params import Params
from pipelines.host.slots import launch
from pipelines.training import ingest, reproduce, tracked, tracking, train, tune
from tests.problems.parcels import PARAMS_FILE, PROBLEM

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """old.db, as an MLflow whose schema is one step older leaves it, and new.db, of the installed one."""
    import mlflow.store.db_migrations
    from mlflow.store.tracking.dbmodels.initial_models import Base

    folder = tmp_path_factory.mktemp("databases")
    config = Config()
    config.set_main_option("script_location", str(Path(mlflow.store.db_migrations.__file__).parent))
    config.set_main_option("sqlalchemy.url", f"sqlite:///{folder}/old.db")
    engine = sqlalchemy.create_engine(f"sqlite:///{folder}/old.db")
    Base.metadata.create_all(engine)
    engine.dispose()
    newest = ScriptDirectory.from_config(config).get_current_head()
    command.upgrade(config, f"{newest}-1")
    shutil.copy(folder / "old.db", folder / "new.db")
    config.set_main_option("sqlalchemy.url", f"sqlite:///{folder}/new.db")
    command.upgrade(config, "head")
    return folder


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where mlflow.db is by default; it is not there yet."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    tracking.LOCAL.parent.mkdir()
    return tracking.LOCAL.absolute()


def revised(database: Path, revision: str) -> None:
    with sqlite3.connect(database) as file:
        file.execute("update alembic_version set version_num = ?", [revision])


def test_an_older_database_is_named_with_the_command_that_brings_it_up(made: Path, database: Path) -> None:
    shutil.copy(made / "old.db", database)
    before = database.read_bytes()
    with pytest.raises(UserError) as error:
        tracking.ready(PROBLEM.name)
    sentence = str(error.value)
    assert sentence.startswith(f"{database} is of an older MLflow (its schema is ")
    assert f"`mlflow db upgrade sqlite:///{database}`" in sentence and "\n" not in sentence
    assert database.read_bytes() == before  # nobody's database is migrated without a word


def test_what_the_sentence_says_helps(made: Path, database: Path) -> None:
    from mlflow.store.db.utils import _upgrade_db  # what `mlflow db upgrade` calls

    shutil.copy(made / "old.db", database)
    engine = sqlalchemy.create_engine(f"sqlite:///{database}")
    _upgrade_db(engine)
    engine.dispose()
    tracking.ready(PROBLEM.name)


def test_a_newer_database_is_named(made: Path, database: Path) -> None:
    shutil.copy(made / "new.db", database)
    revised(database, "ffffffffffff")
    with pytest.raises(UserError, match=r"mlflow\.db is of a newer MLflow \(its schema ffffffffffff is"):
        tracking.ready(PROBLEM.name)


@pytest.mark.parametrize("address", ["", "sqlite:///here.db"])
def test_a_file_that_is_no_database_is_named(
    address: str, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    file = Path("here.db") if address else database
    file.write_text("version https://git-lfs.github.com/spec/v1\n" * 40)
    with pytest.raises(UserError, match=rf"{file} is not a database that MLflow can read \(file is not a"):
        tracking.ready(PROBLEM.name)


def test_another_program_s_database_is_named(database: Path) -> None:
    with sqlite3.connect(database) as file:
        file.execute("create table songs (name text)")
    with pytest.raises(UserError, match=r"mlflow\.db holds other tables than MLflow's: move it away"):
        tracking.ready(PROBLEM.name)


def test_a_database_that_fits_or_is_empty_or_is_not_there_yet_is_taken(made: Path, database: Path) -> None:
    tracking.current()
    assert not database.exists()
    database.touch()
    tracking.current()
    shutil.copy(made / "new.db", database)
    tracking.ready(PROBLEM.name)


def test_a_folder_that_takes_no_file_is_one_sentence(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("file").touch()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///file/mlflow.db")
    with pytest.raises(UserError, match=r"^MLFLOW_TRACKING_URI names a server that refuses the run"):
        tracking.ready(PROBLEM.name)


def test_training_and_tuning_ask_before_they_read_a_row(
    made: Path, database: Path, small_params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(made / "old.db", database)
    with pytest.raises(UserError, match="is of an older MLflow"):
        train.run(small_params, PROBLEM, Path("absent.parquet"))
    with pytest.raises(UserError, match="is of an older MLflow"):
        tune.tune(small_params, PROBLEM, prepared=Path("absent.parquet"))
    database.unlink()
    Path("file").touch()
    with monkeypatch.context() as patched, pytest.raises(UserError, match="a server that refuses the run"):
        patched.setenv("MLFLOW_TRACKING_URI", "sqlite:///file/mlflow.db")
        train.run(small_params, PROBLEM, Path("absent.parquet"))
    with pytest.raises(UserError, match=r"absent\.parquet does not exist"):
        tune.tune(small_params, PROBLEM, prepared=Path("absent.parquet"))


def test_what_fails_beside_the_fit_is_one_sentence_after_it(
    database: Path, small_params: Params, small_built: Path
) -> None:
    model = small_built / "models/model.onnx"
    with tracking.beside(PROBLEM.name) as log:
        log(small_params, model, 1, {})
        shutil.rmtree(database.parent)
        with pytest.raises(UserError, match=r"mlflow\.db does not take the run \("):
            log(small_params, model, 1, {})


STOPPED = """
import os, signal, sys, time
from pathlib import Path
from pipelines.training import tracking
if __name__ == "__main__":
    with tracking.beside("rain"):
        while not tracking.LOCAL.exists():
            time.sleep(0.05)
        how = getattr(signal, sys.argv[1])
        os.kill(os.getpid(), how) if how == signal.SIGKILL else os.killpg(0, how)
        time.sleep(60)
"""


@pytest.mark.parametrize(("name", "code"), [("SIGINT", -signal.SIGINT), ("SIGKILL", -signal.SIGKILL)])
def test_a_training_that_is_stopped_leaves_no_process_and_ctrl_c_a_whole_database(
    name: str, code: int, database: Path
) -> None:
    Path("stopped.py").write_text(STOPPED)
    env = os.environ | {"PYTHONPATH": str(ROOT), "STOPPED": str(database)}
    done = subprocess.run(
        [sys.executable, "stopped.py", name], env=env, capture_output=True, text=True, start_new_session=True
    )
    assert done.returncode == code, done.stderr
    until = time.monotonic() + 10
    while (left := launch.leftovers(str(database), "STOPPED")) and time.monotonic() < until:
        time.sleep(0.05)
    assert not left
    if name == "SIGINT":
        tracking.ready(PROBLEM.name)
        with sqlite3.connect(database) as file:
            assert file.execute("select count(*) from runs").fetchall() == [(0,)]


def test_a_folder_that_may_not_be_written_is_told_before_the_fit(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking.os, "access", lambda path, mode: False)
    with pytest.raises(UserError, match=r"greenlight cannot be written\)"), tracking.beside(PROBLEM.name):
        pytest.fail("it is told before the training")


def test_the_stages_before_training_do_not_run_in_vain(
    made: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git.run("init", "--quiet")
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet"], check=True)
    Path("dvc.yaml").write_text(
        "stages:\n"
        "  prepare: {cmd: echo 1 > prepared, outs: [prepared]}\n"
        "  train: {cmd: cp prepared trained, deps: [prepared], outs: [trained]}\n"
    )
    monkeypatch.setattr(ingest, "restore", lambda *_: None)
    monkeypatch.setattr(tracked, "drop_bad", lambda *_: [])
    shutil.copy(made / "old.db", database)
    with pytest.raises(UserError, match="is of an older MLflow"):
        reproduce.reproduce(PROBLEM)
    assert not Path("prepared").exists()
    database.unlink()
    reproduce.reproduce(PROBLEM)
    assert Path("trained").exists()
    shutil.copy(made / "old.db", database)
    reproduce.reproduce(PROBLEM)  # nothing is to be trained, so nobody asks for the database


def test_the_command_exits_with_2(made: Path, database: Path) -> None:
    shutil.copy(made / "old.db", database)
    shutil.copy(PARAMS_FILE, "params.yaml")
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "stage", "train"], capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"ml: {database} is of an older MLflow")
