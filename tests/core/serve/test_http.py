"""What clients get: samples as `generate` makes them, and for everything else its status."""

from __future__ import annotations

import base64
import json
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from asking import TOY, ask, head, raw, refused, samples, until
from engine_models import POINTS, close


def events(server, request, query=""):
    found = []
    accept = {"accept": "text/event-stream"}
    with httpx.stream(
        "POST", server.url + TOY + query, json=request, headers=accept, timeout=60
    ) as r:
        assert r.status_code == 200
        for line in r.iter_lines():
            if line.startswith("event: "):
                found.append([line[7:], None])
            elif line.startswith("data: "):
                found[-1][1] = json.loads(line[6:])
    return found


def test_samples_are_those_of_generate(server):
    request = {"centre": [1.0, -1.0], "num_samples": 3, "seed": 7, "steps": 5}
    answer = ask(server, request)
    alone = POINTS.generate(**request)
    close(samples(answer), alone.samples)
    record = answer.json()["provenance"]
    assert record["ids"] == list(range(6))
    assert record["seed"] == 7
    assert record["request"]["centre"] == [1.0, -1.0]
    assert record["files"] == [file["name"] for file in answer.json()["files"]]
    assert "preview" not in answer.json()
    until(lambda: not server.left)


def test_events_on_the_way(server):
    found = events(server, {"num_samples": 70, "steps": 4}, "?preview=1")
    names = [name for name, _ in found]
    assert names[0] == "queued"
    assert names[1] == "begun"
    assert names[-1] == "result"
    assert names.count("batch") == 2
    assert "step" in names
    files = [f for name, data in found if name == "batch" for f in data["files"]]
    close(
        [json.loads(base64.b64decode(f["base64"])) for f in files],
        POINTS.generate(num_samples=70, steps=4).samples,
    )
    result = found[-1][1]
    assert result["files"] == []  # all were sent
    assert result["preview"].count("<p>") == 64
    looks = [data for name, data in found if name == "look"]
    assert looks
    assert all(len(data["cells"]) == 4 and 0 <= data["t"] <= 1 for data in looks)
    until(lambda: not server.left)


def test_an_error_on_the_way(server):
    name, data = events(server, {"centre": 1e30})[-1]
    assert name == "error"
    assert data["status"] == 422
    assert data["error"]["kind"] == "NonFiniteError"


def test_what_is_there(server):
    assert httpx.get(f"{server.url}/domains").json()["domains"] == [
        {"name": "toy", "summary": "points around a centre", "models": ["toy"]}
    ]
    schema = httpx.get(f"{server.url}/schema/toy").json()
    properties = schema["schema"]["properties"]
    assert {"centre", "seed", "steps", "num_samples", "model"} <= properties.keys()
    assert not {"device", "threads", "batch_size", "callback"} & properties.keys()
    assert properties["text"]["x-files"]["accept"] == [".txt"]
    assert schema["demo"] == {"num_samples": 2, "text": {"example": "config.json"}}
    assert httpx.get(f"{server.url}/example/toy/config.json").status_code == 200
    assert refused(httpx.get(f"{server.url}/example/toy/other"), 404)["value"] == "other"
    assert refused(httpx.get(f"{server.url}/schema/nothing"), 404)["limit"] == "toy"
    metrics = httpx.get(f"{server.url}/metrics").text
    assert "unnoise_requests_total" in metrics
    assert "unnoise_queue_requests 0.0" in metrics


