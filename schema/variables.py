"""The variables of a request: counted, and made values of by what is known of their operation."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from graphql import (
    GraphQLError,
    GraphQLInputObjectType,
    GraphQLNamedType,
    GraphQLSchema,
    OperationDefinitionNode,
    Undefined,
    coerce_input_value,
    get_named_type,
    is_non_null_type,
)
from graphql.execution.get_variable_signature import GraphQLVariableSignature, get_variable_signature
from graphql.execution.values import VariableValues, VariableValueSource

from schema.scalars import JSON

Types = Mapping[str, GraphQLNamedType]
Signatures = Sequence[GraphQLVariableSignature]


def signatures(schema: GraphQLSchema, operation: OperationDefinitionNode) -> Signatures:
    """The signatures of the variables that a valid operation defines."""
    found = [get_variable_signature(schema, each) for each in operation.variable_definitions or ()]
    return [each for each in found if not isinstance(each, GraphQLError)]


def types(signatures: Signatures) -> Types:
    """The named type of each variable."""
    return {each.name: get_named_type(each.type) for each in signatures}


def values(signatures: Signatures, given: Mapping[str, Any]) -> VariableValues | None:
    """The variables' values with what is given; None where graphql-core knows more, such as what is wrong."""
    sources, coerced = dict[str, VariableValueSource](), dict[str, Any]()
    for each in signatures:
        value = given.get(each.name, Undefined)
        sources[each.name] = VariableValueSource(each, value)
        if value is not Undefined:
            coerced[each.name] = coerce_input_value(value, each.type)
            if coerced[each.name] is Undefined:
                return None
        elif each.default is not None or is_non_null_type(each.type):
            return None
    return VariableValues(sources, coerced)


def too_many(variables: Mapping[str, Any], types: Types, most: int) -> bool:
    """Whether there are more values than that in the variables; what is in a JSON value does not count."""
    waiting = [
        (types[name], value)
        for name, value in variables.items()
        if isinstance(value, dict | list) and name in types
    ]
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
