"""The gate's benchmark has faults of each kind to make in the flights."""

from benchmarks import _pairs


def test_there_are_columns_for_each_fault() -> None:
    its = _pairs.subject("binary")
    named, blind = its.blind
    assert its.clock and named == "weather" and 0 < len(blind) < len(its.contract.features)
    assert {its.contract.column(name).unit for name in blind} & set(_pairs.METRIC)
