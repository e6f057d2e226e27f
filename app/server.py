"""One HTTP server as the settings want it, and how it ends."""

import asyncio
import gc
import logging
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from app.protocols import Bounds, Configuration
from app.settings import Settings

log = logging.getLogger(__name__)

# What the process opens besides its clients' connections: databases, Temporal, log files.
SPARE_FILES = 200
# The newest objects are looked at when there are so many more of them, the younger every tenth time, and
# all of them every hundredth time of that: after five million more at the earliest.
COLLECTED_AFTER = (5_000, 10, 100)
LINGER_SECONDS = 3.0


class Server(uvicorn.Server):
    """Ends with code 0 when it is told to end: uvicorn's own would raise the signal again after draining."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self.handle_exit, number, None)
        yield


def configuration(app: ASGIApp, settings: Settings) -> Configuration:
    """How uvicorn serves an application; the tests serve it the same way."""
    return Configuration(
        app,
        _bounds(settings),
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        timeout_keep_alive=settings.keep_alive_seconds,
        ws_max_size=settings.max_frame_bytes,
        ws_ping_interval=settings.socket_ping_seconds,
        # The pong waits behind what a slow reader has still to read.
        ws_ping_timeout=settings.socket_silence_seconds,
        # Its windows cost each socket more memory than all the rest, and small frames gain little.
        ws_per_message_deflate=False,
        # Anyone can write X-Forwarded-For.
        proxy_headers=False,
        # Its access log would show the `?token=` of old clients.
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=int(settings.shutdown_timeout_seconds),
    )


def settle_memory() -> None:
    """Have the collector of garbage leave alone what is there by now, and look at what is old but rarely.

    A full collection stops everything: for 0.3 s where there are thousands of sockets. Most garbage is young;
    what is let go with a socket is no garbage, as nothing in it refers to itself.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTED_AFTER)


def allow_files(connections: int) -> int:
    """Let the process have files for so many connections; how many it may have where that is refused."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE_FILES
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        log.warning("Only %d of MAX_CONNECTIONS fit into the limit of open files", allowed - SPARE_FILES)
    return max(1, allowed - SPARE_FILES)


def _bounds(settings: Settings) -> Bounds:
    return Bounds(
        connections=allow_files(settings.max_connections),
        head_seconds=settings.head_timeout_seconds,
        body_seconds=settings.body_timeout_seconds,
        silence_seconds=settings.socket_silence_seconds,
        linger_seconds=LINGER_SECONDS,
        head_bytes=settings.max_head_bytes,
        headers=settings.max_headers,
    )
