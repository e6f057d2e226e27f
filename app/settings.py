"""Everything that can be configured, read once from the environment; units are in the names."""

import re
from functools import partial
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.mendable import Mendable


def _address(*schemes: str, with_host: bool = False) -> AfterValidator:
    """A URL with one of the schemes; the complaint leaves out its text, which may have a password."""

    def check(url: str) -> str:
        try:
            parts = urlsplit(url)
            usable = parts.scheme in schemes and parts.port != 0 and bool(parts.hostname or not with_host)
        except ValueError:
            usable = False
        if not usable:
            raise PydanticCustomError("address", f"is not an address like {schemes[0]}://host:port")
        return url

    return AfterValidator(check)


def _words(given: object) -> object:
    """The words of a text, with blanks or commas between them; what is no text as it is."""
    return tuple(re.findall(r"[^\s,]+", given)) if isinstance(given, str) else given


def _origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    """Origins as browsers write them, or the one word `*`."""
    for origin in origins:
        scheme, separator, host = origin.partition("://")
        named = scheme in ("http", "https") and host == host.lower() and not set(host) & set("/?#@ ")
        if origin != "*" and not (separator and host and named):
            raise PydanticCustomError("origin", "is not a list of origins like https://app.example.com")
    return origins


# What Python can add to a date: thirty years.
Seconds = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
Count = Annotated[int, Field(gt=0)]
PostgresUrl = Annotated[str, _address("postgresql", "postgresql+asyncpg", "postgres")]
RedisUrl = Annotated[str, _address("redis", "rediss", "unix")]
WebUrl = Annotated[str, _address("https", "http", with_host=True)]
Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)]
Origins = Annotated[Words, AfterValidator(_origins)]

MINIMUM_SECRET_BYTES = 32


