"""Values as hostile as a client can send, and as ordinary as Postgres can keep, for hypothesis."""

from typing import Any

from hypothesis import strategies as st

ANY_TEXT = st.text(st.characters())
"""Any text of Python's, NUL and lone surrogates included."""

KEPT_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"))
"""Any text that Postgres keeps."""


def json(scalars: st.SearchStrategy[Any], keys: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """JSON values over these scalars and keys."""
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
        max_leaves=12,
    )


ANY_JSON = json(st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT, ANY_TEXT)
"""Any JSON value that a parser may hand over: huge numbers, NaN, NUL and all."""

KEPT_JSON = json(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | KEPT_TEXT,
    KEPT_TEXT,
)
"""JSON values that pass the checks of `app.inputs`."""
