"""The MLflow registry: the champion is what production runs, and a registry in trouble fails no rollout."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from pipelines.base.files import sha256, write_json, write_text
from pipelines.registry import mirror
from tests.problems.parcels.columns import CONTRACT
from tests.releases import NONE, described


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables without a model, whose making takes seconds."""
    file = tmp_path_factory.mktemp("registry") / "mlflow.db"
    client_of(file).search_registered_models()
    return file


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


@pytest.fixture
def client(here: Path, empty: Path) -> Any:
    """A registry of its own, in the sqlite file of the working directory."""
    (here / ".greenlight").mkdir()
    return client_of(Path(shutil.copy(empty, here / ".greenlight/mlflow.db")))


def client_of(file: Path) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{file}", registry_uri=f"sqlite:///{file}")


def released(text: str, env: str = "staging") -> Path:
    """A release of a registered model; returns its folder in the store."""
    folder = Path("store", text)
    model = write_text(folder / "bento/src/models/model.onnx", text)
    version = mirror.register(env, CONTRACT, model, text, "c", model.parent)
    return described(folder, NONE, sha256(model), version)


def alias(client: Any, name: str) -> str:
    return str(client.get_model_version_by_alias(CONTRACT.name, name).version)


def test_the_champion_follows_production_there_and_back(client: Any, capsys) -> None:
    first, second = released("first"), released("second")
    for folder, version in ((first, "1"), (second, "2"), (first, "1")):
        mirror.champion(CONTRACT.name, folder)
        assert alias(client, "champion") == alias(client, "production") == version
        assert f"{CONTRACT.name} version {version} is the champion" in capsys.readouterr().err
    assert alias(client, "staging") == "2"


def test_a_release_alone_makes_no_champion(client: Any) -> None:
    from mlflow.exceptions import MlflowException

    released("first")
    with pytest.raises(MlflowException):
        alias(client, "champion")


def test_the_version_is_found_by_the_models_hash_not_by_its_number(client: Any, capsys) -> None:
    """Another registry's version 1 is another model."""
    mirror.champion(CONTRACT.name, released("first"))
    described(Path("other"))
    capsys.readouterr()
    mirror.champion(CONTRACT.name, Path("other"))
    assert "is this model, so the alias champion stays" in capsys.readouterr().err
    assert alias(client, "champion") == "1"


def test_without_a_registry_one_line_says_so_and_none_is_made(here: Path, capsys) -> None:
    described(Path("release"))
    mirror.champion(CONTRACT.name, Path("release"))
    assert capsys.readouterr().err.count("\n") == 1
    assert not (here / ".greenlight").exists()


@pytest.mark.parametrize("trouble", ["server", "database", "release"])
def test_trouble_is_one_line_and_no_failure(trouble: str, client: Any, capsys, monkeypatch) -> None:
    folder = released("first")
    capsys.readouterr()
    if trouble == "server":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    elif trouble == "database":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////nonexistent/x.db")
    else:
        write_json(folder / "release.json", {"id": "x"})
    mirror.champion(CONTRACT.name, folder)
    said = capsys.readouterr().err
    assert "the alias champion stays where it is" in said and "Traceback" not in said
    assert len([line for line in said.splitlines() if "MLflow:" in line]) == 1
