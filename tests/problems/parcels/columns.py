"""Will a parcel arrive more than 15 minutes late? Asked two hours before it leaves its depot."""

from pipelines.core.contract import Column, Contract, Decision

DAYS_AHEAD = 48.0  # when the round is planned

PLAN = (
    Column("parcel_id", "text", "day, depot and number", known_at=DAYS_AHEAD, key=True),
    Column("departure", "time", "planned, local time", known_at=DAYS_AHEAD, time=True),
    Column(
        "carrier",
        "category",
        "who brings it",
        known_at=DAYS_AHEAD,
        values=("Amber", "Birch", "Cedar", "Dune", "Ember", "Fern"),
        slice=True,
        loggable=True,
    ),
    Column(
        "depot",
        "category",
        "where it starts",
        known_at=DAYS_AHEAD,
        values=("North", "Port", "West"),
        slice=True,
        loggable=True,
    ),
    Column("town", "category", "where it goes", known_at=DAYS_AHEAD, loggable=True),
    Column(
        "distance",
        "number",
        "from the depot to the door",
        known_at=DAYS_AHEAD,
        unit="miles",
        minimum=1,
        maximum=600,
        loggable=True,
    ),
    Column(
        "promised",
        "integer",
        "the hour that the customer was told",
        known_at=DAYS_AHEAD,
        unit="minutes after midnight",
        minimum=0,
        maximum=1440,
        loggable=True,
    ),
)


def _weather(name: str, unit: str, minimum: float, maximum: float, missing: float) -> Column:
    return Column(
        name,
        "number",
        f"{name.replace('_', ' ')} at the depot, two hours before the departure",
        known_at=2.0,
        unit=unit,
        minimum=minimum,
        maximum=maximum,
        missing=missing,
        loggable=True,
    )


WEATHER = (
    _weather("temperature", "°F", -20, 120, 0.05),
    _weather("humidity", "%", 0, 100, 0.05),
    _weather("wind_speed", "mph", 0, 120, 0.05),
    _weather("precipitation", "inches", 0, 5, 0.05),
    _weather("pressure", "millibars", 950, 1060, 0.30),
)


def _derived(name: str, meaning: str, minimum: float, maximum: float, unit: str = "") -> Column:
    return Column(
        name,
        "integer",
        meaning,
        known_at=DAYS_AHEAD,
        unit=unit,
        minimum=minimum,
        maximum=maximum,
        derived=True,
        loggable=True,
    )


DERIVED = (
    _derived("departure_minute", "planned departure", 0, 1439, "minutes after midnight"),
    _derived("day_of_week", "Monday is 0", 0, 6),
    _derived("departures_in_hour", "parcels that leave the same depot in the same hour", 1, 200),
)

OUTCOME = (
    Column("departure_delay", "number", "negative when early", unit="minutes", missing=0.1),
    Column("arrival_delay", "number", "negative when early", unit="minutes", missing=0.1),
    Column("van", "text", "which may still change", missing=0.1),
    Column(
        "late",
        "flag",
        "arrived more than 15 minutes late; missing when it came back",
        missing=0.1,
        label=True,
    ),
)

CONTRACT = Contract(
    name="parcel-delay",
    event="a parcel from the depots North, Port and West",
    horizon=2.0,
    decision=Decision(
        positive="the parcel arrives more than 15 minutes late",
        act="warn the customer",
        false_alarm="a customer is warned and the parcel is on time",
        miss="a customer is not warned and the parcel is late",
    ),
    columns=PLAN + WEATHER + DERIVED + OUTCOME,
)
