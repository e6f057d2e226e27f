"""The state machine, status by status."""

from itertools import product

import pytest

from app.errors import InvalidTransition
from app.tables import ExecutionAction, ExecutionStatus
from app.transitions import OPEN, TERMINAL, allowed_actions, check

PENDING, RUNNING, PAUSED, COMPLETED, FAILED, CANCELLED = ExecutionStatus
PAUSE, RESUME, CANCEL, TERMINATE, COMPLETE, FAIL, SIGNAL = ExecutionAction

ALLOWED = {
    (PENDING, RUNNING),
    (PENDING, CANCELLED),
    (PENDING, FAILED),
    (RUNNING, PAUSED),
    (RUNNING, COMPLETED),
    (RUNNING, FAILED),
    (RUNNING, CANCELLED),
    (PAUSED, RUNNING),
    (PAUSED, COMPLETED),
    (PAUSED, FAILED),
    (PAUSED, CANCELLED),
}
ACTIONS = {
    PENDING: (CANCEL,),
    RUNNING: (PAUSE, CANCEL, TERMINATE, COMPLETE, FAIL, SIGNAL),
    PAUSED: (RESUME, CANCEL, TERMINATE, COMPLETE, FAIL, SIGNAL),
    COMPLETED: (),
    FAILED: (),
    CANCELLED: (),
}
PAIRS = list(product(ExecutionStatus, repeat=2))


@pytest.mark.parametrize(("current", "target"), [pair for pair in PAIRS if pair in ALLOWED])
def test_an_allowed_transition_passes(current: ExecutionStatus, target: ExecutionStatus) -> None:
    check(current, target)


@pytest.mark.parametrize(("current", "target"), [pair for pair in PAIRS if pair not in ALLOWED])
def test_any_other_transition_is_refused_with_the_way_out(
    current: ExecutionStatus, target: ExecutionStatus
) -> None:
    with pytest.raises(InvalidTransition) as caught:
        check(current, target)

    assert (caught.value.current, caught.value.target) == (current, target)
    assert caught.value.allowed == ACTIONS[current]
    assert f"{current} cannot become {target}" in caught.value.message


@pytest.mark.parametrize("status", ExecutionStatus)
def test_each_status_allows_its_actions(status: ExecutionStatus) -> None:
    assert allowed_actions(status) == ACTIONS[status]


def test_every_status_is_open_or_final_and_what_is_final_stays() -> None:
    assert {PENDING, RUNNING, PAUSED} == OPEN
    assert {COMPLETED, FAILED, CANCELLED} == TERMINAL
    assert {current for current, _ in ALLOWED} == OPEN
