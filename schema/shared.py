"""Identical subscriptions of one owner: an event is executed, and written as JSON, once for all of them."""

import asyncio
import time
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Coroutine,
    Hashable,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from itertools import compress
from operator import not_
from typing import Any, Generic, Protocol, Self, TypeVar
from weakref import WeakValueDictionary

import orjson
from graphql import (
    ExecutionResult,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLError,
    Node,
    OperationDefinitionNode,
    VariableNode,
    Visitor,
    visit,
)
from graphql.pyutils import AwaitableOrValue
from strawberry.types.graphql import OperationType

from app import crowds
from app.deliveries import Delivery
from app.hub import Cursor
from app.lines import Line, frame
from resolvers.events import Watch
from schema.errors import named
from schema.executor import OperationExecutor

# A result tells of the present: whoever comes later is told anew.
SHARED_SECONDS = 0.5
KEPT_OUTCOMES = 64
KEPT_OPERATIONS = 1_000
# Of results that are sent with one write: what a peer has yet to read stays within bounds.
MOST_BYTES = 65_536

T = TypeVar("T")


class Live(Generic[T], AsyncIterable[T]):
    """The payloads of a subscription to what is watched."""

    def __init__(self, watch: Watch, payload: Callable[[Delivery], T]) -> None:
        self.watch = watch
        self.payload = payload

    async def __aiter__(self) -> AsyncGenerator[T, None]:
        async with aclosing(self.watch.deliveries()) as deliveries:
            async for delivery in deliveries:
                yield self.payload(delivery)


class Outcome:
    """What an event comes to: its result, and the JSON of that where there are no errors."""

    __slots__ = ("json", "result")

    def __init__(self, result: ExecutionResult) -> None:
        self.result = result
        self.json: bytes | None = None
        if not result.errors:
            self.json = b'{"data":%b}' % orjson.dumps(result.data)


Told = tuple[Delivery, Outcome]


class Member(Protocol):
    """One subscription, on a socket; `cursor` is at the last event that it was told alone."""

    line: Line
    cursor: Cursor
    head: bytes

    @property
    def is_plain(self) -> bool:
        """Whether a result is sent as it is to anybody."""
        ...

    def tell(self, outcome: Outcome) -> bool:
        """Send a result, with whatever is this subscription's own; False where the peer must read first."""
        ...

    def end(self, error: Exception | None = None) -> None:
        """Send what ends the subscription, and forget it."""
        ...


@dataclass(slots=True)
class Crowd:
    """Members who are sent the same bytes: their messages begin alike."""

    head: bytes
    members: list[Member] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)

    @classmethod
    def all_of(cls, members: Iterable[Member]) -> list[Self]:
        """Those who are plain, by how their messages begin."""
        found = dict[bytes, Self]()
        for member in members:
            if member.is_plain:
                crowd = found.get(member.head) or found.setdefault(member.head, cls(member.head))
                crowd.members.append(member)
                crowd.lines.append(member.line)
        return list(found.values())

    def missed(self, jsons: Sequence[bytes]) -> Iterable[Member]:
        """Send results, and say to whom they could not be sent."""
        told = crowds.tell(self.lines, b"".join([next_frame(self.head, json) for json in jsons]))
        return () if all(told) else compress(self.members, map(not_, told))


