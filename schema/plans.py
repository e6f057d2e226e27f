"""Plans: what a selection takes from its object at once, read by one generated function.

At once are attributes, and resolvers that are given nothing and wait for nothing. A plan knows the usual
values only. Whatever else it meets it leaves to graphql-core, which reads the same again and knows what
to say.

An object of which nothing but columns of its row is selected need not be read at all: a plan tells the
resolver above it, which may have it rendered by Postgres.
"""

import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, Final, NoReturn

from graphql import (
    FragmentSpreadNode,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLScalarType,
    GraphQLUnionType,
    InlineFragmentNode,
    ListValueNode,
    ObjectValueNode,
    SelectionNode,
    VariableNode,
    coerce_input_literal,
    get_argument_values,
    get_named_type,
    get_nullable_type,
    is_nullable_type,
)
from graphql.execution import Executor
from graphql.execution.collect_fields import FieldDetailsList, GroupedFieldSet
from strawberry.schema.exception_handlers import ExceptionHandler
from strawberry.types.arguments import convert_arguments
from strawberry.types.field import StrawberryField

from app.rendering import Fieldset, Part, Rendered, Variable
from schema import recorded
from schema.info import Info
from schema.reading import DEFINITION, reader
from schema.recurring import Recurring

# Of the names of Postgres' columns.
MAX_KEY_CHARACTERS = 63

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
    a list's `batches` are resolved for all of its objects together. `fieldsets` are what is selected of the
    records behind the object and those in it; None stands for more than can be rendered. With `rendered`
    the object itself can be, whatever its rest.
    """

    read: Read
    rest: GroupedFieldSet
    batches: Mapping[str, "Batch"] = field(default_factory=dict)
    fieldsets: frozenset[Fieldset | None] = frozenset()
    rendered: bool = False


@dataclass(frozen=True)
class Arguments:
    """A field's arguments where they are read at once.

    So are scalars that stand in the document, and `variables` with scalars, or with inputs which `reads` make
    of their values. Those that are `required` must not be null.
    """

    constants: dict[str, Any] = field(default_factory=dict)
    variables: list[tuple[str, str]] = field(default_factory=list)
    reads: dict[str, Callable[[Any], Any]] = field(default_factory=dict)
    required: list[str] = field(default_factory=list)

    def values(self, given: Mapping[str, Any]) -> dict[str, Any] | None:
        """The arguments with some values of the variables; None where graphql-core is to say what is wrong.

        What is not given is left to its default.
        """
        found = {**self.constants, **{name: given[each] for name, each in self.variables if each in given}}
        if any(found.get(name) is None for name in self.required):
            return None
        for name, read in self.reads.items():
            if found.get(name) is not None:
                found[name] = read(found[name])
        return found


@dataclass(frozen=True, eq=False)
class Call:
    """A selected field with a resolver that is given nothing but its object and what the operation knows."""

    definition: GraphQLField
    parent_type: GraphQLObjectType
    details: FieldDetailsList
    fieldset: Fieldset | None = None
    at_once: Arguments | None = None

    @property
    def field(self) -> StrawberryField:
        found: StrawberryField = self.definition.extensions[DEFINITION]
        return found

    def rendered(self, executor: Executor[Any]) -> Fieldset | None:
        """What the field's resolver may have rendered, with the values of the operation's variables."""
        if self.fieldset is None:
            return None
        try:
            return self.fieldset.bound(executor.variable_values.coerced)
        except ValueError:
            return None

    def arguments(self, info: Info, executor: Executor[Any]) -> dict[str, Any]:
        """What the field's resolver is given by the document; raises GraphQLError for what it cannot be."""
        if self.at_once and (found := self.at_once.values(executor.variable_values.coerced)) is not None:
            return found
        first, schema = self.details[0], info.schema
        values = get_argument_values(
            self.definition, first.node, executor.variable_values, first.fragment_variable_values
        )
        registry = schema.schema_converter.scalar_registry
        return convert_arguments(values, self.field.arguments, registry, schema.config, info)


