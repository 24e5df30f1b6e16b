"""`ml diff`: two releases or models beside each other; what is equal is not shown."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.artifacts.serving import Settings
from pipelines.base.errors import UserError
from pipelines.base.files import sha256_of_tree, write_json
from pipelines.registry.store import Store
from pipelines.release.diff import diff
from tests.delivery.world import World
from tests.project import commit
from tests.releases import described

Change = Callable[[dict[str, Any]], Any]

MODEL: dict[str, Any] = {
    **{"name": "made", "estimator": "plain", "settings": {"weight": 1}, "seed": 7},
    **{"features": ["x", "y"], "parity": 0.0},
    "train": {"first": "2013-01-01", "last": "2013-05-31", "days": 151, "rows": 100, "label_rate": 0.2},
    "schema": {
        "properties": {
            "x": {"type": "number", "description": "a number"},
            "y": {"type": "number", "description": "another"},
        },
        "required": ["x"],
    },
    "versions": {"numpy": "2.4.6", "onnx": "1.23.2"},
}
METRICS = {"rows": 10, "days": 3, "label_rate": 0.2, "threshold": 0.25, "roc_auc": 0.75, "log_loss": 0.5}


def model(folder: Path, change: Change = lambda model: None, seed: int = 7, auc: float = 0.75) -> Path:
    """A checkout with a model in it."""
    value = json.loads(json.dumps(MODEL))
    change(value)
    write_json(folder / "models" / "model.json", value)
    write_json(folder / "models" / "metrics.json", METRICS | {"roc_auc": auc})
    Settings(name="made", api=1, threshold=0.5, batch=10).write(folder / "models")
    (folder / "models" / "model.onnx").write_bytes(b"onnx")
    (folder / "params.yaml").write_text(f"train: {{seed: {seed}}}\ndata: {{through: 2013-06}}\n")
    (folder / "requirements").mkdir()
    (folder / "requirements" / "serve.txt").write_text(
        "numpy==2.4.6 \\\n    --hash=sha256:0\nanyio==4.16.0\n"
    )
    return folder


@pytest.fixture
def released(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Puts the model of a checkout into the store, as a release of a commit here; returns its id."""
    monkeypatch.setenv("GREENLIGHT_HOME", str(world.home))

    def make(name: str, checkout: Path, env: str | None = None, **about: Any) -> str:
        (world.checkout / "params.yaml").write_bytes((checkout / "params.yaml").read_bytes())
        of = commit(world.checkout, name)
        source = tmp_path / f"source-{name}"
        (source / "requirements").mkdir(parents=True)
        (source / "requirements" / "serve.txt").write_bytes(
            (checkout / "requirements" / "serve.txt").read_bytes()
        )
        (source / "name").write_text(name)
        id = sha256_of_tree(source)
        with Store(world.home / "store").put(id) as folder:
            (folder / "bento").mkdir()
            source.rename(folder / "bento" / "src")
            (folder / "bento" / "bento.yaml").write_text("")
            (folder / "evidence").mkdir()
            for file in ("model.json", "metrics.json"):
                (checkout / "models" / file).rename(folder / "evidence" / file)
            described(folder, id, "d" * 64, **{"commit": of, **about})
        if env:
            world.want(id, env)
        return id

    return make


def lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_what_differs_is_shown_with_both_values_and_what_is_equal_is_not(
    tmp_path: Path, world: World
) -> None:
    def change(value: dict[str, Any]) -> None:
        value["train"]["last"] = "2013-06-30"
        value["schema"]["properties"]["x"]["type"] = "integer"
        del value["schema"]["properties"]["y"]
        value["versions"]["numpy"] = "2.4.7"

    one, other = model(tmp_path / "one"), model(tmp_path / "other", change, seed=8, auc=0.76)
    told = diff(str(one), str(other))
    for row in (
        "train.seed 7 8 +1",
        "last 2013-05-31 2013-06-30",
        "roc_auc 0.75 0.76 +0.01",
        "x.type number integer",
        "y type number; description another; required False -",
        "numpy 2.4.6 2.4.7",
    ):
        assert row.split() in lines(told), told
    for equal in ("log_loss", "through", "onnx", "anyio", "first", "api"):
        assert equal not in told
    assert diff(str(one), str(one)).endswith("\n\nnothing differs")


def test_releases_are_named_by_id_by_its_beginning_and_by_who_wants_them(
    released: Callable[..., str], tmp_path: Path
) -> None:
    old = released("old", model(tmp_path / "one"), "production")
    new = released("new", model(tmp_path / "two", seed=8, auc=0.76), "staging", api=2)
    by_env = diff("production", "staging")
    assert f"A  release {old[:12]} of commit" in by_env and ", which production wants" in by_env
    for row in ("train.seed 7 8 +1", "roc_auc 0.75 0.76 +0.01", "api 1 2 +1"):
        assert row.split() in lines(by_env), by_env
    by_id = diff(old, new[:8])
    assert by_id == by_env.replace(", which production wants", "").replace(", which staging wants", "")
    assert "seed" in diff(old, str(model(tmp_path / "three", seed=9)))


def test_what_one_of_them_does_not_have_is_not_compared_and_named(
    released: Callable[..., str], tmp_path: Path
) -> None:
    here = model(tmp_path / "here")
    lighter = model(tmp_path / "one", lambda value: value["settings"].update(weight=2), seed=8)
    strange = released("strange", lighter, commit="e" * 40)
    told = diff(strange, str(here))
    assert "settings.weight 2 1 -1".split() in lines(told)  # the model's own word of them
    assert "not compared, because one of them has none: params\n" in told and "train.seed" not in told


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "stagin",
            "'stagin' is neither a release's id, nor staging or production, nor a folder with models/",
        ),
        ("staging", "the ledger wants nothing for staging yet: run `ml release`"),
        ("0123456789", "release 0123456789 is not in"),
        ("abcd", "'abcd' is not a release id: give at least 8"),
        ("empty", r"empty/models/model\.json does not exist: run `ml reproduce` there"),
        (
            "broken",
            r"broken/models/model\.json is not what `ml stage train` writes .*: run `ml reproduce`",
        ),
        ("other", r"other/models/model\.json is not what `ml stage train` writes"),
    ],
)
def test_a_name_that_is_none_is_one_sentence(name: str, says: str, world: World, tmp_path: Path) -> None:
    for folder, text in (("empty", None), ("broken", "{"), ("other", "[]")):
        (world.checkout / folder / "models").mkdir(parents=True)
        if text:
            (world.checkout / folder / "models" / "model.json").write_text(text)
            write_json(world.checkout / folder / "models" / "metrics.json", METRICS)
    with pytest.raises(UserError, match=says) as told:
        diff(str(model(tmp_path / "here")), name)
    assert "\n" not in str(told.value)
