"""Both slots' answers to a row are paired honestly, and compared with what gate and model say."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pipelines.base.files import write_json
from pipelines.core.contract import Column
from pipelines.core.model import Model
from pipelines.core.tasks.binary import BINARY
from pipelines.rollout import shadow
from pipelines.rollout.shadow import LEVELS, Comparison, Shadow, expected, limit
from pipelines.serving.log import PredictionLog
from tests.releases import NONE, described
from tests.verdicts import verdict

SINCE = "2026-01-02T00:00:00.000+00:00"
LATER = "2026-01-02T00:00:01.000+00:00"
X = Column("x", "number", "what the model answers with", known_at=9.0, loggable=True)
LIVE, NEW = "2026-01-02.blue.7.jsonl", "2026-01-02.green.8.jsonl"


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """It answers x with p = x."""
    graph = helper.make_graph(
        [
            helper.make_node("Sub", ["one", "x"], ["other"]),
            helper.make_node("Concat", ["other", "x"], ["probabilities"], axis=1),
        ],
        "same",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])],
    )
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8), path)
    return Model(path, BINARY)


def line(
    request: str, p: float, x: float | None = None, row: int = 0, time: str = LATER, **more: Any
) -> bytes:
    features = {"x": p if x is None else x}
    entry = {"time": time, "request": request, "row": row, "release": "r", "features": features, "key": None}
    return json.dumps(entry | {"p": p} | more).encode() + b"\n"


def copied(request: str, p: float, x: float | None = None, **more: Any) -> bytes:
    return line(request, p, x, shadow=True, **more)


def append(folder: Path, name: str, *lines: bytes) -> None:
    with (folder / name).open("ab") as file:
        file.write(b"".join(lines))


def compared(
    folder: Path, model: Model, column: Column = X, quantiles: list[float] | None = None
) -> Comparison:
    made = Shadow(folder, "blue", "green", SINCE, BINARY)
    made.read()
    return made.compare(model, [column], quantiles)


def test_rows_are_paired_by_request_and_row_in_any_order_and_the_others_are_left_out(
    tmp_path: Path, model: Model
) -> None:
    append(
        tmp_path, LIVE, line("a", 0.2, 0.25), line("a", 0.3, 0.5, row=1), line("b", 0.4), line("lost", 0.5)
    )
    append(tmp_path, NEW, copied("a", 0.5, row=1), copied("b", 0.4), copied("a", 0.25), copied("early", 0.1))
    found = compared(tmp_path, model)
    assert (found.pairs, found.repeated) == (3, 0)
    assert found.dp == pytest.approx(np.quantile([0.05, 0.2, 0.0], shadow.SHOWN))
    assert found.skew is not None and found.skew < 1e-6


def test_what_the_service_itself_writes_is_paired(tmp_path: Path, model: Model) -> None:
    known: dict[str, Any] = {"key": Column("k", "text", "", key=True), "loggable": (X,)}
    contract: Any = type("C", (), known | {"label": Column("l", "flag", "", label=True)})()
    for slot, copy in (("blue", False), ("green", True)):
        log = PredictionLog(tmp_path, contract, release="r", slot=slot)
        log.add("q", [{"x": 0.25, "k": "1"}, {"x": 0.5, "k": "2"}], [0.25, 0.5], shadow=copy)
        log.close()
    found = compared(tmp_path, model)
    assert (found.pairs, found.dp, found.skew) == (2, (0.0,) * 5, 0.0)


def test_an_id_that_callers_repeat_pairs_nothing(tmp_path: Path, model: Model) -> None:
    """Be it that a slot has it twice, with fewer rows the second time, or that the two saw other rows."""
    append(tmp_path, LIVE, line("twice", 0.1), line("twice", 0.2, row=1), line("twice", 0.9), line("ok", 0.5))
    append(tmp_path, NEW, copied("twice", 0.1), copied("twice", 0.2, row=1), copied("ok", 0.5))
    append(tmp_path, LIVE, line("other", 0.3))
    append(tmp_path, NEW, copied("other", 0.8))
    found = compared(tmp_path, model)
    assert (found.pairs, found.repeated) == (1, 2)
    assert found.dp == (0.0,) * 5


def test_an_id_that_is_repeated_after_it_was_paired_is_left_out_again(tmp_path: Path) -> None:
    append(tmp_path, LIVE, line("a", 0.1))
    append(tmp_path, NEW, copied("a", 0.1))
    reader = Shadow(tmp_path, "blue", "green", SINCE, BINARY)
    reader.read()
    assert reader.pairs == 1
    append(tmp_path, LIVE, line("a", 0.1))
    reader.read()
    assert reader.pairs == 0


def test_it_reads_on_from_where_it_was_and_leaves_half_a_line_for_the_next_time(tmp_path: Path) -> None:
    whole = copied("a", 0.1)
    append(tmp_path, LIVE, line("a", 0.1))
    append(tmp_path, NEW, whole[:30])
    reader = Shadow(tmp_path, "blue", "green", SINCE, BINARY)
    for _ in range(2):  # nothing is taken for a repetition
        reader.read()
        assert reader.pairs == 0
    append(tmp_path, NEW, whole[30:])
    reader.read()
    assert reader.pairs == 1
    append(tmp_path, "2026-01-03.green.9.jsonl", copied("b", 0.2))  # a new day, a new process
    append(tmp_path, LIVE, line("b", 0.2))
    reader.read()
    assert reader.pairs == 2


def test_only_copies_of_the_new_slot_and_only_answers_of_the_live_one_count_and_none_of_before(
    tmp_path: Path, model: Model
) -> None:
    before = "2026-01-01T23:59:59.999+00:00"
    pairs = [("a", LATER), ("b", LATER), ("c", before), ("d", LATER)]
    append(tmp_path, LIVE, *(line(name, 0.1, time=time) for name, time in pairs[:3]), copied("d", 0.1))
    append(tmp_path, NEW, copied("a", 0.1), line("b", 0.1), copied("c", 0.1, time=before), copied("d", 0.1))
    append(tmp_path, NEW, b"{}\n", b"[]\n", b"\xff\n")
    found = compared(tmp_path, model)
    assert found.pairs == 1


def test_a_long_day_is_not_read_from_its_beginning(tmp_path: Path) -> None:
    def of(second: int) -> str:
        return f"2026-01-02T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}.000+00:00"

    append(tmp_path, LIVE, *(line(f"{second}", 0.5, time=of(second)) for second in range(20_000)))
    append(tmp_path, NEW, *(copied(f"{second}", 0.5, time=of(second)) for second in range(20_000)))
    reader = Shadow(tmp_path, "blue", "green", of(19_000), BINARY)
    taken: list[bytes] = []
    take = reader._take

    def taking(line: bytes, copy: bool) -> None:
        taken.append(line)
        take(line, copy)

    reader._take = taking  # type: ignore[method-assign]
    reader.read()
    assert reader.pairs == 1_000
    assert len(taken) < 5_000


def test_a_slot_that_answers_otherwise_than_its_model_shows_as_skew(tmp_path: Path, model: Model) -> None:
    append(tmp_path, LIVE, line("a", 0.5), line("b", 0.5))
    append(tmp_path, NEW, copied("a", 0.5), copied("b", 0.501, 0.5))
    assert compared(tmp_path, model).skew == pytest.approx(0.001)


def test_skew_is_unknown_where_the_log_may_not_keep_an_input(tmp_path: Path, model: Model) -> None:
    append(tmp_path, LIVE, line("a", 0.5))
    append(tmp_path, NEW, copied("a", 0.9, 0.5))
    found = compared(tmp_path, model, replace(X, loggable=False))
    assert found.skew is None and "the log does not keep x" in found.why[0]


def test_the_distance_is_that_of_the_two_distributions_of_dp(tmp_path: Path, model: Model) -> None:
    draw = np.random.default_rng(1)
    on_v = np.quantile(draw.normal(0, 0.02, 20_000), LEVELS).tolist()
    for number, dp in enumerate(draw.normal(0, 0.02, 1_000)):
        append(tmp_path, LIVE, line(f"{number}", 0.5))
        append(tmp_path, NEW, copied(f"{number}", 0.5 + dp, 0.5))
    same, moved = (compared(tmp_path, model, quantiles=[q + by for q in on_v]) for by in (0, 0.05))
    assert same.wasserstein is not None and same.wasserstein < 0.003
    assert moved.wasserstein == pytest.approx(0.05, abs=0.003)


def test_without_pairs_or_without_the_gates_word_nothing_is_claimed(tmp_path: Path, model: Model) -> None:
    found = compared(tmp_path / "nowhere", model, quantiles=[0.0] * 101)
    assert (found.pairs, found.skew, found.dp, found.wasserstein) == (0, None, (), None)
    append(tmp_path, LIVE, line("a", 0.5))
    append(tmp_path, NEW, copied("a", 0.5))
    reader = Shadow(tmp_path, "blue", "green", SINCE, BINARY)
    assert reader.read() == 1
    found = reader.compare(model, [X], None, "the gate's Δp is not known")
    assert found.wasserstein is None and found.why == ("the gate's Δp is not known",)


def test_a_comparison_can_be_journalled(tmp_path: Path, model: Model) -> None:
    append(tmp_path, LIVE, line("a", 0.5))
    append(tmp_path, NEW, copied("a", 0.5))
    written = json.loads(
        json.dumps(asdict(compared(tmp_path, model, quantiles=[0.0] * 101)), allow_nan=False)
    )
    assert written["pairs"] == 1 and written["wasserstein"] == 0.0


OLD, OTHER = "a" * 64, "b" * 64


def stored(folder: Path, model: str, dp: Any = None, gate: bool = True) -> Path:
    described(folder, NONE, model)
    if gate:
        write_json(folder / "evidence/gate.json", verdict(dp=dp))
    return folder


def test_the_gates_dp_is_expected_only_where_it_compared_with_the_model_that_runs(tmp_path: Path) -> None:
    old, third = OLD, "c" * 64
    live = stored(tmp_path / "live", old)
    quantiles = [number / 1000 for number in range(101)]
    seen = {"champion": old, "quantiles": quantiles}
    assert expected(stored(tmp_path / "1", OTHER, seen), live) == (quantiles, "")
    for folder, words in (
        (
            stored(tmp_path / "2", OTHER, seen | {"champion": third}),
            f"another model ({third[:12]}) than runs ({old[:12]})",
        ),
        (stored(tmp_path / "3", OTHER, None), "compares no answers"),
        (stored(tmp_path / "4", OTHER, seen | {"quantiles": [0.1]}), "is not taken: "),
        (stored(tmp_path / "6", OTHER, seen | {"more": 1}), "is not taken: "),
        (stored(tmp_path / "5", OTHER, gate=False), "no gate's report"),
    ):
        found, why = expected(folder, live)
        assert found is None and words in why


def test_of_the_same_model_the_same_answers_are_expected(tmp_path: Path) -> None:
    live = stored(tmp_path / "live", OLD, gate=False)
    assert expected(stored(tmp_path / "new", OLD, gate=False), live) == ([0.0] * 101, "")


def test_models_that_differ_much_on_v_may_lie_farther_from_it_on_a_day_and_others_may_not() -> None:
    assert limit(0.05, [0.0] * 101) == limit(0.05, [-0.01, 0.01]) == 0.05
    assert limit(0.05, [-0.04, 0.04]) == pytest.approx(0.1)
