"""Peak memory of scoring a run of 1,000,000 stored rows over that of 100,000.

    python benchmarks/memory.py [--dim 512] [--rows 1000000] [--anchors 1000]

Makes embeddings as a vendor would deliver them, stores them as a run, and scores the run again in a
fresh process, of which the kernel's high-water mark (VmHWM) is read. Aim: within 10 %. Needs about
4 KB of disk a row. Linux only.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

SCORE = """
import sys
from pathlib import Path
from ganaudit.config import DiagnoseConfig
from ganaudit.pipeline import diagnose
source, out, anchors, samples, resume = sys.argv[1:]
diagnose(DiagnoseConfig(
    generator="embeddings:" + source, anchors=int(anchors), samples=int(samples), theta=0.25,
    radius=0.25, out=Path(out), resume=resume == "True"))
status = Path("/proc/self/status").read_text()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""


def peak_mib(source: Path, out: Path, anchors: int, samples: int, *, resume: bool) -> float:
    """VmHWM of a process that makes or scores a run, in MiB."""
    arguments = [str(source), str(out), str(anchors), str(samples), str(resume)]
    done = subprocess.run(
        [sys.executable, "-c", SCORE, *arguments], check=True, capture_output=True, text=True
    )
    return int(done.stdout.split()[-1]) / 1024


def main() -> None:
    """Print one line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--anchors", type=int, default=1_000)
    given = parser.parse_args()
    peaks = {}
    for rows in (given.rows // 10, given.rows):
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "rows.npy"
            shape = (rows + given.anchors, given.dim)
            matrix = np.lib.format.open_memmap(source, "w+", np.float32, shape)
            rng = np.random.default_rng(0)
            for start in range(0, len(matrix), 8192):
                part = matrix[start : start + 8192]
                part[:] = rng.standard_normal(part.shape, dtype=np.float32)
            del matrix
            run = Path(folder) / "run"
            made = peak_mib(source, run, given.anchors, rows, resume=False)
            scored = peak_mib(source, run, given.anchors, rows, resume=True)
            peaks[rows] = (made, scored)
            print(f"{rows:9,d} rows: making {made:.0f} MiB, scoring again {scored:.0f} MiB")
    small, large = peaks[given.rows // 10], peaks[given.rows]
    print(f"ratio: making {large[0] / small[0]:.3f}, scoring {large[1] / small[1]:.3f} (aim 1.10)")


if __name__ == "__main__":
    main()
