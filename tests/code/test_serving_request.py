"""What a caller may send, by the contract; a bad request is one sentence that names the field."""

import json
from typing import Any

import pytest

from pipelines.base.errors import UserError
from pipelines.core.contract import Column, Contract, Decision
from pipelines.core.schema import request_schema
from pipelines.serving.request import Reader

CONTRACT = Contract(
    name="parcels",
    event="a parcel",
    horizon=1.0,
    decision=Decision("it is lost", "search", "searched in vain", "lost"),
    columns=(
        Column("parcel", "text", "its number", known_at=9, key=True),
        Column("sent", "time", "local time", known_at=9, time=True),
        Column("depot", "category", "where it is", known_at=9, values=("north", "south")),
        Column("weight", "number", "on the scale", known_at=9, unit="kg", minimum=0, maximum=50),
        Column("stops", "integer", "until the door", known_at=9),
        Column("fragile", "flag", "says the sender", known_at=9),
        Column("height", "number", "of the parcel", known_at=9, missing=0.5),
        Column("carrier", "category", "who takes it", known_at=9, missing=0.5),
        Column("lost", "flag", "was lost", label=True),
    ),
)
READER = Reader(CONTRACT, batch=3)
ROW: dict[str, Any] = {"depot": "north", "weight": 2.5, "stops": 4, "fragile": False}


def read(*rows: Any) -> list[dict[str, Any]]:
    return READER.read(json.dumps({"rows": rows}).encode())


def fault(body: bytes) -> str:
    with pytest.raises(UserError) as raised:
        READER.read(body)
    return str(raised.value)


def test_a_row_comes_as_it_was_sent() -> None:
    assert read(ROW) == [ROW]


@pytest.mark.parametrize(
    "more",
    [
        {"depot": "east"},  # a category that nobody knows yet
        {"weight": 2},
        {"weight": -1e6},  # outside the contract's range
        {"stops": 4.0},  # which JSON calls an integer
        {"height": None},
        {"height": 10.5, "carrier": None},
        {"parcel": "p1"},
        {"parcel": None},
    ],
)
def test_is_accepted(more: dict[str, Any]) -> None:
    assert read(ROW | more) == [ROW | more]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"weight": "2.5"}, 'rows[1].weight: is "2.5", and a number is needed'),
        ({"weight": True}, "rows[1].weight: is true, and a number is needed"),
        ({"weight": None}, "rows[1].weight: is null, and a number is needed"),
        ({"weight": [2.5]}, "rows[1].weight: is a list, and a number is needed"),
        ({"weight": 1e39}, "rows[1].weight: is 1e+39, beyond the numbers that the model takes"),
        ({"weight": float("nan")}, "rows[1].weight: is NaN, beyond the numbers that the model takes"),
        ({"stops": 4.5}, "rows[1].stops: is 4.5, and an integer is needed"),
        ({"stops": "4"}, 'rows[1].stops: is "4", and an integer is needed'),
        ({"fragile": 1}, "rows[1].fragile: is 1, and true or false is needed"),
        ({"fragile": "no"}, 'rows[1].fragile: is "no", and true or false is needed'),
        ({"depot": 7}, "rows[1].depot: is 7, and a text is needed"),
        ({"depot": "n" * 201}, "rows[1].depot: is longer than 200 characters"),
        ({"height": "tall"}, 'rows[1].height: is "tall", and a number or null is needed'),
        ({"parcel": 7}, "rows[1].parcel: is 7, and a text is needed"),
        ({"sent": "2026-01-01"}, "rows[1].sent: is not a known field"),
        ({"lost": True}, "rows[1].lost: is not a known field"),
        ({"w" * 99: 1}, f"rows[1].{'w' * 60}…: is not a known field"),
    ],
)
def test_is_refused_with_the_fields_name(more: dict[str, Any], sentence: str) -> None:
    assert fault(json.dumps({"rows": [ROW, ROW | more]}).encode()).startswith(sentence)


@pytest.mark.parametrize("name", ["depot", "weight", "stops", "fragile"])
def test_a_missing_field_is_refused(name: str) -> None:
    row = {key: value for key, value in ROW.items() if key != name}
    assert fault(json.dumps({"rows": [row]}).encode()) == f"rows[0].{name}: is missing"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "the body is not JSON"),
        (b"hello", "the body is not JSON"),
        (b'{"rows": [', "the body is not JSON"),
        (b'{"rows": ["\xff"]}', "the body is not JSON"),
        (b"[" * 100_000, "the body is not JSON"),
        (b"null", "the body: is null"),
        (b"[]", "the body: is a list"),
        (b"{}", "rows: is missing"),
        (b'{"rows": {}}', "rows: is an object, and a list of rows is needed"),
        (b'{"rows": []}', "rows: is empty"),
        (b'{"rows": [7]}', "rows[0]: is 7, and an object of fields is needed"),
        (b'{"rows": [{}], "row": 1}', "row"),
    ],
)
def test_a_body_of_another_shape_is_one_sentence(body: bytes, words: str) -> None:
    sentence = fault(body)
    assert sentence.startswith(words)
    assert "\n" not in sentence and len(sentence) < 300


def test_too_many_rows_are_refused() -> None:
    assert len(read(ROW, ROW, ROW)) == 3
    assert fault(json.dumps({"rows": [ROW] * 4}).encode()).startswith("rows: has more than 3 rows")


def test_the_description_says_what_the_reader_asks() -> None:
    """Both come from the contract by different ways: the schema's word on each field must be the reader's."""
    row = READER.schema()["properties"]["rows"]["items"]
    samples = {"string": "x", "number": 1.5, "integer": 3, "boolean": True}
    assert set(row["properties"]) == {"parcel", "depot", "weight", "stops", "fragile", "height", "carrier"}
    for name, described in row["properties"].items():
        assert read(ROW | {name: samples[described["type"]]})
        for kind, sample in samples.items():
            if kind != described["type"] and (kind, described["type"]) != ("integer", "number"):
                with pytest.raises(UserError, match=rf"rows\[0\]\.{name}: "):
                    read(ROW | {name: sample})
        if described.get("nullable"):
            assert read(ROW | {name: None})
        else:
            with pytest.raises(UserError):
                read(ROW | {name: None})
    assert set(row["required"]) == set(ROW)
    assert row["additionalProperties"] is False
    assert READER.schema()["properties"]["rows"]["maxItems"] == 3


def test_the_description_has_meaning_unit_range_and_values() -> None:
    fields = READER.schema()["properties"]["rows"]["items"]["properties"]
    assert fields["weight"]["description"] == "on the scale, in kg, usually 0 to 50"
    assert "north south" in fields["depot"]["description"]


def test_the_card_keeps_the_schema_of_json() -> None:
    assert request_schema(CONTRACT)["properties"]["height"]["type"] == ["number", "null"]
