"""Plans answer as graphql-core does, and leave to it what they do not know."""

import math
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import Any

import pytest
import strawberry
from strawberry.extensions import ParserCache
from strawberry.schema.config import StrawberryConfig

from schema.executor import OperationExecutor
from schema.plans import Plans
from schema.scalars import JSON, SCALARS
from tests.twice import CheckedPlans

NOW = datetime(2026, 1, 8, 12, tzinfo=UTC)


@strawberry.enum
class Colour(StrEnum):
    RED = "rouge"
    BLUE = "bleu"


class Word(StrEnum):
    ONE = "one"


@strawberry.interface
class Named:
    id: strawberry.ID


@strawberry.type
class Leaf(Named):
    text: str = "text"
    flag: bool = True
    whole: int = 1
    number: float = 0.5
    colour: Colour = Colour.BLUE
    moment: datetime = NOW
    anything: JSON = strawberry.field(default_factory=lambda: JSON({"a": [1, None]}))
    maybe: str | None = None
    maybe_moment: datetime | None = None
    words: list[str] = strawberry.field(default_factory=lambda: ["a", "b"])
    maybe_words: list[str | None] | None = None


@strawberry.type
class Tree(Named):
    leaf: Leaf
    leaves: list[Leaf]
    maybe_leaf: Leaf | None = None
    named: Named | None = None

    @strawberry.field
    def computed(self) -> int:
        return 7

    @strawberry.field
    def context_text(self, info: strawberry.Info["Tree", None]) -> str:
        return info.context.leaf.text

    @strawberry.field
    async def awaited(self, times: int = 1) -> str:
        return "x" * times

    @strawberry.field
    def failing(self) -> str | None:
        raise ValueError("by itself")


LEAF = Leaf(id=strawberry.ID("leaf"))
TREE = Tree(id=strawberry.ID("tree"), leaf=LEAF, leaves=[LEAF, replace(LEAF, text="other")], named=LEAF)
ALL = "id text flag whole number colour moment anything maybe maybeMoment words maybeWords __typename"


@strawberry.type
class Query:
    @strawberry.field
    def tree(self, info: strawberry.Info[Tree, None]) -> Tree:
        return info.context

    @strawberry.field
    async def trees(self, info: strawberry.Info[Tree, None]) -> list[Tree]:
        return [info.context] * 2


class Planned(OperationExecutor):
    plans: Plans = Plans()


class NoPlans(Plans):
    def of(self, *_: Any) -> None:
        return None


class Stock(OperationExecutor):
    plans = NoPlans()


@cache
def schema(executor: type[OperationExecutor]) -> strawberry.Schema:
    return strawberry.Schema(
        Query,
        extensions=[ParserCache],
        execution_context_class=executor,
        config=StrawberryConfig(scalar_map=SCALARS),
    )


@pytest.fixture(autouse=True)
def plans(monkeypatch: pytest.MonkeyPatch) -> CheckedPlans:
    checked = CheckedPlans()
    monkeypatch.setattr(Planned, "plans", checked)
    return checked


async def both(query: str, tree: Tree = TREE, **variables: Any) -> Any:
    """The answer, which must be the same with plans and without, errors and order included."""
    await schema(Planned).execute(query, variables, context_value=tree)
    planned = await schema(Planned).execute(query, variables, context_value=tree)
    stock = await schema(Stock).execute(query, variables, context_value=tree)
    assert planned.data == stock.data
    assert str(planned.data) == str(stock.data)
    assert [(e.message, e.path, e.locations) for e in planned.errors or []] == [
        (e.message, e.path, e.locations) for e in stock.errors or []
    ]
    return planned


async def test_every_kind_of_attribute_is_read_by_a_plan(plans: CheckedPlans) -> None:
    result = await both(f"{{ tree {{ id leaf {{ {ALL} }} leaves {{ {ALL} }} maybeLeaf {{ id }} }} }}")

    assert result.errors is None
    assert result.data["tree"]["leaf"]["colour"] == "BLUE"
    # The second of the leaves at first; then the tree whole, and for comparison the three leaves in it.
    assert plans.read == 5


