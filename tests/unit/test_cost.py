"""What operations cost: by example, and for any document as if its fragments were written out."""

from collections.abc import Mapping
from typing import Any

import pytest
from graphql import (
    FieldNode,
    FragmentSpreadNode,
    GraphQLNamedType,
    GraphQLObjectType,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    get_named_type,
    get_nullable_type,
    is_list_type,
    parse,
)
from hypothesis import given
from hypothesis import strategies as st

from schema import Limits, build
from schema.cost import price
from schema.limits import Ruler, Size
from schema.selections import fragments

SCHEMA = build(Limits())._schema


def cost(text: str, variables: Mapping[str, Any] | None = None) -> int:
    """The cost of a document's first operation."""
    document = parse(text)
    operation = document.definitions[0]
    assert isinstance(operation, OperationDefinitionNode)
    return price(SCHEMA, document, operation).of(variables)


def selection(text: str, **variables: Any) -> int:
    """The cost of a query of these fields, with a variable of each kind defined."""
    return cost(f"query ($n: Int, $m: Int = 7, $yes: Boolean = true) {{ {text} }}", variables)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("viewer { id scopes }", 1),
        ("__typename", 0),
        ("__schema { types { fields { name } } }", 400),
        ('__type(name: "Query") { fields { name } }', 10),
        ("executions { nodes { id } }", 1 + 10),
        ("executions { totalCount pageCount feedCursor }", 1 + 2),
        ("executions(first: 100) { nodes { id } }", 1 + 100),
        ("executions(last: 3) { nodes { id } }", 1 + 3),
        ("executions(first: 3, page: 5) { nodes { id } }", 1 + 3),
        ("executions(first: null, last: 4) { nodes { id } }", 1 + 4),
        ("executions(first: 3) { edges { cursor node { id } } }", 1 + 3 * 2),
        ("executions(first: 3) { nodes { workflow { id } input } pageInfo { hasNextPage } }", 1 + 3 * 3 + 1),
        ("executions(first: 3) { nodes { labels { key } } }", 1 + 3 * (1 + 2)),
        ("executions(first: 3) { nodes { pendingActivities { state } } }", 1 + 3 * (1 + 5)),
        ("executions(first: 3) { nodes { history(first: 5) { nodes { id } } } }", 1 + 3 * (1 + 1 + 5)),
        ("executions(first: 3) { nodes { ... { id } ...on Execution { workflow { id } } } }", 1 + 3 * 2),
        ("a: executions(first: 3) { nodes { id } } b: executions(first: 4) { nodes { id } }", 2 + 3 + 4),
        ("executions(first: 1000) { nodes { id } }", 1 + 100),
        ("executions(first: -1) { nodes { id } }", 1),
        ("executionStats { total byStatus { count } }", 1 + 6),
        ("executionStats { timeline(bucket: DAY) { counts { count } } }", 1 + 50 * (1 + 6)),
        (
            "node(id: 1) { id ... on Workflow { stats { total } } ... on Execution { workflow { id } } }",
            1 + 1 + 1,
        ),
        ("viewer @skip(if: true) { id }", 0),
        ("viewer @include(if: false) { id }", 0),
        ("viewer @skip(if: false) @include(if: true) { id }", 1),
    ],
)
def test_what_a_query_costs(text: str, expected: int) -> None:
    assert selection(text) == expected


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, 1 + 10 * (1 + 1 + 7)),
        ({"n": 5}, 1 + 5 * (1 + 1 + 7)),
        ({"n": 5, "m": 2}, 1 + 5 * (1 + 1 + 2)),
        ({"n": 5, "m": None}, 1 + 5 * (1 + 1 + 10)),
        ({"n": 10**9}, 1 + 100 * (1 + 1 + 7)),
        ({"n": "many"}, 1 + 10 * (1 + 1 + 7)),
        ({"n": 5, "yes": False}, 1 + 5),
    ],
)
def test_what_a_query_costs_with_variables(variables: dict[str, Any], expected: int) -> None:
    text = "executions(first: $n) { nodes { history(first: $m) @include(if: $yes) { nodes { id } } } }"

    assert selection(text, **variables) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mutation { archiveWorkflow(id: 1) { __typename } }", 10),
        (
            "mutation { archiveWorkflow(id: 1) {"
            " ... on ArchiveWorkflowSuccess { workflow { stats { total } } } } }",
            12,
        ),
        ("subscription { executionFeed { id } }", 1),
        ("subscription { executionFeed { id execution { workflow { id } } } }", 3),
    ],
)
def test_what_other_operations_cost(text: str, expected: int) -> None:
    assert cost(text) == expected


