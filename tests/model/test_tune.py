"""`ml tune` finds better settings inside the training window, and claims nothing that it cannot show."""

import dataclasses
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from pipelines.base.errors import UserError
from pipelines.core import params as files
from pipelines.core import tables
from pipelines.core.params import Params, parse
from pipelines.training import table, tune
from tests.problems.parcels import PARAMS_FILE, PROBLEM
from tests.problems.parcels.columns import CONTRACT
from tests.problems.parcels.estimators import ESTIMATORS
from tests.problems.yours import REPOSITORY

START = 50.0  # of `weight`, of which 1 is right
SPACE = {"plain": {"weight": {"low": 0.5, "high": 50.0, "log": True}}}


def plain(*, seed: int, weight: float = START, rounds: int = 50) -> Pipeline:
    """A quick estimator with one setting that matters: how much a positive counts beside a negative."""
    numbers = [column.name for column in CONTRACT.features if column.type != "category"]
    columns = make_column_transformer((make_pipeline(SimpleImputer(), StandardScaler()), numbers))
    model = LogisticRegression(C=1e-4, class_weight={1: weight}, max_iter=rounds, random_state=seed)
    return make_pipeline(columns, model)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(ESTIMATORS, "plain", plain)
    monkeypatch.setattr(tune, "STUDIES", tmp_path / "studies/tune.db")


@pytest.fixture(scope="module", autouse=True)
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    database = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
        yield database


def asked(params: Params, weight: float = START, space: dict[str, Any] = SPACE, **fields: Any) -> Params:
    value = params.model_dump(mode="json")
    value["train"] |= {"estimator": "plain", "settings": {"weight": weight}, **fields}
    value["tune"] = {"trials": 3, "folds": 1, "space": space}
    return parse(value)


@pytest.fixture
def prepared(small_built: Path) -> Path:
    return small_built / "build/prepared.parquet"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A params.yaml with the settings of `asked`, and the repository's comments."""
    text = PARAMS_FILE.read_text()
    path = tmp_path / "params.yaml"
    path.write_text(files.edited(text, {"train.estimator": "plain", "train.settings": {"weight": START}}))
    return path


