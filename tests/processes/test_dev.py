"""`temporal-graphql dev`: up with one command, down with one key, and nothing lost or left in between."""

import os
import signal
import socket
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests import factories
from tests.eventually import eventually
from tests.processes.commands import PATIENCE_SECONDS, Program, alive
from tests.processes.stack import Stack, developing, is_open

WORKFLOWS = "{ workflows { nodes { id name } } viewer { id } }"
EXECUTIONS = """{
  executions { totalCount nodes { id status version workflow { name } history(first: 100) { totalCount } } }
}"""
QUICK = {"step_seconds": 0.01, "grace_seconds": 0.01}
WAITING = {"step_seconds": 0.01, "grace_seconds": 3600}


async def workflow_ids(stack: Stack) -> dict[str, str]:
    """The ids of the registered workflows by name; each name is there once."""
    async with stack.user() as user:
        answer = await user.data(WORKFLOWS)
    assert answer["viewer"]["id"] == "dev"
    nodes = answer["workflows"]["nodes"]
    assert sorted(node["name"] for node in nodes) == ["Order", "Payment", "Report"]
    return {node["name"]: node["id"] for node in nodes}


async def executions(stack: Stack) -> list[Any]:
    async with stack.user() as user:
        return list((await user.data(EXECUTIONS))["executions"]["nodes"])


def server_pids(data: Path) -> set[int]:
    """The servers that were started for a directory, whether they still run or not."""
    return {int(file.read_text() or 0) for file in data.glob("*.pid")}


async def test_it_tells_where_it_is_and_lets_its_user_in(dev: Stack) -> None:
    file = dev.data / "dev.json"

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert dev.facts.keys() == {
        "graphql_url",
        "ws_url",
        "token",
        "database_url",
        "redis_url",
        "temporal_address",
        "pid",
    }
    assert dev.facts["pid"] == dev.command.process.pid
    assert dev.facts["ws_url"] == dev.facts["graphql_url"].replace("http:", "ws:")
    printed = dev.command.output.read_text()
    assert dev.facts["graphql_url"] in printed
    assert dev.facts["token"] in printed
    assert all(is_open(port) for port in dev.ports)
    assert await workflow_ids(dev)


async def test_a_second_stack_on_the_same_directory_is_refused(dev: Stack, bare: Program) -> None:
    refused = await bare.once("dev", "--data", str(dev.data))

    assert refused.process.returncode == 1
    [line] = refused.said().splitlines()
    assert line.startswith(f"temporal-graphql dev: {dev.data} is in use by another temporal-graphql")
    assert (dev.data / "dev.json").exists()
    assert await workflow_ids(dev)


async def test_what_was_done_survives_a_restart(bare: Program, data: Path) -> None:
    async with developing(bare, data) as first:
        ids = await workflow_ids(first)
        async with first.user() as user:
            order = await factories.start(user, ids["Order"], QUICK)
            assert (await factories.events(user, order["id"]))[-1]["type"] == "EXECUTION_COMPLETED"
            waiting = await factories.start(user, ids["Order"], WAITING)
            await eventually(lambda: is_waiting(first, waiting["id"]), PATIENCE_SECONDS)
        before = await executions(first)

        first.command.send(signal.SIGINT)

        await check_ended_in_good_order(first)

    async with developing(bare, data) as second:
        assert await workflow_ids(second) == ids
        assert await executions(second) == before
        assert [each["id"] for each in before] == [waiting["id"], order["id"]]
        async with second.api.bearing(first.facts["token"]) as user:
            answer = await user.data(factories.CANCEL, input={"id": waiting["id"]})
            assert answer["cancelExecution"]["__typename"] == "CancelExecutionSuccess"
            assert (await factories.events(user, waiting["id"]))[-1]["type"] == "EXECUTION_CANCELLED"

        # As Ctrl-C in a terminal does.
        os.killpg(second.command.process.pid, signal.SIGINT)

        await check_ended_in_good_order(second)


async def is_waiting(stack: Stack, id: str) -> bool:
    """Whether the order's timer, its longest part, is recorded."""
    query = "query ($id: ID!) { execution(id: $id) { history(first: 100) { nodes { type } } } }"
    async with stack.user() as user:
        nodes = (await user.data(query, id=id))["execution"]["history"]["nodes"]
    return bool(nodes[-1]["type"] == "TIMER_STARTED")


async def check_ended_in_good_order(stack: Stack) -> None:
    assert await stack.command.ended() == 0
    await stack.check_gone()
    assert not any(is_open(port) for port in stack.ports)
    assert "ended with code" not in stack.command.said()


async def test_a_signal_before_it_is_ready_ends_it(bare: Program, data: Path) -> None:
    async with bare.run("dev", "--data", str(data)) as command:
        await eventually(lambda: server_pids(data), PATIENCE_SECONDS)

        command.send(signal.SIGINT)

        assert await command.ended() == 0
        assert alive(server_pids(data)) == {}
        assert not (data / "dev.json").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
async def test_killed_it_leaves_nothing_running(bare: Program, data: Path) -> None:
    async with developing(bare, data) as stack:
        assert len(stack.processes) > len(
            ["dev", "serve", "track", "worker", "postgres", "valkey", "temporal"]
        )

        await stack.command.killed()

        await eventually(lambda: alive(stack.processes.keys()) == {}, PATIENCE_SECONDS)
        assert not any(is_open(port) for port in stack.ports)


async def test_given_servers_it_starts_none(
    program: Program, tmp_path: Path, environment: dict[str, str]
) -> None:
    data = tmp_path / "new" / "data"
    async with developing(program, data) as stack:
        for key in ("database_url", "redis_url", "temporal_address"):
            assert stack.facts[key] == environment[key.upper()]
        assert [line for line in stack.processes.values() if "app.start" not in line] == []
        assert server_pids(data) == set()
        assert await workflow_ids(stack)

        stack.command.send(signal.SIGTERM)

        assert await stack.command.ended() == 0
        await stack.check_gone()
    assert all(is_open(port) for port in stack.ports[1:])


async def test_a_taken_port_is_passed_over(program: Program, tmp_path: Path) -> None:
    with socket.socket() as taken:
        # Whoever else has it already does as well.
        with suppress(OSError):
            taken.bind(("127.0.0.1", 8000))
            taken.listen()
        async with developing(program, tmp_path, PORT="") as stack:
            assert stack.api.port != 8000
            assert await workflow_ids(stack)


async def test_it_ends_with_a_part_that_dies(program: Program, tmp_path: Path) -> None:
    async with developing(program, tmp_path) as stack:
        os.kill(stack.part("track"), signal.SIGKILL)

        assert await stack.command.ended() == 1
        line = "temporal-graphql dev: `temporal-graphql track` ended with code -9"
        assert stack.command.said().splitlines()[-1] == line
        await stack.check_gone()


async def test_a_database_that_is_not_there_is_named(program: Program, tmp_path: Path) -> None:
    ended = await program.once("dev", "--data", str(tmp_path), DATABASE_URL="postgresql://127.0.0.1:9/none")

    assert ended.process.returncode == 1
    [line] = ended.said().splitlines()
    assert line.startswith("temporal-graphql dev: the database cannot be reached")
