"""What a caller sends, read and checked in one pass; a bad request is one sentence with the field's name."""

import json
from typing import Annotated, Any, NotRequired, cast

from pydantic import ConfigDict, FailFast, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails
from typing_extensions import TypedDict  # pydantic takes the standard one from Python 3.12 on

from pipelines.base.errors import UserError
from pipelines.core import words
from pipelines.core.contract import Column, Contract
from pipelines.core.model import Row
from pipelines.core.schema import KINDS, request_schema

LARGEST = 3.4e38  # of a float32, which is what the model takes
LONGEST = 200  # characters of a text; of one whose words the model counts words.LONGEST

# Strict: "540" is not a number, and true is not 1. 540.0 is an integer in JSON; 540.5 is caught below.
KIND_OF: dict[str, Any] = {
    "string": Annotated[str, Field(max_length=LONGEST)],
    "words": Annotated[str, Field(max_length=words.LONGEST)],
    "number": Annotated[float, Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False)],
    "integer": Annotated[float, Field(ge=-LARGEST, le=LARGEST, multiple_of=1, allow_inf_nan=False)],
    "boolean": bool,
}
NEEDED = {"string": "a text", "number": "a number", "integer": "an integer", "boolean": "true or false"}


class Reader:
    """Reads the bodies of requests for one contract."""

    def __init__(self, contract: Contract, batch: int) -> None:
        self._contract, self._batch = contract, batch  # so many rows a request at most
        columns = {column.name: _value(column) for column in contract.features}
        columns[contract.key.name] = NotRequired[KIND_OF["string"] | None]
        row = _closed("Row", columns)
        rows = Annotated[list[row], FailFast(), Field(min_length=1, max_length=batch)]  # type: ignore[valid-type]
        self._adapter = TypeAdapter(_closed("Request", {"rows": rows}))

    def read(self, body: bytes) -> list[dict[str, Any]]:
        """The rows of a body. UserError, with the field's name, where it is not what the contract asks."""
        try:
            return cast(list[dict[str, Any]], self._adapter.validate_json(body)["rows"])
        except ValidationError as error:
            raise UserError(self._sentence(error.errors(include_url=False)[0])) from None

    def example(self, row: Row) -> dict[str, Any]:
        """A body with that row, of features, and the key that every row should have."""
        key = self._contract.key.name
        return {"rows": [{key: f"the {key} of the event", **row}]}

    def schema(self, row: Row | None = None) -> dict[str, Any]:
        """The body, with `row` as its example, in the words of OpenAPI 3.0, which has `nullable` where JSON
        schema has the type null."""
        example = {"example": self.example(row)} if row else {}
        columns = request_schema(self._contract)
        del columns["$schema"]
        for name, described in columns["properties"].items():
            if isinstance(described["type"], list):
                described["type"], described["nullable"] = described["type"][0], True
            if described["type"] == "string":
                counted = self._contract.column(name).type == "words"
                described["maxLength"] = words.LONGEST if counted else LONGEST
        key = columns["properties"][self._contract.key.name]
        key["nullable"] = True
        key["description"] += "; without it the drift check cannot join the answer to what came true"
        for column in self._contract.features:
            if column.derived:
                columns["properties"][column.name]["description"] += "; made by the caller"
        rows = {"type": "array", "items": columns, "minItems": 1, "maxItems": self._batch}
        return {
            "title": "Request",
            "description": f"Each row is {self._contract.event}; the answer keeps their order.",
            "type": "object",
            "properties": {"rows": rows},
            "required": ["rows"],
            "additionalProperties": False,
            **example,
        }

    def _sentence(self, error: ErrorDetails) -> str:
        place, given = error["loc"], error.get("input")
        parts = [f"[{part}]" if isinstance(part, int) else f".{_short(part)}" for part in place]
        where = "".join(parts).removeprefix(".")
        match error["type"]:
            case "json_invalid":
                return f"the body is not JSON ({error['ctx']['error']})"
            case "missing":
                return f"{where}: is missing"
            case "extra_forbidden":
                columns = (self._contract.key, *self._contract.features)
                known = "rows" if len(place) == 1 else ", ".join(column.name for column in columns)
                return f"{where}: is not a known field; known: {known}"
            case "too_short":
                return f"{where}: is empty, and at least one row is needed"
            case "too_long":
                return f"{where}: has more than {self._batch:,} rows, the most that one request may carry"
            case "string_too_long":
                return f"{where}: is longer than {error['ctx']['max_length']} characters"
            case "greater_than_equal" | "less_than_equal" | "finite_number":
                return f"{where}: is {_shown(given)}, beyond the numbers that the model takes"
        return f"{where or 'the body'}: is {_shown(given)}, and {self._needed(place)} is needed"

    def _needed(self, where: tuple[int | str, ...]) -> str:
        if len(where) < 3:
            return ('an object like {"rows": [...]}', "a list of rows", "an object of fields")[len(where)]
        name = str(where[2])
        if name == self._contract.key.name:
            return "a text"
        column = self._contract.column(name)
        return NEEDED[KINDS[column.type]] + (" or null" if column.missing else "")


def _value(column: Column) -> Any:
    kind = KIND_OF["words" if column.type == "words" else KINDS[column.type]]
    return NotRequired[kind | None] if column.missing else kind


def _closed(name: str, fields: dict[str, Any]) -> Any:
    made = cast(Any, TypedDict)(name, fields)
    made.__pydantic_config__ = ConfigDict(strict=True, extra="forbid")
    return made


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return _short(json.dumps(value, ensure_ascii=False))


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}…"
