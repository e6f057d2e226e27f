"""What an operation may be: its size, counted in one walk before anything else looks at it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from graphql import (
    DefinitionNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    Node,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
)

from app.errors import TooComplex
from schema.selections import fragments

INTROSPECTION_FIELDS = frozenset({"__schema", "__type"})


@dataclass(frozen=True)
class Limits:
    """The most that one operation may ask for; fragments count wherever they are spread."""

    characters: int = 100_000
    tokens: int = 2_000
    operations: int = 50
    fragments: int = 50
    selections: int = 1_000
    depth: int = 10
    introspection_depth: int = 20
    root_fields: int = 20
    aliases: int = 30
    directives: int = 10
    values: int = 2_000
    cost: int = 1_000
    errors: int = 5
    json_depth: int = 64
    seconds: float = 30.0
    introspection: bool = True


class Size(NamedTuple):
    """What a selection holds, the fragments it spreads and all."""

    depth: int = 0
    introspection_depth: int = 0
    fields: int = 0
    aliases: int = 0
    directives: int = 0

    def beside(self, other: "Size") -> "Size":
        """Both, one beside the other."""
        return Size(
            max(self.depth, other.depth),
            max(self.introspection_depth, other.introspection_depth),
            self.fields + other.fields,
            self.aliases + other.aliases,
            self.directives + other.directives,
        )


NOTHING = Size()


class Ruler:
    """Measures the definitions of a document; each fragment once, however often it is spread."""

    def __init__(self, document: DocumentNode) -> None:
        self._fragments = fragments(document)
        self._measured: dict[str, Size] = {}

    def size(self, definition: OperationDefinitionNode | FragmentDefinitionNode) -> Size:
        """The size of an operation or a fragment; raises RecursionError where it is nested beyond measure."""
        return _directed(definition, self._selections(definition.selection_set))

    def _selections(self, selections: SelectionSetNode | None) -> Size:
        size = NOTHING
        for each in selections.selections if selections else ():
            size = size.beside(self._selection(each))
        return size

    def _selection(self, node: SelectionNode) -> Size:
        match node:
            case FieldNode():
                return _directed(node, _field(node, self._selections(node.selection_set)))
            case InlineFragmentNode():
                return _directed(node, self._selections(node.selection_set))
            case FragmentSpreadNode():
                return _directed(node, self._fragment(node.name.value))
        return NOTHING

    def _fragment(self, name: str) -> Size:
        if name not in self._measured:
            # A fragment that comes round to itself adds nothing to itself; GraphQL's own rules refuse it.
            self._measured[name] = NOTHING
            if name in self._fragments:
                self._measured[name] = self.size(self._fragments[name])
        return self._measured[name]


def _field(node: FieldNode, below: Size) -> Size:
    aliases = below.aliases + (node.alias is not None)
    if node.name.value in INTROSPECTION_FIELDS:
        return Size(1, 1 + below.depth, 1, aliases, below.directives)
    return Size(1 + below.depth, below.introspection_depth, 1, aliases, below.directives)


def _directed(
    node: FieldNode
    | InlineFragmentNode
    | FragmentSpreadNode
    | OperationDefinitionNode
    | FragmentDefinitionNode,
    size: Size,
) -> Size:
    return size._replace(directives=size.directives + len(node.directives)) if node.directives else size


def excess(document: DocumentNode, limits: Limits) -> GraphQLError | None:
    """The first limit that a document exceeds, as the error that says so; None where it keeps them all."""
    return next(_excesses(document, limits), None)


def _excesses(document: DocumentNode, limits: Limits) -> Iterator[GraphQLError]:
    last = document.definitions[-1]
    for kind, what, most in (
        (OperationDefinitionNode, "operations", limits.operations),
        (FragmentDefinitionNode, "fragments", limits.fragments),
    ):
        if (found := sum(isinstance(each, kind) for each in document.definitions)) > most:
            yield too_complex(what, what, most, found, last)
    selections = sum(map(_selections, document.definitions))
    if selections > limits.selections:
        first = document.definitions[0]
        yield too_complex("selections", "fields and spreads", limits.selections, selections, first)
    ruler = Ruler(document)
    for each in document.definitions:
        if isinstance(each, OperationDefinitionNode):
            yield from _operation_excesses(each, ruler.size(each), limits)


def _operation_excesses(
    operation: OperationDefinitionNode, size: Size, limits: Limits
) -> Iterator[GraphQLError]:
    for name, what, most, found in (
        ("depth", "levels of fields", limits.depth, size.depth),
        (
            "introspectionDepth",
            "levels of introspection",
            limits.introspection_depth,
            size.introspection_depth,
        ),
        ("rootFields", "fields at its root", limits.root_fields, size.fields),
        ("aliases", "aliases", limits.aliases, size.aliases),
        ("directives", "directives", limits.directives, size.directives),
    ):
        if found > most:
            yield too_complex(name, what, most, found, operation)


def _selections(definition: DefinitionNode) -> int:
    """How many selections a definition writes down, the fragments that it spreads left out."""
    count, waiting = 0, [getattr(definition, "selection_set", None)]
    while waiting:
        selections = waiting.pop()
        if selections is not None:
            count += len(selections.selections)
            waiting.extend(getattr(each, "selection_set", None) for each in selections.selections)
    return count


def too_complex(
    limit: str, what: str, most: int, found: int | None = None, node: Node | None = None
) -> GraphQLError:
    """The error of an operation that has more of something than a limit allows."""
    cause = TooComplex(limit, what, most, found)
    return GraphQLError(cause.message, node, original_error=cause)
