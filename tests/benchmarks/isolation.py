"""How long listings take with nine broken plugins installed: python tests/benchmarks/isolation.py

The first start waits for the plugin that hangs, up to the loader's limit; later ones remember it.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "core" / "discovery"))
sys.path.insert(0, str(Path(__file__).parent))
import broken_plugins
import startup

WORDS = (sys.executable, "-m", "unnoise")
COMMANDS = ((*WORDS, "domains"), (*WORDS, "plugins", "list"), (*WORDS, "--help"))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["UNNOISE_CONFIG_DIR"] = str(Path(folder) / "settings")
        startup.report(COMMANDS[:1], "none broken", quiet=True)
        site = Path(folder) / "site"
        broken_plugins.install(site)
        os.environ["PYTHONPATH"] = os.pathsep.join(
            filter(None, [str(site), os.environ.get("PYTHONPATH", "")])
        )
        first, _ = startup.seconds(COMMANDS[0], quiet=True)
        print(f"\nnine broken; the first start took {first:.2f} s, later ones:")
        startup.report(COMMANDS, "nine broken", quiet=True)


if __name__ == "__main__":
    main()
