"""The kit against planted mistakes: each must be caught by the check that is meant to catch it.

    python tests/core/testing/mutations.py

prints the table. The object without a mistake passes every check, see test_kit.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from planted_codecs import CODECS
from planted_denoisers import DENOISERS
from planted_domains import DOMAINS
from planted_kernels import KERNELS
from planted_laws import LAWS
from planted_plugins import PLUGINS, Planted
from planted_requests import REQUESTS
from planted_samplers import SAMPLERS
from planted_spaces import SCHEDULES, SPACES

from unnoise.testing.kit import checks_of
from unnoise.testing.report import Result, outcome

NOUNS = {
    "kernel": KERNELS + LAWS,
    "space": SPACES,
    "schedule": SCHEDULES,
    "sampler": SAMPLERS,
    "denoiser": DENOISERS,
    "domain": DOMAINS + REQUESTS,
    "codec": CODECS,
    "plugin": PLUGINS,
}
MUTATIONS = [(noun, *row) for noun, rows in NOUNS.items() for row in rows]


def caught(subject: object, meant: str) -> Result:
    """What the check that is meant to catch a mistake says of it."""
    if isinstance(subject, Planted):
        return subject.checked(meant)
    (check,) = [check for check in checks_of(subject) if check.name == meant]
    return outcome(check)


def main() -> int:
    missed = 0
    chosen = sys.argv[1:]
    for noun, mistake, meant, subject in MUTATIONS:
        if chosen and noun not in chosen:
            continue
        result = caught(subject, meant)
        missed += result.status != "failed"
        print(f"{noun:<9} {mistake:<58} {meant:<36} {result.status}: {result.detail[:110]}")
    print(f"\n{len(MUTATIONS)} mistakes, {len(MUTATIONS) - missed} caught")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
