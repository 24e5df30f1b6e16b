"""The log of predictions is read as it is found on a host where processes were killed."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipelines.base.errors import UserError
from pipelines.base.files import write_bytes
from pipelines.monitoring import labels
from tests.months import write_month
from tests.problems.parcels import PROBLEM, source
from tests.problems.parcels.columns import CONTRACT


def line(
    key: str | None = "a", p: Any = 0.5, time: str = "2026-01-01T00:00:00.000+00:00", **more: Any
) -> bytes:
    entry = {"time": time, "request": "q", "row": 0, "release": "r1", "features": {}, "key": key, "p": p}
    return json.dumps(entry | more).encode() + b"\n"


def test_a_cut_last_line_is_left_out_and_counted(tmp_path: Path) -> None:
    write_bytes(tmp_path / "1.jsonl", line("a") + line("b")[:40])
    write_bytes(tmp_path / "2.jsonl", line("c"))
    log = labels.predictions(tmp_path, CONTRACT)
    assert sorted(log.rows[labels.KEY]) == ["a", "c"]
    assert (log.lines, log.cut, log.unreadable) == (3, 1, 0)


def test_a_whole_last_line_without_its_end_is_kept(tmp_path: Path) -> None:
    write_bytes(tmp_path / "1.jsonl", line("a").rstrip())
    assert (len(labels.predictions(tmp_path, CONTRACT).rows), labels.predictions(tmp_path, CONTRACT).cut) == (
        1,
        0,
    )


@pytest.mark.parametrize(
    "bad",
    [
        b"{}\n",
        b"\xff\n",
        b"[1]\n",
        b"\n",
        line(p=1.5),
        line(p=None),
        line(p="0.5"),
        line(p=10**400),
        line(features=None),
    ],
)
def test_a_line_that_is_no_prediction_is_left_out_and_counted(tmp_path: Path, bad: bytes) -> None:
    write_bytes(tmp_path / "1.jsonl", line("a") + bad + line("b"))
    log = labels.predictions(tmp_path, CONTRACT)
    assert (len(log.rows), log.unreadable, log.cut) == (2, 1, 0)


def test_of_a_key_asked_twice_the_first_prediction_counts(tmp_path: Path) -> None:
    old, new = line("a", 0.1, "2026-01-01T00:00:00"), line("a", 0.9, "2026-01-02T00:00:00")
    write_bytes(tmp_path / "1.jsonl", new)
    write_bytes(tmp_path / "2.jsonl", old)  # read later, yet older
    log = labels.predictions(tmp_path, CONTRACT)
    assert list(log.rows[labels.ANSWER]) == [0.1]
    assert log.repeated == 1


def test_a_prediction_is_the_first_within_the_horizon_whoever_asks_earlier_or_later(tmp_path: Path) -> None:
    raw = source.read("2013-02")
    write_month(tmp_path, "2013-02", raw)
    table = labels.events(tmp_path, "2013-02", PROBLEM)
    assert table is not None
    event = table.sort_values(CONTRACT.time.name).iloc[len(table) // 2]
    key, time = event[labels.KEY], event[CONTRACT.time.name]

    def p_of(*asked: tuple[float, float]) -> float:
        """By the hours before the event, and the answer then."""
        lines = [
            line(key, p, f"{(time - pd.Timedelta(hours=hours)).isoformat()}+00:00") for hours, p in asked
        ]
        write_bytes(tmp_path / "log/1.jsonl", b"".join(lines))
        (p,) = labels.join(labels.predictions(tmp_path / "log", CONTRACT), table, CONTRACT)[labels.ANSWER]
        return float(p)

    horizon = CONTRACT.horizon
    assert p_of((horizon, 0.2), (horizon / 2, 0.3), (-1, 0.9)) == 0.2
    assert p_of((60 * 24, 0.9), (horizon, 0.2), (-60, 0.8)) == 0.2, "months before, and when it is over"
    assert p_of((-60, 0.8), (-61, 0.9)) == 0.8, "a replay of the past: nobody asked in time"
    assert p_of((60 * 24, 0.7), (-60, 0.8)) == 0.7


def test_a_prediction_without_a_key_is_counted_and_joined_to_nothing(tmp_path: Path) -> None:
    write_bytes(tmp_path / "1.jsonl", line(None) + line("a"))
    log = labels.predictions(tmp_path, CONTRACT)
    assert (list(log.rows[labels.KEY]), log.without_key) == (["a"], 1)


def test_an_answer_to_a_copy_of_a_request_is_no_prediction_and_the_same_line_without_the_mark_is_one(
    tmp_path: Path,
) -> None:
    served, sooner = line("a", 0.1, "2026-01-01T00:00:01"), "2026-01-01T00:00:00"
    write_bytes(tmp_path / "1.blue.1.jsonl", served)
    write_bytes(tmp_path / "1.green.2.jsonl", line("a", 0.9, sooner, shadow=True) + line("b", shadow=True))
    log = labels.predictions(tmp_path, CONTRACT)
    assert (list(log.rows[labels.KEY]), list(log.rows[labels.ANSWER])) == (["a"], [0.1])
    assert (log.shadow, log.repeated, log.unreadable) == (2, 0, 0)

    write_bytes(tmp_path / "1.green.2.jsonl", line("a", 0.9, sooner) + line("b"))  # had it not been marked
    unmarked = labels.predictions(tmp_path, CONTRACT)
    assert (sorted(unmarked.rows[labels.ANSWER]), unmarked.shadow, unmarked.repeated) == ([0.5, 0.9], 0, 1)


def test_no_log_is_no_rows(tmp_path: Path) -> None:
    assert labels.predictions(tmp_path / "nowhere", CONTRACT).rows.empty


def test_predictions_find_the_events_of_their_month_by_key(tmp_path: Path) -> None:
    raw = source.read("2013-02")
    write_month(tmp_path, "2013-02", raw)
    table = labels.events(tmp_path, "2013-02", PROBLEM)
    assert table is not None and len(table) == len(raw)
    mine = raw.iloc[[3, 5]][CONTRACT.key.name]
    write_bytes(
        tmp_path / "log/1.jsonl", line(mine.iloc[0], 0.1) + line(mine.iloc[1], 0.2) + line("another month's")
    )
    joined = labels.join(labels.predictions(tmp_path / "log", CONTRACT), table, CONTRACT).set_index(
        labels.KEY
    )
    assert joined[labels.ANSWER].to_dict() == dict(zip(mine, (0.1, 0.2), strict=True))
    label = raw.set_index(CONTRACT.key.name)[CONTRACT.label.name]
    assert joined[CONTRACT.label.name].to_dict() == label[mine].to_dict()


def test_labels_that_have_not_come_are_none_and_spoilt_ones_are_one_sentence(tmp_path: Path) -> None:
    assert labels.events(tmp_path, "2013-02", PROBLEM) is None
    whole = write_month(tmp_path, "2013-02", source.read("2013-02"))
    write_bytes(whole, whole.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"2013-02\.parquet"):
        labels.events(tmp_path, "2013-02", PROBLEM)
