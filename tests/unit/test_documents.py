"""Documents of any shape are read in time, and those of clients keep the limits."""

import time
from functools import cache
from pathlib import Path

import pytest
from graphql import GraphQLError, concat_ast, get_introspection_query, parse, print_ast, separate_operations

from app.errors import ErrorCode
from app.playground.operations import OPERATIONS as EXAMPLES
from schema import Limits, build, documents
from schema.errors import present
from tests.unit import hostile

OPERATIONS = Path(__file__).parent.parent / "clients" / "operations"
# On a quiet machine none takes a tenth of a second.
HANG_SECONDS = 2.0
built = cache(build)
TOO_COMPLEX = ErrorCode.QUERY_TOO_COMPLEX.value


def problems(text: str, limits: Limits = Limits()) -> list[GraphQLError]:  # noqa: B008 - it is frozen
    """What is said of a document, as a client may see it."""
    return [present(error) for error in built(limits).check(text)]


def excess(text: str, limits: Limits = Limits()) -> tuple[str, int]:  # noqa: B008 - it is frozen
    """The limit that a document exceeds, and the most that it allows."""
    (error,) = problems(text, limits)
    assert error.extensions is not None
    assert error.extensions["code"] == TOO_COMPLEX, error
    assert f"{error.extensions['max']:,} are the most" in error.message
    return error.extensions["limit"], error.extensions["max"]


def operations() -> list[str]:
    """Each operation of the clients' documents, with its fragments, and the playground's examples."""
    whole = concat_ast([parse(path.read_text()) for path in sorted(OPERATIONS.glob("*.graphql"))])
    sent = map(print_ast, separate_operations(whole).values())
    return [*sent, *(example["query"] for example in EXAMPLES)]


@pytest.mark.parametrize("text", operations())
def test_what_clients_send_keeps_the_limits(text: str) -> None:
    assert problems(text) == []


@pytest.mark.parametrize("variables", [{}, {"first": 100}, {"last": 100}], ids=str)
def test_what_clients_send_costs_less_than_the_limit(variables: dict[str, int]) -> None:
    reader = build(Limits())._reader

    read = [reader.read(text) for text in operations()]
    costs = [known.price.of(variables) for each in read for known in each.operations.values()]

    assert all(0 < cost <= 1_000 for cost in costs), costs


@pytest.mark.parametrize(
    ("text", "alone"),
    [
        ("{ viewer { id } }", "viewer"),
        ("query { me: viewer { id } }", "me"),
        ("{ viewer @include(if: true) { id } }", None),
        ("{ a: viewer { id } b: viewer { id } }", None),
        ("{ ... { viewer { id } } }", None),
        ("{ ...f } fragment f on Query { viewer { id } }", None),
    ],
)
def test_the_one_field_of_an_operation_is_known_where_nothing_can_leave_it_out(
    text: str, alone: str | None
) -> None:
    known = build(Limits())._reader.read(text).operations[None].alone

    assert (known and known.key) == alone


def test_a_mutation_counts_its_fields() -> None:
    text = """
        mutation ($id: ID!, $no: Boolean!) {
          a: archiveWorkflow(id: $id) { __typename }
          ...more
          a: archiveWorkflow(id: $id) { __typename }
        }
        fragment more on Mutation { b: archiveWorkflow(id: $id) @skip(if: $no) { __typename } }
    """
    read = build(Limits())._reader.read

    assert read(text).operations[None].mutations == 2
    assert read("{ viewer { id } }").operations[None].mutations == 0


def test_introspection_keeps_the_limits() -> None:
    everything = get_introspection_query(
        specified_by_url=True,
        directive_is_repeatable=True,
        schema_description=True,
        input_value_deprecation=True,
    )

    assert problems(everything) == []


def test_every_hostile_document_is_read_in_time(subtests: pytest.Subtests) -> None:
    reader = build(Limits())._reader
    for name, text in hostile.documents():
        with subtests.test(name):
            assert len(text.encode()) <= hostile.MAX_BYTES
            began = time.process_time()

            try:
                document = reader.read(text)
            except GraphQLError:
                document = None

            assert time.process_time() - began < HANG_SECONDS
            assert document is None or len(document.problems) <= Limits().errors + 1


DEEP = "{ executions { nodes { workflow { executions { nodes { id } } } } } }"
WIDE = "{ viewer { " + " ".join(f"a{n}: id" for n in range(31)) + " } }"
SPREAD = (
    "{ viewer { ...A ...A ...A ...A } }"
    "fragment A on Viewer { ...B ...B } fragment B on Viewer { a: id b: id }"
)


