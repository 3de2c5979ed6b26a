"""schemathesis: whatever the OpenAPI document allows, and what it forbids, no answer is a 500."""

from __future__ import annotations

import httpx
import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
]
EXAMPLES = 25


@pytest.fixture
def api_schema(server):
    document = httpx.get(f"{server.url}/openapi.json").json()
    properties = document["paths"]["/generate/toy"]["post"]["requestBody"]["content"]
    # what makes the toy fail on purpose, or take long, is no part of the interface
    asked = properties["application/json"]["schema"]["properties"]
    for name in ("fault", "slow", "lose"):
        del asked[name]
    asked["steps"]["anyOf"][0]["maximum"] = 20
    asked["passes"]["maximum"] = 3
    document["servers"] = [{"url": server.url}]
    return schemathesis.openapi.from_dict(document)


schema = schemathesis.pytest.from_fixture("api_schema")


@schema.parametrize()
@hypothesis.settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
def test_no_answer_is_a_500(case):
    case.call_and_validate(checks=CHECKS, timeout=60)
