"""The variables of a request: counted, and made values of by what is known of their operation."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from graphql import (
    GraphQLError,
    GraphQLInputObjectType,
    GraphQLNamedType,
    GraphQLScalarType,
    GraphQLSchema,
    OperationDefinitionNode,
    Undefined,
    coerce_input_value,
    get_named_type,
    get_nullable_type,
    is_non_null_type,
)
from graphql.execution.get_variable_signature import GraphQLVariableSignature, get_variable_signature
from graphql.execution.values import VariableValues, VariableValueSource

from schema.scalars import JSON

Types = Mapping[str, GraphQLNamedType]


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable that a valid operation defines; `coerced` is a value of what is given, and not null."""

    name: str
    signature: GraphQLVariableSignature
    is_required: bool
    coerced: Callable[[Any], Any]

    @classmethod
    def of(cls, signature: GraphQLVariableSignature) -> Self:
        """That of a signature."""
        kind = signature.type
        coerced: Callable[[Any], Any] = partial(coerce_input_value, type_=kind)
        if isinstance(scalar := get_nullable_type(kind), GraphQLScalarType):
            # Without graphql-core's way around it, which is ten calls long.
            coerced = scalar.coerce_input_value
        return cls(signature.name, signature, is_non_null_type(kind), coerced)


Variables = Sequence[Variable]


def variables(schema: GraphQLSchema, operation: OperationDefinitionNode) -> Variables:
    """The variables that a valid operation defines."""
    found = [get_variable_signature(schema, each) for each in operation.variable_definitions or ()]
    return [Variable.of(each) for each in found if not isinstance(each, GraphQLError)]


def types(variables: Variables) -> Types:
    """The named type of each variable."""
    return {each.name: get_named_type(each.signature.type) for each in variables}


def values(variables: Variables, given: Mapping[str, Any]) -> VariableValues | None:
    """The variables' values with what is given; None where graphql-core knows more, such as what is wrong."""
    sources, coerced = dict[str, VariableValueSource](), dict[str, Any]()
    for each in variables:
        value = given.get(each.name, Undefined)
        sources[each.name] = VariableValueSource(each.signature, value)
        if value is Undefined:
            if each.is_required or each.signature.default is not None:
                return None
            continue
        if value is not None:
            try:
                value = each.coerced(value)
            except Exception:  # noqa: BLE001 - graphql-core meets it again and says what it is
                return None
        if value is Undefined or (value is None and each.is_required):
            return None
        coerced[each.name] = value
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
