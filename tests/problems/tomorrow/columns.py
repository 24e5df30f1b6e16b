"""Will it rain at the orchard tomorrow? Asked once a day, in the evening."""

from pipelines.core.contract import Column, Contract, Decision

EVENING = 0.0

CONTRACT = Contract(
    name="rain-tomorrow",
    event="a day at the orchard",
    horizon=0.0,
    decision=Decision(
        positive="it rains on the next day",
        act="put the harvest off",
        false_alarm="the pickers stay at home on a dry day",
        miss="the harvest is brought in wet",
    ),
    columns=(
        Column("day", "text", "the date", known_at=EVENING, key=True),
        Column("evening", "time", "six o'clock of that day", known_at=EVENING, time=True),
        Column(
            "wind_from",
            "category",
            "where the wind came from at noon",
            known_at=EVENING,
            values=("north", "east", "south", "west"),
            slice=True,
            loggable=True,
        ),
        Column(
            "pressure",
            "number",
            "mean of the day",
            known_at=EVENING,
            unit="millibars",
            minimum=950,
            maximum=1070,
            missing=0.1,
            loggable=True,
        ),
        Column(
            "rain",
            "number",
            "of the day",
            known_at=EVENING,
            unit="mm",
            minimum=0,
            maximum=300,
            loggable=True,
        ),
        Column(
            "pressure_change",
            "number",
            "today's pressure less yesterday's",
            known_at=EVENING,
            unit="millibars",
            minimum=-80,
            maximum=80,
            missing=0.2,
            derived=True,
            loggable=True,
        ),
        Column(
            "rain_of_three_days",
            "number",
            "of today and the two days before",
            known_at=EVENING,
            unit="mm",
            minimum=0,
            maximum=900,
            derived=True,
            loggable=True,
        ),
        Column("rain_to_come", "number", "of the next day", unit="mm", missing=0.1),
        Column("wet", "flag", "it rained on the next day", missing=0.1, label=True),
    ),
)