@dataclass(frozen=True)
class Batch:
    """A selected field that is resolved for several objects together."""

    call: Call
    complete: Complete

    async def answers(self, sources: Sequence[Any], executor: Any) -> list[Any]:
        """The field's part of each object's answer; whatever it raises, graphql-core is to begin anew."""
        info: Info = executor.info(self.call)
        arguments = self.call.arguments(info, executor)
        values = await self.call.field.metadata[TOGETHER](info, sources, **arguments)
        return [self.complete(value, executor) for value in values]


@dataclass(frozen=True)
class Direct:
    """A selected field whose resolver is called at once; a plan completes its value, if there is one.

    The `handlers` make members of its union out of what the resolver fails with.
    """

    call: Call
    resolve: Callable[..., Awaitable[Any]]
    handlers: Sequence[tuple[tuple[type[Exception], ...], ExceptionHandler[Any, Any]]]
    complete: Complete | None

    async def value(self, source: Any, info: Info, executor: Executor[Any]) -> Any:
        """What the resolver comes to; raises what it raises, unless that is handled."""
        arguments = self.call.arguments(info, executor)
        try:
            return await self.resolve(source, info=info, **arguments)
        except Exception as error:
            for kinds, handler in self.handlers:
                if isinstance(error, kinds):
                    return handler.handle(error, field=self.call.field, info=info)
            raise


class Plans(Recurring[Plan]):
    """The plans for what is selected of objects."""

    def __init__(self) -> None:
        super().__init__(_planned)


class Directs(Recurring[Direct]):
    """The fields of objects that are resolved at once."""

    def __init__(self) -> None:
        super().__init__(_directed)


def _planned(
    executor: Executor[Any], object_type: GraphQLObjectType, details: FieldDetailsList
) -> Plan | None:
    if DEFINITION not in object_type.extensions or not depends_on_document_only(executor, details):
        return None
    fields = executor.collect_subfields(object_type, details).grouped_field_set
    writer, rest, batches = Writer(executor), GroupedFieldSet(), dict[str, Batch]()
    for key, chosen in fields.items():
        text = writer.field(object_type, chosen)
        if text is None:
            rest[key] = chosen
            if batch := _batched(executor, object_type, chosen):
                batches[key] = batch
            if chosen[0].node.selection_set is not None:
                writer.fieldsets.add(None)
        writer.items.append(f"{key!r}: {text}")
    if rest and len(rest) == len(fields) and not batches:
        return None
    read = writer.function(object_type)
    if not _has_record(object_type):
        return Plan(read, rest, batches, frozenset(writer.fieldsets))
    fieldset = _fieldset(executor, object_type, fields)
    return Plan(read, rest, batches, frozenset({fieldset}), fieldset is not None)


def _batched(
    executor: Executor[Any], object_type: GraphQLObjectType, chosen: FieldDetailsList
) -> Batch | None:
    """The field's batch; None where it has none, or is given to more than one plan can tell."""
    call = Call(object_type.fields[chosen[0].node.name.value], object_type, chosen)
    if TOGETHER not in call.field.metadata or chosen[0].fragment_variable_values is not None:
        return None
    writer = Writer(executor)
    complete = writer.completion(call)
    return None if complete is None else Batch(writer.told(call), complete)


def _directed(
    executor: Executor[Any], object_type: GraphQLObjectType, chosen: FieldDetailsList
) -> Direct | None:
    """The field as it is resolved at once; None where something stands around its resolver."""
    definition = object_type.fields.get(chosen[0].node.name.value)
    # A subscription's field is resolved once, to what becomes its events.
    if definition is None or object_type is executor.schema.subscription_type:
        return None
    call = Call(definition, object_type, chosen)
    if DEFINITION not in definition.extensions or not _is_direct(call):
        return None
    writer = Writer(executor)
    complete = writer.completion(call)
    converter = _info(executor, call).schema.schema_converter
    # Those whose results are members of the field's union.
    handlers = converter._get_field_exception_handlers(call.field)  # noqa: SLF001 - as strawberry resolves it
    return Direct(writer.told(call), _resolve(call.field), handlers, complete)


def _is_direct(call: Call) -> bool:
    """Whether a field has a resolver that is given the operation's `info`, and has to be waited for."""
    resolver = call.field.base_resolver
    if resolver is None or not iscoroutinefunction(resolver.wrapped_func):
        return False
    return resolver.self_parameter is not None and resolver.info_parameter is not None


