"""Inputs out of what a client gives: strawberry asks each time anew what each of their fields is."""

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

from graphql import GraphQLInputObjectType, GraphQLSchema
from strawberry import Schema
from strawberry.schema.name_converter import NameConverter
from strawberry.types.arguments import InputContext
from strawberry.types.base import StrawberryContainer, has_object_definition

DEFINITION = "strawberry-definition"

_NAMES = NameConverter()


def read_at_once(schema: GraphQLSchema) -> None:
    """Have all inputs of a schema read by what is known of their fields."""
    for kind in schema.type_map.values():
        if isinstance(kind, GraphQLInputObjectType):
            kind.extensions[DEFINITION].from_input = _read


def reader(kind: GraphQLInputObjectType, schema: Schema) -> Callable[[Mapping[str, Any]], Any]:
    """What makes an input of the values that graphql-core has coerced."""
    registry = schema.schema_converter.scalar_registry
    context = InputContext(info=None, config=schema.config, scalar_registry=registry, path=())
    return partial(_read, kind.extensions[DEFINITION].origin, context=context)


def _read(kind: type, given: Mapping[str, Any], context: InputContext) -> Any:
    fields, values = _fields(kind), dict[str, Any]()
    for name, value in given.items():
        python_name, converted = fields[name]
        as_it_is = converted is None or value is None
        values[python_name] = value if as_it_is else context.convert(value, converted, name)
    return kind(**values)


@cache
def _fields(kind: Any) -> Mapping[str, tuple[str, Any]]:
    """By their GraphQL names the Python names of the fields, and the types of those that are not as given."""
    definition = kind.__strawberry_definition__
    return {
        _NAMES.from_field(field): (
            field.python_name,
            _converted(field.resolve_type(type_definition=definition)),
        )
        for field in definition.fields
    }


def _converted(kind: Any) -> Any:
    """The type, where its values have inputs in them."""
    inner = kind
    while isinstance(inner, StrawberryContainer):
        inner = inner.of_type
    return kind if has_object_definition(inner) else None
