"""build/validation.json: what each expectation of the contract found in each month of the data."""

from typing import Literal

from pydantic import JsonValue

from pipelines.artifacts.file import Artifact, Closed


class Setting(Closed):
    """What an expectation asks: of which column, in which share of the rows, and which values."""

    column: str | None = None
    mostly: float = 1.0
    min_value: JsonValue = None
    max_value: JsonValue = None
    value_set: JsonValue = None
    type_list: JsonValue = None
    column_list: JsonValue = None


class Result(Closed):
    """What one expectation found in a month; a share that was observed is of the values that do not hold."""

    month: str
    expectation: str
    setting: Setting
    success: bool
    observed: JsonValue
    examples: tuple[str, ...]


class Validation(Artifact):
    """All of validation.json, which is written once each expectation holds."""

    NAME = "validation.json"
    WRITER = "`ml stage validate`"

    success: Literal[True] = True
    results: tuple[Result, ...]
