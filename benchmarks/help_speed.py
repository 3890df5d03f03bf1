"""Time of `ganaudit --help` over that of importing what a command line cannot do without.

    python benchmarks/help_speed.py [--rounds 15]

Aim: at most 2 times `python -c "import typer, rich"`.
"""

import argparse
import subprocess
import sys
import time

import numpy as np


def seconds(*code: str) -> float:
    """Wall time of one fresh interpreter."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, *code], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def main() -> None:
    """Print one line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    helps = (
        "-c",
        "import sys; sys.argv = ['ganaudit', '--help']; import ganaudit.cli as c; c.main()",
    )
    ratios = []
    for _ in range(given.rounds):
        floor = seconds("-c", "import typer, rich")
        ratios.append(seconds(*helps) / floor)
    print(f"--help takes {np.median(ratios):.2f} times `import typer, rich` (aim 2)")


if __name__ == "__main__":
    main()
