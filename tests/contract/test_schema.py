"""The schema is the one that is committed, it explains itself, and it has all of the target."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from graphql import (
    DocumentNode,
    EnumTypeDefinitionNode,
    FieldDefinitionNode,
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    InputObjectTypeDefinitionNode,
    InputValueDefinitionNode,
    InterfaceTypeDefinitionNode,
    NullValueNode,
    ObjectTypeDefinitionNode,
    TypeDefinitionNode,
    UnionTypeDefinitionNode,
    build_schema,
    lexicographic_sort_schema,
    parse,
    print_ast,
    print_schema,
    validate_schema,
)

from schema import sdl
from schema.breaking import breaks

HERE = Path(__file__).parent
COMMITTED = HERE.parent.parent / "schema.graphql"
TARGET = HERE / "target.graphql"

Names = dict[str, str]


def names(document: DocumentNode) -> Names:
    """Everything that a client may name, each with its type as text."""
    return {name: type for definition in document.definitions for name, type in _definition(definition)}


def _definition(node: object) -> Iterator[tuple[str, str]]:
    assert isinstance(node, TypeDefinitionNode)
    name = node.name.value
    yield name, node.kind
    match node:
        case ObjectTypeDefinitionNode() | InterfaceTypeDefinitionNode():
            yield from ((f"{name} implements {each.name.value}", "") for each in node.interfaces or ())
            for field in node.fields or ():
                yield from _field(name, field)
        case InputObjectTypeDefinitionNode():
            yield from ((f"{name}.{each.name.value}", _input(each)) for each in node.fields or ())
        case EnumTypeDefinitionNode():
            yield from ((f"{name}.{each.name.value}", "") for each in node.values or ())
        case UnionTypeDefinitionNode():
            yield from ((f"{name} = {each.name.value}", "") for each in node.types or ())


def _field(parent: str, node: FieldDefinitionNode) -> Iterator[tuple[str, str]]:
    name = f"{parent}.{node.name.value}"
    yield name, print_ast(node.type)
    yield from ((f"{name}({each.name.value}:)", _input(each)) for each in node.arguments or ())


def _input(node: InputValueDefinitionNode) -> str:
    """The type with its default; null is what an absent value is anyway."""
    default = node.default_value
    if default is None or isinstance(default, NullValueNode):
        return print_ast(node.type)
    return f"{print_ast(node.type)} = {print_ast(default)}"


def parents(name: str) -> Iterator[str]:
    """The names that a name is part of."""
    for mark in ("(", ".", " "):
        if mark in name:
            yield name[: name.index(mark)]


def missing(ours: Names, target: Names) -> set[str]:
    """What the target has and we have not; what is part of something missing goes without saying."""
    absent = set(target) - set(ours)
    return {name for name in absent if absent.isdisjoint(parents(name))}


def differing(ours: Names, target: Names) -> dict[str, tuple[str, str]]:
    """What both have, in different types: ours and the target's."""
    common = set(ours) & set(target)
    return {name: (ours[name], target[name]) for name in common if ours[name] != target[name]}


OURS = names(parse(sdl()))
THEIRS = names(parse(TARGET.read_text()))


def test_the_committed_schema_is_the_one_that_is_served() -> None:
    assert COMMITTED.read_text() == sdl(), "schema.graphql is stale: make schema"


def test_the_printed_schema_is_in_order_and_always_the_same() -> None:
    """What is not in order would move with a refactoring, and hide in a diff what a client sees change."""
    definitions = parse(sdl()).definitions
    types = [node.name.value for node in definitions if isinstance(node, TypeDefinitionNode)]
    parts = [
        [part.name.value for part in getattr(node, kind, None) or ()]
        for node in definitions
        for kind in ("fields", "values", "types", "interfaces")
    ]

    assert len(types) == len(definitions)
    assert [types, *parts] == [sorted(types), *map(sorted, parts)]
    assert print_schema(lexicographic_sort_schema(build_schema(sdl()))) == print_schema(build_schema(sdl()))
    assert sdl() == sdl()


