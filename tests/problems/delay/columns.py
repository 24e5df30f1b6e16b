"""How late will a flight from LaGuardia arrive? Asked two hours before its departure."""

from pipelines.core.contract import Choice, Column, Contract

AHEAD = 24.0 * 60  # the timetable is public two months before


def _measured(name: str, meaning: str, unit: str, minimum: float, maximum: float, missing: float) -> Column:
    return Column(
        name,
        "number",
        f"{meaning} at the airport",
        known_at=2.0,
        unit=unit,
        minimum=minimum,
        maximum=maximum,
        missing=missing,
        loggable=True,
    )


CONTRACT = Contract(
    name="how-late",
    event="a scheduled flight from LaGuardia",
    horizon=2.0,
    decision=Choice(
        subject="how late the flight arrives",
        acts={
            "on time": "nobody is told",
            "late": "whoever meets the flight is told",
            "very late": "another flight is offered",
        },
    ),
    columns=(
        Column("flight", "text", "day, airline and number", known_at=AHEAD, key=True),
        Column("leaves_at", "time", "by the timetable, local time", known_at=AHEAD, time=True),
        Column(
            "airline",
            "category",
            "IATA code",
            known_at=AHEAD,
            values=("AA", "DL", "MQ"),
            slice=True,
            loggable=True,
        ),
        Column("to", "category", "IATA code of the destination", known_at=AHEAD, loggable=True),
        Column("airport", "words", "name of the destination", known_at=AHEAD, missing=0.05, loggable=True),
        Column(
            "miles",
            "number",
            "between the two airports",
            known_at=AHEAD,
            unit="miles",
            minimum=10,
            maximum=6000,
            loggable=True,
        ),
        _measured("air", "temperature", "°F", -20, 120, 0.05),
        _measured("moisture", "relative humidity", "%", 0, 100, 0.05),
        _measured("wind", "wind speed", "mph", 0, 120, 0.05),
        _measured("rain", "rain in the last hour", "inches", 0, 5, 0.05),
        _measured("barometer", "pressure at sea level", "millibars", 950, 1060, 0.30),
        _measured("sight", "visibility", "miles", 0, 10, 0.05),
        Column(
            "minute",
            "integer",
            "of the day, by the timetable",
            known_at=AHEAD,
            minimum=0,
            maximum=1439,
            derived=True,
            loggable=True,
        ),
        Column(
            "weekday",
            "integer",
            "Monday is 0",
            known_at=AHEAD,
            minimum=0,
            maximum=6,
            derived=True,
            loggable=True,
        ),
        Column("minutes_late", "number", "at the arrival, negative when early", unit="minutes", missing=0.2),
        Column(
            "lateness",
            "category",
            "at the arrival: late from 15 minutes on, very late from 60, or cancelled, or diverted",
            values=("on time", "late", "very late"),
            label=True,
        ),
    ),
)
