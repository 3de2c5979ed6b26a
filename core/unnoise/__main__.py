"""`python -m unnoise`, and so `accelerate launch -m unnoise train ...`."""

from __future__ import annotations

import sys

from unnoise.cli import main

if __name__ == "__main__":
    sys.exit(main())
