"""What a caller sends: the JSON schema of a request's row, made from the contract."""

from typing import Any

from pipelines.core.contract import Column, Contract

KINDS = {"category": "string", "words": "string", "integer": "integer", "number": "number", "flag": "boolean"}


def request_schema(contract: Contract) -> dict[str, Any]:
    """JSON schema (draft 2020-12) of one row: the features, and the key if its label is to be joined. Ranges
    and known values are only described: an unusual value is answered, and the drift check sees it."""
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


def refusals(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Why `new` would refuse a row that `old` accepts, a sentence each. What `request_schema` never writes is
    taken for a refusal: a stranger's schema may hold anything."""
    known = {"$schema", "title", "description", "type", "properties", "required", "additionalProperties"}
    found = [f"the schema has {word!r}" for word in sorted(new.keys() - known) if new[word] != old.get(word)]
    before, after = old.get("properties", {}), new.get("properties", {})
    if not isinstance(after, dict) or not isinstance(new.get("required", []), list):
        return ["the schema has no properties, or none that can be read"]
    if new.get("additionalProperties") is not True:
        found += [f"{name} is not taken any more" for name in before if name not in after]
    demanded = [str(name) for name in new.get("required", []) if name not in old.get("required", [])]
    found += [f"{name} has to be sent" for name in demanded]
    for name in before:
        if isinstance(after.get(name), dict):
            found += [f"{name} {reason}" for reason in _narrower(before[name], after[name])]
    return found


def _narrower(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    kinds, wanted = (_kinds(entry) for entry in (old, new))
    found = [f"may not be {kind} any more" for kind in sorted(kinds - wanted)]
    if "enum" in new:
        lost = [value for value in old.get("enum", ["anything else"]) if value not in new["enum"]]
        found += [f"may not be {value!r} any more" for value in lost]
    rest = new.keys() - {"type", "description", "enum"}
    return found + [f"has another {word!r}" for word in sorted(rest) if new[word] != old.get(word)]


def _kinds(entry: dict[str, Any]) -> set[str]:
    kinds = entry.get("type", [])
    found = {str(kind) for kind in (kinds if isinstance(kinds, list) else [kinds])}
    return found | {"integer"} if "number" in found else found
