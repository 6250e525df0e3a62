"""What Shoal promises of its answers beyond what spec/openapi.yml can say, and the one
rule by which it answers what is not there."""

import json

import schemathesis
from schemathesis.core.failures import Failure
from schemathesis.openapi.checks import UnsupportedMethodResponse

# Methods of older clients and of E2B's API that Shoal does not serve get the reason
# instead of 405 (internal/api/deprecated.go and unserved.go).
UNSERVED = {(410, "build.legacy"), (501, "request.not_implemented")}


def error_of(response) -> dict | None:
    """The error that an answer holds; None if it is none, or one in plain text."""
    kind = response.headers.get("content-type", [""])[0]
    return json.loads(response.content) if response.status_code >= 400 and "json" in kind else None


@schemathesis.check
def errors_name_their_status(ctx, response, case):
    error = error_of(response)
    if error and error["code"] != response.status_code:
        raise AssertionError(f"the status is {response.status_code} and code is {error['code']}")


@schemathesis.check
def only_missing_features_are_not_implemented(ctx, response, case):
    if response.status_code == 501 and error_of(response)["error_code"] != "request.not_implemented":
        raise AssertionError("501 without the error code of a missing feature")


@schemathesis.hook
def filter_failure(context, failure: Failure, case, response) -> bool:
    error = error_of(response)
    return not (isinstance(failure, UnsupportedMethodResponse) and error
                and (response.status_code, error["error_code"]) in UNSERVED)
