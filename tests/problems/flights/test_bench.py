"""The gate's benchmark has faults of each kind to make in the flights."""

from benchmarks import _pairs
from pipelines.problem.columns import CONTRACT


def test_there_are_columns_for_each_fault() -> None:
    assert _pairs.CLOCK and 0 < len(_pairs.MEASURED) < len(CONTRACT.features)
    assert {CONTRACT.column(name).unit for name in _pairs.MEASURED} & set(_pairs.METRIC)