class Group:
    """Those who have subscribed to the same, and whom one loop tells of each event as it comes.

    A member that has yet to read what it was sent, or begins in the past, goes on by its own cursor until
    it has caught up.
    """

    __slots__ = (
        "__weakref__",
        "_behind",
        "_crowds",
        "_cursor",
        "_executor",
        "_furthest",
        "_live",
        "_members",
        "_outcomes",
        "_waiting",
        "_working",
        "described",
        "is_over",
    )

    def __init__(self, executor: OperationExecutor, live: Live[Any], cursor: Cursor) -> None:
        self.is_over = False
        name = executor.operation.name
        self.described = named(OperationType.SUBSCRIPTION, None if name is None else name.value)
        self._executor = executor
        self._live = live
        self._cursor = cursor.copy()
        self._members: dict[Member, None] = {}
        self._crowds: list[Crowd] | None = None
        # The last event that a member was told alone.
        self._furthest = 0
        self._behind: dict[Member, asyncio.Task[None]] = {}
        self._waiting: deque[Delivery] = deque()
        self._working: asyncio.Task[None] | None = None
        self._outcomes: dict[int, tuple[float, Outcome | asyncio.Future[Outcome]]] = {}

    def join(self, member: Member) -> None:
        """Tell one more, of what is behind its cursor first."""
        if not self._size:
            member.cursor.feed.listeners.add(self._go_on)
        if member.cursor.ready() or self._is_ahead_of(member):
            self._fall_behind(member)
        else:
            self._welcome(member)

    def leave(self, member: Member) -> None:
        """Tell one less."""
        self._exclude(member)
        catching_up = self._behind.pop(member, None)
        if catching_up is not None:
            catching_up.cancel()
        member.cursor.close()
        if not self._size:
            self.is_over = True
            member.cursor.feed.listeners.discard(self._go_on)
            if self._working is not None:
                self._working.cancel()

    @property
    def _size(self) -> int:
        return len(self._members) + len(self._behind)

    def _is_ahead_of(self, member: Member) -> bool:
        """Whether the members have been told what this one has not: Postgres may know it before the feed."""
        is_telling = self._members or self._working is not None
        return bool(is_telling) and member.cursor.position < self._cursor.position

    def _welcome(self, member: Member) -> None:
        """Tell one of events as they come, who has been told all so far."""
        self._behind.pop(member, None)
        if not self._members:
            self._cursor.position = member.cursor.position
            self._waiting.clear()
        self._members[member], self._crowds = None, None
        self._furthest = max(self._furthest, member.cursor.position)

    def _fall_behind(self, member: Member) -> None:
        """Have one go on alone until it has caught up."""
        self._exclude(member)
        self._behind[member] = asyncio.create_task(self._catch_up(member))

    def _exclude(self, member: Member) -> None:
        self._members.pop(member, None)
        self._crowds = None

    def _go_on(self) -> None:
        if self._working is None:
            self._tell_all()

    def _tell_all(self) -> None:
        """Tell of all that there is, as far as nothing must be waited for."""
        while self._members:
            if self._waiting:
                if (step := self._tell_next()) is not None:
                    return self._work(step)
            elif not self._cursor.ready():
                return None
            elif (batch := self._cursor.take()) is None:
                return self._work(self._read)
            else:
                self._waiting.extend(self._live.watch.choose(batch))
        return None

    def _tell_next(self) -> Callable[[], Coroutine[Any, Any, None]] | None:
        """Tell of what waits, as much as is sent at once; how to go on where one is to be waited for."""
        told, size = list[Told](), 0
        while self._waiting and size < MOST_BYTES:
            delivery = self._waiting.popleft()
            outcome = self._outcome(delivery)
            if isinstance(outcome, asyncio.Future):
                if told:
                    self._tell(told)
                return partial(self._tell_later, delivery, outcome)
            told.append((delivery, outcome))
            is_for_all = outcome.json is not None and delivery.position > self._furthest
            size += len(outcome.json or b"") if is_for_all else MOST_BYTES
        self._tell(told)
        return None

    def _work(self, step: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._working = asyncio.create_task(self._worked(step))

    async def _worked(self, step: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await step()
        except Exception as error:  # noqa: BLE001 - whatever it was, each is told
            for member in list(self._members):
                member.end(error)
        self._working = None
        self._tell_all()

    async def _read(self) -> None:
        self._waiting.extend(self._live.watch.choose(await self._cursor.read()))

    async def _tell_later(self, delivery: Delivery, outcome: asyncio.Future[Outcome]) -> None:
        self._tell([(delivery, await asyncio.shield(outcome))])

    def _tell(self, told: Sequence[Told]) -> None:
        """Tell the members of some events, one at least: who has yet to read goes on alone."""
        jsons = [outcome.json for _, outcome in told if outcome.json is not None]
        if len(jsons) == len(told) and told[0][0].position > self._furthest:
            self._tell_crowds(told, jsons)
        else:
            for member in list(self._members):
                self._tell_each(member, told)
        for delivery, _ in told:
            self._cursor.observe(delivery)
            if self._live.watch.ends_with(delivery):
                for member in list(self._members):
                    member.end()

    def _tell_crowds(self, told: Sequence[Told], jsons: Sequence[bytes]) -> None:
        """Tell of what all are due, with the same bytes whose messages begin alike."""
        alike = self._crowds
        if alike is None:
            alike = self._crowds = Crowd.all_of(self._members)
            for member in [each for each in self._members if not each.is_plain]:
                self._tell_each(member, told)
                self._crowds = None
        for crowd in alike:
            for member in crowd.missed(jsons):
                member.cursor.position = told[0][0].position - 1
                self._fall_behind(member)

    def _tell_each(self, member: Member, told: Sequence[Told]) -> None:
        for delivery, outcome in told:
            if member.cursor.position < delivery.position and not member.tell(outcome):
                member.cursor.position = delivery.position - 1
                return self._fall_behind(member)
        return None

    async def _catch_up(self, member: Member) -> None:
        try:
            while True:
                await member.line.writable.wait()
                batch = member.cursor.take()
                if batch is None or (not batch and self._is_ahead_of(member)):
                    batch = await member.cursor.read()
                elif not batch and not member.cursor.ready():
                    return self._welcome(member)
                for delivery in self._live.watch.choose(batch):
                    await self._tell_one(member, delivery)
                    if self._live.watch.ends_with(delivery):
                        return member.end()
                await asyncio.sleep(0)
        except Exception as error:  # noqa: BLE001 - whatever it was, it is told
            member.end(error)

    async def _tell_one(self, member: Member, delivery: Delivery) -> None:
        outcome = self._outcome(delivery)
        if isinstance(outcome, asyncio.Future):
            # The end of whoever asked first must not be everybody's.
            outcome = await asyncio.shield(outcome)
        while not member.tell(outcome):
            await member.line.writable.wait()
            # A line that is lost is writable: whoever is cancelled must come to know it.
            await asyncio.sleep(0)

    def _outcome(self, delivery: Delivery) -> Outcome | asyncio.Future[Outcome]:
        """What an event comes to now: executed by the first who asks, where there are others."""
        if self._size == 1:
            self._outcomes.clear()
            return self._execute(delivery)
        now, position = time.monotonic(), delivery.position
        since, found = self._outcomes.get(position, (0.0, None))
        if found is None or now - since > SHARED_SECONDS:
            self._forget(now)
            found = self._execute(delivery)
            self._outcomes[position] = now, found
        return found

    def _execute(self, delivery: Delivery) -> Outcome | asyncio.Future[Outcome]:
        result: AwaitableOrValue[ExecutionResult] | None = None
        try:
            if delivery.announced is not None:
                result = self._executor.announced(delivery.announced)
            if result is None:
                result = self._executor.event(self._live.payload(delivery))
            if isinstance(result, ExecutionResult):
                return Outcome(result)
        except Exception as error:  # noqa: BLE001 - it is presented to those who asked
            return failed(error)
        return asyncio.ensure_future(_awaited(result))

    def _forget(self, now: float) -> None:
        """Let the oldest outcomes go: those of a moment ago, and more than are kept."""
        while self._outcomes:
            position, (since, _) = next(iter(self._outcomes.items()))
            if now - since <= SHARED_SECONDS and len(self._outcomes) < KEPT_OUTCOMES:
                break
            del self._outcomes[position]


class Groups:
    """The groups there are; one ends with its last member."""

    def __init__(self) -> None:
        self._groups: WeakValueDictionary[Hashable, Group] = WeakValueDictionary()
        self._free_variables: dict[int, tuple[OperationDefinitionNode, frozenset[str]]] = {}

    def of(self, executor: OperationExecutor, live: Live[Any], cursor: Cursor) -> Group:
        """The group of the same operation, for the same eyes, that watches the same with the same results."""
        operation, caller = executor.operation, executor.context_value.caller
        given = executor.variable_values.coerced
        inside = {name: given[name] for name in self._inside(executor) if name in given}
        key = (id(operation), caller.owner, caller.scopes, live.watch.identity, repr(sorted(inside.items())))
        group = self._groups.get(key)
        if group is None or group.is_over:
            group = self._groups[key] = Group(executor, live, cursor)
        return group

    def _inside(self, executor: OperationExecutor) -> frozenset[str]:
        """The variables that an event's result depends on: not those of the subscription field itself."""
        operation = executor.operation
        found = self._free_variables.get(id(operation))
        if found is None:
            if len(self._free_variables) >= KEPT_OPERATIONS:
                self._free_variables.clear()
            names = frozenset(_variables(operation, executor.fragment_definitions.values()))
            found = self._free_variables[id(operation)] = (operation, names)
        return found[1]


def next_frame(head: bytes, json: bytes) -> bytes:
    """The frame of a result for those whose messages begin alike."""
    return frame(b"%b%b}" % (head, json))


def failed(error: Exception) -> Outcome:
    """What comes of an event that cannot be executed, or of a subscription that cannot go on."""
    told = error if isinstance(error, GraphQLError) else GraphQLError(str(error), original_error=error)
    return Outcome(ExecutionResult(None, [told]))


async def _awaited(result: Awaitable[ExecutionResult]) -> Outcome:
    try:
        return Outcome(await result)
    except Exception as error:  # noqa: BLE001 - it is presented to those who asked
        return failed(error)


def _variables(
    operation: OperationDefinitionNode, fragments: Iterable[FragmentDefinitionNode]
) -> Iterator[str]:
    for fragment in fragments:
        yield from _within(fragment)
    for selection in operation.selection_set.selections:
        if isinstance(selection, FieldNode) and selection.selection_set is not None:
            yield from _within(selection.selection_set)
        else:
            yield from _within(selection)


def _within(node: Node) -> list[str]:
    finder = _Finder()
    visit(node, finder)
    return finder.names


class _Finder(Visitor):
    """Finds the variables within a node."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def enter_variable(self, node: VariableNode, *_: Any) -> None:
        self.names.append(node.name.value)