@pytest.mark.parametrize(
    ("text", "limits", "exceeded"),
    [
        (DEEP, Limits(depth=5), ("depth", 5)),
        ("{ viewer { ...A } } fragment A on Viewer { ... { id } }", Limits(depth=1), ("depth", 1)),
        (
            "{ ...A } fragment A on Query { execution(id: 1) { ...B } }"
            "fragment B on Execution { rerunOf { id } }",
            Limits(depth=2),
            ("depth", 2),
        ),
        (WIDE, Limits(), ("aliases", 30)),
        (SPREAD, Limits(aliases=15), ("aliases", 15)),
        ("{ " + " ".join(f"a{n}: viewer {{ id }}" for n in range(21)) + " }", Limits(), ("rootFields", 20)),
        ("{ ...A ...A } fragment A on Query { viewer { id } }", Limits(root_fields=1), ("rootFields", 1)),
        ("{ viewer { id " + "@include(if: true) " * 11 + "} }", Limits(), ("directives", 10)),
        (
            "query ($x: Boolean!) { ...A @skip(if: $x) ...A @skip(if: $x) }"
            "fragment A on Query { viewer { id } }",
            Limits(directives=1),
            ("directives", 1),
        ),
        (hostile.filled("{viewer{id}}", "fragment F{n} on Viewer{id}", most=51), Limits(), ("fragments", 50)),
        (hostile.filled("", "query Q{n}{viewer{id}}", most=51), Limits(), ("operations", 50)),
        (hostile.filled("{viewer{", "id ", "}}", most=1_000), Limits(), ("selections", 1_000)),
        (
            "{ __schema { types { fields { name } } } }",
            Limits(introspection_depth=3),
            ("introspectionDepth", 3),
        ),
        (hostile.filled("{viewer{", "id ", "}}", most=300), Limits(), ("comparisons", 20_000)),
    ],
)
def test_a_limit_exceeded(text: str, limits: Limits, exceeded: tuple[str, int]) -> None:
    assert excess(text, limits) == exceeded


@pytest.mark.parametrize(
    ("text", "exceeded"),
    [
        ("{" + " viewer{id}" * 500 + "}", ("tokens", 2_000)),
        ("{viewer{id}} #" + "x" * 100_000, ("characters", 100_000)),
        ("{viewer" + "{..." * 201 + "{id}" + "}" * 202, ("nesting", 200)),
        ('{workflow(id:""){' + "id " + "x(a:" + "[" * 300 + "]" * 300 + ")}}", ("nesting", 200)),
    ],
)
def test_a_limit_exceeded_before_the_document_is_read(text: str, exceeded: tuple[str, int]) -> None:
    assert excess(text) == exceeded


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        (DEEP, Limits(depth=6)),
        (SPREAD, Limits(aliases=16)),
        ("{ viewer { ...A } } fragment A on Viewer { ... { id } }", Limits(depth=2)),
        ("{ a: viewer { id } } ", Limits(aliases=1, root_fields=1, depth=2, fragments=1, selections=2)),
        ("{ __schema { types { fields { name } } } viewer { id } }", Limits(introspection_depth=4, depth=2)),
    ],
)
def test_a_limit_just_kept(text: str, limits: Limits) -> None:
    assert problems(text, limits) == []


def test_each_operation_of_a_document_is_measured_by_itself() -> None:
    text = " ".join(f"query Q{n} {{ viewer {{ a{n}: id }} }}" for n in range(40))

    assert problems(text) == []


def test_a_limit_speaks_before_graphql_does() -> None:
    assert excess("{ " + " ".join(f"a{n}: nonsense" for n in range(31)) + " }") == ("rootFields", 20)


def test_few_errors_are_looked_for() -> None:
    found = problems("{ viewer { " + " ".join(f"x{n}" for n in range(50)) + " } }")

    assert len(found) == Limits().errors + 1


@pytest.mark.parametrize("text", ["{ __schema { types { name } } }", '{ x: __type(name: "Query") { name } }'])
def test_introspection_can_be_switched_off(text: str) -> None:
    (error,) = problems(text, Limits(introspection=False))

    assert error.message == "Introspection is switched off here: ask whoever runs this API for its schema."
    assert problems("{ __typename viewer { __typename } }", Limits(introspection=False)) == []


WRONG_NAMES = [
    "{ viewr { id } }",
    "{ viewer { scope } }",
    "{ viewer }",
    "{ viewer { ... on Viewr { id } } }",
    "{ executions(frist: 1) { totalCount } }",
    "{ executions(filter: {stauts: []}) { totalCount } }",
    "{ executions(filter: {status: [RUNING]}) { totalCount } }",
    "query ($x: Strng) { workflow(id: $x) { id } }",
]


@pytest.mark.parametrize("text", WRONG_NAMES)
def test_names_are_told_unless_introspection_is_off(text: str) -> None:
    (told,) = problems(text)
    (hidden,) = problems(text, Limits(introspection=False))

    assert "Did you mean" in told.message
    assert hidden.message == "This does not fit the schema: ask whoever runs this API for it."
    assert hidden.locations == told.locations


def test_a_document_is_read_once() -> None:
    reader = build(Limits())._reader

    assert reader.read("{ viewer { id } }") is reader.read("{ viewer { id } }")


def test_the_latest_documents_are_remembered_as_far_as_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MAX_CACHED_BYTES", 50_000)
    reader = build(Limits())._reader
    texts = [f"query Q{n} {{ viewer {{ id scopes }} }}" for n in range(100)]
    first = reader.read(texts[0])

    for text in texts:
        last = reader.read(text)

    assert reader.read(texts[-1]) is last
    assert reader.read(texts[0]) is not first
    assert 0 < reader._bytes <= 50_000
    assert reader._bytes == sum(documents._bytes(text, read) for text, read in reader._read.items())