def _resolve(field: StrawberryField) -> Callable[..., Awaitable[Any]]:
    """The field's resolver, within its extensions."""
    resolver: Any = field.base_resolver
    resolve: Callable[..., Awaitable[Any]] = resolver.wrapped_func
    for extension in reversed(field.extensions):
        resolve = partial(extension.resolve_async, resolve)
    return resolve


def _arguments(executor: Any, call: Call) -> Arguments | None:
    """The arguments of a call; None where there is more to them."""
    if call.details[0].fragment_variable_values is not None:
        return None
    schema = _info(executor, call).schema
    parameters = {
        schema.config.name_converter.from_argument(each): each.python_name for each in call.field.arguments
    }
    found = Arguments()
    for node in call.details[0].node.arguments or ():
        kind, parameter = call.definition.args[node.name.value].type, parameters[node.name.value]
        match get_nullable_type(kind), node.value:
            case GraphQLScalarType(), VariableNode():
                found.variables.append((parameter, node.value.name.value))
            case GraphQLInputObjectType() as input_type, VariableNode():
                found.variables.append((parameter, node.value.name.value))
                found.reads[parameter] = reader(input_type, schema)
            case GraphQLScalarType(), ObjectValueNode() | ListValueNode():
                return None
            case GraphQLScalarType(), _:
                found.constants[parameter] = coerce_input_literal(node.value, kind)
            case _:
                return None
        if not is_nullable_type(kind):
            found.required.append(parameter)
    return found


def _info(executor: Any, call: Call) -> Info:
    found: Info = executor.info(call)
    return found


def _has_record(object_type: GraphQLObjectType) -> bool:
    return "record" in object_type.extensions[DEFINITION].origin.__dataclass_fields__


def _fieldset(
    executor: Executor[Any], object_type: GraphQLObjectType, fields: GroupedFieldSet
) -> Fieldset | None:
    """What is selected of an object; None where there is more to it than Postgres can render."""
    found = []
    for key, chosen in fields.items():
        wanted = _wanted(executor, object_type, chosen)
        if wanted is None or len(key) > MAX_KEY_CHARACTERS:
            return None
        found.append((key, wanted))
    return Fieldset(object_type.name, tuple(found))


def _wanted(
    executor: Executor[Any], object_type: GraphQLObjectType, chosen: FieldDetailsList
) -> str | Part | None:
    name = chosen[0].node.name.value
    if name == "__typename":
        return name
    call = Call(object_type.fields[name], object_type, chosen)
    return _part(executor, call) if recorded.PART in call.field.metadata else recorded.column(call.field)


def _part(executor: Executor[Any], call: Call) -> Part | None:
    kind, arguments = get_named_type(call.definition.type), _arguments(executor, call)
    if arguments is None or not depends_on_document_only(executor, call.details):
        return None
    given = {**arguments.constants, **{name: Variable(each) for name, each in arguments.variables}}
    if given.keys() - {"first"}:
        return None
    assert isinstance(kind, GraphQLObjectType)
    fields = executor.collect_subfields(kind, call.details).grouped_field_set
    fieldset = _fieldset(executor, kind, fields)
    name = call.field.metadata[recorded.PART]
    return None if fieldset is None else Part(name, fieldset, given.get("first"))


def _unusual() -> NoReturn:
    raise Unusual


def _rendered(value: Any) -> Any:
    return value.json if value.__class__ is Rendered else _unusual()


def _listed(value: Any) -> Iterable[Any]:
    return value if value.__class__ is list or value.__class__ is tuple else _unusual()


def _coerced(value: Any) -> Any:
    return _unusual() if value is None else value


_HELPERS: dict[str, Any] = {
    "unusual": _unusual,
    "rendered": _rendered,
    "listed": _listed,
    "coerced": _coerced,
    "isfinite": math.isfinite,
}


