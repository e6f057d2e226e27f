"""How much each user may do in a minute, counted in Redis for all replicas together."""

from collections import OrderedDict
from typing import Final

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from app.errors import RateLimited
from app.valkey import Valkey

WINDOW_SECONDS: Final = 60
PORTIONS: Final = 100
REMEMBERED_USERS: Final = 10_000


class Window:
    """What is left of users' limits in the sliding minute, which Redis knows."""

    def __init__(self, valkey: Valkey) -> None:
        self._valkey = valkey
        self._storage = RedisStorage(
            "async+redis://",
            implementation="redispy",
            key_prefix=valkey.key("rate"),
            connection_pool=valkey.pool,  # type: ignore[arg-type]  # that it may be one is in its docstring
        )
        self._counter = SlidingWindowCounterRateLimiter(self._storage)

    async def grants(self, item: RateLimitItem, user: str, amount: int) -> bool:
        """Whether there is so much left, which is then taken; yes while Redis is away."""
        return await self._valkey.ask(lambda: self._counter.hit(item, user, cost=amount), otherwise=True)

    async def wait(self, item: RateLimitItem, user: str, amount: int) -> float:
        """The seconds until just before an amount will be granted, if nothing else is done in between."""
        key, nothing = item.key_for(user), (0, 0.0, 0, 0.0)
        before, before_left, now, now_left = await self._valkey.ask(
            lambda: self._storage.get_sliding_window(key, WINDOW_SECONDS), otherwise=nothing
        )
        # What counts of the minute before is rounded down.
        room = item.amount - amount + 1
        if now < room:
            return before_left - WINDOW_SECONDS * (room - now) / before if before else 0.0
        # What was done in this minute is what was done before the next, and is kept for both.
        return now_left - WINDOW_SECONDS * room / now


class Allowance:
    """What each user may spend of one thing in a minute; what was taken from the window is spent first."""

    def __init__(self, what: str, limit: int, window: Window) -> None:
        self._what, self._limit, self._window = what, limit, window
        self._portion = limit // PORTIONS
        self._item = RateLimitItemPerMinute(limit, namespace=what)
        self._in_hand: OrderedDict[str, int] = OrderedDict()

    async def spend(self, user: str, amount: int) -> None:
        """Spend an amount, or all there is where that is less; raises RateLimited."""
        amount = min(amount, self._limit)
        while self._missing(user, amount) > 0:
            await self._take(user, amount)
        if amount:
            self._put(user, -amount)

    def _missing(self, user: str, amount: int) -> int:
        return amount - self._in_hand.get(user, 0)

    async def _take(self, user: str, amount: int) -> None:
        """Take what is missing in hand, and more at once while there is much left."""
        portion = self._portion
        if portion > self._missing(user, amount) and await self._window.grants(self._item, user, portion):
            self._put(user, portion)
            return
        # Another request of the user's may have taken some meanwhile.
        missing = self._missing(user, amount)
        if missing > 0:
            await self._take_exactly(user, missing)

    async def _take_exactly(self, user: str, amount: int) -> None:
        if not await self._window.grants(self._item, user, amount):
            wait = await self._window.wait(self._item, user, amount)
            raise RateLimited(f"{self._limit:,} {self._what}", max(1, int(wait) + 1))
        self._put(user, amount)

    def _put(self, user: str, amount: int) -> None:
        self._in_hand[user] = self._in_hand.get(user, 0) + amount
        self._in_hand.move_to_end(user)
        if len(self._in_hand) > REMEMBERED_USERS:
            self._in_hand.popitem(last=False)


class Rates:
    """Lets each user do so many mutations, and spend so much on operations, in a minute; 0 is without limit.

    The window slides: of what was done in the minute before the present one as much still counts as that
    minute has a part in the last sixty seconds. So nobody gets more than the limit at once, nor more than
    twice the limit in any sixty seconds, nor more than the limit in the long run. What is refused does not
    count. Each replica takes what it grants from Redis in portions of a hundredth of the limit, and may
    have less than one in hand that the others think spent. While Redis is away nothing is refused.
    """

    def __init__(self, valkey: Valkey, *, mutations_per_minute: int, cost_per_minute: int) -> None:
        window = Window(valkey)
        self._mutations = Allowance("mutations", mutations_per_minute, window)
        self._cost = Allowance("points of cost", cost_per_minute, window)

    async def charge(self, user: str, *, mutations: int, cost: int) -> None:
        """Count what a user is about to do; raises RateLimited where that is too much.

        What alone is more than the limit counts as much as the limit, so that it can be done at all.
        """
        if mutations:
            await self._mutations.spend(user, mutations)
        await self._cost.spend(user, cost)
