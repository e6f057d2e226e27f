"""The variables of a request, counted before GraphQL makes values of them one by one."""

from collections.abc import Iterator, Mapping
from typing import Any

from graphql import (
    GraphQLInputObjectType,
    GraphQLNamedType,
    GraphQLSchema,
    OperationDefinitionNode,
    get_named_type,
    type_from_ast,
)

from schema.scalars import JSON

Types = Mapping[str, GraphQLNamedType | None]


def types(schema: GraphQLSchema, operation: OperationDefinitionNode) -> Types:
    """The named type of each variable that an operation defines."""
    return {
        each.variable.name.value: get_named_type(type_from_ast(schema, each.type))
        for each in operation.variable_definitions or ()
    }


def too_many(variables: Mapping[str, Any], types: Types, most: int) -> bool:
    """Whether there are more values than that in the variables; what is in a JSON value does not count."""
    waiting = [(types[name], value) for name, value in variables.items() if name in types]
    count = 0
    while waiting:
        type, value = waiting.pop()
        if type is None or type.name == JSON.__name__ or not isinstance(value, dict | list):
            continue
        count += len(value)
        if count > most:
            return True
        waiting.extend(_within(type, value))
    return False


def _within(type: GraphQLNamedType, value: dict[str, Any] | list[Any]) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, list):
        yield from ((type, each) for each in value)
    elif isinstance(type, GraphQLInputObjectType):
        for key, each in value.items():
            field = type.fields.get(key)
            yield (get_named_type(field.type) if field else None), each
