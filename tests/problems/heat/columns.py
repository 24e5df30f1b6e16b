"""How warm will it be at one of New York's weather stations in three hours? Asked on the hour."""

from pipelines.core.contract import Column, Contract, Estimate

NOW = 0.0


def _measured(name: str, meaning: str, unit: str, minimum: float, maximum: float, missing: float) -> Column:
    return Column(
        name,
        "number",
        meaning,
        known_at=NOW,
        unit=unit,
        minimum=minimum,
        maximum=maximum,
        missing=missing,
        loggable=True,
    )


CONTRACT = Contract(
    name="heat-soon",
    event="an hour at a weather station",
    horizon=0.0,
    decision=Estimate(
        quantity="the air temperature in three hours",
        over="too little is heated",
        under="the heating runs in vain",
    ),
    columns=(
        Column("observation", "text", "hour and station", known_at=NOW, key=True),
        Column("observed_at", "time", "local time", known_at=NOW, time=True),
        Column(
            "station",
            "category",
            "the weather station",
            known_at=NOW,
            values=("EWR", "JFK", "LGA"),
            slice=True,
            loggable=True,
        ),
        _measured("air", "temperature", "°F", -20, 120, 0.05),
        _measured("dew", "dew point", "°F", -40, 90, 0.05),
        _measured("moisture", "relative humidity", "%", 0, 100, 0.05),
        _measured("wind_from", "wind direction", "degrees", 0, 360, 0.15),
        _measured("wind", "wind speed", "mph", 0, 120, 0.05),
        _measured("rain_now", "rain in the last hour", "inches", 0, 5, 0.05),
        _measured("barometer", "pressure at sea level", "millibars", 950, 1060, 0.30),
        _measured("sight", "visibility", "miles", 0, 10, 0.05),
        Column(
            "hour_of_day",
            "integer",
            "local time",
            known_at=NOW,
            minimum=0,
            maximum=23,
            derived=True,
            loggable=True,
        ),
        Column(
            "air_change",
            "number",
            "temperature now less that of three observations before",
            known_at=NOW,
            unit="°F",
            minimum=-60,
            maximum=60,
            missing=0.5,
            derived=True,
            loggable=True,
        ),
        Column(
            "air_later",
            "number",
            "temperature in three hours",
            unit="°F",
            minimum=-20,
            maximum=120,
            missing=0.2,
            label=True,
        ),
    ),
)