def test_a_fragment_costs_the_same_wherever_it_is_spread() -> None:
    written = (
        "{ a: executions(first: 2) { ...A } b: executions(first: 5) { ...A } }"
        "fragment A on ExecutionConnection { nodes { workflow { id } } totalCount }"
    )

    assert cost(written) == (1 + 2 * 2 + 1) + (1 + 5 * 2 + 1)


def test_fragments_that_double_are_counted_in_time() -> None:
    body = "workflow { executions { nodes { ...F%d ...F%d } } }"
    doubling = " ".join(f"fragment F{n} on Execution {{ {body % (n + 1, n + 1)} }}" for n in range(30))

    found = cost(f"{{ executions {{ nodes {{ ...F0 }} }} }} {doubling} fragment F30 on Execution {{ id }}")

    assert found > 20**30


# A naive count: every fragment is written out, and every list walked from the outside in.

USUAL = {"labels": 2, "pendingActivities": 5, "byStatus": 6, "timeline": 50, "counts": 6}
READ = {"totalCount", "pageCount", "input", "output", "inputSchema"}
CHOICES: Mapping[str, tuple[str, ...]] = {
    "Query": ("viewer", "executions", "execution(id: 1)", "__typename"),
    "Viewer": ("id", "scopes"),
    "ExecutionConnection": ("nodes", "edges", "pageInfo", "totalCount", "feedCursor"),
    "ExecutionEdge": ("cursor", "node"),
    "PageInfo": ("hasNextPage",),
    "Execution": ("id", "input", "labels", "workflow", "rerunOf", "history", "pendingActivities"),
    "Label": ("key",),
    "PendingActivity": ("state",),
    "Workflow": ("id", "inputSchema", "executions", "stats"),
    "ExecutionStats": ("total", "byStatus", "timeline(bucket: DAY)"),
    "StatusCount": ("count",),
    "StatsBucket": ("start", "counts"),
    "ExecutionEventConnection": ("nodes", "totalCount"),
    "ExecutionEvent": ("id", "execution"),
}
PAGED = {"executions", "history"}
ON = ("Query", "Execution", "Workflow", "ExecutionConnection", "ExecutionStats")
SIZES = ("", "(first: 3)", "(last: 2)", "(first: $n)", "(last: $m)", "(first: $n, last: $m)")
DIRECTIVES = ("", "", "", "@include(if: $yes)", "@skip(if: $yes)", "@skip(if: true)", "@include(if: true)")


@st.composite
def selections(draw: st.DrawFn, type: str, spreadable: Mapping[int, str], levels: int = 3) -> str:
    """Selections of a type's fields, inline fragments, and spreads of the fragments that fit."""
    fitting = [f"...F{n}" for n, on in spreadable.items() if on == type]
    parts: list[str] = []
    for _ in range(draw(st.integers(1, 3))):
        part = draw(st.sampled_from([*CHOICES[type], *fitting, "..."]))
        directive = draw(st.sampled_from(DIRECTIVES))
        if part == "...":
            inner = draw(selections(type, spreadable, levels - 1)) if levels else "__typename"
            parts.append(f"... {draw(st.sampled_from(('', f'on {type}')))} {directive} {{ {inner} }}")
        elif part.startswith("..."):
            parts.append(f"{part} {directive}")
        else:
            parts.append(draw(fields(type, part, directive, spreadable=spreadable, levels=levels)))
    return " ".join(parts)


@st.composite
def fields(
    draw: st.DrawFn, type: str, part: str, directive: str, *, spreadable: Mapping[int, str], levels: int
) -> str:
    """One field, perhaps with an alias and arguments, and what is selected of it."""
    name = part.partition("(")[0]
    size = draw(st.sampled_from(SIZES)) if name in PAGED else ""
    alias = draw(st.sampled_from(("", "", "", "other: ")))
    below = child(type, name)
    if below is None:
        return f"{alias}{part}{size} {directive}"
    inner = draw(selections(below, spreadable, levels - 1)) if levels else "__typename"
    return f"{alias}{part}{size} {directive} {{ {inner} }}"


def child(type: str, name: str) -> str | None:
    """The name of the object type that a field has; None for a leaf."""
    if name == "__typename":
        return None
    parent = SCHEMA.type_map[type]
    assert isinstance(parent, GraphQLObjectType)
    named = get_named_type(parent.fields[name].type)
    return named.name if isinstance(named, GraphQLObjectType) else None


