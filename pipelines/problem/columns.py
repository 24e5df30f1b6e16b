"""Will a flight from New York arrive more than 15 minutes late? Asked two hours before its departure."""

from pipelines.core.contract import Column, Contract, Decision

MONTHS_AHEAD = 24.0 * 60  # the schedule is public two months before

SCHEDULE = (
    Column("flight_id", "text", "day, carrier, number and origin", known_at=MONTHS_AHEAD, key=True),
    Column("scheduled_departure", "time", "local time", known_at=MONTHS_AHEAD, time=True),
    Column(
        "carrier",
        "category",
        "IATA code of the airline",
        known_at=MONTHS_AHEAD,
        values=tuple("9E AA AS B6 DL EV F9 FL HA MQ OO UA US VX WN YV".split()),
        slice=True,
        loggable=True,
    ),
    Column(
        "origin",
        "category",
        "IATA code of the airport of departure",
        known_at=MONTHS_AHEAD,
        values=("EWR", "JFK", "LGA"),
        slice=True,
        loggable=True,
    ),
    Column("dest", "category", "IATA code of the destination", known_at=MONTHS_AHEAD, loggable=True),
    Column(
        "distance",
        "number",
        "between the two airports",
        known_at=MONTHS_AHEAD,
        unit="miles",
        minimum=10,
        maximum=6000,
        loggable=True,
    ),
    Column(
        "scheduled_arrival",
        "integer",
        "local time at the destination",
        known_at=MONTHS_AHEAD,
        unit="minutes after midnight",
        minimum=0,
        maximum=1440,
        loggable=True,
    ),
)


def _weather(name: str, meaning: str, unit: str, minimum: float, maximum: float, missing: float) -> Column:
    """What the airport's weather station said two hours before the hour of departure."""
    return Column(
        name,
        "number",
        f"{meaning} at the origin",
        known_at=2.0,
        unit=unit,
        minimum=minimum,
        maximum=maximum,
        missing=missing,
        loggable=True,
    )


WEATHER = (
    _weather("temperature", "air temperature", "°F", -20, 120, 0.05),
    _weather("dew_point", "dew point", "°F", -40, 90, 0.05),
    _weather("humidity", "relative humidity", "%", 0, 100, 0.05),
    _weather("wind_direction", "wind direction", "degrees", 0, 360, 0.15),
    _weather("wind_speed", "wind speed", "mph", 0, 120, 0.05),
    _weather("precipitation", "rain in the last hour", "inches", 0, 5, 0.05),
    _weather("pressure", "pressure at sea level", "millibars", 950, 1060, 0.30),
    _weather("visibility", "visibility", "miles", 0, 10, 0.05),
)

DERIVED = (
    Column(
        "departure_minute",
        "integer",
        "scheduled departure, local time",
        known_at=MONTHS_AHEAD,
        unit="minutes after midnight",
        minimum=0,
        maximum=1439,
        derived=True,
        loggable=True,
    ),
    Column(
        "day_of_week",
        "integer",
        "Monday is 0",
        known_at=MONTHS_AHEAD,
        minimum=0,
        maximum=6,
        derived=True,
        loggable=True,
    ),
    Column(
        "departures_in_hour",
        "integer",
        "flights scheduled from the same airport in the same hour",
        known_at=MONTHS_AHEAD,
        minimum=1,
        maximum=200,
        derived=True,
        loggable=True,
    ),
)

OUTCOME = (
    Column("departure_delay", "number", "negative when early", unit="minutes", missing=0.1),
    Column("arrival_delay", "number", "negative when early", unit="minutes", missing=0.1),
    Column("air_time", "number", "time in the air", unit="minutes", missing=0.1),
    Column("tail_number", "text", "the aircraft, which may still change", missing=0.1),
    Column(
        "late",
        "flag",
        "arrived more than 15 minutes late; missing when cancelled or diverted",
        missing=0.1,
        label=True,
    ),
)

CONTRACT = Contract(
    name="flight-delay",
    event="a scheduled flight from Newark, JFK or LaGuardia",
    horizon=2.0,
    decision=Decision(
        positive="the flight arrives more than 15 minutes late",
        act="warn the passenger",
        false_alarm="a passenger is warned and the flight is on time",
        miss="a passenger is not warned and the flight is late",
    ),
    columns=SCHEDULE + WEATHER + DERIVED + OUTCOME,
)
