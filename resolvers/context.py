"""What a resolver is given: the application's parts and the caller, for one operation."""

from dataclasses import dataclass, field
from uuid import UUID

from app.auth import Caller
from app.bus import Bus
from app.db import Database, uuid_of
from app.errors import NotFound, RateLimited
from app.hub import Hub
from app.judge import Judge
from app.metrics import Metrics
from app.persisted import PersistedQueries
from app.rates import Rates
from app.store.startables import Startables
from app.temporal import Temporal
from resolvers.loaders import Loaders


@dataclass(frozen=True)
class Services:
    """The parts of the application that outlive every request; `persisted` is None where none are kept."""

    db: Database
    bus: Bus
    hub: Hub
    temporal: Temporal
    judge: Judge
    metrics: Metrics
    persisted: PersistedQueries | None
    rates: Rates
    startables: Startables = field(default_factory=Startables)


@dataclass(frozen=True)
class Context:
    """One operation: loaders batch within it and never outlive it; `refusal` is the rate that it exceeds."""

    services: Services
    caller: Caller
    loaders: Loaders
    refusal: RateLimited | None = None

    @property
    def db(self) -> Database:
        return self.services.db


def context(services: Services, caller: Caller) -> Context:
    """The context of a new operation."""
    return Context(services, caller, Loaders(services.db, caller))


def parse_id(kind: str, id: str) -> UUID:
    """The UUID of an object; what is no UUID is nobody's id: raises NotFound."""
    try:
        parsed = uuid_of(id)
    except ValueError:
        raise NotFound(kind, id) from None
    if str(parsed) != id.lower():
        raise NotFound(kind, id)
    return parsed
