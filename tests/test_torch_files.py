"""Files of torch.save, in both layouts, against torch's own reader."""

import io
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

import opcodes as op
import pytest
import torch
from hostile_formats import zipped
from torch import Tensor, nn

from ganaudit.checkpoints.holdings import Holding, read
from ganaudit.checkpoints.records import Array
from ganaudit.checkpoints.state_dicts import to_tensor
from ganaudit.errors import ConfigError, UnsafeCheckpoint

DTYPES = (
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool,
)  # fmt: skip
LAYOUTS = pytest.mark.parametrize("new", [True, False], ids=["zip", "old"])


def saved(path: Path, value: Any, *, new: bool = True) -> Holding:
    torch.save(value, path, _use_new_zipfile_serialization=new)
    return read(path)


def bits(tensor: Tensor) -> bytes:
    flat = tensor.detach().contiguous().flatten()
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def check(found: Array, wanted: Tensor) -> None:
    assert found.dtype == str(wanted.dtype).removeprefix("torch.")
    assert found.shape == tuple(wanted.shape)
    assert not found.numpy().flags.writeable
    assert found.numpy().tobytes() == bits(wanted)
    made = to_tensor(found, wanted.dtype)
    assert made.dtype == wanted.dtype
    assert bits(made) == bits(wanted)


def some(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return values > 0 if dtype == torch.bool else (100 * values).to(dtype)


@LAYOUTS
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_is_bit_for_bit_what_torch_reads(
    dtype: torch.dtype, new: bool, tmp_path: Path
) -> None:
    weights = {"w": some(3, 5, dtype=dtype), "one": some(dtype=dtype), "none": some(0, dtype=dtype)}
    holding = saved(tmp_path / "w.pt", weights, new=new)
    assert holding.kind == "torch"
    assert holding.unknown == ()
    assert list(holding.networks) == ["state_dict"]
    own = torch.load(tmp_path / "w.pt", weights_only=True)
    assert list(holding.networks["state_dict"].tensors) == list(own)
    for name, tensor in own.items():
        check(holding.networks["state_dict"].tensors[name], tensor)


@LAYOUTS
def test_windows_on_shared_storages_in_any_order(new: bool, tmp_path: Path) -> None:
    base = some(6, 4)
    weights = {
        "whole": base, "again": base, "turned": base.T, "row": base[2], "column": base[:, 1],
        "middle": base[1:5:2, 1:], "last": base[5, 3], "none": base[6:], "one": base[:1, :1],
        "permuted": some(2, 3, 4).permute(2, 0, 1), "channels": some(2, 3, 4, 5).to(
            memory_format=torch.channels_last),
    }  # fmt: skip
    found = saved(tmp_path / "w.pt", weights, new=new).networks["state_dict"].tensors
    for name, tensor in weights.items():
        check(found[name], tensor)
    assert found["whole"].storage is found["row"].storage
    assert found["whole"].storage is not found["permuted"].storage


@LAYOUTS
def test_what_a_training_script_saves(new: bool, tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    optimizer = torch.optim.Adam(module.parameters())
    module(torch.zeros(1, 3, 8, 8)).sum().backward()
    optimizer.step()
    value = {
        "G": module.state_dict(), "parameters": {"p": nn.Parameter(some(3))}, "step": 7,
        "optimizer": optimizer.state_dict(), "size": torch.Size([1, 2]), "name": "dcgan",
        "loss": [0.5, 0.25], "nested": {"ema": OrderedDict(w=some(2))},
    }  # fmt: skip
    holding = saved(tmp_path / "w.pt", value, new=new)
    assert holding.unknown == ()
    assert set(holding.networks) == {"G", "parameters", "nested.ema"}
    assert {"step", "optimizer", "size", "name", "loss"} == set(holding.beside)
    for name, tensor in module.state_dict().items():
        check(holding.networks["G"].tensors[name], tensor)


@LAYOUTS
def test_a_value_that_is_expanded_is_refused(new: bool, tmp_path: Path) -> None:
    """Its elements are not in the file: such a file could describe a terabyte."""
    with pytest.raises(ConfigError, match="does not fit into its 1 elements"):
        saved(tmp_path / "w.pt", {"w": some(1).expand(2**40)}, new=new)


def test_the_same_bytes_are_not_copied(tmp_path: Path) -> None:
    torch.save({"w": some(8)}, tmp_path / "w.pt")
    array = read(tmp_path / "w.pt").networks["state_dict"].tensors["w"]
    assert array.storage.data is not None
    assert array.storage.data.obj is not None
    assert len(array.storage.data.obj) == (tmp_path / "w.pt").stat().st_size


@LAYOUTS
@pytest.mark.parametrize(
    ("value", "named"),
    [
        (nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
        ({"w": torch.zeros(2, dtype=torch.complex64)}, "torch.ComplexFloatStorage"),
        ({"path": Path("x")}, "pathlib"),
        ({"device": torch.device("cpu")}, "torch.device"),
        ({"sparse": torch.eye(2).to_sparse()}, "torch._utils._rebuild_sparse_tensor"),
    ],
)
def test_what_would_need_its_class_is_refused_by_name(
    value: Any, named: str, new: bool, tmp_path: Path
) -> None:
    with pytest.raises(UnsafeCheckpoint, match=named):
        saved(tmp_path / "w.pt", value, new=new).refuse_unknown()


def test_the_other_byte_order_is_refused(tmp_path: Path) -> None:
    weights, held = op.pairs(w=op.tensor()), {"0": bytes(16)}
    for order in (b"little", b"big", b"littlest", b""):
        data = zipped(weights, held, more={"archive/byteorder": order})
        (tmp_path / "w.pt").write_bytes(data)
        if order == b"little":
            assert read(tmp_path / "w.pt").networks
            continue
        with pytest.raises(ConfigError, match="little-endian machine"):
            read(tmp_path / "w.pt")


@LAYOUTS
def test_a_file_that_is_cut_off_anywhere_is_refused(new: bool, tmp_path: Path) -> None:
    target = io.BytesIO()
    torch.save({"w": some(4), "b": some(2)}, target, _use_new_zipfile_serialization=new)
    data = target.getvalue()
    for size in range(0, len(data), 1 if not new else 7):
        (tmp_path / "w.pt").write_bytes(data[:size])
        with pytest.raises(ConfigError, match="cannot be read"):
            read(tmp_path / "w.pt")


def test_a_stride_that_counts_for_nothing_may_be_anything(tmp_path: Path) -> None:
    weights = op.pairs(
        one=op.tensor((1, 4), (2**62, 1)), none=op.tensor((0, 4), (2**62, 2**62)),
        last=op.tensor((1,), (2**62,), 3),
    )  # fmt: skip
    (tmp_path / "w.pt").write_bytes(zipped(weights, {"0": bytes(range(16))}))
    found = read(tmp_path / "w.pt").networks["state_dict"].tensors
    assert found["one"].numpy().tobytes() == bytes(range(16))
    assert found["none"].numpy().shape == (0, 4)
    assert found["last"].numpy().tobytes() == bytes(range(12, 16))


@pytest.mark.parametrize("size", [0, 3, 5, 2**40, -1])
def test_a_storage_of_more_or_fewer_elements_than_announced_is_refused(
    size: int, tmp_path: Path
) -> None:
    path = tmp_path / "w.pt"
    torch.save({"w": some(4)}, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    assert data[-24:-16] == struct.pack("<q", 4)  # before four numbers of four bytes
    path.write_bytes(data[:-24] + struct.pack("<q", size) + data[-16:])
    with pytest.raises(ConfigError, match=f"a storage of 4 elements comes with {size}"):
        read(path)
