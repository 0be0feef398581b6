"""What schemathesis is told beyond the document: which calls would end its own run, and how lines of JSON are read."""

import json
import os

import schemathesis

# The run's own credential: without them everything else would only be refused.
OWN_TOKEN = os.environ["SENDENSE_SCHEMA_TOKEN_ID"]


@schemathesis.hook
def filter_case(context, case):
    path = case.path_parameters or {}
    operation = f"{case.method.upper()} {case.operation.path}"
    if operation == "DELETE /api/v1/auth/tokens/{id}":
        return path.get("id") != OWN_TOKEN
    return True


@schemathesis.deserializer("application/x-ndjson")
def lines(ctx, response):
    """Every line is an object; the last one stands for them all."""
    found = [json.loads(line) for line in response.content.decode("utf-8").splitlines() if line]
    assert all(isinstance(line, dict) for line in found), found
    return found[-1]
