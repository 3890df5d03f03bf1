"""Opening a StyleGAN2 pickle, over reading its bytes and copying the tensors of its G_ema.

    python benchmarks/checkpoint_opening.py [--resolution 1024] [--rounds 9]

Writes G, D and G_ema (config F; 380 MB at 1024 px, random values) as NVIDIA's programs do, each
tensor a nested file of torch, and opens the file without executing it. Limit and opening alternate,
each in a fresh process that has opened a small file before, so that imports are not counted; the
file lies in the page cache. The figure is the median of the ratios: until the network is there, and
until its file's SHA-256 is known too, which is computed beside and waited for by whoever asks.
Memory is how far the opening lifts the kernel's high-water mark (VmHWM), over the size of the file.
Aims: 1.5 and 2.2. Linux only.
"""

import argparse
import json
import pickle  # writes only
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

from ganaudit import networks
from ganaudit.checkpoints.holdings import read

COMMON = """
import hashlib, json, sys, time
from pathlib import Path
import numpy as np, torch
from ganaudit.checkpoints.opened import open_network
def kib(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))
small, large, sizes = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
open_network(small)
Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins here
before = kib("VmRSS")
begin = time.perf_counter()
"""
LIMIT = """
data, at, made = memoryview(large.read_bytes()), 0, []
for size in sizes:
    made.append(torch.empty(size, dtype=torch.uint8))
    made[-1].numpy()[:] = data[at : at + size]
    at += size
"""
OPEN = "opened = open_network(large)\n"
HASHED = "open_network(large).sha256\n"
HASH = "data = large.read_bytes(); begin = time.perf_counter(); hashlib.sha256(data).hexdigest()\n"
SOURCE = (
    "# As long as the text that stands here in a real file.\n" * 700
)  # one object for all parts
SHOW = """
print(time.perf_counter() - begin, kib("VmHWM") - before)
"""


class Persistent:
    """What NVIDIA's persistence writes for a module: a call with its class, source and state."""

    def __init__(self, module: nn.Module, class_name: str, arguments: dict[str, Any]) -> None:
        """Describe a module and all modules in it."""
        state = {
            "training": False,
            "_parameters": dict(module._parameters),
            "_buffers": dict(module._buffers),
            "_non_persistent_buffers_set": set(module._non_persistent_buffers_set),
            "_modules": {
                name: Persistent(child, "FullyConnectedLayer", {})  # both networks have such
                for name, child in module.named_children()
            },
            "_init_args": (),
            "_init_kwargs": arguments,
        }
        self.meta = {
            "type": "class",
            "version": 6,
            "module_src": SOURCE,
            "class_name": class_name,
            "state": state,
        }

    def __reduce__(self) -> tuple[Any, tuple[dict[str, Any]]]:
        """Called by pickle."""
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (self.meta,)


def write(path: Path, resolution: int) -> None:
    """G, D and G_ema of that resolution, config F."""

    def _reconstruct_persistent_obj(meta: Any) -> None:
        raise NotImplementedError

    theirs = ModuleType("torch_utils.persistence")
    sys.modules.update({"torch_utils": ModuleType("torch_utils"), theirs.__name__: theirs})
    _reconstruct_persistent_obj.__module__ = theirs.__name__
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    theirs._reconstruct_persistent_obj = _reconstruct_persistent_obj  # type: ignore[attr-defined]
    images = {"c_dim": 0, "img_resolution": resolution, "img_channels": 3, "conv_clamp": 256}
    latents = {"z_dim": 512, "w_dim": 512}
    made = {
        "G": ("stylegan2", "Generator", images | latents),
        "D": ("stylegan2_discriminator", "Discriminator", images),
        "G_ema": ("stylegan2", "Generator", images | latents),
    }
    file = {
        role: Persistent(networks.build(name, arguments), class_name, arguments)
        for role, (name, class_name, arguments) in made.items()
    }
    path.write_bytes(pickle.dumps(file))


def measure(code: str, *arguments: str) -> tuple[float, float]:
    """Seconds that the code took in a fresh process, and the bytes it needed at its peak."""
    line = [sys.executable, "-c", COMMON + code + SHOW, *arguments]
    done = subprocess.run(line, check=True, capture_output=True, text=True)
    seconds, peak = done.stdout.split()
    return float(seconds), int(peak) * 1024


def main() -> None:
    """Print four lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--resolution", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder) / "small.pkl", Path(folder) / "large.pkl"
        write(small, 8)
        write(large, given.resolution)
        size = large.stat().st_size
        tensors = read(large).networks["G_ema"].tensors.values()
        arguments = str(small), str(large), json.dumps([array.nbytes for array in tensors])
        rounds = [
            [measure(code, *arguments) for code in (LIMIT, OPEN, HASHED, HASH)]
            for _ in range(given.rounds)
        ]
    limit, opening, hashed, hashing = (np.array([each[i][0] for each in rounds]) for i in range(4))
    ratio = float(np.median(opening / limit))
    print(
        f"{size / 1e6:.0f} MB: reading and copying takes {np.median(limit):.2f} s, SHA-256 alone "
        f"{np.median(hashing):.2f} s"
    )
    print(f"opening: {ratio:.2f} times that (aim 1.5: {'PASS' if ratio <= 1.5 else 'SHORT'})")
    print(f"with its SHA-256: {np.median(hashed / limit):.2f} times")
    peak = float(np.median([each[1][1] for each in rounds])) / size
    print(f"peak memory: {peak:.2f} times the file (aim 2.2: {'PASS' if peak <= 2.2 else 'SHORT'})")


if __name__ == "__main__":
    main()
