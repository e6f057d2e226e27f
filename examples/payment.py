"""A payment that is declined: three attempts, then the execution fails with a reason."""

from dataclasses import dataclass
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, ApplicationErrorCategory

ATTEMPTS = 3


@dataclass(frozen=True)
class PaymentInput:
    """What to charge; `succeed_on_attempt` of 1 to 3 lets it through then, null never does."""

    customer: str = "Ada Lovelace"
    amount_cents: int = 4900
    retry_seconds: float = 0.5
    succeed_on_attempt: int | None = None


@dataclass(frozen=True)
class Receipt:
    customer: str
    amount_cents: int
    attempts: int


@activity.defn
async def charge(payment: PaymentInput) -> Receipt:
    """Answers a receipt, or raises `CardDeclined`."""
    attempt = activity.info().attempt
    if payment.succeed_on_attempt is None or attempt < payment.succeed_on_attempt:
        raise ApplicationError(
            f"card declined on attempt {attempt}",
            type="CardDeclined",
            category=ApplicationErrorCategory.BENIGN,
        )
    return Receipt(payment.customer, payment.amount_cents, attempt)


@workflow.defn
class PaymentWorkflow:
    @workflow.run
    async def run(self, given: PaymentInput | None = None) -> Receipt:
        """Answers a receipt, or fails as `PaymentDeclined`; every field of the input is optional."""
        payment = given or PaymentInput()
        try:
            return await workflow.execute_activity(
                charge,
                payment,
                start_to_close_timeout=timedelta(seconds=10),
                retry_policy=RetryPolicy(
                    initial_interval=timedelta(seconds=payment.retry_seconds),
                    maximum_attempts=ATTEMPTS,
                ),
            )
        except ActivityError as error:
            if not isinstance(error.cause, ApplicationError):
                raise
            raise ApplicationError(
                f"{payment.amount_cents} cents not paid after {ATTEMPTS} attempts: {error.cause.message}",
                type="PaymentDeclined",
            ) from error
