"""python docs/build.py [--gallery] [--out site] [--fast]

Makes the site: an HTML page and a plain Markdown page of each, search that works offline, llms.txt.
Warnings are errors. `--gallery` runs every script of `examples/` first and keeps what they make in
`docs/gallery`; without it the pages show what was kept. `--fast` leaves figures out.
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


def main(out: Path, run_gallery: bool, figures: bool) -> int:
    if run_gallery:
        gallery.run()
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
    parser.add_argument("--gallery", action="store_true", help="run the examples first")
    parser.add_argument("--fast", action="store_true", help="without figures")
    given = parser.parse_args()
    sys.exit(main(given.out, given.gallery, not given.fast))
