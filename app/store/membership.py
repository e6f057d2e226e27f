"""Whether a column has one of several values, however many: the statement stays the same."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, any_, literal, literal_column
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import col

from app.tables import Execution
from app.transitions import OPEN


def one_of(column: Any, values: Collection[Any]) -> ColumnElement[bool]:
    """Whether the column has one of the values: one parameter for all of them."""
    if len(values) == 1:
        # An index has other columns in order behind this one.
        (value,) = values
        alone: ColumnElement[bool] = column == value
        return alone
    among: ColumnElement[bool] = column == any_(literal(list(values), ARRAY(column.type)))
    return among


# With the values in its text, Postgres finds the indexes that hold the open executions alone.
IS_OPEN: ColumnElement[bool] = col(Execution.status).in_(
    [literal_column(f"'{status}'") for status in sorted(OPEN)]
)