async def test_resolvers_are_called_and_keep_their_places(plans: CheckedPlans) -> None:
    result = await both("{ trees { computed id awaited(times: 3) leaf { text } failing } }")

    assert list(result.data["trees"][0]) == ["computed", "id", "awaited", "leaf", "failing"]
    assert result.data["trees"][1]["awaited"] == "xxx"
    assert [error.path for error in result.errors] == [["trees", 0, "failing"], ["trees", 1, "failing"]]
    assert plans.read > 0


async def test_a_resolver_that_waits_for_nothing_is_called_with_its_own_operation(
    plans: CheckedPlans,
) -> None:
    query = "{ trees { id computed contextText } }"

    told = [
        (await both(query, replace(TREE, leaf=replace(LEAF, text=text)))).data["trees"][1]
        for text in ("one", "two")
    ]

    assert told == [{"id": "tree", "computed": 7, "contextText": text} for text in ("one", "two")]
    assert plans.read > 0


async def test_interfaces_and_what_they_hold_are_told_apart() -> None:
    result = await both("{ tree { named { __typename id ... on Leaf { text } } maybeLeaf { id } } }")

    assert result.data["tree"]["named"] == {"__typename": "Leaf", "id": "leaf", "text": "text"}


async def test_aliases_fragments_and_repeated_fields_come_together(plans: CheckedPlans) -> None:
    query = """
        { tree { ...A ... on Tree { leaf { flag } } ... on Named { id } other: leaf { text } ...A } }
        fragment A on Tree { leaf { text ...B } }
        fragment B on Leaf { words }
    """

    result = await both(query)

    assert list(result.data["tree"]["leaf"]) == ["text", "words", "flag"]
    assert plans.read > 0


@pytest.mark.parametrize("shown", [True, False])
async def test_directives_are_obeyed(shown: bool) -> None:
    query = """
        query ($shown: Boolean!) {
            tree { id leaf @include(if: $shown) { text } leaves { id ... @skip(if: $shown) { text } ...A } }
        }
        fragment A on Leaf { words @skip(if: $shown) flag }
    """

    result = await both(query, shown=shown)

    assert ("leaf" in result.data["tree"]) is shown
    assert ("words" in result.data["tree"]["leaves"][0]) is not shown


async def test_one_document_is_planned_once_when_it_comes_again(plans: CheckedPlans) -> None:
    read = []
    for _ in range(4):
        await schema(Planned).execute(
            "{ tree { id computed leaf { text kind: __typename } } }", context_value=TREE
        )
        read.append(plans.read)

    # One tree with its leaf, and the leaf once more by itself, for comparison.
    assert read == [0, 2, 4, 6]
    assert len(plans._recent) == 2


async def test_selections_are_kept_within_bounds_and_those_in_use_stay(
    plans: CheckedPlans, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("schema.recurring.MAX_SELECTIONS", 3)
    for _ in range(2):
        await both("{ tree { id } }")
    before = plans.read

    for place in range(10):
        await both(f"{{ tree {{ a{place}: id }} }}")
        await both("{ tree { id } }")

    # Of each pair the selection that is new is read once, the one in use twice.
    assert plans.read == before + 10 * (1 + 2)
    assert len(plans._recent) + len(plans._older) <= 6


UNUSUAL: dict[str, Any] = {
    "text": [None, 5, b"x", Word.ONE],
    "flag": [None, 1, "yes"],
    "whole": [None, 2**31, True, 1.0, "5", 1.5],
    "number": [None, 1, math.inf, math.nan, "0.5", True],
    "colour": [None, "rouge", "green", 5, []],
    "moment": [None, "2026", 5],
    "anything": [None],
    "maybe": [5, b"x"],
    "words": [None, ("a",), "ab", [None], [5], 5],
    "maybe_words": [[None], [5]],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in UNUSUAL for value in UNUSUAL[name]])
async def test_an_unusual_value_is_answered_as_without_plans(name: str, value: Any) -> None:
    words = name.split("_")
    alias = words[0] + "".join(word.title() for word in words[1:])
    given: dict[str, Any] = {name: value}
    leaf = replace(LEAF, **given)

    await both(f"{{ tree {{ id leaf {{ id {alias} }} }} }}", replace(TREE, leaf=leaf))


@pytest.mark.parametrize("leaf", [None, TREE, "a string", ValueError("an error as a value")])
async def test_an_unusual_object_is_answered_as_without_plans(leaf: Any) -> None:
    result = await both("{ tree { id leaf { id text } } }", replace(TREE, leaf=leaf))

    assert len(result.errors) == 1
