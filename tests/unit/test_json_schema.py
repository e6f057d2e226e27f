"""What is told of schemas and values, and what a schema may cost."""

from math import inf
from typing import Any

import orjson
import pytest

from app.json_schema import DRAFT, MAX_FINDINGS, MAX_MESSAGE_CHARACTERS, Survey, findings, schema_findings
from tests.unit.schemas import BRANCHING, chain, doubled

ORDER = {
    "$schema": DRAFT,
    "type": "object",
    "required": ["id", "items"],
    "properties": {
        "id": {"type": "string", "pattern": "^[A-Z]+-[0-9]+$"},
        "items": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/item"}},
        "a/b": {"const": 1},
    },
    "$defs": {"item": {"type": "object", "properties": {"quantity": {"type": "integer", "minimum": 1}}}},
}
OUTSIDE = "must refer within this schema, as in #/$defs/name: nothing is fetched"


def told(schema: Any, value: Any) -> list[tuple[str, str]]:
    return findings(orjson.dumps(schema).decode(), value)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (ORDER, {"id": "A-1", "items": [{"quantity": 1}]}),
        (True, None),
        ({}, [1, "x"]),
        ({"type": "integer"}, 2**63 - 1),
        ({"type": ["object", "null"]}, None),
        ({"format": "email"}, "no address"),
        ({"$anchor": "tree", "items": {"$ref": "#tree"}}, [[[], []]]),
        ({"pattern": "^(a+)+$"}, "a" * 1_000),
    ],
)
def test_a_value_that_fits(schema: Any, value: Any) -> None:
    assert told(schema, value) == []


def test_every_violation_has_its_pointer() -> None:
    found = told(ORDER, {"id": "a-1", "items": [{"quantity": 0}, 7], "a/b": 2})

    assert {path for path, _ in found} == {"/id", "/items/0/quantity", "/items/1", "/a~1b"}
    assert dict(found)["/items/0/quantity"] == "0 is less than the minimum of 1"


def test_the_first_violation_alone_is_told_where_that_is_asked_for() -> None:
    schema = orjson.dumps({"items": {"type": "integer"}}).decode()

    assert findings(schema, ["x", "y"], every=False) == [("/0", '"x" is not of type "integer"')]
    assert findings(schema, [1, 2], every=False) == []


def test_violations_are_bounded_and_short() -> None:
    found = told({"items": {"const": "y"}}, ["x" * 10_000] * 1_000)

    assert len(found) == MAX_FINDINGS
    assert all(len(message) <= MAX_MESSAGE_CHARACTERS + 3 for _, message in found)


@pytest.mark.parametrize("schema", [ORDER, True, False, {}, {"enum": [{"$ref": "http://x"}]}, BRANCHING])
def test_a_schema_that_can_be_used(schema: Any) -> None:
    assert schema_findings(schema) == []
    assert Survey(schema).findings == []


@pytest.mark.parametrize("schema", [3, "object", [], None])
def test_what_is_no_schema(schema: Any) -> None:
    ((path, message),) = schema_findings(schema)

    assert path == ""
    assert 'is not of types "boolean", "object"' in message


@pytest.mark.parametrize(
    "pattern", ["(", "(?=a)", "(?<!a)b", r"(a)\1", "^([\\w]{1,100}){1,100}$", "(.{1,500}a){50}"]
)
def test_a_pattern_that_costs_more_than_its_text_is_none(pattern: str) -> None:
    ((path, message),) = schema_findings({"properties": {"x": {"pattern": pattern}}})

    assert path == "/properties/x/pattern"
    assert "without lookaround" in message


@pytest.mark.parametrize(
    ("schema", "finding"),
    [
        ({"$ref": "http://example.com/s.json"}, ("/$ref", OUTSIDE)),
        ({"$ref": "other.json#/a"}, ("/$ref", OUTSIDE)),
        ({"$ref": 3}, ("/$ref", OUTSIDE)),
        ({"items": {"anyOf": [{"$ref": "file:///etc/passwd"}]}}, ("/items/anyOf/0/$ref", OUTSIDE)),
        ({"$defs": {"a~b": {"$ref": "urn:x"}}}, ("/$defs/a~0b/$ref", OUTSIDE)),
        ({"x": {"$ref": "http://x"}, "$ref": "#/x"}, ("/x/$ref", OUTSIDE)),
        ({"$ref": "#/$defs/none"}, ("/$ref", "refers to nothing in this schema")),
        ({"allOf": [True], "$ref": "#/allOf/1"}, ("/$ref", "refers to nothing in this schema")),
        ({"$dynamicRef": "http://x"}, ("/$dynamicRef", "must refer within this schema: nothing is fetched")),
        ({"properties": {"a": {"$id": "x"}}}, ("/properties/a/$id", "must be at the root alone")),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, ("/$schema", f"must be {DRAFT}")),
    ],
)
def test_what_is_told_of_a_schema_by_itself(schema: Any, finding: tuple[str, str]) -> None:
    assert Survey(schema).findings == [finding]


def test_nothing_is_fetched_even_by_a_schema_that_nobody_surveyed() -> None:
    ((_, message),) = schema_findings({"$ref": "http://example.com/s.json"})

    assert "nothing is fetched" in message
    with pytest.raises(ValueError, match="nothing is fetched"):
        told({"$ref": "http://example.com/s.json"}, 1)


def test_the_weight_of_an_ordinary_schema_is_small() -> None:
    assert Survey(ORDER).weight < 300


@pytest.mark.parametrize(
    "schema",
    [
        BRANCHING,
        {"$ref": "#"},
        {"allOf": [{"$ref": "#/allOf/0"}]},
        {"$anchor": "a", "items": {"$ref": "#a"}},
        {"unevaluatedProperties": False},
        {"$dynamicRef": "#x"},
        {"properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {"items": {"$ref": "#"}}}},
    ],
)
def test_what_may_go_on_for_ever_weighs_infinitely(schema: Any) -> None:
    assert Survey(schema).weight == inf


def test_references_that_multiply_weigh_what_they_unfold_to() -> None:
    assert Survey(doubled(10)).weight > 2**10
    assert 2**40 < Survey(doubled(40)).weight < inf


def test_a_schema_of_many_parts_is_surveyed_fast_and_deep_ones_do_not_recurse_for_ever() -> None:
    definitions = {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(2_000)}

    assert Survey({"$ref": "#/$defs/d0", "$defs": {**definitions, "d2000": True}}).weight == inf
    assert Survey(chain(64)).weight < 100