@pytest.mark.parametrize(
    ("request_", "field", "words"),
    [
        ({"centr": 1}, "centr", "did you mean 'centre'?"),
        ({"centre": "much"}, "centre", "request field 'centre'"),
        ({"passes": -1}, "passes", ">= 0"),
        ({"num_samples": 5000}, "num_samples", "allowed: 1024"),
        ({"num_samples": [1]}, "num_samples", ""),
        ({"steps": 5000}, "steps", "allowed: 2000"),
        ({"seed": -1}, "seed", ">= 0"),
        ({"seed": 10**30}, "seed", "< 18446744073709551616"),
        ({"sampler": "nothing"}, "sampler", ""),
        ({"device": "cpu"}, "device", "whoever runs the server"),
        ({"callback": 1}, "callback", "unknown request field"),
        ({"ids": [1]}, "ids", "unknown request field"),
        ({"model": "/etc"}, "model", "allowed: toy"),
        ({"model": 3}, "model", "allowed: toy"),
        ({"text": "/etc/passwd"}, "text", "no path here"),
        ({"text": "relative.txt"}, "text", "none, or an upload"),
        ({"any": ["/etc/passwd"]}, "any", "no path here"),
        ({"note": "/etc/passwd"}, "note", "names a file of the server"),
        ({"note": "../" * 20 + "etc/passwd"}, "note", "names a file of the server"),
        ({"text": {"example": "../domain.py"}}, "text", "no such example"),
        ({"text": {"upload": "x"}}, "text", "no part of this name"),
        ({"text": {"name": "a.txt", "base64": "?"}}, "text", "no base64"),
        ({"text": {"name": "a.txt", "base64": 3}}, "text", "texts"),
        ({"secret": {"name": "a.pt", "base64": ""}}, "secret", "may hold code"),
        ({"text": {"name": "sub/a.txt", "base64": ""}}, None, "got 'a.txt'"),
        ({"num_samples": "auto"}, "num_samples", "pass a number"),
        ({"deadline": 0.001, "steps": 500}, None, "the deadline passed"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_refused(server, request_, field, words):
    error = refused(ask(server, request_), 504 if "deadline" in request_ else 422)
    assert words in error["text"]
    assert error["field"] == field or (field is None and error["field"] in (None, "deadline"))
    assert "unnoise-serve" not in json.dumps(error)
    until(lambda: not server.left)


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 422),
        (b"[]", "application/json", 422),
        (b"\xff\xfe", "application/json", 422),
        (b'{"note": "\\ud800"}', "application/json", 422),
        (b"[" * 100_000, "application/json", 422),
        (b'{"seed": 1' + b"0" * 5000 + b"}", "application/json", 422),
        (b"{}", "text/plain", 415),
        (b"{}", "", 415),
        (b"x", "multipart/form-data; boundary=b", 422),
        (b"x", "multipart/form-data", 422),
        (b'{"note": "' + b"x" * 2**25 + b'"}', "application/json", 413),
    ],
    ids=lambda value: str(value)[:30],
)
def test_malformed_bodies(server, body, kind, status):
    headers = {"content-type": kind} if kind else {}
    answer = httpx.post(server.url + TOY, content=body, headers=headers, timeout=60)
    refused(answer, status)


def test_bodies_that_do_not_come(server):
    huge = raw(server, head(2**40))
    assert b"413" in huge.split(b"\r\n")[0]
    assert b"400" in raw(server, b"nonsense\r\n\r\n").split(b"\r\n")[0]
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname, where.port)) as line:
        line.sendall(head(100) + b'{"ce')  # half of it, and gone
    until(lambda: httpx.get(f"{server.url}/health").json()["running"] == 0)
    assert samples(ask(server, {}))
    until(lambda: not server.left)


def test_a_slow_body(server):
    assert b"408" in raw(server, head(100) + b'{"ce').split(b"\r\n")[0]


def test_uploads(server):
    inline = {"name": "../a b.txt", "base64": base64.b64encode(b"hello").decode()}
    answer = ask(server, {"text": inline, "any": [inline, inline]})
    record = answer.json()["provenance"]["request"]
    assert record["text"] == "a_b.txt"
    assert record["any"] == ["a_b.txt", "a_b.txt"]
    assert ask(server, {"text": "none"}).status_code == 200
    assert ask(server, {"text": {"example": "config.json"}}).status_code == 200
    parts = {
        "request": (None, json.dumps({"text": {"upload": "mine"}, "num_samples": 2})),
        "mine": ("b.txt", b"hello"),
    }
    answer = httpx.post(server.url + TOY, files=parts, timeout=60)
    assert len(samples(answer)) == 2
    assert answer.json()["provenance"]["request"]["text"] == "b.txt"
    parts["other"] = ("c.txt", b"")
    assert refused(httpx.post(server.url + TOY, files=parts), 422)["value"] == "other"
    many = {"any": [inline] * 65}
    assert refused(ask(server, many), 413)["limit"] == 64
    until(lambda: not server.left)


def test_strangers_at_once(server):
    """Requests that wait while another runs are answered in one batch, each its own."""
    requests = [
        {"centre": float(k % 5), "seed": k // 2, "num_samples": 1 + k % 3} for k in range(24)
    ]
    before = _counted(server, "unnoise_group_requests_count")
    with ThreadPoolExecutor(25) as pool:
        slow = pool.submit(ask, server, {"slow": 1.0})
        until(lambda: httpx.get(f"{server.url}/health").json()["running"] == 1)
        answers = list(pool.map(lambda request: ask(server, request), requests))
        assert samples(slow.result())
    for request, answer in zip(requests, answers, strict=True):
        close(samples(answer), POINTS.generate(**request).samples)
        assert answer.json()["provenance"]["seed"] == request["seed"]
        assert answer.json()["provenance"]["request"]["centre"] == request["centre"]
    assert _counted(server, "unnoise_group_requests_count") - before < 24
    until(lambda: not server.left)


def test_one_stranger_does_not_harm_another(server):
    requests = [{"centre": 1.0, "seed": k} for k in range(4)]
    requests[2]["centre"] = 1e30  # leaves the scale of its law
    with ThreadPoolExecutor(5) as pool:
        slow = pool.submit(ask, server, {"slow": 1.0})
        until(lambda: httpx.get(f"{server.url}/health").json()["running"] == 1)
        answers = list(pool.map(lambda request: ask(server, request), requests))
        slow.result()
    assert [answer.status_code for answer in answers] == [200, 200, 422, 200]
    assert refused(answers[2], 422)["kind"] == "NonFiniteError"


def _counted(server, name):
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))
