"""An order: stock, payment, a moment in which the address may still change, packing, shipping."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.common import RetryPolicy

OPTIONS = workflow.ActivityConfig(
    start_to_close_timeout=timedelta(seconds=30),
    retry_policy=RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=5),
)


@dataclass(frozen=True)
class Item:
    sku: str
    quantity: int = 1
    price_cents: int = 1000


def sample_items() -> list[Item]:
    return [Item("mechanical-keyboard", 1, 8900), Item("usb-c-cable", 2, 750)]


@dataclass(frozen=True)
class OrderInput:
    """What is ordered, how long each activity takes, and how long the order may still be changed."""

    order_id: str | None = None
    customer: str = "Ada Lovelace"
    address: str = "12 St James's Square, London"
    items: list[Item] = field(default_factory=sample_items)
    step_seconds: float = 1.0
    grace_seconds: float = 2.0


@dataclass(frozen=True)
class OrderResult:
    order_id: str
    customer: str
    shipped_to: str
    total_cents: int
    payment_id: str
    tracking_number: str


@dataclass(frozen=True)
class Progress:
    step: str
    done: list[str]
    address: str


@dataclass(frozen=True)
class Step:
    """What every activity of the order gets."""

    order_id: str
    seconds: float


@dataclass(frozen=True)
class Charge:
    step: Step
    customer: str
    total_cents: int


@dataclass(frozen=True)
class Shipment:
    step: Step
    address: str


@activity.defn
async def reserve_stock(step: Step) -> str:
    """Answers the reservation's number."""
    await asyncio.sleep(step.seconds)
    return f"reservation-{step.order_id}"


@activity.defn
async def charge_card(charge: Charge) -> str:
    """Answers the payment's number."""
    await asyncio.sleep(charge.step.seconds)
    return f"payment-{charge.step.order_id}"


@activity.defn
async def pack_parcel(step: Step) -> str:
    """Answers the parcel's number."""
    await asyncio.sleep(step.seconds)
    return f"parcel-{step.order_id}"


@activity.defn
async def ship_parcel(shipment: Shipment) -> str:
    """Answers the tracking number."""
    await asyncio.sleep(shipment.step.seconds)
    return f"TRACK-{shipment.step.order_id.upper()}"


@workflow.defn
class OrderWorkflow:
    def __init__(self) -> None:
        self._step = "received"
        self._done: list[str] = []
        self._address = ""

    @workflow.run
    async def run(self, given: OrderInput | None = None) -> OrderResult:
        """Ships the order and answers its total and tracking number; every field of the input is optional."""
        order = given or OrderInput()
        order_id = order.order_id or workflow.uuid4().hex[:8]
        self._address = self._address or order.address
        step = Step(order_id, order.step_seconds)
        total_cents = sum(item.quantity * item.price_cents for item in order.items)

        self._begin("reserving stock")
        await workflow.execute_activity(reserve_stock, step, **OPTIONS)
        self._begin("charging the card")
        charge = Charge(step, order.customer, total_cents)
        payment_id = await workflow.execute_activity(charge_card, charge, **OPTIONS)
        self._begin("waiting for changes")
        await workflow.sleep(timedelta(seconds=order.grace_seconds))
        self._begin("packing")
        await workflow.execute_activity(pack_parcel, step, **OPTIONS)
        self._begin("shipping")
        shipment = Shipment(step, self._address)
        tracking_number = await workflow.execute_activity(ship_parcel, shipment, **OPTIONS)
        self._begin("shipped")

        return OrderResult(
            order_id, order.customer, shipment.address, total_cents, payment_id, tracking_number
        )

    @workflow.signal
    def change_address(self, address: str) -> None:
        """Sends the parcel elsewhere; without effect once shipping has begun."""
        if self._step not in ("shipping", "shipped"):
            self._address = address

    @workflow.query
    def progress(self) -> Progress:
        """What the order is at, what is done, and where it would be sent."""
        return Progress(self._step, self._done, self._address)

    def _begin(self, step: str) -> None:
        self._done.append(self._step)
        self._step = step
