"""What a transport knows of its client: one per HTTP request, one per WebSocket for its whole life."""

from dataclasses import dataclass

from app.auth import Caller, Verifier
from app.errors import RateLimited, Unauthenticated
from resolvers.context import Services


@dataclass
class Session:
    """`refusal` is the rate that the last operation exceeded."""

    services: Services
    verifier: Verifier
    query_token: str | None = None
    caller: Caller | None = None
    refusal: RateLimited | None = None

    @property
    def authenticated(self) -> Caller:
        """The caller; raises Unauthenticated before there is one."""
        if self.caller is None:
            raise Unauthenticated("This needs a token.")
        return self.caller
