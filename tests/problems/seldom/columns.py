"""Will the pump stop within a day? Asked when it is looked at."""

from pipelines.core.contract import Column, Contract, Decision

NOW = 0.0


def _measured(name: str, unit: str) -> Column:
    return Column(
        name, "number", f"{name} of the pump", NOW, unit=unit, minimum=-50, maximum=50, loggable=True
    )


CONTRACT = Contract(
    name="pump-stops",
    event="a look at a pump",
    horizon=0.0,
    decision=Decision(
        positive="the pump stops within a day",
        act="send somebody",
        false_alarm="somebody comes in vain",
        miss="the pump stops and nobody is there",
    ),
    columns=(
        Column("look", "text", "pump and time", known_at=NOW, key=True),
        Column("time", "time", "of the look", known_at=NOW, time=True),
        Column("hall", "category", "where it is", NOW, values=("north", "south"), slice=True, loggable=True),
        *(_measured(*one) for one in (("heat", "K"), ("shake", "mm"), ("noise", "dB"), ("flow", "l/s"))),
        Column("stopped", "flag", "it stopped within a day", label=True),
    ),
)
