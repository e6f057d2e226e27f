"""Plans: what a selection takes from its object at once, read by one generated function.

At once are attributes, and resolvers that are given nothing and wait for nothing. A plan knows the usual
values only. Whatever else it meets it leaves to graphql-core, which reads the same again and knows what
to say.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from graphql import (
    FragmentSpreadNode,
    GraphQLEnumType,
    GraphQLField,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLScalarType,
    InlineFragmentNode,
    SelectionNode,
    get_argument_values,
)
from graphql.execution import Executor
from graphql.execution.collect_fields import FieldDetailsList, GroupedFieldSet
from strawberry.types.arguments import convert_arguments
from strawberry.types.field import StrawberryField

from schema import recorded
from schema.info import Info

# Twice as many are kept at most.
MAX_SELECTIONS = 2_000
DEFINITION = "strawberry-definition"

# Expressions of a value, each bound to `v` once: what scalars take as it is.
AS_IT_IS = {
    "String": "{v} if ({v} := {value}).__class__ is str else unusual()",
    "ID": "{v} if ({v} := {value}).__class__ is str else unusual()",
    "Boolean": "{v} if ({v} := {value}).__class__ is bool else unusual()",
    "Int": "{v} if ({v} := {value}).__class__ is int and -2147483648 <= {v} <= 2147483647 else unusual()",
    "Float": "{v} if ({v} := {value}).__class__ is float and isfinite({v}) else unusual()",
    "JSON": "{v} if ({v} := {value}) is not None else unusual()",
}


Read = Callable[[Any, Executor[Any]], dict[str, Any]]
Complete = Callable[[Any, Executor[Any]], Any]

# Under this, a field's metadata have its resolver for several objects of its type: of (info, objects,
# arguments by name), which gives the values in the objects' order.
TOGETHER: Final = "together"


class Unusual(Exception):
    """A value that a plan does not expect."""


@dataclass(frozen=True)
class Plan:
    """An answer's beginning: `read` gives all keys in order, None under those of the `rest`.

    Whatever `read` raises says that it cannot read this object: graphql-core is to begin anew. Of the `rest`
    a list's `batches` are resolved for all of its objects together.
    """

    read: Read
    rest: GroupedFieldSet
    batches: Mapping[str, "Batch"] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Call:
    """A selected field with a resolver that is given nothing but its object and what the operation knows."""

    definition: GraphQLField
    parent_type: GraphQLObjectType
    details: FieldDetailsList


@dataclass(frozen=True)
class Batch:
    """A selected field that is resolved for several objects together."""

    call: Call
    complete: Complete

    async def answers(self, sources: Sequence[Any], executor: Any) -> list[Any]:
        """The field's part of each object's answer; whatever it raises, graphql-core is to begin anew."""
        info: Info = executor.info(self.call)
        values = await _field(self.call).metadata[TOGETHER](info, sources, **self._arguments(info, executor))
        return [self.complete(value, executor) for value in values]

    def _arguments(self, info: Info, executor: Executor[Any]) -> dict[str, Any]:
        node, schema = self.call.details[0].node, info.schema
        given = get_argument_values(self.call.definition, node, executor.variable_values)
        registry = schema.schema_converter.scalar_registry
        return convert_arguments(given, _field(self.call).arguments, registry, schema.config, info)


@dataclass(slots=True)
class Selection:
    """What is selected of a type of object. It keeps its nodes, so that no others get their ids."""

    object_type: GraphQLObjectType
    details: FieldDetailsList
    met_again: bool = False
    plan: Plan | None = None


class Plans:
    """Plans by object type and selected nodes, which recur: documents are parsed once.

    A plan is made when a selection is met again, since that costs as much as some objects read without it.
    """

    def __init__(self) -> None:
        self._recent: dict[tuple[int, ...], Selection] = {}
        self._older: dict[tuple[int, ...], Selection] = {}

    def of(
        self, executor: Executor[Any], object_type: GraphQLObjectType, details: FieldDetailsList
    ) -> Plan | None:
        """The plan for what is selected of an object; None where there is none so far, or can be none."""
        key = _key(object_type, details)
        selection = self._recent.get(key)
        if selection is None:
            selection = self._older.get(key)
            if selection is None:
                self._keep(key, Selection(object_type, details))
                return None
            self._keep(key, selection)
        if not selection.met_again:
            selection.met_again = True
            selection.plan = _planned(executor, object_type, details)
        return selection.plan

    def made(self, object_type: GraphQLObjectType, details: FieldDetailsList) -> Plan | None:
        """The plan that there is by now."""
        key = _key(object_type, details)
        selection = self._recent.get(key) or self._older.get(key)
        return None if selection is None else selection.plan

    def _keep(self, key: tuple[int, ...], selection: Selection) -> None:
        if len(self._recent) >= MAX_SELECTIONS:
            self._recent, self._older = {}, self._recent
        self._recent[key] = selection


def _key(object_type: GraphQLObjectType, details: FieldDetailsList) -> tuple[int, ...]:
    return (id(object_type), *[id(each.node) for each in details])


def _planned(
    executor: Executor[Any], object_type: GraphQLObjectType, details: FieldDetailsList
) -> Plan | None:
    if DEFINITION not in object_type.extensions or not _depends_on_document_only(executor, details):
        return None
    fields = executor.collect_subfields(object_type, details).grouped_field_set
    writer, rest, batches = _Writer(executor), GroupedFieldSet(), dict[str, Batch]()
    for key, chosen in fields.items():
        text = writer.field(object_type, chosen)
        if text is None:
            rest[key] = chosen
            if batch := _batched(executor, object_type, chosen):
                batches[key] = batch
        writer.items.append(f"{key!r}: {text}")
    if len(rest) == len(fields) and not batches:
        return None
    return Plan(writer.function(object_type), rest, batches)


def _batched(
    executor: Executor[Any], object_type: GraphQLObjectType, chosen: FieldDetailsList
) -> Batch | None:
    """The field's batch; None where it has none, or is given to more than one plan can tell."""
    call = Call(object_type.fields[chosen[0].node.name.value], object_type, chosen)
    if TOGETHER not in _field(call).metadata or chosen[0].fragment_variable_values is not None:
        return None
    complete = _Writer(executor).completion(call)
    return None if complete is None else Batch(call, complete)


