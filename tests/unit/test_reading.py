"""Inputs come to the same as by strawberry's own conversion, whatever is given of them."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    is_required_input_field,
)
from strawberry.types.arguments import InputContext, convert_argument

from schema import build
from schema.limits import Limits

SCHEMA = build(Limits())
INPUTS = [kind for kind in SCHEMA._schema.type_map.values() if isinstance(kind, GraphQLInputObjectType)]
VALUES: Mapping[str, Any] = {"Int": 1, "Boolean": True, "JSON": {"a": [1]}}


def value(kind: GraphQLInputType) -> Any:
    """A value as graphql-core has coerced it."""
    match kind:
        case GraphQLNonNull():
            return value(kind.of_type)
        case GraphQLList():
            return [value(kind.of_type)] * 2
        case GraphQLEnumType():
            return next(iter(kind.values.values())).value
        case GraphQLInputObjectType():
            return {name: value(field.type) for name, field in kind.fields.items()}
    return VALUES.get(kind.name, kind.name)


def given(kind: GraphQLInputObjectType) -> Iterator[Mapping[str, Any]]:
    """All that can be given of an input, what must be, and null for all the rest."""
    every = value(kind)
    required = {name for name, field in kind.fields.items() if is_required_input_field(field)}
    yield every
    yield {name: each for name, each in every.items() if name in required}
    yield {name: each if name in required else None for name, each in every.items()}


@pytest.mark.parametrize("kind", INPUTS, ids=str)
def test_an_input_is_what_strawberry_makes_of_it(
    kind: GraphQLInputObjectType, monkeypatch: pytest.MonkeyPatch
) -> None:
    definition = kind.extensions["strawberry-definition"]
    context = InputContext(None, SCHEMA.config, SCHEMA.schema_converter.scalar_registry, ())
    cases = list(given(kind))

    ours = [definition.from_input(definition.origin, each, context) for each in cases]

    for each in INPUTS:
        monkeypatch.setattr(each.extensions["strawberry-definition"], "from_input", None)
    theirs = [
        convert_argument(each, definition.origin, context.scalar_registry, SCHEMA.config) for each in cases
    ]
    assert ours == theirs
