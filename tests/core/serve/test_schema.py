"""schemathesis: whatever the OpenAPI document allows, and what it forbids, no answer is a 500."""

from __future__ import annotations

import httpx
import hypothesis
import pytest
import schemathesis
from schemathesis import GenerationMode
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
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=server.url)
    return schema


@pytest.mark.parametrize("examples", [8, pytest.param(150, marks=pytest.mark.slow)])
def test_no_answer_is_a_500(api_schema, examples):
    seen = []
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        for found in api_schema.get_all_operations():
            operation = found.ok()
            try:
                _fuzz(operation, mode, seen, examples)
            except hypothesis.errors.Unsatisfiable:  # nothing about it can be wrong
                assert mode == GenerationMode.NEGATIVE
    tried = [label for label, _ in seen]
    assert tried.count("POST /generate/toy") > examples
    assert {200, 422} <= {status for label, status in seen if label == "POST /generate/toy"}
    assert {"GET /domains", "GET /health", "GET /metrics", "GET /schema/{domain}"} <= set(tried)


def _fuzz(operation, mode, seen, examples):
    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def run(case):
        answer = case.call(timeout=60)
        seen.append((operation.label, answer.status_code))
        case.validate_response(answer, checks=CHECKS)

    run()
