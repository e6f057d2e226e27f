"""The state machine of an execution: pure."""

from app.errors import InvalidTransition
from app.tables import ExecutionAction, ExecutionStatus

PENDING, RUNNING, PAUSED = ExecutionStatus.PENDING, ExecutionStatus.RUNNING, ExecutionStatus.PAUSED
COMPLETED, FAILED, CANCELLED = ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED

OPEN = frozenset({PENDING, RUNNING, PAUSED})
TERMINAL = frozenset({COMPLETED, FAILED, CANCELLED})

_ACTIONS: dict[ExecutionStatus, tuple[ExecutionAction, ...]] = {
    PENDING: (ExecutionAction.CANCEL,),
    RUNNING: (
        ExecutionAction.PAUSE,
        ExecutionAction.CANCEL,
        ExecutionAction.TERMINATE,
        ExecutionAction.COMPLETE,
        ExecutionAction.FAIL,
        ExecutionAction.SIGNAL,
    ),
    PAUSED: (
        ExecutionAction.RESUME,
        ExecutionAction.CANCEL,
        ExecutionAction.TERMINATE,
        ExecutionAction.COMPLETE,
        ExecutionAction.FAIL,
        ExecutionAction.SIGNAL,
    ),
    COMPLETED: (),
    FAILED: (),
    CANCELLED: (),
}

_TARGETS = {
    ExecutionAction.PAUSE: PAUSED,
    ExecutionAction.RESUME: RUNNING,
    ExecutionAction.CANCEL: CANCELLED,
    ExecutionAction.TERMINATE: FAILED,
    ExecutionAction.COMPLETE: COMPLETED,
    ExecutionAction.FAIL: FAILED,
}


def allowed_actions(status: ExecutionStatus) -> tuple[ExecutionAction, ...]:
    """What may be asked of an execution in this status."""
    return _ACTIONS[status]


def check(current: ExecutionStatus, action: ExecutionAction) -> None:
    """Raise InvalidTransition unless the action may be asked of an execution in this status."""
    if action in _ACTIONS[current]:
        return
    # A signal asks for no other status.
    change = "take a signal" if action is ExecutionAction.SIGNAL else None
    raise InvalidTransition(current, _TARGETS.get(action, current), allowed_actions(current), change)


def check_open(current: ExecutionStatus) -> None:
    """Raise InvalidTransition where an execution has ended: it takes no more events."""
    if current in TERMINAL:
        raise InvalidTransition(current, current, allowed_actions(current), "be changed")
