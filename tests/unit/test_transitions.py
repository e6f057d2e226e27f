"""The state machine, status by status."""

from itertools import product

import pytest

from app.errors import InvalidTransition
from app.tables import ExecutionAction, ExecutionStatus
from app.transitions import OPEN, TERMINAL, allowed_actions, check, check_open

PENDING, RUNNING, PAUSED, COMPLETED, FAILED, CANCELLED = ExecutionStatus
PAUSE, RESUME, CANCEL, TERMINATE, COMPLETE, FAIL, SIGNAL = ExecutionAction

ACTIONS = {
    PENDING: (CANCEL,),
    RUNNING: (PAUSE, CANCEL, TERMINATE, COMPLETE, FAIL, SIGNAL),
    PAUSED: (RESUME, CANCEL, TERMINATE, COMPLETE, FAIL, SIGNAL),
    COMPLETED: (),
    FAILED: (),
    CANCELLED: (),
}
TARGETS = {
    PAUSE: PAUSED,
    RESUME: RUNNING,
    CANCEL: CANCELLED,
    TERMINATE: FAILED,
    COMPLETE: COMPLETED,
    FAIL: FAILED,
}
PAIRS = list(product(ExecutionStatus, ExecutionAction))


@pytest.mark.parametrize(
    ("current", "action"), [(current, action) for current, action in PAIRS if action in ACTIONS[current]]
)
def test_an_allowed_action_passes(current: ExecutionStatus, action: ExecutionAction) -> None:
    check(current, action)


@pytest.mark.parametrize(
    ("current", "action"), [(current, action) for current, action in PAIRS if action not in ACTIONS[current]]
)
def test_any_other_action_is_refused_with_the_way_out(
    current: ExecutionStatus, action: ExecutionAction
) -> None:
    with pytest.raises(InvalidTransition) as caught:
        check(current, action)

    target = TARGETS.get(action, current)
    change = "take a signal" if action is SIGNAL else f"become {target}"
    assert (caught.value.current, caught.value.target) == (current, target)
    assert caught.value.allowed == ACTIONS[current]
    assert f"{current} cannot {change}" in caught.value.message


@pytest.mark.parametrize("status", ExecutionStatus)
def test_each_status_allows_its_actions(status: ExecutionStatus) -> None:
    assert allowed_actions(status) == ACTIONS[status]


@pytest.mark.parametrize("status", ExecutionStatus)
def test_what_is_open_may_be_changed_and_what_is_final_stays(status: ExecutionStatus) -> None:
    if status in {PENDING, RUNNING, PAUSED}:
        check_open(status)
        return

    with pytest.raises(InvalidTransition, match=f"{status} cannot be changed; allowed now: nothing"):
        check_open(status)


def test_every_status_is_open_or_final() -> None:
    assert {PENDING, RUNNING, PAUSED} == OPEN
    assert {COMPLETED, FAILED, CANCELLED} == TERMINAL