def _field(call: Call) -> StrawberryField:
    found: StrawberryField = call.definition.extensions[DEFINITION]
    return found


def _unusual() -> NoReturn:
    raise Unusual


def _listed(value: Any) -> Iterable[Any]:
    return value if value.__class__ is list or value.__class__ is tuple else _unusual()


def _coerced(value: Any) -> Any:
    return _unusual() if value is None else value


_HELPERS: dict[str, Any] = {
    "unusual": _unusual,
    "listed": _listed,
    "coerced": _coerced,
    "isfinite": math.isfinite,
}


@dataclass
class _Writer:
    """Writes one function, as text; `names` are what its text refers to."""

    executor: Executor[Any]
    items: list[str] = field(default_factory=list)
    names: dict[str, Any] = field(default_factory=_HELPERS.copy)

    def function(self, object_type: GraphQLObjectType) -> Read:
        """Of `s`, the source, and `e`, the executor."""
        origin = self._name(object_type.extensions[DEFINITION].origin)
        items = ", ".join(self.items)
        text = f"def read(s, e):\n if s.__class__ is not {origin}: unusual()\n return {{{items}}}"
        read: Read = self._defined(text)
        return read

    def completion(self, call: Call) -> Complete | None:
        """The function of `s`, what a field's resolver returned, and `e`; None where that takes more."""
        value = self._value("s", call.definition.type, call.details)
        return None if value is None else self._defined(f"def read(s, e):\n return {value}")

    def _defined(self, text: str) -> Any:
        # Of names that the schema and a parsed document have: nothing else gets into the text.
        exec(text, self.names)  # noqa: S102  # nosec B102
        return self.names["read"]

    def field(self, object_type: GraphQLObjectType, chosen: FieldDetailsList) -> str | None:
        """The expression of a field's value; None where that takes a resolver."""
        name = chosen[0].node.name.value
        if name == "__typename":
            return repr(object_type.name)
        definition = object_type.fields[name]
        source = self._source(Call(definition, object_type, chosen))
        return None if source is None else self._value(source, definition.type, chosen)

    def _source(self, call: Call) -> str | None:
        """The expression of what a field's resolver returns; None where that is not to be had at once."""
        field = _field(call)
        resolver = field.base_resolver
        if place := recorded.place(field):
            return f"s.record.{place}"
        if resolver is None:
            return f"s.{field.python_name}"
        if call.definition.args or field.extensions or field.is_async or resolver.self_parameter is None:
            return None
        function = self._name(resolver.wrapped_func)
        if resolver.info_parameter is None:
            return f"{function}(s)"
        return f"{function}(s, {resolver.info_parameter.name}=e.info({self._name(call)}))"

    def _value(self, value: str, kind: GraphQLOutputType, chosen: FieldDetailsList) -> str | None:
        if isinstance(kind, GraphQLNonNull):
            return self._present(value, kind.of_type, chosen)
        v = self._variable()
        present = self._present(v, kind, chosen)
        return None if present is None else f"(None if ({v} := {value}) is None else {present})"

    def _present(self, value: str, kind: GraphQLOutputType, chosen: FieldDetailsList) -> str | None:
        """The expression of a value that must not be null."""
        match kind:
            case GraphQLList():
                item = self._variable()
                text = self._value(item, kind.of_type, chosen)
                return None if text is None else f"[{text} for {item} in listed({value})]"
            case GraphQLObjectType():
                plan = _planned(self.executor, kind, chosen)
                return None if plan is None or plan.rest else f"{self._name(plan.read)}({value}, e)"
            case GraphQLEnumType():
                return f"{self._name(_names(kind))}[{value}]"
            case GraphQLScalarType():
                return self._scalar(value, kind)
        return None

    def _scalar(self, value: str, kind: GraphQLScalarType) -> str:
        if kind.name in AS_IT_IS:
            return f"({AS_IT_IS[kind.name].format(v=self._variable(), value=value)})"
        coerced = f"{self._name(kind.coerce_output_value)}({value})"
        # No date becomes null.
        return coerced if kind.name == "DateTime" else f"coerced({coerced})"

    def _variable(self) -> str:
        return self._name(None)

    def _name(self, thing: Any) -> str:
        """A name for a thing that the text refers to."""
        name = f"n{len(self.names)}"
        self.names[name] = thing
        return name


def _names(kind: GraphQLEnumType) -> dict[Any, str]:
    """The names by member."""
    members = kind.extensions[DEFINITION].wrapped_cls
    return {members(value.value): name for name, value in kind.values.items()}


def _depends_on_document_only(executor: Executor[Any], details: FieldDetailsList) -> bool:
    """Whether no directive, whose arguments may be variables, takes part in choosing the fields."""
    seen: set[str] = set()
    return all(
        each.fragment_variable_values is None
        and each.node.selection_set is not None
        and _is_fixed(executor, each.node.selection_set.selections, seen)
        for each in details
    )


def _is_fixed(executor: Executor[Any], selections: Sequence[SelectionNode], seen: set[str]) -> bool:
    return all(not each.directives and _is_fixed_within(executor, each, seen) for each in selections)


def _is_fixed_within(executor: Executor[Any], selection: SelectionNode, seen: set[str]) -> bool:
    match selection:
        case InlineFragmentNode():
            return _is_fixed(executor, selection.selection_set.selections, seen)
        case FragmentSpreadNode() if selection.name.value not in seen:
            seen.add(selection.name.value)
            fragment = executor.fragment_definitions[selection.name.value]
            return _is_fixed(executor, fragment.selection_set.selections, seen)
    return True
