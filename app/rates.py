"""How much each user may do in a minute, counted in Redis for all replicas together."""

from collections import OrderedDict
from typing import Final

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from app.errors import RateLimited
from app.valkey import Valkey

WINDOW_SECONDS: Final = 60
COST: Final = "points of cost"
PORTIONS: Final = 100
REMEMBERED_USERS: Final = 10_000


class Rates:
    """Lets each user do so many mutations, and spend so much on operations, in a minute; 0 is without limit.

    The window slides: of what was done in the minute before the present one as much still counts as that
    minute has a part in the last sixty seconds. So nobody gets more than the limit at once, nor more than
    twice the limit in any sixty seconds, nor more than the limit in the long run. What is refused does not
    count. Each replica takes the points of cost from Redis in portions of a hundredth of the limit, and may
    have less than one in hand that the others think spent. While Redis is away nothing is refused.
    """

    def __init__(self, valkey: Valkey, *, mutations_per_minute: int, cost_per_minute: int) -> None:
        self._valkey = valkey
        self._storage = RedisStorage(
            "async+redis://",
            implementation="redispy",
            key_prefix=valkey.key("rate"),
            connection_pool=valkey.pool,  # type: ignore[arg-type]  # that it may be one is in its docstring
        )
        self._window = SlidingWindowCounterRateLimiter(self._storage)
        self._mutations, self._cost = mutations_per_minute, cost_per_minute
        self._in_hand: OrderedDict[str, int] = OrderedDict()

    async def charge(self, user: str, *, mutations: int, cost: int) -> None:
        """Count what a user is about to do; raises RateLimited where that is too much.

        What alone is more than the limit counts as much as the limit, so that it can be done at all.
        """
        if self._mutations and mutations:
            await self._take("mutations", self._mutations, user, min(mutations, self._mutations))
        if self._cost and cost:
            await self._spend(user, min(cost, self._cost))

    async def _spend(self, user: str, cost: int) -> None:
        missing = cost - self._in_hand.get(user, 0)
        taken = 0 if missing <= 0 else await self._take_portion(user, missing)
        self._in_hand[user] = self._in_hand.get(user, 0) + taken - cost
        self._in_hand.move_to_end(user)
        if len(self._in_hand) > REMEMBERED_USERS:
            self._in_hand.popitem(last=False)

    async def _take_portion(self, user: str, least: int) -> int:
        portion = max(least, self._cost // PORTIONS)
        item = RateLimitItemPerMinute(self._cost, namespace=COST)
        if portion > least and await self._granted(item, user, portion):
            return portion
        await self._take(COST, self._cost, user, least)
        return least

    async def _take(self, what: str, limit: int, user: str, amount: int) -> None:
        item = RateLimitItemPerMinute(limit, namespace=what)
        if not await self._granted(item, user, amount):
            wait = await self._wait(item, user, amount)
            raise RateLimited(f"{limit:,} {what}", max(1, int(wait) + 1))

    async def _granted(self, item: RateLimitItem, user: str, amount: int) -> bool:
        return await self._valkey.ask(lambda: self._window.hit(item, user, cost=amount), otherwise=True)

    async def _wait(self, item: RateLimitItem, user: str, amount: int) -> float:
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
