"""The roof: one application out of its parts."""

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import TypedDict

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from app import browsers, doorbells, playground
from app.auth import Keys, SharedSecret, Verifier
from app.bus import Bus
from app.codec import RemoteCodec
from app.db import Database
from app.errors import ErrorCode, Unavailable
from app.hub import Hub
from app.judge import Judge
from app.jwks import KeySet
from app.jwks import Options as KeySetOptions
from app.metrics import CONTENT_TYPE, Metrics
from app.persisted import PersistedQueries
from app.rates import Rates
from app.request_ids import RequestIds
from app.settings import Settings
from app.temporal import Temporal, connect
from app.tracker import Options as TrackerOptions
from app.tracker import Tracker
from app.valkey import Valkey
from resolvers.context import Services
from schema import Limits, Schema, build
from schema.named import Documents, manifest
from schema.view import GraphQLView, Options, failure

log = logging.getLogger(__name__)

PATH = "/graphql"


class State(TypedDict):
    """What the lifespan gives to every request."""

    services: Services


class Before:
    """An application before which another answers at one path: no route is looked for there."""

    def __init__(self, app: ASGIApp, path: str, first: ASGIApp) -> None:
        self._app = app
        self._path = path
        self._first = first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self._first if scope.get("path") == self._path else self._app)(scope, receive, send)


@asynccontextmanager
async def services(settings: Settings) -> AsyncIterator[Services]:
    """The parts of one process, opened and closed in order; none of the servers needs to be up yet."""
    metrics = Metrics()
    async with (
        Bus(settings.redis_url, prefix=settings.redis_prefix) as bus,
        Valkey(
            settings.redis_url, prefix=settings.redis_prefix, wait_seconds=settings.redis_wait_seconds
        ) as valkey,
    ):
        db = Database(
            settings.database_url,
            pool_size=settings.database_pool_size,
            wait_seconds=settings.database_wait_seconds,
            statement_timeout_seconds=settings.statement_timeout_seconds,
            announce=partial(doorbells.announce, bus),
        )
        codec, judge = _codec(settings), Judge(settings.input_schema_timeout_seconds)
        try:
            client = await connect(settings.temporal_address, settings.temporal_namespace, codec=codec)
            async with _hub(settings, db, bus, metrics) as live:
                temporal = Temporal(client, settings.temporal_timeout_seconds)
                yield Services(
                    db,
                    bus,
                    live,
                    temporal,
                    judge,
                    metrics,
                    _persisted(settings, valkey),
                    _rates(settings, valkey),
                )
        finally:
            await judge.close()
            await db.close()
            if codec is not None:
                await codec.close()


def create_app(settings: Settings) -> Starlette:
    """The ASGI application of one API replica."""

    keys = _keys(settings)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[State]:
        async with AsyncExitStack() as stack:
            if isinstance(keys, KeySet):
                await stack.enter_async_context(keys)
            yield {"services": await stack.enter_async_context(services(settings))}

    app = Starlette(
        routes=_routes(settings),
        middleware=[
            Middleware(RequestIds),
            *browsers.middleware(settings.cors_origins, settings.allowed_hosts),
            Middleware(Before, PATH, _view(settings, keys)),
        ],
        lifespan=lifespan,
        exception_handlers={HTTPException: _refused},
    )
    # A redirect would be to whatever host the request names.
    app.router.redirect_slashes = False
    return app


async def track(settings: Settings) -> None:
    """Run one tracker until cancelled."""
    async with services(settings) as parts:
        await Tracker(parts.db, parts.bus, parts.temporal, _tracker_options(settings)).run()


def limits(settings: Settings) -> Limits:
    """What one operation may ask for."""
    return Limits(
        characters=settings.max_document_characters,
        tokens=settings.max_tokens,
        operations=settings.max_document_operations,
        fragments=settings.max_fragments,
        selections=settings.max_selections,
        depth=settings.max_depth,
        introspection_depth=settings.max_introspection_depth,
        root_fields=settings.max_root_fields,
        aliases=settings.max_aliases,
        directives=settings.max_directives,
        values=settings.max_values,
        cost=settings.max_cost,
        errors=settings.max_errors,
        json_depth=settings.max_json_depth,
        seconds=settings.request_timeout_seconds,
        introspection=settings.introspection,
    )


def _hub(settings: Settings, db: Database, bus: Bus, metrics: Metrics) -> Hub:
    return Hub(
        db,
        bus,
        metrics,
        ring_events=settings.hub_ring_events,
        page_events=settings.hub_page_events,
        backstop_seconds=settings.hub_backstop_seconds,
    )


def _persisted(settings: Settings, valkey: Valkey) -> PersistedQueries | None:
    if not settings.automatic_persisted_queries:
        return None
    return PersistedQueries(
        valkey,
        ttl_seconds=settings.persisted_query_ttl_seconds,
        max_bytes=settings.persisted_query_max_bytes,
        per_user=settings.persisted_queries_per_user,
    )


