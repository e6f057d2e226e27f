"""How many WebSockets and streams are open on one replica: in all, by user, and without a user yet."""

from collections import Counter
from typing import Generic, TypeVar

T = TypeVar("T")


class Full(Exception):
    """There is no place left."""


class Places:
    """A bounded number of places for each user."""

    def __init__(self, most_per_user: int) -> None:
        self._most = most_per_user
        self._taken = Counter[str]()

    def take(self, user: str) -> None:
        """Take a place until `leave`; raises Full where the user has all of theirs."""
        if self._taken[user] >= self._most:
            raise Full
        self._taken[user] += 1

    def leave(self, user: str) -> None:
        """Give a place back."""
        self._taken[user] -= 1
        if not self._taken[user]:
            del self._taken[user]


class Sockets(Generic[T]):
    """The open sockets; those whose users are not known yet are few, and the oldest of them goes first."""

    def __init__(self, most: int, most_per_user: int, most_unknown: int) -> None:
        self._most = most
        self._most_unknown = most_unknown
        self._unknown: dict[T, None] = {}
        self._known: dict[T, str] = {}
        self._places = Places(most_per_user)

    def __len__(self) -> int:
        return len(self._unknown) + len(self._known)

    def enter(self, socket: T) -> T | None:
        """Count a new socket; the one that must go for it, if any. Raises Full where all have users."""
        gone = None
        if self._unknown and (len(self._unknown) >= self._most_unknown or len(self) >= self._most):
            gone = next(iter(self._unknown))
            del self._unknown[gone]
        if len(self) >= self._most:
            raise Full
        self._unknown[socket] = None
        return gone

    def admit(self, socket: T, user: str) -> None:
        """Note whose a socket is; raises Full where the user has enough of them."""
        self._places.take(user)
        self._unknown.pop(socket, None)
        self._known[socket] = user

    def leave(self, socket: T) -> None:
        """Forget a socket."""
        self._unknown.pop(socket, None)
        if (user := self._known.pop(socket, None)) is not None:
            self._places.leave(user)
