"""The state machine of an execution: pure."""

from app.errors import InvalidTransition
from app.tables import ExecutionAction, ExecutionStatus

PENDING, RUNNING, PAUSED = ExecutionStatus.PENDING, ExecutionStatus.RUNNING, ExecutionStatus.PAUSED
COMPLETED, FAILED, CANCELLED = ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED

OPEN = frozenset({PENDING, RUNNING, PAUSED})
TERMINAL = frozenset({COMPLETED, FAILED, CANCELLED})

NEXT: dict[ExecutionStatus, frozenset[ExecutionStatus]] = {
    PENDING: frozenset({RUNNING, CANCELLED, FAILED}),
    RUNNING: frozenset({PAUSED, COMPLETED, FAILED, CANCELLED}),
    PAUSED: frozenset({RUNNING, COMPLETED, FAILED, CANCELLED}),
    COMPLETED: frozenset(),
    FAILED: frozenset(),
    CANCELLED: frozenset(),
}

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


def allowed_actions(status: ExecutionStatus) -> tuple[ExecutionAction, ...]:
    """What may be asked of an execution in this status."""
    return _ACTIONS[status]


def check(current: ExecutionStatus, target: ExecutionStatus) -> None:
    """Raise InvalidTransition unless an execution may go from `current` to `target`."""
    if target not in NEXT[current]:
        raise InvalidTransition(current, target, allowed_actions(current))
