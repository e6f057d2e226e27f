"""What schemathesis holds against us: faults of the server. To its own check any GraphQL error is one."""

import schemathesis


@schemathesis.check
def no_fault(_: object, response: schemathesis.Response, case: schemathesis.Case) -> None:
    """Fails for a status from 500 on, and for an error that the server calls its own."""
    codes = {error["extensions"]["code"] for error in response.json().get("errors", [])}
    assert response.status_code < 500
    assert "INTERNAL" not in codes
