"""Many clients of `unnoise serve` at once, every answer compared with what `generate` makes alone.

    python tests/benchmarks/serve_load.py --clients 200 --seconds 300 --plot load.svg

A server is started on a free port of this machine. Each client sends one request after the other,
drawn from a list of requests with other labels, seeds, numbers of samples and steps; answers are
pictures, which may differ from those of `generate` by one of 255 levels, as rounding does where a
batch has another size. Printed: answers by status, wrong and lost ones, seconds that half and 99 %
of the answers took, and the memory of the server and its worker over time.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

import unnoise

KINDS = 24  # of requests
LEVEL = 1  # of 255 that a picture may be off
EVERY = 5.0  # seconds between two looks at the memory


@dataclass
class Seen:
    """What was counted."""

    statuses: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    memory: list[tuple[float, float, float]] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--plot", type=Path, help="an SVG of the memory over time")
    chosen = parser.parse_args()
    requests = [
        {
            "label": k % 10 if k % 3 else [k % 10, (k + 1) % 10],
            "seed": k // 2,
            "num_samples": 1 + k % 2,
            "steps": 5 if k % 4 else 8,
        }
        for k in range(KINDS)
    ]
    known = [unnoise.generate("images", **request).samples for request in requests]
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "unnoise", "serve", "--port", "0"],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "UNNOISE_PLUGINS": "images", "TMPDIR": folder},
        )
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            seen = asyncio.run(load(url, process.pid, requests, known, chosen))
            left = [path.name for path in Path(folder).glob("unnoise-serve-*/*")]
        finally:
            process.terminate()
            process.wait(20)
        after = [path.name for path in Path(folder).iterdir()]
    report(seen, chosen, [name for name in left if name != "nowhere"], after)
    if chosen.plot:
        chosen.plot.write_text(drawn(seen.memory))
    sys.exit(bool(seen.wrong))


async def load(
    url: str, pid: int, requests: list[dict[str, Any]], known: list[Any], chosen: Any
) -> Seen:
    seen = Seen()
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=chosen.clients)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as client:
        while True:
            try:
                if (await client.get("/health")).status_code == 200:
                    break
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.5)
        begun = time.monotonic()
        until = begun + chosen.seconds
        watch = asyncio.create_task(memory(pid, seen, begun))
        ones = [one(client, k, requests, known, until, seen) for k in range(chosen.clients)]
        await asyncio.gather(*ones)
        watch.cancel()
        await asyncio.sleep(1)
    return seen


async def one(
    client: httpx.AsyncClient,
    number: int,
    requests: list[dict[str, Any]],
    known: list[Any],
    until: float,
    seen: Seen,
) -> None:
    choose = random.Random(number)
    while time.monotonic() < until:
        k = choose.randrange(len(requests))
        begun = time.monotonic()
        try:
            answer = await client.post("/generate/images", json=requests[k])
        except httpx.TransportError as error:
            seen.statuses[type(error).__name__] += 1
            seen.wrong.append(f"no answer: {error!r}")
            continue
        seen.statuses[str(answer.status_code)] += 1
        if answer.status_code in (429, 503):
            await asyncio.sleep(float(answer.headers["retry-after"]))
            continue
        seen.seconds.append(time.monotonic() - begun)
        if fault := different(answer, requests[k], known[k]):
            seen.wrong.append(f"request {k}: {fault}")


def different(answer: httpx.Response, request: dict[str, Any], known: list[Any]) -> str:
    """What is wrong with an answer."""
    if answer.status_code != 200:
        return answer.text[:200]
    found = answer.json()
    record = found["provenance"]
    said = {"seed": record["seed"], "num_samples": record["num_samples"], **record["request"]}
    for name in ("seed", "num_samples", "label"):
        if said[name] != request[name]:
            return f"{name} is {said[name]}"
    if len(found["files"]) != len(known):
        return f"{len(found['files'])} files of {len(known)}"
    for file, picture in zip(found["files"], known, strict=True):
        own = np.asarray(Image.open(io.BytesIO(base64.b64decode(file["base64"]))), int)
        off = int(abs(own - np.asarray(picture, int)).max())
        if off > LEVEL:
            return f"{file['name']} is off by {off} levels"
    return ""


async def memory(pid: int, seen: Seen, begun: float) -> None:
    """Megabytes of the server and of its processes."""
    while True:
        children = [
            int(word)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for word in (task / "children").read_text().split()
        ]
        row = (time.monotonic() - begun, resident(pid), sum(map(resident, children)))
        seen.memory.append(row)
        await asyncio.sleep(EVERY)


def resident(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except FileNotFoundError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def report(seen: Seen, chosen: Any, left: list[str], after: list[str]) -> None:
    half, most = np.percentile(seen.seconds, [50, 99]) if seen.seconds else (0.0, 0.0)
    third = len(seen.memory) // 3
    middle = [max(row[k] for row in seen.memory[third : 2 * third] or seen.memory) for k in (1, 2)]
    end = [max(row[k] for row in seen.memory[2 * third :] or seen.memory) for k in (1, 2)]
    rows = {
        "clients": chosen.clients,
        "seconds": f"{chosen.seconds:g}",
        "answers": ", ".join(f"{n} of status {status}" for status, n in seen.statuses.items()),
        "wrong or lost": len(seen.wrong),
        "a second": f"{len(seen.seconds) / chosen.seconds:.1f}",
        "half within, s": f"{half:.1f}",
        "99 % within, s": f"{most:.1f}",
        "server, MB, middle and last third": " and ".join(f"{m[0]:.0f}" for m in (middle, end)),
        "worker, MB": " and ".join(f"{m[1]:.0f}" for m in (middle, end)),
        "folders left": len(left) + len(after),
    }
    for fault in seen.wrong[:3]:
        print(fault, file=sys.stderr)
    print(f"| {' | '.join(rows)} |\n|{'---|' * len(rows)}")
    print(f"| {' | '.join(map(str, rows.values()))} |")


def drawn(rows: list[tuple[float, float, float]]) -> str:
    """The memory over time."""
    width, height, edge = 640, 320, 48
    longest, most = rows[-1][0] or 1, 1.1 * max(max(row[1:]) for row in rows)

    def line(k: int, colour: str) -> str:
        points = " ".join(
            f"{edge + row[0] / longest * (width - 2 * edge):.1f},"
            f"{height - edge - row[k] / most * (height - 2 * edge):.1f}"
            for row in rows
        )
        return f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{points}"/>'

    words = [
        (edge, edge - 16, f"memory, MB (top: {most:.0f}): server blue, worker red"),
        (edge, height - 16, "0 s"),
        (width - edge - 40, height - 16, f"{longest:.0f} s"),
    ]
    texts = "".join(f'<text x="{x}" y="{y}">{text}</text>' for x, y, text in words)
    frame = f"M{edge} {edge}V{height - edge}H{width - edge}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
        f' font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="#fff"/>'
        f'<path d="{frame}" fill="none" stroke="#888"/>{line(1, "#2d56bd")}{line(2, "#a5281b")}'
        f"{texts}</svg>"
    )


if __name__ == "__main__":
    main()
