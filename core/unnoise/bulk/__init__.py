"""Many requests from a table: each row is one, and its samples go back beside it.

    table.py    the rows of a parquet, CSV or JSON lines file, and the same with results beside them
    job.py      one shard: some rows made into samples, in a folder that is whole or not there
    engines.py  who makes the shards: this process, several of them, or a Ray cluster
    run.py      the whole: requests, shards that are left, results, manifest

What a row makes depends on the row alone, never on the engine, the number of its workers or on what
was killed: (row, sample number) names a sample, a shard that exists is never made again, and every
request computes on one processor thread unless it says otherwise.
"""

from unnoise.bulk.engines import Engine, Here, Processes, Ray
from unnoise.bulk.job import Job
from unnoise.bulk.run import Bulk, Found

__all__ = ["Bulk", "Engine", "Found", "Here", "Job", "Processes", "Ray"]
