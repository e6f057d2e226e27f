"""What an operation costs: how many objects its answer may have, known before it is executed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple

from graphql import (
    BooleanValueNode,
    DirectiveNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    is_composite_type,
    is_list_type,
    value_from_ast_untyped,
)
from strawberry.schema.schema_converter import GraphQLCoreConverter

from app.paging import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE
from schema.selections import fragments

MUTATION = 10
INTROSPECTION = {"__typename": 0, "__type": 10, "__schema": 400}
# How many items a list is taken for that has no `first`; ten, where nothing is said here.
USUAL_ITEMS = {
    "Execution.labels": 2,
    "Execution.pendingActivities": 5,
    "ExecutionStats.byStatus": 6,
    "ExecutionStats.timeline": 50,
    "StatsBucket.counts": 6,
}

Variables = Mapping[str, Any]


@dataclass(frozen=True)
class Variable:
    """A value that comes with the request."""

    name: str


@dataclass(frozen=True)
class PageSize:
    """How many items a page has that is asked for by variables."""

    first: int | Variable | None
    last: int | Variable | None

    def of(self, variables: Variables) -> int:
        """The size; one that will be refused is taken for the nearest that would not."""
        for given in (self.first, self.last):
            size = variables.get(given.name) if isinstance(given, Variable) else given
            if isinstance(size, int):
                return max(0, min(size, MAX_PAGE_SIZE))
        return DEFAULT_PAGE_SIZE


@dataclass(frozen=True)
class Condition:
    """What is selected only where a variable has one of two values: `@include` and `@skip`."""

    variable: str
    wanted: bool

    def of(self, variables: Variables) -> int:
        return int(variables.get(self.variable) is not (not self.wanted))


Factor = PageSize | Condition


@dataclass(frozen=True)
class Cost:
    """A sum of products: a number each, times what the variables say."""

    terms: Mapping[tuple[Factor, ...], int]

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            {
                each: self.terms.get(each, 0) + other.terms.get(each, 0)
                for each in {**self.terms, **other.terms}
            }
        )

    def __mul__(self, factor: "int | Factor") -> "Cost":
        if isinstance(factor, int):
            return Cost({factors: number * factor for factors, number in self.terms.items()})
        return Cost({(*factors, factor): number for factors, number in self.terms.items()})

    @property
    def is_fixed(self) -> bool:
        """Whether it is the same whatever the values of the variables are."""
        return not any(self.terms)

    def of(self, variables: Variables) -> int:
        """The cost with the values of a request's variables."""
        return sum(
            number * prod(factor.of(variables) for factor in factors)
            for factors, number in self.terms.items()
        )


FREE, ONE = Cost({}), Cost({(): 1})


class Costs(NamedTuple):
    """What is counted once, and what for each item of the page that it is a part of."""

    once: Cost = FREE
    each: Cost = FREE

    def beside(self, other: "Costs") -> "Costs":
        return Costs(self.once + other.once, self.each + other.each)

    def times(self, factor: int | Factor) -> "Costs":
        return Costs(self.once * factor, self.each * factor)


NOTHING = Costs()


@dataclass(frozen=True)
class Price:
    """What an operation costs by its text, and the values its variables have when nothing is given.

    `fixed` is what each request costs where that is the same for all.
    """

    cost: Cost
    defaults: Variables
    fixed: int | None

    def of(self, variables: Variables | None) -> int:
        """The cost of one request."""
        if self.fixed is not None:
            return self.fixed
        return self.cost.of({**self.defaults, **(variables or {})})


def price(schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode) -> Price:
    """The price of an operation in a valid document."""
    root = schema.get_root_type(operation.operation)
    assert root is not None
    counted = Counter(schema, fragments(document)).selections(operation.selection_set, root)
    cost = counted.once
    return Price(cost, _defaults(operation), cost.of({}) if cost.is_fixed else None)


@dataclass(frozen=True)
class Counter:
    """Counts the objects of selections: those of each fragment once, however often it is spread."""

    schema: GraphQLSchema
    fragments: Mapping[str, FragmentDefinitionNode]
    counted: dict[str, Costs] = field(default_factory=dict)

    def selections(self, selections: SelectionSetNode | None, parent: GraphQLNamedType) -> Costs:
        """What is selected of an object of a type."""
        costs = NOTHING
        for node in selections.selections if selections else ():
            counted = self._selection(node, parent)
            for directive in node.directives or ():
                counted = counted.times(_condition(directive))
            costs = costs.beside(counted)
        return costs

    def _selection(self, node: SelectionNode, parent: GraphQLNamedType) -> Costs:
        match node:
            case FieldNode():
                return self._field(node, parent)
            case InlineFragmentNode():
                condition = node.type_condition
                narrowed = self.schema.type_map[condition.name.value] if condition else parent
                return self.selections(node.selection_set, narrowed)
            case FragmentSpreadNode():
                return self._fragment(node.name.value)
        return NOTHING

    def _fragment(self, name: str) -> Costs:
        if name not in self.counted:
            definition = self.fragments[name]
            condition = self.schema.type_map[definition.type_condition.name.value]
            self.counted[name] = self.selections(definition.selection_set, condition)
        return self.counted[name]

    def _field(self, node: FieldNode, parent: GraphQLNamedType) -> Costs:
        name = node.name.value
        if name in INTROSPECTION:
            return Costs(ONE * INTROSPECTION[name])
        assert isinstance(parent, GraphQLObjectType | GraphQLInterfaceType)
        definition = parent.fields[name]
        below = self.selections(node.selection_set, get_named_type(definition.type))
        own = ONE * self._weight(parent, definition)
        if not _is_list(definition.type):
            return Costs(own + below.once + below.each * _page_size(node))
        item = own + below.once + below.each * DEFAULT_PAGE_SIZE
        if parent.name.endswith("Connection"):
            return Costs(each=item)
        return Costs(item * USUAL_ITEMS.get(f"{parent.name}.{name}", DEFAULT_PAGE_SIZE))

    def _weight(self, parent: GraphQLNamedType, definition: GraphQLField) -> int:
        if parent is self.schema.mutation_type:
            return MUTATION
        return int(is_composite_type(get_named_type(definition.type)) or _is_read(definition))


def _is_read(definition: GraphQLField) -> bool:
    """Whether the field's value is not there with its object but is read when it is selected."""
    origin = definition.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    return origin is not None and origin.base_resolver is not None and origin.base_resolver.is_async


def _is_list(type: GraphQLOutputType) -> bool:
    return is_list_type(get_nullable_type(type))


def _page_size(node: FieldNode) -> int | PageSize:
    given = {each.name.value: _given(each.value) for each in node.arguments or ()}
    size = PageSize(given.get("first"), given.get("last"))
    return size if Variable in {type(size.first), type(size.last)} else size.of({})


def _given(value: ValueNode) -> int | Variable | None:
    match value:
        case IntValueNode():
            return int(value.value)
        case VariableNode():
            return Variable(value.name.value)
    return None


def _condition(directive: DirectiveNode) -> int | Condition:
    name = directive.name.value
    if name not in {"include", "skip"}:
        return 1
    wanted = name == "include"
    (argument,) = directive.arguments or ()
    match argument.value:
        case BooleanValueNode(value=value):
            return int(value is wanted)
        case VariableNode(name=variable):
            return Condition(variable.value, wanted)
    return 1


def _defaults(operation: OperationDefinitionNode) -> Variables:
    return {
        each.variable.name.value: value_from_ast_untyped(each.default_value)
        for each in operation.variable_definitions or ()
        if each.default_value is not None
    }