@st.composite
def texts(draw: st.DrawFn) -> str:
    """A query with some fragments, each of which may spread those after it."""
    kinds = dict(enumerate(draw(st.lists(st.sampled_from(ON), max_size=4))))
    query = draw(selections("Query", kinds))
    parts = [f"query ($n: Int, $m: Int = 7, $yes: Boolean!) {{ {query} }}"]
    for number, on in kinds.items():
        later = {other: kind for other, kind in kinds.items() if other > number}
        parts.append(f"fragment F{number} on {on} {{ {draw(selections(on, later))} }}")
    return " ".join(parts)


def values() -> st.SearchStrategy[dict[str, Any]]:
    counts = st.integers(-5, 120) | st.none()
    return st.fixed_dictionaries({"yes": st.booleans()}, optional={"n": counts, "m": counts})


def written_out(text: str) -> OperationDefinitionNode:
    """The operation of a document with its fragments in place of their spreads."""
    document = parse(text)
    known = fragments(document)

    def out(selections: SelectionSetNode | None) -> Any:
        return selections and SelectionSetNode(selections=tuple(map(one, selections.selections)))

    def one(node: SelectionNode) -> SelectionNode:
        match node:
            case FieldNode():
                return FieldNode(**{**fields_of(node), "selection_set": out(node.selection_set)})
            case InlineFragmentNode():
                return InlineFragmentNode(**{**fields_of(node), "selection_set": out(node.selection_set)})
            case FragmentSpreadNode():
                fragment = known[node.name.value]
                return InlineFragmentNode(
                    type_condition=fragment.type_condition,
                    directives=node.directives,
                    selection_set=out(fragment.selection_set),
                )
        raise AssertionError(node)

    operation = document.definitions[0]
    assert isinstance(operation, OperationDefinitionNode)
    return OperationDefinitionNode(**{**fields_of(operation), "selection_set": out(operation.selection_set)})


def fields_of(node: Any) -> dict[str, Any]:
    return {key: getattr(node, key) for key in node.keys}


def is_shown(node: Any, variables: Mapping[str, Any]) -> bool:
    for directive in node.directives or ():
        value = directive.arguments[0].value
        given = variables[value.name.value] if value.kind == "variable" else value.value
        if given is (directive.name.value == "skip"):
            return False
    return True


def naive_cost(node: Any, type: GraphQLNamedType, variables: Mapping[str, Any], items: int = 10) -> int:
    """The cost of what is selected of one object; `items` is the size of the page that it may be."""
    total = 0
    for each in node.selection_set.selections:
        if not is_shown(each, variables):
            continue
        if isinstance(each, InlineFragmentNode):
            total += naive_cost(each, type, variables, items)
        elif each.name.value != "__typename":
            total += naive_field_cost(each, type, variables, items)
    return total


def naive_field_cost(node: FieldNode, type: Any, variables: Mapping[str, Any], items: int) -> int:
    name = node.name.value
    declared = type.fields[name].type
    below = get_named_type(declared)
    if node.selection_set is None:
        return int(name in READ)
    count = 1
    if is_list_type(get_nullable_type(declared)):
        count = items if type.name.endswith("Connection") else USUAL.get(name, 10)
    return count * (1 + naive_cost(node, below, variables, asked(node, variables)))


def asked(node: FieldNode, variables: Mapping[str, Any]) -> int:
    given = {each.name.value: each.value for each in node.arguments or ()}
    for name in ("first", "last"):
        value: Any = given.get(name)
        size = None
        if value is not None:
            size = variables.get(value.name.value) if value.kind == "variable" else int(value.value)
        if size is not None:
            return max(0, min(100, size))
    return 10


@given(texts(), values())
def test_the_cost_is_that_of_the_fragments_written_out(text: str, variables: dict[str, Any]) -> None:
    with_defaults = {"m": 7, **variables}

    naive = naive_cost(written_out(text), SCHEMA.type_map["Query"], with_defaults)

    assert cost(text, variables) == naive


def naive_size(node: Any) -> Size:
    """The size of a definition without spreads."""
    children = [naive_size(each) for each in (node.selection_set.selections if node.selection_set else ())]
    is_field = isinstance(node, FieldNode)
    return Size(
        max((child.depth for child in children), default=0) + is_field,
        0,
        1 if is_field else sum(child.fields for child in children),
        sum(child.aliases for child in children) + (is_field and node.alias is not None),
        sum(child.directives for child in children) + len(node.directives or ()),
    )


@given(texts())
def test_the_size_is_that_of_the_fragments_written_out(text: str) -> None:
    document = parse(text)
    operation = document.definitions[0]
    assert isinstance(operation, OperationDefinitionNode)

    assert Ruler(document).size(operation) == naive_size(written_out(text))
