"""Input schemas that keep a validator busy for longer than anyone waits."""

from typing import Any


def doubled(levels: int) -> dict[str, Any]:
    """Each level refers to the next one twice."""
    definitions: dict[str, Any] = {
        f"level{n}": {"allOf": [{"$ref": f"#/$defs/level{n + 1}"}, {"$ref": f"#/$defs/level{n + 1}"}]}
        for n in range(levels)
    }
    definitions[f"level{levels}"] = {"type": "integer"}
    return {"$ref": "#/$defs/level0", "$defs": definitions}


# Two ways at each level of the value, and none of them right.
BRANCHING: dict[str, Any] = {
    "anyOf": [
        {"properties": {"a": {"$ref": "#"}}, "required": ["b"]},
        {"properties": {"a": {"$ref": "#"}}, "required": ["c"]},
    ]
}


def chain(depth: int) -> dict[str, Any]:
    """An object in an object, so deep."""
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value
