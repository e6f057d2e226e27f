"""A generated test: random executions under random faults, compared with Temporal's own histories."""

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack

from tests.faults.oracle import Verdict
from tests.faults.record import Line, Record
from tests.faults.scene import Scene, script, staged
from tests.faults.sizes import Size
from tests.faults.stack import Stack
from tests.faults.test_matrix import apis, cut_connections

SEED = 20261124
OWNERS = 2
# Four activities and three timers: about twenty events.
STEPS = 7
CANCELLED_ONE_IN = 6
FAILED_ONE_IN = 5


async def test_random_executions_under_random_faults(stack: Stack, size: Size, record: Record) -> None:
    chance = random.Random(SEED)
    async with AsyncExitStack() as exits:
        scenes = [await exits.enter_async_context(staged(stack, size)) for _ in range(OWNERS)]
        for scene in scenes:
            scene.watch_feed(scene.feeds, *apis(stack))
        seconds = 90.0 if size.full else 8.0
        work = [
            asyncio.create_task(busy(scene, size.oracle_executions // OWNERS, seconds, chance))
            for scene in scenes
        ]

        since = time.time()
        faults = await strike(stack, chance, seconds)

        await asyncio.gather(*work)
        await stack.whole()
        for scene in scenes:
            scene.back(since)
        verdicts = [await settled(scene) for scene in scenes]
        line = Line(
            f"Generated, {OWNERS} owners, seed {SEED}: {', '.join(faults)}",
            sum(len(scene.executions) for scene in scenes),
            sum(len(scene.subscribers) for scene in scenes),
            scenes[0].outage_seconds,
            max(scene.converged_seconds() for scene in scenes),
            sum(verdicts, Verdict()),
            await stack.backstop_deliveries(),
        )
        record.lines.append(line)
        assert line.executions == size.oracle_executions
        assert line.converged_seconds < size.temporal_converged_seconds, line
        stack.check_said()


async def settled(scene: Scene) -> Verdict:
    await scene.adopt()
    await scene.settled()
    return await scene.verdict()


async def busy(scene: Scene, count: int, seconds: float, chance: random.Random) -> None:
    """Start executions over the time of the faults, one after the other; some fail, some are cancelled."""
    async with asyncio.TaskGroup() as starts:
        for _ in range(count):
            await asyncio.sleep(chance.uniform(0, 1.2) * seconds / count)
            fail = chance.randrange(FAILED_ONE_IN) == 0
            cancel_after = chance.uniform(1, 3) if chance.randrange(CANCELLED_ONE_IN) == 0 else None
            input = script(chance.uniform(0.2, 0.5) * seconds, STEPS, fail=fail)
            starts.create_task(scene.start_through_faults(input, cancel_after))


async def strike(stack: Stack, chance: random.Random, seconds: float) -> list[str]:
    """Let one part after the other fail, in random order; what failed."""
    deadline, struck = time.time() + seconds, list[str]()
    kinds: Sequence[str] = ("tracker", "Redis", "API", "Postgres", "Temporal", "Redis connections")
    while time.time() < deadline:
        for kind in chance.sample(kinds, len(kinds)):
            if time.time() < deadline:
                await asyncio.sleep(chance.uniform(0.2, 1.5))
                await strike_once(stack, kind, chance)
                struck.append(kind)
    return struck


async def strike_once(stack: Stack, kind: str, chance: random.Random) -> None:
    match kind:
        case "tracker":
            place = chance.randrange(len(stack.trackers))
            await stack.trackers[place].killed()
            await stack.start_tracker(place)
        case "API":
            place = chance.randrange(len(stack.replicas))
            await stack.replicas[place].killed()
            await stack.start_replica(place)
        case "Redis connections":
            await cut_connections(stack.valkey.address)
        case _:
            server = {"Redis": stack.valkey, "Postgres": stack.postgres, "Temporal": stack.temporal}[kind]
            await server.kill()
            await asyncio.sleep(chance.uniform(0, 2))
            await server.start()