class Settings(BaseSettings):
    """The settings of one process; field `x` is read from the environment variable `X`."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    database_url: PostgresUrl = Field(description="postgresql:// address of Postgres")
    redis_url: RedisUrl = Field(description="redis:// address of Redis or Valkey")
    redis_prefix: str = Field(
        "temporal-graphql", description="of channels and keys: tells two deployments apart"
    )
    temporal_address: str | None = Field(None, description="host:port of the Temporal frontend")
    temporal_namespace: str | None = None
    temporal_codec_endpoint: str | None = Field(None, description="address of a payload codec server")
    temporal_codec_auth: SecretStr | None = Field(None, description="the Authorization header sent to it")

    jwt_secret: SecretStr | None = Field(None, description="HS256 key, 32 bytes at least")
    jwt_jwks_url: WebUrl | None = Field(
        None,
        validate_default=True,
        description="address of the keys for RS256, ES256 and EdDSA; in place of jwt_secret",
    )
    jwt_jwks_ttl_seconds: Seconds = Field(300.0, description="after which the keys are fetched anew")
    jwt_jwks_grace_seconds: Seconds = Field(
        86_400.0, description="how much longer they serve while they cannot be fetched"
    )
    jwt_jwks_refresh_seconds: Seconds = Field(
        10.0, description="between two fetches at least, however many tokens name an unknown key"
    )
    jwt_jwks_timeout_seconds: Seconds = Field(5.0, description="for one fetch as a whole")
    jwt_issuer: Words = Field((), description="the `iss` that are trusted, blanks between them; none: any")
    jwt_audience: Words = Field((), description="the `aud` that are for us, blanks between them; none: any")
    jwt_required_claims: Words = Field((), description="that a token must have besides `sub` and `exp`")
    jwt_owner_claim: str = Field("sub", min_length=1, description="the claim that names the owner")
    jwt_scope_claim: str = Field("scope", min_length=1, description="the claim that lists the scopes")
    jwt_leeway_seconds: float = Field(0.0, ge=0, le=300)

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    log_format: str = Field("json", pattern="^(json|text)$")
    metrics: bool = Field(False, description="serve /metrics, for Prometheus, to whoever reaches the port")
    playground: bool = Field(True, description="serve GraphiQL at /graphql to browsers")
    playground_token: SecretStr | None = Field(None, description="pre-filled in the playground; dev only")

    database_pool_size: Count = 20
    database_wait_seconds: Seconds = Field(
        15.0, description="for a connection, when all of the pool are taken"
    )
    statement_timeout_seconds: Seconds = 10.0
    temporal_timeout_seconds: Seconds = 3.0
    input_schema_timeout_seconds: Seconds = Field(
        1.0, description="after which the check of an input that takes long is given up"
    )
    max_body_bytes: Count = 1_000_000
    max_frame_bytes: Count = 1_048_576
    connection_init_timeout_seconds: Seconds = 5.0
    max_operations_per_socket: Count = 50
    shutdown_timeout_seconds: Seconds = 5.0

    redis_wait_seconds: Seconds = Field(
        0.25, description="for what replicas share in Redis, after which it is done without for a second"
    )
    automatic_persisted_queries: bool = Field(True, description="keep documents in Redis by their hash")
    persisted_query_ttl_seconds: Seconds = Field(
        86_400.0, description="after which one not used is forgotten"
    )
    persisted_query_max_bytes: Count = Field(20_000, description="above which a document is not kept")
    persisted_queries_per_user: Count = Field(
        500, description="kept of those that one user was first to send"
    )
    trusted_documents: Path | None = Field(None, description="a manifest of documents that clients may name")
    trusted_documents_only: bool = Field(False, description="execute no others; needs TRUSTED_DOCUMENTS")
    mutations_per_minute: int = Field(1_200, ge=0, description="of one user, at all replicas; 0: any number")
    cost_per_minute: int = Field(100_000, ge=0, description="points, of one user's operations; 0: any number")

    max_document_characters: Count = Field(100_000, description="of a document, comments and blanks too")
    max_tokens: Count = Field(2_000, description="words, signs and values of a document")
    max_document_operations: Count = Field(50, description="of a document, of which one is executed")
    max_fragments: Count = Field(50, description="that a document defines")
    max_selections: Count = Field(1_000, description="fields and spreads that a document writes down")
    max_depth: Count = Field(10, description="levels of fields, those of introspection apart")
    max_introspection_depth: Count = Field(20, description="levels of fields under __schema and __type")
    max_root_fields: Count = 20
    max_aliases: Count = 30
    max_directives: Count = 10
    max_values: Count = Field(2_000, description="in the lists and objects of variables, but for JSON")
    max_cost: Count = Field(1_000, description="points, about one for each object that an answer may have")
    max_errors: Count = Field(5, description="told of in one response")
    max_json_depth: Count = Field(64, description="levels of a JSON value that a request carries")
    request_timeout_seconds: Seconds = Field(30.0, description="after which a query or mutation is given up")
    introspection: bool = Field(True, description="answer __schema and __type; suggest names for wrong ones")

    max_connections: Count = Field(
        8_000, description="above which the one that waits longest for its client makes room for a new one"
    )
    head_timeout_seconds: Seconds = Field(10.0, description="for a request's first line and headers")
    body_timeout_seconds: Seconds = 30.0
    keep_alive_seconds: Seconds = Field(
        75.0,
        description="after which an idle connection is closed; longer than a proxy in front keeps its own",
    )
    max_head_bytes: Count = 65_536
    max_headers: Count = 100
    socket_silence_seconds: Seconds = Field(
        120.0, description="after which a client is cut off that reads nothing, or answers no ping"
    )
    socket_ping_seconds: Seconds = Field(20.0, description="between the pings to a WebSocket")
    socket_idle_seconds: Seconds = Field(
        3_600.0, description="after which a WebSocket without operations is closed"
    )
    socket_lifetime_seconds: Seconds = Field(
        86_400.0, description="after which a WebSocket is closed, for its client to come back on another"
    )
    max_sockets: Count = Field(5_000, description="WebSockets of one replica")
    max_sockets_per_user: Count = Field(10, description="on one replica")
    max_uninitialised_sockets: Count = Field(
        500, description="above which the oldest WebSocket without connection_init makes room for a new one"
    )
    max_streams_per_user: Count = Field(50, description="over SSE and multipart, on one replica")
    stream_heartbeat_seconds: Seconds = Field(10.0, description="between the signs of life in a stream")
    cors_origins: Origins = Field(
        (), description="whose pages may use the API in browsers: https://app.example.com, comma-separated"
    )
    allowed_hosts: Words = Field((), description="answered to, without ports, comma-separated; none: to any")

    hub_ring_events: Count = Field(1_000, description="recent events kept for each watched owner")
    hub_page_events: Count = Field(200, description="events read from Postgres at once")
    hub_backstop_seconds: Seconds = 3.0

    event_retention_days: float | None = Field(
        None, gt=0, le=36_500, description="after which events are pruned; none: never"
    )
    follow_limit: Count = Field(500, description="executions followed by long poll in one tracker")
    tracker_poll_seconds: Seconds = 1.0
    tracker_alive_seconds: Seconds = Field(
        2.0, description="after which a silent tracker's work is taken over"
    )
    start_grace_seconds: Seconds = Field(2.0, description="after which an unsettled start is taken over")
    sweep_overlap_seconds: Seconds = Field(10.0, description="how late Temporal's visibility may be")
    reconcile_after_seconds: Seconds = Field(
        300.0, description="after which an open execution is asked about"
    )
    lost_after_seconds: Seconds = Field(60.0, description="age before which a missing run is not yet LOST")

    @field_validator("jwt_secret")
    @classmethod
    def _long_enough(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and len(secret.get_secret_value().encode()) < MINIMUM_SECRET_BYTES:
            raise PydanticCustomError("secret", f"must have {MINIMUM_SECRET_BYTES} bytes at least")
        return secret

    @field_validator("jwt_jwks_url")
    @classmethod
    def _one_kind_of_keys(cls, url: str | None, info: ValidationInfo) -> str | None:
        """Two ways to sign would be one too many: whoever learns the secret could sign for everybody."""
        if "jwt_secret" in info.data and (info.data["jwt_secret"] is None) == (url is None):
            raise PydanticCustomError("keys", "set this or JWT_SECRET, exactly one of the two")
        return url

    @field_validator("trusted_documents_only")
    @classmethod
    def _has_documents(cls, only: bool, info: ValidationInfo) -> bool:
        if only and info.data.get("trusted_documents") is None:
            raise PydanticCustomError("documents", "needs TRUSTED_DOCUMENTS")
        return only


class InvalidSettings(Mendable):
    """The environment is not usable; the message names each variable."""


def secret_file(data: Path) -> Path:
    """Where a development stack keeps the secret that its tokens are signed with."""
    return data / "jwt-secret"


def load() -> Settings:
    """Read the environment; raises InvalidSettings naming every variable that is missing or wrong."""
    try:
        return partial(Settings)()
    except ValidationError as error:
        raise InvalidSettings("\n".join(map(_explain, error.errors()))) from None


def _explain(error: object) -> str:
    assert isinstance(error, dict)
    variable = "_".join(map(str, error["loc"])).upper()
    return f"{variable}: {'is not set' if error['type'] == 'missing' else error['msg']}"
