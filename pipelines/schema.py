"""What a caller sends: the JSON schema of a request's row, made from the contract."""

from typing import Any

from pipelines.contract import Column, Contract

KINDS = {"category": "string", "integer": "integer", "number": "number", "flag": "boolean"}


def request_schema(contract: Contract) -> dict[str, Any]:
    """JSON schema (draft 2020-12) of one row: the features, and the key if its label is to be joined.

    Ranges and known values are only described: an unusual value is answered, and the drift check sees it.
    """
    properties = {column.name: _property(column) for column in contract.features}
    properties[contract.key.name] = {
        "type": "string",
        "description": f"{contract.key.meaning}; logged, never given to the model",
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": contract.event,
        "type": "object",
        "properties": properties,
        "required": [column.name for column in contract.features if not column.missing],
        "additionalProperties": False,
    }


def _property(column: Column) -> dict[str, Any]:
    kind = KINDS[column.type]
    words = [column.meaning]
    if column.unit:
        words.append(f"in {column.unit}")
    if column.minimum is not None and column.maximum is not None:
        words.append(f"usually {column.minimum:g} to {column.maximum:g}")
    if column.values:
        words.append(f"known: {' '.join(column.values)}")
    return {"type": [kind, "null"] if column.missing else kind, "description": ", ".join(words)}
