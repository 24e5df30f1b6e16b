"""The months of data/ come from the source, the same bytes each time, whole or not at all."""

from pathlib import Path

import pandas as pd
import pytest

from pipelines.base import files
from pipelines.base.errors import UserError
from pipelines.core import periods
from pipelines.training.ingest import ingest
from tests.problems.parcels import PARAMS, PARAMS_FILE, PROBLEM, source
from tests.problems.parcels.columns import CONTRACT


def test_the_same_month_is_the_same_bytes_and_left_alone(small_data: Path, tmp_path: Path) -> None:
    first = source.months()[0]
    ingest(PROBLEM, first, first=first, folder=tmp_path)
    assert (tmp_path / f"{first}.parquet").read_bytes() == (small_data / f"{first}.parquet").read_bytes()
    before = (tmp_path / f"{first}.parquet").stat()
    assert ingest(PROBLEM, first, first=first, folder=tmp_path) == []
    assert (tmp_path / f"{first}.parquet").stat().st_ino == before.st_ino
    (tmp_path / f"{first}.parquet").write_text("changed\n")
    assert ingest(PROBLEM, first, first=first, folder=tmp_path) == [tmp_path / f"{first}.parquet"]


def test_a_file_is_in_the_contract_s_order_sorted_and_complete(small_data: Path) -> None:
    table = pd.read_parquet(small_data / f"{source.months()[0]}.parquet")
    assert list(table.columns) == [column.name for column in CONTRACT.raw]
    order = table[[CONTRACT.time.name, CONTRACT.key.name]]
    assert order.equals(order.sort_values([CONTRACT.time.name, CONTRACT.key.name]))


def test_a_month_that_the_source_does_not_have_names_those_it_has(tmp_path: Path) -> None:
    last = source.months()[-1]
    after = str(pd.Period(last, "M") + 1)
    with pytest.raises(UserError, match=f"no month {after}.*{source.months()[0]} to {last}"):
        ingest(PROBLEM, after, first=last, folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_labels_of_later_months_never_go_into_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    through = PARAMS.data.through
    later = periods.between(through, str(pd.Period(through, "M") + 1))[1]
    (tmp_path / "params.yaml").write_text(PARAMS_FILE.read_text())
    monkeypatch.chdir(tmp_path)
    assert ingest(PROBLEM, later, labels_to=Path("labels")) == [Path("labels") / f"{later}.parquet"]
    assert not Path("data").exists()
    with pytest.raises(UserError, match="nothing to ingest"):
        ingest(PROBLEM, through, labels_to=Path("labels"))


def test_data_are_made_what_params_say_and_what_goes_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    small_raw: pd.DataFrame,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wanted = PARAMS.data
    before, after = (
        str(pd.Period(month, "M") + by) for month, by in ((wanted.first, -1), (wanted.through, 1))
    )
    few = small_raw[periods.within(small_raw[CONTRACT.time.name], wanted.first, wanted.first)].head(5)
    monkeypatch.setattr(source, "read", lambda month: few)
    monkeypatch.setattr(source, "months", lambda: periods.between(wanted.first, wanted.through))
    for name in (
        f"{before}.parquet",
        f"{after}.parquet",
        f"{wanted.first}.csv",
        f".{before}.parquet.half",
        "notes.txt",
    ):
        (tmp_path / name).write_text("old\n")
    ingest(PROBLEM, wanted.first, folder=tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"{wanted.first}.parquet", "notes.txt"]
    assert (
        f"{before}.parquet: removed, since params.yaml: data begins with {wanted.first}"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize("fault", ["missing", "extra", "zone", "infinite", "line break"])
def test_a_source_that_does_not_fit_the_contract_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_raw: pd.DataFrame, fault: str
) -> None:
    last_raw = CONTRACT.raw[-2].name
    table = small_raw.head(10)
    number = next(c.name for c in CONTRACT.raw if c.type == "number" and c.known_at is not None)
    category = next(c.name for c in CONTRACT.raw if c.type == "category")
    changed, said = {
        "infinite": (table.assign(**{number: float("inf")}), f"row 1: {number} is inf"),
        "line break": (table.assign(**{category: "a\rb"}), rf"row 1: {category} is 'a\\rb'"),
        "missing": (table.drop(columns=last_raw), f"lacks column {last_raw}"),
        "extra": (table.assign(surprise=1), "unknown column surprise"),
        "zone": (
            table.assign(**{CONTRACT.time.name: table[CONTRACT.time.name].dt.tz_localize("Asia/Tokyo")}),
            "row 1: .* has a time zone .Asia/Tokyo.",
        ),
    }[fault]
    monkeypatch.setattr(source, "read", lambda month: changed)
    with pytest.raises(UserError, match=rf"pipelines/problem/source\.py.*{said}"):
        ingest(PROBLEM, source.months()[0], first=source.months()[0], folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_write_that_dies_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "replace", die)
    with pytest.raises(KeyboardInterrupt):
        ingest(PROBLEM, source.months()[0], first=source.months()[0], folder=tmp_path)
    assert not list(tmp_path.iterdir())
