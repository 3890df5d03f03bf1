"""What this machine brings: versions, devices, caches, and how to get what is missing."""

import os
import platform
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ganaudit import registry

_NEEDED = {
    "torch": "pip install 'torch>=2.10'",
    "torchvision": "pip install torchvision",
    "numpy": "pip install numpy",
    "scipy": "pip install scipy",
    "safetensors": "pip install safetensors",
    "onnx": "pip install onnx; without it no ONNX opens",
    "onnxruntime": "pip install onnxruntime (or onnxruntime-gpu); without it no ONNX opens",
    "facenet-pytorch": "pip install 'facenet-pytorch>=2.5.3,<2.6' --no-deps",
    "timm": "pip install 'ganaudit[timm]'; without it no descriptor timm",
    "rich": "pip install rich",
}


def examine() -> list[dict[str, str]]:
    """A list of findings: what, state ("ok" or "missing"), detail and, if missing, remedy."""
    return [
        _finding("ganaudit", version("ganaudit")),
        _finding("python", f"{platform.python_version()} on {platform.platform()}"),
        *(_package(name, remedy) for name, remedy in _NEEDED.items()),
        _faiss(),
        _processor(),
        *_cuda(),
        _onnx_providers(),
        *(_plugins(kind) for kind in ("generators", "descriptors", "fetchers")),
        _torch_cache(),
    ]


def _finding(what: str, detail: str, *, remedy: str = "") -> dict[str, str]:
    state = "missing" if remedy else "ok"
    return {"what": what, "state": state, "detail": detail, "remedy": remedy}


def _package(name: str, remedy: str) -> dict[str, str]:
    try:
        return _finding(name, version(name))
    except PackageNotFoundError:
        return _finding(name, "not installed", remedy=remedy)


def _faiss() -> dict[str, str]:
    from ganaudit.neighbors import faiss_or_none

    faiss = faiss_or_none()
    if faiss is None:
        return _finding(
            "faiss",
            "not installed: --backend faiss is not to be had, torch does the rest",
            remedy="pip install faiss-gpu (Linux x86-64) or faiss-cpu",
        )
    gpus = faiss.get_num_gpus() if hasattr(faiss, "get_num_gpus") else 0
    return _finding("faiss", f"{faiss.__version__}, {gpus} GPUs")


def _processor() -> dict[str, str]:
    import torch

    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return _finding(
        "CPU", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, {pages / 2**30:.0f} GiB"
    )


def _cuda() -> list[dict[str, str]]:
    import torch

    if not torch.cuda.is_available():
        return [
            _finding(
                "CUDA",
                "no device that torch can use",
                remedy="the CPU serves; a GPU needs NVIDIA's driver and a CUDA build of torch",
            )
        ]
    devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return [
        _finding(f"cuda:{i}", f"{device.name}, {device.total_memory / 2**30:.0f} GiB")
        for i, device in enumerate(devices)
    ]


def _onnx_providers() -> dict[str, str]:
    try:
        providers = import_module("onnxruntime").get_available_providers()
    except ImportError:
        return _finding("ONNX providers", "none", remedy=_NEEDED["onnxruntime"])
    return _finding("ONNX providers", ", ".join(providers))


def _plugins(kind: registry.Kind) -> dict[str, str]:
    return _finding(kind, ", ".join(registry.installed(kind)))


def _torch_cache() -> dict[str, str]:
    """Where torch and facenet-pytorch keep weights."""
    import torch

    folder = Path(torch.hub.get_dir()).parent
    if not folder.is_dir():
        return _finding("torch cache", f"{folder}, empty")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return _finding("torch cache", f"{folder}, {size / 2**20:.0f} MiB")
