"""Servers and clients of the protocols that other people wrote, each in an environment of its own.

`python tests/peers.py` makes those that are not there yet, half a gigabyte from PyPI.
"""

import shutil
import subprocess
import sys
from pathlib import Path

PEERS = Path(__file__).parent.parent / ".peers"
PACKAGES = {
    "mlserver": ("mlserver>=1.7", "onnxruntime>=1.18"),
    "kserve": ("kserve>=0.15", "onnxruntime>=1.18"),
    "triton": ("tritonclient[http]>=2.50",),
    "schemathesis": ("schemathesis>=4.1",),
}


def python_of(name: str) -> Path:
    """The interpreter of an environment, which may not be there."""
    return PEERS / name / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def make(name: str) -> None:
    """Make an environment; one that could not be filled is removed."""
    folder, python = PEERS / name, python_of(name)
    uv = shutil.which("uv")
    if uv:
        venv = [uv, "venv", "--python", sys.executable, str(folder)]
        install = [uv, "pip", "install", "--python", str(python)]
    else:
        venv = [sys.executable, "-m", "venv", str(folder)]
        install = [str(python), "-m", "pip", "install"]
    try:
        subprocess.run(venv, check=True)
        subprocess.run([*install, *PACKAGES[name]], check=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


if __name__ == "__main__":
    for each in PACKAGES:
        if python_of(each).is_file():
            print(f"{PEERS / each} is there", flush=True)
        else:
            make(each)