@pytest.fixture
def run(
    prepared: Path, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> Callable[..., str]:
    """What `ml tune` prints; each time with no study but that of the folder `study`."""

    def run(params: Params, prepared: Path = prepared, study: str = "one", **options: Any) -> str:
        monkeypatch.setattr(tune, "STUDIES", tmp_path / study / "tune.db")
        tune.tune(params, PROBLEM, prepared=prepared, file=file, **options)
        return capsys.readouterr().out

    return run


# --- what it finds ----------------------------------------------------------------------------------------


def test_from_a_bad_start_better_settings_are_found_and_written(
    small_params: Params, run: Callable[..., str], file: Path
) -> None:
    before = file.read_text()
    said = run(asked(small_params))
    old, new = yaml.safe_load(before), yaml.safe_load(file.read_text())
    assert new["train"]["settings"]["weight"] < START / 2
    old["train"].pop("settings"), new["train"].pop("settings")
    assert old == new
    assert re.findall(r"#.*", file.read_text()) == re.findall(r"#.*", before)
    assert [line.split()[1] for line in said.splitlines() if line.startswith("  git ")] == [
        "switch",
        "commit",
        "push",
    ]
    assert "train.settings.weight: 50.0 ->" in said


def test_dry_run_shows_the_same_and_writes_nothing(
    small_params: Params, run: Callable[..., str], file: Path
) -> None:
    before = file.read_text()
    said = run(asked(small_params), write=False)
    assert "is shown to be better; without --dry-run it goes into" in said
    assert file.read_text() == before


def test_where_nothing_is_better_nothing_is_written(
    small_params: Params, run: Callable[..., str], file: Path
) -> None:
    before = file.read_text()
    worse = {"plain": {"weight": {"low": 40, "high": 50}}}
    said = run(asked(small_params, weight=1.0, space=worse))
    assert "No trial is shown to be better than the current settings" in said
    assert file.read_text() == before


def test_a_difference_within_the_noise_is_not_shown_and_not_written(
    small_params: Params, run: Callable[..., str], file: Path
) -> None:
    before = file.read_text()
    said = run(asked(small_params, weight=1.0, space={"plain": {"weight": [1.0]}}), trials=1)
    assert "+0.0000 to +0.0000" in said and "params.yaml stays as it is" in said
    assert file.read_text() == before


def test_another_estimator_brings_its_own_settings_along(
    small_params: Params, run: Callable[..., str], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bold(*, seed: int, boldness: float = 1.0) -> Pipeline:
        return plain(seed=seed, weight=boldness)

    monkeypatch.setitem(ESTIMATORS, "bold", bold)
    run(asked(small_params, space={"bold": {"boldness": [0.9, 1.0]}}), trials=1)
    written = yaml.safe_load(file.read_text())["train"]
    assert written["estimator"] == "bold"
    assert list(written["settings"]) == ["boldness"]


def test_the_best_of_many_equals_is_rarely_called_better() -> None:
    """Equal settings that differ by the day; beside them the interval that knows of one trial only."""
    random = np.random.default_rng(1)
    rows = np.full(60, 100)
    together = alone = 0
    for seed in range(100):
        differences = random.normal(size=(20, 60))
        together += bool((tune.intervals(differences, rows, 200, seed)[1] < 0).any())
        alone += any(tune.intervals(one[None], rows, 200, seed)[1] < 0 for one in differences)
    assert together <= 20
    assert alone >= 50


def test_a_real_difference_is_shown() -> None:
    differences = np.random.default_rng(1).normal(size=(20, 60))
    differences[3] -= 1
    high = tune.intervals(differences, np.full(60, 100), 200, 1)[1]
    assert high[3] < 0 and (high < 0).sum() == 1


# --- what it looks at -------------------------------------------------------------------------------------


def poisoned(path: Path, params: Params, target: Path, later: bool) -> Path:
    """prepared.parquet with the labels of the test or the training window turned round, the former halved."""
    rows = table.load(path)
    window = rows.index.isin(table.later(params, rows, CONTRACT).index)
    chosen = window if later else ~window
    rows.loc[chosen, CONTRACT.label.name] = ~rows.loc[chosen, CONTRACT.label.name]
    number = next(column.name for column in CONTRACT.features if column.type != "category")
    rows.loc[window, number] = np.float32(0)
    tables.write(target, rows[~window | (np.arange(len(rows)) % 2 == 0)])
    return target


def test_the_days_that_judge_are_never_looked_at(
    small_params: Params, run: Callable[..., str], prepared: Path, tmp_path: Path
) -> None:
    params = asked(small_params)
    said = run(params, write=False)
    other = poisoned(prepared, params, tmp_path / "v.parquet", later=True)
    assert run(params, other, study="two", write=False) == said
    control = poisoned(prepared, params, tmp_path / "training.parquet", later=False)
    assert run(params, control, study="three", write=False) != said


def test_each_month_is_answered_by_models_of_the_months_before(small_params: Params, prepared: Path) -> None:
    params = asked(small_params)
    folds = tune.rolling_folds(params, table.training(params, table.load(prepared), CONTRACT), CONTRACT)
    assert [fold.month for fold in folds] == [small_params.train.last]
    time = CONTRACT.time.name
    assert all(fold.past[time].max() < fold.rows[time].min().normalize() for fold in folds)
    days = folds[0].rows[time].dt.normalize()
    assert (
        len(folds[0].sizes) == days.nunique() and (folds[0].sizes == days.value_counts().sort_index()).all()
    )


def test_nothing_of_the_pipeline_depends_on_the_space() -> None:
    stages = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
    assert not [name for name, stage in stages.items() if "tune" in stage.get("params", ())]


# --- again, and after an interruption ---------------------------------------------------------------------


def trials_of(said: str) -> list[str]:
    return sorted(line for line in said.splitlines() if re.match(r" +\d+ ", line))


def test_the_same_seed_gives_the_same_trials_and_another_one_others(
    small_params: Params, run: Callable[..., str]
) -> None:
    said = run(asked(small_params), write=False)
    assert run(asked(small_params), study="two", write=False) == said
    other = run(asked(small_params, seed=small_params.train.seed + 100), study="three", write=False)
    assert len(trials_of(said)) == 3 and trials_of(other) != trials_of(said)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit], ids=["Ctrl-C", "kill"])