def test_nothing_is_deprecated_so_far() -> None:
    assert "@deprecated" not in sdl()


def test_the_schema_is_valid() -> None:
    assert validate_schema(build_schema(sdl())) == []


def test_nothing_of_the_target_is_missing() -> None:
    assert sorted(missing(OURS, THEIRS)) == []


def test_what_is_here_has_the_type_that_the_target_gives_it() -> None:
    assert differing(OURS, THEIRS) == {}


def test_what_the_target_lets_a_client_do_it_can_do_here() -> None:
    """A required argument that the target does not have is neither missing nor different."""
    added = sdl().replace("workflow(", "workflow(key: ID!, ")

    assert breaks(TARGET.read_text(), sdl()) == []
    assert breaks(TARGET.read_text(), added) != []


def undescribed(type: GraphQLNamedType) -> Iterator[str]:
    """The parts of a type that do not say what they are."""
    if not type.description:
        yield type.name
    match type:
        case GraphQLObjectType() | GraphQLInterfaceType():
            for name, field in type.fields.items():
                if not field.description:
                    yield f"{type.name}.{name}"
                yield from (
                    f"{type.name}.{name}({argument}:)"
                    for argument, each in field.args.items()
                    if not each.description
                )
        case GraphQLInputObjectType():
            yield from (f"{type.name}.{name}" for name, each in type.fields.items() if not each.description)
        case GraphQLEnumType():
            yield from (f"{type.name}.{name}" for name, each in type.values.items() if not each.description)


def test_everything_says_what_it_is() -> None:
    types = build_schema(sdl()).type_map.values()
    own = [type for type in types if not type.name.startswith("__") and type.name not in BUILT_IN]

    assert [name for type in own for name in undescribed(type)] == []
    assert {"Execution", "CreateWorkflowInput", "ExecutionStatus", "Node", "JSON"} <= {
        type.name for type in own
    }


BUILT_IN = {"String", "Int", "Float", "Boolean", "ID"}

BEFORE = """
type Query { a(x: Int = 1, y: Int): [Int!]! b: String }
enum E { ONE TWO }
input I { x: Int! = 3 }
union U = A | B
type A implements N { id: ID! }
type B { id: ID! }
interface N { id: ID! }
"""


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("[Int!]!", "[Int!]", {"Query.a": ("[Int!]", "[Int!]!")}),
        ("x: Int = 1", "x: Int = 2", {"Query.a(x:)": ("Int = 2", "Int = 1")}),
        ("x: Int = 1", "x: Int", {"Query.a(x:)": ("Int", "Int = 1")}),
        ("x: Int! = 3", "x: Int = 3", {"I.x": ("Int = 3", "Int! = 3")}),
        ("enum E { ONE TWO }", "scalar E", {"E": ("scalar_type_definition", "enum_type_definition")}),
    ],
)
def test_a_difference_would_be_found(old: str, new: str, found: dict[str, tuple[str, str]]) -> None:
    ours = names(parse(BEFORE.replace(old, new)))

    assert differing(ours, names(parse(BEFORE))) == found


@pytest.mark.parametrize(
    ("gone", "found"),
    [
        ("b: String", {"Query.b"}),
        (", y: Int", {"Query.a(y:)"}),
        ("a(x: Int = 1, y: Int): [Int!]!", {"Query.a"}),
        ("enum E { ONE TWO }", {"E"}),
        (" TWO", {"E.TWO"}),
        (" | B", {"U = B"}),
        (" implements N", {"A implements N"}),
    ],
)
def test_an_absence_would_be_found(gone: str, found: set[str]) -> None:
    assert missing(names(parse(BEFORE.replace(gone, ""))), names(parse(BEFORE))) == found


def test_a_part_without_a_description_would_be_found() -> None:
    schema = build_schema(BEFORE)

    assert sorted(
        name for type in schema.type_map.values() for name in undescribed(type) if name[0] in "QEI"
    )[:7] == ["E", "E.ONE", "E.TWO", "I", "I.x", "Query", "Query.a"]
