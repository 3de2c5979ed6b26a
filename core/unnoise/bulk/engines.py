"""Who makes the shards of a job. Each engine makes the same."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any, Final, final

from unnoise.bulk.job import Job, Shard
from unnoise.errors import InputError, UnnoiseError

_DEATHS: Final = 10
"""Times that the processes may die around a shard before it is given up."""


class Engine(ABC):
    """A way to have shards made."""

    @abstractmethod
    def run(self, job: Job, shards: Sequence[Shard]) -> Iterator[Shard]:
        """Make the shards; each as it is finished, in any order. What stops the iteration loses no
        shard that was finished."""


@final
@dataclass(frozen=True)
class Here(Engine):
    """This process, one shard after the other."""

    def run(self, job: Job, shards: Sequence[Shard]) -> Iterator[Shard]:
        for shard in shards:
            job.made(shard)
            yield shard


@final
@dataclass(frozen=True)
class Processes(Engine):
    """So many processes of this machine. When one of them is killed, all begin anew with what is
    left."""

    workers: int

    def run(self, job: Job, shards: Sequence[Shard]) -> Iterator[Shard]:
        left, deaths = dict.fromkeys(shards), Counter[Shard]()
        while left:
            context = multiprocessing.get_context("spawn")
            pool = ProcessPoolExecutor(self.workers, mp_context=context, initializer=_begin)
            try:
                for shard in self._through(pool, job, list(left), deaths):
                    del left[shard]
                    yield shard
            except BrokenProcessPool as error:
                if deaths and max(deaths.values()) >= _DEATHS:
                    shard, count = deaths.most_common(1)[0]
                    raise UnnoiseError(
                        f"the process that makes rows {shard.first} and on died every time",
                        value=f"{count} times",
                        fix="it was killed, perhaps for its memory: fewer workers, a smaller"
                        " batch_size; what is finished stays",
                    ) from error
            finally:
                _end(pool)

    def _through(
        self, pool: ProcessPoolExecutor, job: Job, shards: list[Shard], deaths: Counter[Shard]
    ) -> Iterator[Shard]:
        """No more than two shards for each process wait there."""
        waiting, running = iter(shards), dict[Future[None], Shard]()
        while True:
            for shard in waiting:
                running[pool.submit(job.made, shard)] = shard
                if len(running) >= 2 * self.workers:
                    break
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            if any(isinstance(one.exception(), BrokenProcessPool) for one in done):
                deaths.update(running.values())
            for future in done:
                future.result()
                yield running.pop(future)


@final
@dataclass(frozen=True)
class Ray(Engine):
    """So many workers of a Ray cluster: of the one that RAY_ADDRESS names, else of one that is
    started on this machine and ends with the run. The folder of results is one that all nodes see.
    Ray starts a worker that was killed anew and gives it its shards again."""

    workers: int

    def run(self, job: Job, shards: Sequence[Shard]) -> Iterator[Shard]:
        try:
            import ray
            import ray.data
        except ImportError as error:
            raise InputError(
                "this engine needs Ray", value="ray", fix="pip install 'unnoise[ray]'"
            ) from error
        begun = not ray.is_initialized()
        if begun:
            ray.init(include_dashboard=False, log_to_driver=False)
        try:
            context = ray.data.DataContext.get_current()
            context.enable_progress_bars = False
            by_number = {shard.number: shard for shard in shards}
            rows = [vars(shard) for shard in shards]
            made = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
                _Maker,
                fn_constructor_args=(job,),
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(size=self.workers),
                num_cpus=1,
            )
            for row in made.iter_rows():
                yield by_number[int(row["number"])]
        finally:
            if begun:
                ray.shutdown()


class _Maker:
    """What a worker of Ray does with shards."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        for values in zip(*batch.values(), strict=True):
            self._job.made(Shard(*(int(value) for value in values)))
        return {"number": batch["number"]}


def _begin() -> None:
    """A process of the pool begins: it leaves Ctrl-C to its parent, and does not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _end(pool: ProcessPoolExecutor) -> None:
    """End the processes at once: what they have begun is not missed, for a shard is whole or not
    there."""
    processes = list((getattr(pool, "_processes", None) or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()
    for process in processes:
        process.join()
