"""python docs/build.py [--gallery] [--fast] [--out site]

Makes the site: an HTML page and a plain Markdown page of each, search that works offline, llms.txt.
Warnings are errors. Scripts of `examples/` that have changed since they last ran here run first, a
minute each; `--gallery` runs them all. `--fast` runs none and leaves figures out.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from sphinx.cmd.build import build_main  # noqa: E402

from builder import checks, gallery, plain, render  # noqa: E402


def main(out: Path, scripts: list[str], figures: bool) -> int:
    gallery.run(scripts)
    source = HERE.parent / "build" / "docs"
    shutil.rmtree(source, ignore_errors=True)
    pages = render.write(source, figures)
    shutil.rmtree(out, ignore_errors=True)
    words = ["-b", "html", "-W", "--keep-going", "-q", "-c", str(HERE), str(source), str(out)]
    if code := build_main([*words, "-d", str(source.parent / "doctrees")]):
        return code
    plain.write(pages, source, out)
    wrong = checks.problems(out)
    for line in wrong:
        print(line, file=sys.stderr)
    print(f"{len(pages)} pages: {out / 'index.html'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=HERE.parent / "site")
    parser.add_argument("--gallery", action="store_true", help="run every example, changed or not")
    parser.add_argument("--fast", action="store_true", help="no examples, no figures")
    given = parser.parse_args()
    every = list(gallery.EXAMPLES) if given.gallery else gallery.stale()
    sys.exit(main(given.out, [] if given.fast else every, not given.fast))
