"""A mistake in the team's room is one sentence with file and line, and exit code 2."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipelines.base.errors import UserError
from pipelines.core import room
from pipelines.core.params import Params
from tests import project
from tests.problems.parcels import PARAMS_FILE
from tests.problems.yours import environment

INGEST = ("ingest", "--through", "2013-01")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("room")
    shutil.copytree(project.code() / "pipelines", folder / "pipelines")
    shutil.copy(PARAMS_FILE, folder)
    return folder


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("columns.py", "CONTRACT = Contract(", "CONTRACT = = Contract(", "columns.py, line "),
        (
            "columns.py",
            "import Column,",
            "import Colum,",
            "columns.py, line 3: ImportError: cannot import name",
        ),
        (
            "columns.py",
            '"carrier",\n        "category"',
            '"carrier",\n        "word"',
            "carrier: type is 'word'",
        ),
        ("columns.py", "slice=True", "slices=True", "TypeError: Column.__init__() got an unexpected keyword"),
        ("columns.py", "label=True", "label=False", "exactly one column needs label=True"),
        (
            "columns.py",
            "CONTRACT =",
            "CONTRAKT =",
            "pipelines/problem/columns.py has no CONTRACT",
        ),
        ("source.py", "import pandas as pd", "import pandas as pd\nimport no_such", "`make lock`"),
        ("source.py", "def read(month: str)", "def read()", "source.py: read() is called with 1 argument"),
        ("source.py", "def read(month", "def reads(month", "pipelines/problem/source.py has no read"),
        ("source.py", 'f"2013-{month:02}"', 'f"{month}/2013"', "returns '1/2013' for a month"),
        (
            "source.py",
            "_drawn(month).copy()",
            '_drawn(month)["moon"]',
            "line 72: KeyError: 'moon'",
        ),
    ],
)
def test_a_mistake_is_one_sentence(checkout: Path, name: str, old: str, new: str, said: str) -> None:
    assert said in refused(checkout, INGEST, name, old, new)


def refused(checkout: Path, verb: tuple[str, ...], name: str, old: str, new: str) -> str:
    """The one sentence that a verb ends with, where a file of the room has `new` in place of `old`."""
    file = checkout / "pipelines/problem" / name
    before = file.read_text()
    assert old in before
    file.write_text(before.replace(old, new, 1))
    try:
        # Without -B Python may run the last mistake's bytecode: it knows a file by its second and its size.
        command = [sys.executable, "-B", "-m", "pipelines.cli", *verb]
        done = subprocess.run(
            command, cwd=checkout, env=environment(checkout), capture_output=True, text=True
        )
    finally:
        file.write_text(before)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    sentence = done.stderr.splitlines()[-1]
    assert sentence.startswith(("ml: pipelines/problem/", "ml: params.yaml: ", "ml: data/")), sentence
    return sentence


PREPARE, TRAIN = ("stage", "prepare"), ("stage", "train")
BUILD = "    departure = raw["
PLAIN = "return make_pipeline(columns, trees)"
LINEAR = "return make_pipeline(columns, LogisticRegression())"  # it takes no missing values
UNSURE = "from sklearn.svm import LinearSVC\n    return make_pipeline(columns, SimpleImputer(), LinearSVC())"
CUBES = (
    "import numpy\n    from sklearn.preprocessing import FunctionTransformer\n"
    "    return make_pipeline(columns, FunctionTransformer(numpy.cbrt), trees)"
)
DRAWN = "_drawn(month).copy()"
SOURCE, FEATURES, ESTIMATORS = "source.py", "features.py", "estimators.py"


@pytest.fixture(scope="module")
def built(checkout: Path, small_built: Path, small_params: Params) -> Path:
    """The checkout with three months of data, and the features of all but the test."""
    shutil.copytree(small_built / "data", checkout / "data")
    (checkout / "build").mkdir()
    shutil.copy(small_built / "build/prepared.parquet", checkout / "build/prepared.parquet")
    (checkout / "params.yaml").write_text(yaml.safe_dump(small_params.model_dump()))
    return checkout


@pytest.mark.parametrize(
    ("verb", "name", "old", "new", "said"),
    [
        (INGEST, "columns.py", "columns=PLAN +", "columns=PLAN + PLAN +", "carrier is written twice"),
        (INGEST, "columns.py", "CONTRACT = Contract(", "CONTRACT = dict(", "a dict, but must be a Contract"),
        (INGEST, "columns.py", '"flag",', '"text",', "the label late must be of type"),
        (INGEST, "columns.py", "key=True", "key=True, time=True", "one column needs time=True, not 2"),
        (INGEST, SOURCE, DRAWN, "_drawn(month).to_dict()", "must return a table, not dict"),
        (INGEST, SOURCE, DRAWN, '_drawn(month).drop(columns="van")', "lacks column van"),
        (INGEST, SOURCE, DRAWN, '_drawn(month).assign(temperature="warm")', "'warm', but must be a number"),
        (INGEST, SOURCE, DRAWN, '_drawn("2013-02")', "not in 2013-01"),
        (INGEST, SOURCE, "def months()", 'months = ["2013-01"]\n\n\ndef other()', "where a function must be"),
        (PREPARE, FEATURES, "def build(raw", "def make(raw", "features.py has no build"),
        (PREPARE, FEATURES, BUILD, f"    raw = raw.dropna()\n{BUILD}", "must keep the rows and their order"),
        (PREPARE, FEATURES, "        day_of_week=departure.dt.dayofweek,\n", "", "returns no day_of_week"),
        (PREPARE, FEATURES, BUILD, f'    raw["moon"]\n{BUILD}', "line 9: KeyError: 'moon'"),
        (PREPARE, FEATURES, "return raw.assign", "raw.assign", "must return a table, not NoneType"),
        (PREPARE, FEATURES, "dt.dayofweek", "dt.day_name()", "makes day_of_week 'Tuesday', but must be"),
        (PREPARE, FEATURES, "HISTORY_DAYS = 0", 'HISTORY_DAYS = "0"', "'0', but must be a whole number"),
        (PREPARE, FEATURES, '("size")', '("size").shift(9)', "set HISTORY_DAYS"),
        (TRAIN, ESTIMATORS, '"hist_gradient_boosting": hist', '"boosting": hist', "estimators.py has boost"),
        (TRAIN, ESTIMATORS, "ESTIMATORS: dict", "ESTIMATOR: dict", "estimators.py has no ESTIMATORS"),
        (TRAIN, ESTIMATORS, '": hist_gradient_boosting,', '": None,', "is None, but must be a function"),
        (TRAIN, ESTIMATORS, "    max_iter: int = 100,\n    l", "    l", "max_iter is not a setting of"),
        (
            TRAIN,
            ESTIMATORS,
            "    seed: int,\n    max_iter",
            "    max_iter",
            "unexpected keyword argument 'seed'",
        ),
        (TRAIN, ESTIMATORS, PLAIN, "make_pipeline(columns, trees)", "returns a NoneType, but must return"),
        (TRAIN, ESTIMATORS, PLAIN, UNSURE, "has no attribute 'predict_proba'"),
        (TRAIN, ESTIMATORS, PLAIN, LINEAR, "hist_gradient_boosting does not learn from these features"),
        (
            TRAIN,
            ESTIMATORS,
            '"passthrough", NUMBERS',
            '"passthrough", ["moon"]',
            "not columns of the dataframe",
        ),
        (TRAIN, ESTIMATORS, PLAIN, CUBES, "this estimator cannot be written as ONNX: FunctionTransformer"),
        (TRAIN, ESTIMATORS, "learning_rate=l", "learning_rates=l", "keyword argument 'learning_rates'"),
    ],
)
def test_a_mistake_that_a_stage_meets_is_one_sentence(
    built: Path, verb: tuple[str, ...], name: str, old: str, new: str, said: str
) -> None:
    assert said in refused(built, verb, name, old, new)


def test_our_own_bug_is_none_of_the_room() -> None:
    with pytest.raises(ZeroDivisionError) as error:
        1 / 0  # noqa: B018
    assert room.mistake(error.value) is None
    assert room.mistake(UserError("said already")) is None


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([], "must return a list"),
        ("2013-01", "must return a list"),
        ([201301], "for a month"),
        (["2013-02", "2013-01"], "oldest first"),
    ],
)
def test_months_that_are_none_are_named(found: object, said: str) -> None:
    with pytest.raises(UserError, match=said):
        room.months(lambda: found)
