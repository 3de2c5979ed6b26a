"""Servers, workers and clients that go: what waits is answered, and nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from asking import TOY, ask, refused, samples, until
from engine_models import POINTS, close


def test_whoever_leaves_cancels(server):
    def leave(accept):
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(
                server.url + TOY,
                json={"slow": 0.0, "steps": 2000, "num_samples": 1000},
                headers={"accept": accept},
                timeout=httpx.Timeout(60, read=0.5),
            ).read()

    begun = time.monotonic()
    leave("application/json")
    until(lambda: httpx.get(f"{server.url}/health").json()["running"] == 0)
    until(lambda: not server.left)
    with (
        httpx.stream(
            "POST",
            server.url + TOY,
            json={"steps": 2000, "num_samples": 1000},
            headers={"accept": "text/event-stream"},
        ) as answer,
    ):
        lines = answer.iter_lines()
        while "step" not in next(lines):
            continue
    until(lambda: httpx.get(f"{server.url}/health").json()["running"] == 0)
    until(lambda: not server.left)
    assert time.monotonic() - begun < 60
    assert samples(ask(server, {}))


def test_a_killed_worker(server):
    (worker,) = server.workers
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(ask, server, {"slow": 30.0})
        until(lambda: httpx.get(f"{server.url}/health").json()["running"] == 1)
        waits = pool.submit(ask, server, {"seed": 5})
        os.kill(worker, signal.SIGKILL)
        error = refused(slow.result(), 503)
        assert slow.result().headers["retry-after"] == "5"
        close(samples(waits.result()), POINTS.generate(seed=5).samples)  # by the next one
    assert "exit code -9" in error["text"]
    assert server.workers != [worker]
    until(lambda: not server.left)
    assert "unnoise_worker_restarts_total 1.0" in httpx.get(f"{server.url}/metrics").text
    assert refused(ask(server, {"fault": "kill"}), 503)["kind"] == "Lost"
    assert samples(ask(server, {}))


def test_a_bug_is_a_fault_of_ours(server):
    error = refused(ask(server, {"fault": "bug"}), 500)
    assert "report" in error["fix"]
    assert "RuntimeError" not in json.dumps(error)
    assert samples(ask(server, {}))


def told(server, request):
    return ask(server, request, headers={"authorization": "Bearer sesame"})


def test_a_full_queue(strict):
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(told, strict, {"slow": 1.5})
        until(lambda: httpx.get(f"{strict.url}/health").json()["running"] == 1)
        waits = pool.submit(told, strict, {})
        until(lambda: httpx.get(f"{strict.url}/health").json()["waiting"] == 1)
        answer = told(strict, {})
        assert refused(answer, 503)["limit"] == 1
        assert answer.headers["retry-after"]
        assert samples(slow.result())
        assert samples(waits.result())


def test_limits(strict):
    error = refused(told(strict, {"centre": [1.0] * 5, "num_samples": 2}), 422)
    assert (error["value"], error["limit"]) == (10, 8)
    error = refused(told(strict, {"num_samples": 8, "steps": 50}), 422)
    assert (error["value"], error["limit"]) == (800, 100)
    error = refused(told(strict, {"slow": 3.0}), 504)
    assert error["limit"] == "2 s"


def test_a_token(strict):
    for headers in ({}, {"authorization": "Bearer other"}, {"authorization": "sesame"}):
        assert refused(ask(strict, {}, headers=headers), 401)["fix"]
        assert httpx.get(f"{strict.url}/metrics", headers=headers).status_code == 401
    assert samples(told(strict, {}))
    assert httpx.get(f"{strict.url}/").status_code == 200  # the page asks for it


def test_pages_of_other_sites(server):
    error = refused(ask(server, {}, headers={"origin": "http://example.org"}), 403)
    assert error["value"] == "http://example.org"
    assert samples(ask(server, {}, headers={"origin": server.url}))
    rebound = httpx.get(f"{server.url}/domains", headers={"host": "example.org"})
    assert "this machine alone" in refused(rebound, 403)["text"]


def test_behind_a_proxy(strict):
    """--name is the host of the proxy, which may hand it on or not."""
    authorization = {"authorization": "Bearer sesame"}
    for headers in ({"host": "example.net"}, {"origin": "https://example.net"}):
        assert samples(ask(strict, {}, headers={**authorization, **headers}))
    other = {"origin": "https://example.net.org", **authorization}
    refused(ask(strict, {}, headers=other), 403)


@pytest.mark.slow
def test_nothing_is_left_by_a_server(start):
    for how, first in ((signal.SIGTERM, True), (signal.SIGKILL, False)):
        server = start()
        thread = threading.Thread(target=_quietly, args=(server, {"slow": 20.0}))
        thread.start()
        until(lambda s=server: httpx.get(f"{s.url}/health").json()["running"] == 1)
        workers = server.workers
        server.process.send_signal(how)
        server.process.wait(20)
        thread.join()
        until(lambda w=workers: not any(_alive(pid) for pid in w), 40)
        if first:
            assert not list(server.temporary.glob("unnoise-serve-*"))
    # the next server takes away what the killed one could not
    again = start(env={"TMPDIR": str(server.temporary)})
    assert len(list(server.temporary.glob("unnoise-serve-*"))) == 1
    assert samples(ask(again, {}))


def _quietly(server, request):
    try:
        ask(server, request)
    except httpx.TransportError:
        return


def _alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