def _rates(settings: Settings, valkey: Valkey) -> Rates:
    return Rates(
        valkey,
        mutations_per_minute=settings.mutations_per_minute,
        cost_per_minute=settings.cost_per_minute,
    )


def _codec(settings: Settings) -> RemoteCodec | None:
    endpoint, auth = settings.temporal_codec_endpoint, settings.temporal_codec_auth
    if endpoint is None:
        return None
    return RemoteCodec(
        endpoint,
        settings.temporal_namespace or "default",
        None if auth is None else auth.get_secret_value(),
        settings.temporal_timeout_seconds,
    )


def _tracker_options(settings: Settings) -> TrackerOptions:
    days = settings.event_retention_days
    return TrackerOptions(
        follow_limit=settings.follow_limit,
        poll_seconds=settings.tracker_poll_seconds,
        alive_seconds=settings.tracker_alive_seconds,
        start_grace_seconds=settings.start_grace_seconds,
        sweep_overlap_seconds=settings.sweep_overlap_seconds,
        reconcile_after_seconds=settings.reconcile_after_seconds,
        lost_after_seconds=settings.lost_after_seconds,
        event_retention=None if days is None else timedelta(days=days),
    )


def _keys(settings: Settings) -> KeySet | SharedSecret:
    """Whichever of the two is configured."""
    if settings.jwt_secret is not None:
        return SharedSecret(settings.jwt_secret.get_secret_value())
    assert settings.jwt_jwks_url is not None
    if not settings.jwt_audience:
        log.warning(
            "JWT_AUDIENCE is not set: whatever service the provider issued a token for, it gets in here"
        )
    if settings.jwt_jwks_url.startswith("http:"):
        log.warning("JWT_JWKS_URL is without TLS: whoever is on the way to it can put their own keys there")
    options = KeySetOptions(
        ttl_seconds=settings.jwt_jwks_ttl_seconds,
        grace_seconds=settings.jwt_jwks_grace_seconds,
        refresh_seconds=settings.jwt_jwks_refresh_seconds,
        timeout_seconds=settings.jwt_jwks_timeout_seconds,
    )
    return KeySet(settings.jwt_jwks_url, options)


def _routes(settings: Settings) -> list[BaseRoute]:
    routes: list[BaseRoute] = [Route("/health", _health)]
    if settings.metrics:
        routes.append(Route("/metrics", _metrics))
    if settings.playground:
        routes.append(Mount(f"{PATH}/assets", playground.Assets()))
    return routes


def _view(settings: Settings, keys: Keys) -> GraphQLView:
    verifier = Verifier(
        keys,
        settings.jwt_owner_claim,
        settings.jwt_leeway_seconds,
        settings.jwt_issuer,
        settings.jwt_audience,
        settings.jwt_required_claims,
        settings.jwt_scope_claim,
    )
    token = settings.playground_token
    shown = None if token is None else token.get_secret_value()
    page = playground.page(PATH, shown) if settings.playground else None
    options = Options(
        connection_init_timeout_seconds=settings.connection_init_timeout_seconds,
        max_operations_per_socket=settings.max_operations_per_socket,
        max_body_bytes=settings.max_body_bytes,
        max_sockets=settings.max_sockets,
        max_sockets_per_user=settings.max_sockets_per_user,
        max_uninitialised_sockets=settings.max_uninitialised_sockets,
        max_streams_per_user=settings.max_streams_per_user,
        socket_idle_seconds=settings.socket_idle_seconds,
        socket_lifetime_seconds=settings.socket_lifetime_seconds,
        stream_heartbeat_seconds=settings.stream_heartbeat_seconds,
        origins=settings.cors_origins,
    )
    return GraphQLView(_schema(settings), _services, verifier, page, options)


def _schema(settings: Settings) -> Schema:
    """The schema that executes; raises InvalidSettings where it cannot execute a trusted document."""
    schema = build(limits(settings))
    if settings.trusted_documents is not None:
        trusted = manifest(settings.trusted_documents, schema.check)
        schema.documents = Documents(trusted, settings.trusted_documents_only)
    return schema


def _services(scope: Scope) -> Services:
    found = scope["state"]["services"]
    assert isinstance(found, Services)
    return found


async def _health(request: Request) -> Response:
    """200 while Postgres answers, else 503: whether to send this replica traffic."""
    parts = _services(request.scope)
    try:
        await parts.db.ping()
        database = True
    except Unavailable:
        database = False
    body = {"database": database, "redis": parts.bus.healthy}
    return Response(orjson.dumps(body), 200 if database else 503, media_type="application/json")


async def _metrics(request: Request) -> Response:
    return Response(_services(request.scope).metrics.render(), headers={"Content-Type": CONTENT_TYPE})


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return failure(error.status_code, error.detail, ErrorCode.INVALID_INPUT, dict(error.headers or {}))
