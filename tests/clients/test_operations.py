"""The operations that the clients are generated from touch the whole schema."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLInputObjectType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    InlineFragmentNode,
    TypeInfo,
    TypeInfoVisitor,
    VariableDefinitionNode,
    Visitor,
    build_schema,
    concat_ast,
    get_named_type,
    is_abstract_type,
    parse,
    type_from_ast,
    validate,
    visit,
)

HERE = Path(__file__).parent
SCHEMA = HERE.parent.parent / "schema.graphql"
OPERATIONS = HERE / "operations"


def parts(schema: GraphQLSchema) -> Iterator[str]:
    """Every field, argument, union member and input field, as the tests of the contract name them."""
    for type in schema.type_map.values():
        match type:
            case GraphQLObjectType() if not type.name.startswith("__"):
                for name, field in type.fields.items():
                    yield f"{type.name}.{name}"
                    yield from (f"{type.name}.{name}({argument}:)" for argument in field.args)
            case GraphQLInputObjectType():
                yield from (f"{type.name}.{field}" for field in type.fields)
            case GraphQLUnionType():
                yield from (f"{type.name} = {member.name}" for member in type.types)


class Touched(Visitor):
    """Collects the parts of the schema that a document names; those of an input by a variable of its type."""

    def __init__(self, schema: GraphQLSchema, info: TypeInfo, document: DocumentNode) -> None:
        super().__init__()
        self.schema = schema
        self.info = info
        self.parts: set[str] = set()
        self.conditions = {
            each.name.value: each.type_condition.name.value
            for each in document.definitions
            if isinstance(each, FragmentDefinitionNode)
        }

    def enter_field(self, node: FieldNode, *_: object) -> None:
        parent = self.info.get_parent_type()
        assert parent
        # What is selected of an interface is selected of all that implement it.
        for type in self.schema.get_possible_types(parent) if is_abstract_type(parent) else [parent]:
            name = f"{type.name}.{node.name.value}"
            self.parts |= {name, *(f"{name}({each.name.value}:)" for each in node.arguments or ())}

    def enter_inline_fragment(self, node: InlineFragmentNode, *_: object) -> None:
        if node.type_condition:
            self._narrow(node.type_condition.name.value)

    def enter_fragment_spread(self, node: FragmentSpreadNode, *_: object) -> None:
        self._narrow(self.conditions[node.name.value])

    def enter_variable_definition(self, node: VariableDefinitionNode, *_: object) -> None:
        self._fill(get_named_type(type_from_ast(self.schema, node.type)))

    def _narrow(self, condition: str) -> None:
        if isinstance(parent := self.info.get_parent_type(), GraphQLUnionType):
            self.parts.add(f"{parent.name} = {condition}")

    def _fill(self, type: object) -> None:
        if isinstance(type, GraphQLInputObjectType):
            for name, field in type.fields.items():
                self.parts.add(f"{type.name}.{name}")
                self._fill(get_named_type(field.type))


def untouched(schema: GraphQLSchema, document: DocumentNode) -> list[str]:
    """The parts of the schema that no operation names."""
    info = TypeInfo(schema)
    touched = Touched(schema, info, document)
    visit(document, TypeInfoVisitor(info, touched))
    return sorted(set(parts(schema)) - touched.parts)


def operations() -> DocumentNode:
    """All documents as one, as the code generators read them."""
    return concat_ast([parse(path.read_text()) for path in sorted(OPERATIONS.glob("*.graphql"))])


def test_the_operations_are_valid() -> None:
    assert validate(build_schema(SCHEMA.read_text()), operations()) == []


def test_every_part_of_the_schema_is_touched() -> None:
    missing = untouched(build_schema(SCHEMA.read_text()), operations())

    assert missing == [], "add them to the documents in tests/clients/operations"


SMALL = build_schema("""
type Query { a(x: Int, y: Int): A node: N u(filter: F): U }
interface N { id: ID! name: String }
type A implements N { id: ID! name: String b: Int }
type B implements N { id: ID! name: String }
union U = A | B
input F { x: Int inner: G }
input G { y: Int }
""")
WHOLE = (
    "query ($filter: F) { a(x: 1, y: 2) { b } node { id name } u(filter: $filter) { ...a ... on B { id } } }"
)
FRAGMENT = " fragment a on A { id }"


@pytest.mark.parametrize(
    ("old", "new", "missing"),
    [
        ("", "", []),
        (", y: 2", "", ["Query.a(y:)"]),
        ("b }", "id }", ["A.b"]),
        ("node { id name }", "node { id }", ["A.name", "B.name"]),
        ("...a", "__typename", ["U = A"]),
        (" ... on B { id }", "", ["U = B"]),
        ("($filter: F)", "", ["F.inner", "F.x", "G.y"]),
        ("node { id name }", "", ["A.name", "B.name", "Query.node"]),
    ],
)
def test_what_no_operation_touches_would_be_found(old: str, new: str, missing: list[str]) -> None:
    document = parse(WHOLE.replace(old, new) + FRAGMENT)

    assert untouched(SMALL, document) == missing
