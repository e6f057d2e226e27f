"""Everything that can be configured, read once from the environment; units are in the names."""

from functools import partial
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict


def _address(*schemes: str) -> AfterValidator:
    """A URL with one of the schemes; the complaint leaves out its text, which may have a password."""

    def check(url: str) -> str:
        try:
            parts = urlsplit(url)
            usable = parts.scheme in schemes and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise PydanticCustomError("address", f"is not an address like {schemes[0]}://host:port")
        return url

    return AfterValidator(check)


# What Python can add to a date: thirty years.
Seconds = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
Count = Annotated[int, Field(gt=0)]
PostgresUrl = Annotated[str, _address("postgresql", "postgresql+asyncpg", "postgres")]
RedisUrl = Annotated[str, _address("redis", "rediss", "unix")]

MINIMUM_SECRET_BYTES = 32


class Settings(BaseSettings):
    """The settings of one process; field `x` is read from the environment variable `X`."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    database_url: PostgresUrl = Field(description="postgresql:// address of Postgres")
    redis_url: RedisUrl = Field(description="redis:// address of Redis or Valkey")
    redis_prefix: str = Field("temporal-graphql", description="of the channels: tells two deployments apart")
    temporal_address: str | None = Field(None, description="host:port of the Temporal frontend")
    temporal_namespace: str | None = None
    temporal_codec_endpoint: str | None = Field(None, description="address of a payload codec server")
    temporal_codec_auth: SecretStr | None = Field(None, description="the Authorization header sent to it")

    jwt_secret: SecretStr = Field(description="HS256 key, 32 bytes at least")
    jwt_owner_claim: str = Field("sub", min_length=1, description="the claim that names the owner")
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
    socket_silence_seconds: Seconds = Field(
        120.0, description="after which a WebSocket is closed that answers no ping: its reader may be slow"
    )
    shutdown_timeout_seconds: Seconds = 5.0

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


class InvalidSettings(Exception):
    """The environment is not usable; the message names each variable."""


def load() -> Settings:
    """Read the environment; raises InvalidSettings naming every variable that is missing or wrong."""
    try:
        settings = partial(Settings)()
    except ValidationError as error:
        raise InvalidSettings("\n".join(map(_explain, error.errors()))) from None
    if len(settings.jwt_secret.get_secret_value().encode()) < MINIMUM_SECRET_BYTES:
        raise InvalidSettings(f"JWT_SECRET: must have {MINIMUM_SECRET_BYTES} bytes at least")
    return settings


def _explain(error: object) -> str:
    assert isinstance(error, dict)
    variable = "_".join(map(str, error["loc"])).upper()
    return f"{variable}: {'is not set' if error['type'] == 'missing' else error['msg']}"