@dataclass
class Writer:
    """Writes one function, as text; `names` are what its text refers to."""

    executor: Executor[Any]
    items: list[str] = field(default_factory=list)
    names: dict[str, Any] = field(default_factory=_HELPERS.copy)
    fieldsets: set[Fieldset | None] = field(default_factory=set)

    def told(self, call: Call) -> Call:
        """The call, told what is selected of its records where that is the same of all and columns only."""
        fieldset = next(iter(self.fieldsets)) if len(self.fieldsets) == 1 else None
        return replace(call, fieldset=fieldset, at_once=_arguments(self.executor, call))

    def function(self, object_type: GraphQLObjectType) -> Read:
        """Of `s`, the source, and `e`, the executor."""
        origin = self.name(object_type.extensions[DEFINITION].origin)
        items = ", ".join(self.items)
        text = f"def read(s, e):\n if s.__class__ is not {origin}: return rendered(s)\n return {{{items}}}"
        read: Read = self._defined(text)
        return read

    def completion(self, call: Call) -> Complete | None:
        """The function of `s`, what a field's resolver returned, and `e`; None where that takes more."""
        value = self.value("s", call.definition.type, call.details)
        if value is None:
            self.fieldsets.add(None)
            return None
        complete: Complete = self.returning(value)
        return complete

    def returning(self, value: str) -> Any:
        """The function of `s` and `e` that returns the value of an expression."""
        return self._defined(f"def read(s, e):\n return {value}")

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
        source = self.source(Call(definition, object_type, chosen))
        return None if source is None else self.value(source, definition.type, chosen)

    def source(self, call: Call) -> str | None:
        """The expression of what a field's resolver returns; None where that is not to be had at once."""
        field = call.field
        resolver = field.base_resolver
        if place := recorded.place(field):
            return f"s.record.{place}"
        if resolver is None:
            return f"s.{field.python_name}"
        if call.definition.args or field.extensions or field.is_async or resolver.self_parameter is None:
            return None
        function = self.name(resolver.wrapped_func)
        if resolver.info_parameter is None:
            return f"{function}(s)"
        return f"{function}(s, {resolver.info_parameter.name}=e.info({self.name(call)}))"

    def value(self, value: str, kind: GraphQLOutputType, chosen: FieldDetailsList) -> str | None:
        """The expression of a value as the answer has it."""
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
                text = self.value(item, kind.of_type, chosen)
                return None if text is None else f"[{text} for {item} in listed({value})]"
            case GraphQLObjectType():
                return self.object(value, kind, chosen)
            case GraphQLUnionType():
                return self._member(value, kind, chosen)
            case GraphQLEnumType():
                return f"{self.name(_names(kind))}[{value}]"
            case GraphQLScalarType():
                return self.scalar(value, kind)
        return None

    def object(self, value: str, kind: GraphQLObjectType, chosen: FieldDetailsList) -> str | None:
        """The expression of what is selected of an object; None where that is not to be had at once."""
        plan = _planned(self.executor, kind, chosen)
        if plan is None or (plan.rest and not plan.rendered):
            return None
        self.fieldsets |= plan.fieldsets
        # What has a rest is an answer at once only where it comes rendered.
        return f"rendered({value})" if plan.rest else f"{self.name(plan.read)}({value}, e)"

    def _member(self, value: str, kind: GraphQLUnionType, chosen: FieldDetailsList) -> str | None:
        """The expression of a member of a union, which its class tells."""
        reads = dict[type, Read]()
        for member in kind.types:
            plan = _planned(self.executor, member, chosen)
            if plan is None or plan.rest:
                return None
            reads[member.extensions[DEFINITION].origin] = plan.read
        v = self._variable()
        return f"{self.name(reads)}[({v} := {value}).__class__]({v}, e)"

    def scalar(self, value: str, kind: GraphQLScalarType) -> str:
        """The expression of a scalar as the answer has it."""
        if kind.name in AS_IT_IS:
            return f"({AS_IT_IS[kind.name].format(v=self._variable(), value=value)})"
        coerced = f"{self.name(kind.coerce_output_value)}({value})"
        # No date becomes null.
        return coerced if kind.name == "DateTime" else f"coerced({coerced})"

    def _variable(self) -> str:
        return self.name(None)

    def name(self, thing: Any) -> str:
        """A name for a thing that the text refers to."""
        name = f"n{len(self.names)}"
        self.names[name] = thing
        return name


def _names(kind: GraphQLEnumType) -> dict[Any, str]:
    """The names by member."""
    members = kind.extensions[DEFINITION].wrapped_cls
    return {members(value.value): name for name, value in kind.values.items()}


def depends_on_document_only(executor: Executor[Any], details: FieldDetailsList) -> bool:
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