def test_an_interrupted_study_goes_on_as_if_it_had_not_been(
    small_params: Params,
    run: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
) -> None:
    whole = run(asked(small_params), write=False)
    losses, count = tune.day_losses, 0

    def interrupted(*arguments: Any) -> Iterator[np.ndarray]:
        nonlocal count
        count += 1
        if count == 3:  # the current settings, the first trial, and in the second
            raise error
        yield from losses(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(tune, "day_losses", interrupted)
        if error is KeyboardInterrupt:
            assert len(trials_of(run(asked(small_params), study="two", write=False))) == 1
        else:
            with pytest.raises(SystemExit):
                run(asked(small_params), study="two", write=False)
    assert run(asked(small_params), study="two", write=False) == whole


def test_a_trial_that_a_killed_process_left_is_no_trial(
    small_params: Params, run: Callable[..., str], prepared: Path
) -> None:
    params = asked(small_params)
    whole = run(params, write=False)
    folds = tune.rolling_folds(params, table.training(params, table.load(prepared), CONTRACT), CONTRACT)
    run(params, study="two", trials=1, write=False)
    tune._study(params, PROBLEM, folds).ask()
    assert run(params, study="two", write=False) == whole


def test_what_is_known_is_not_run_again(
    small_params: Params, run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = run(asked(small_params), write=False)
    monkeypatch.setattr(tune, "day_losses", None)
    assert run(asked(small_params), write=False) == said


def test_minutes_end_the_search(small_params: Params, run: Callable[..., str]) -> None:
    assert trials_of(run(asked(small_params), minutes=0.0, write=False)) == []


def test_a_trial_behind_the_others_is_stopped_after_its_first_month(
    small_params: Params, prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune, "UNPRUNED", 1)
    params = asked(small_params)
    fold = tune.rolling_folds(params, table.training(params, table.load(prepared), CONTRACT), CONTRACT)[0]
    folds = (fold, dataclasses.replace(fold))  # in place of two months
    study = tune._study(params, PROBLEM, folds)
    said = [tune._trial(study, params, PROBLEM, folds, number, 0.0) for number in range(1, 9)]
    stopped = [words for words in said if words.startswith("stopped after")]
    best = min((words for words in said if words not in stopped), key=lambda words: words.split()[1])

    def badness(words: str) -> float:
        return abs(np.log(float(words.rpartition("weight=")[2])))

    assert stopped and all(badness(words) > badness(best) for words in stopped)


def test_a_search_is_one_run_in_mlflow(small_params: Params, run: Callable[..., str], mlflow: Path) -> None:
    def runs() -> int:
        with sqlite3.connect(mlflow) as database:
            query = "select count(*) from tags where key = 'study' and value = 'tune'"
            return int(database.execute(query).fetchone()[0])

    run(asked(small_params), write=False)
    before = runs()
    run(asked(small_params), write=False)  # found nothing new
    assert before >= 1 and runs() == before


# --- a wrong question -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({}, "tune.space names no estimator"),
        ({"plain": {}}, "tune.space.plain names no setting"),
        ({"oracle": {"wisdom": [1, 2]}}, "tune.space.oracle is not an estimator; "),
        ({"plain": {"never_heard_of": [1, 2]}}, "tune.space.plain.never_heard_of is not a setting of plain"),
        ({"plain": {"seed": [1, 2]}}, "tune.space.plain.seed is not a setting of plain"),
        (
            {"plain": {"rounds": {"low": 10, "high": 20.5}}},
            "tune.space.plain.rounds is 20.5, but plain takes",
        ),
        ({"plain": {"weight": [0.1, "heavy"]}}, "tune.space.plain.weight is 'heavy', but plain takes"),
        ({"plain": {"weight": {"low": 2, "high": 1}}}, "tune.space.plain.weight: low is 2, which is not"),
        ({"plain": {"weight": {"low": 0, "high": 1, "log": True}}}, "weight: log needs a low above 0"),
        ({"plain": {"weight": {"low": 0.1}}}, "weight: give it low and high, or a list of choices"),
        ({"plain": {"weight": []}}, "weight: give it low and high, or a list of choices"),
        (
            {"plain": {"weight": {"low": 1, "hihg": 2}}},
            "tune.space.plain.weight.hihg is not a known key; the keys of tune.space.plain",
        ),
        ({"plain": {"weight": {"low": "1", "high": 2}}}, "tune.space.plain.weight.low"),
        ({"plain": {"weight": {"low": 1, "high": 2, "step": 0}}}, "tune.space.plain.weight.step"),
    ],
)
def test_a_wrong_space_is_one_sentence(
    small_params: Params, prepared: Path, space: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError) as error:
        tune.tune(asked(small_params, space=space), PROBLEM, prepared=prepared)
    assert str(error.value).startswith("params.yaml: ") and said in str(error.value)
    assert "\n" not in str(error.value)


def test_more_folds_than_months_are_one_sentence(small_params: Params, prepared: Path) -> None:
    params = asked(small_params)
    params = params.model_copy(update={"tune": params.tune.model_copy(update={"folds": 2})})
    with pytest.raises(UserError, match=r"params\.yaml: tune\.folds is 2, but .* leaves 1"):
        tune.tune(params, PROBLEM, prepared=prepared)


def test_a_wrong_space_exits_with_2(tmp_path: Path) -> None:
    text = PARAMS_FILE.read_text()
    (tmp_path / "params.yaml").write_text(
        re.sub(r"(?m)^tune:.*\n( .*\n)*", "tune: {space: {oracle: {a: [1]}}}\n", text)
    )
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "tune"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith("ml: params.yaml: tune.space.oracle is not an estimator")


def test_a_space_that_nobody_has_written_is_one_sentence(tmp_path: Path) -> None:
    """As in a copy from before there was a space."""
    value = yaml.safe_load(PARAMS_FILE.read_text())
    value.pop("tune", None)
    with pytest.raises(UserError, match=r"tune\.space names no estimator"):
        tune.tune(parse(value), PROBLEM)
