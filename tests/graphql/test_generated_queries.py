"""Whatever is selected, plans and graphql-core give the same answer: the fixture `checked_plans` compares."""

import random
from collections.abc import Iterator

import pytest
from graphql import (
    GraphQLField,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    build_schema,
    get_named_type,
    is_leaf_type,
    is_object_type,
    is_required_argument,
)

from app.settings import Settings
from resolvers.context import Services
from schema import sdl
from schema.executor import OperationExecutor
from tests import factories
from tests.client import Client
from tests.twice import CheckedPlans, Undirected, alike

ROOTS = (
    "viewer",
    "executions(first: 5)",
    "workflows(first: 5)",
    "executionStats",
    "executionFeed(first: 20)",
)
# Asked of Temporal, where these executions are not.
LIVE = frozenset({"pendingActivities"})
MAX_DEPTH = 5
QUERIES = 12


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Limits that no generated query exceeds."""
    return settings.model_copy(update={"max_aliases": 1_000, "max_directives": 1_000, "max_cost": 1_000_000})


@pytest.fixture(scope="module")
def printed() -> GraphQLSchema:
    return build_schema(sdl())


@pytest.mark.parametrize("root", ROOTS)
async def test_generated_queries_are_answered_alike(
    root: str,
    alice: Client,
    services: Services,
    printed: GraphQLSchema,
    checked_plans: CheckedPlans,
) -> None:
    workflow_id = await factories.workflow(alice, "nobody")
    (id, *_) = await factories.recorded(services, "alice", workflow_id, 3)
    await factories.note(services, id, 3, {"any": ["thing", None]})
    chance, before = random.Random(root), checked_plans.read
    assert printed.query_type is not None
    kind = printed.query_type.fields[root.partition("(")[0]].type

    for _ in range(QUERIES):
        query = f"{{ {root} {selection(chance, kind, 1)} }}"
        # Plans are made of what comes again.
        for _ in range(2):
            answer = await alice.answer(query)

        assert "errors" not in answer, (query, answer)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(OperationExecutor, "directs", Undirected())
            assert alike(answer, await alice.answer(query)), query
    assert checked_plans.read > before


def selection(chance: random.Random, kind: GraphQLOutputType, depth: int) -> str:
    """Some fields of a type, some of them twice under other names or within fragments."""
    named = get_named_type(kind)
    if is_leaf_type(named):
        return ""
    assert is_object_type(named)
    chosen = [text for text in _fields(chance, named, depth) if chance.random() < 0.5]
    return f"{{ {' '.join(chosen)} __typename }}"


def _fields(chance: random.Random, kind: GraphQLObjectType, depth: int) -> Iterator[str]:
    for name, field in kind.fields.items():
        if name in LIVE or not _selectable(field, depth):
            continue
        text = f"{name} {selection(chance, field.type, depth + 1)}"
        match chance.randrange(6):
            case 0:
                yield f"other_{name}: {text}"
            case 1:
                yield f"... on {kind.name} {{ {text} }}"
            case 2:
                yield f"... @include(if: {chance.choice(['true', 'false'])}) {{ {text} }}"
            case _:
                yield text


def _selectable(field: GraphQLField, depth: int) -> bool:
    if any(is_required_argument(argument) for argument in field.args.values()):
        return False
    return is_leaf_type(get_named_type(field.type)) or (
        depth < MAX_DEPTH and is_object_type(get_named_type(field.type))
    )
