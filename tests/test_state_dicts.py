import hashlib
import io
import json
import struct
import zipfile
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from ganaudit.checkpoints import holdings
from ganaudit.checkpoints.state_dicts import StateDict, fill, read_state_dict, to_tensor
from ganaudit.errors import ConfigError, UnsafeCheckpoint

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(2, 3), nn.BatchNorm1d(3)


def small_state(**changes: Any) -> dict[str, Any]:
    torch.manual_seed(0)
    return {**Small().state_dict(), **changes}


def saved(state: object, name: str = "small.pt", **how: Any) -> Path:
    torch.save(state, name, **how)
    return Path(name)


def into(path: Path) -> Small:
    with torch.device("meta"):
        network = Small()
    state = read_state_dict(path)
    fill(network, state, network="small")
    return network


@pytest.mark.parametrize("kind", ["zip", "old", "safetensors", "ordered", "parameters"])
def test_every_common_format_is_read(kind: str) -> None:
    state = small_state()
    if kind == "safetensors":
        path = Path("small.safetensors")
        safetensors.torch.save_file(state, path)
    elif kind == "old":
        path = saved(state, _use_new_zipfile_serialization=False)
    elif kind == "ordered":
        path = saved(OrderedDict(state))
    else:
        whole = {k: nn.Parameter(v, requires_grad=False) for k, v in state.items()}
        path = saved(whole if kind == "parameters" else state)
    found = read_state_dict(path)
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    network = into(path)
    assert not network.training and not network.layer.weight.requires_grad
    for name, value in network.state_dict().items():
        assert torch.equal(value, state[name]) and value.device == CPU


def test_batch_counters_may_be_missing() -> None:
    state = small_state()
    del state["norm.num_batches_tracked"]
    assert into(saved(state)).norm.num_batches_tracked == 0


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (small_state() | {"extra": torch.ones(1)}, "extra does not belong to it"),
        ({k: v for k, v in small_state().items() if k != "norm.bias"}, "norm.bias is missing"),
        (
            small_state() | {"layer.weight": torch.ones(3, 3)},
            r"layer.weight must be float32 \[3, 2\], got float32 \[3, 3\]",
        ),
        (
            small_state() | {"layer.bias": torch.ones(1).expand(2**40)},
            r"a tensor of shape \[1099511627776\] does not fit into its 1 elements",
        ),
        (
            small_state() | {"layer.bias": torch.ones(3, dtype=torch.int64)},
            r"layer.bias must be float32 \[3\], got int64 \[3\]",
        ),
        (
            small_state() | {"layer.bias": torch.tensor([1.0, np.nan, np.inf])},
            "layer.bias holds 2 values that are NaN or infinite",
        ),
        (
            small_state() | {"layer.bias": torch.full((3,), 1e300, dtype=torch.float64)},
            "layer.bias holds 3 values that are NaN or infinite",
        ),
        (torch.ones(3), "it holds a tensor, neither a network nor tensors"),
        ([torch.ones(3)], "it holds a list, neither a network nor tensors"),
        ({}, "holds no network"),
        ({"x" * 500: 3}, "holds no network"),
        ({"a": {"b": {"c": {"d": torch.ones(1)}}}}, "holds no network"),
        ({"one": small_state(), "two": small_state()}, "say which: --set role=NAME of one, two"),
    ],
)
def test_what_is_no_such_state_dict_is_one_sentence(state: object, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        into(saved(state))
    assert str(caught.value).startswith("small.pt ") and len(str(caught.value)) < 250


@pytest.mark.parametrize(
    "tensor",
    [
        torch.ones(2, 2).to_sparse(),
        torch.ones(2, device="meta"),
        torch.ones(3, dtype=torch.complex64),
    ],
)
def test_tensors_without_plain_numbers_are_refused(tensor: torch.Tensor) -> None:
    with pytest.raises(UnsafeCheckpoint, match="small.pt asks for torch.*nothing of it was run"):
        read_state_dict(saved({"a": tensor}))


@pytest.mark.parametrize("key", ["state_dict", "ema", "netG", "model_state_dict"])
def test_the_usual_dictionaries_around_it_are_unwrapped(key: str) -> None:
    path = saved({key: small_state(), "epoch": 3, "args": {"lr": 0.1}})
    assert torch.equal(into(path).layer.weight, small_state()["layer.weight"])


def test_the_average_goes_before_the_generator_and_a_role_before_both() -> None:
    path = saved({"g": small_state(), "g_ema": small_state(**{"layer.bias": torch.ones(3)})})
    assert to_tensor(read_state_dict(path).tensors["layer.bias"], torch.float32).tolist() == [1] * 3
    other = read_state_dict(path, "g").tensors["layer.bias"]
    assert torch.equal(to_tensor(other, torch.float32), small_state()["layer.bias"])


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("part", [0, 4, 60, 700, -1])
def test_a_truncated_file_is_one_sentence(old: bool, part: int) -> None:
    path = saved(small_state(), _use_new_zipfile_serialization=not old)
    path.write_bytes(path.read_bytes()[:part])
    with pytest.raises(ConfigError, match="small.pt cannot be read as a checkpoint") as caught:
        into(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 250


@pytest.mark.parametrize("part", [9, 100, -1])
def test_truncated_safetensors_are_one_sentence(part: int) -> None:
    data = safetensors.torch.save(small_state())
    Path("s").write_bytes(data[:part])
    with pytest.raises(ConfigError, match="s cannot be read as a checkpoint"):
        into(Path("s"))


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("ran"),))


@pytest.mark.parametrize("old", [False, True])
def test_a_file_that_asks_for_more_than_tensors_is_refused_unread(old: bool) -> None:
    path = saved(small_state() | {"x": Evil()}, _use_new_zipfile_serialization=not old)
    with pytest.raises(UnsafeCheckpoint, match="which would mean running it; nothing of it was"):
        read_state_dict(path)
    assert not Path("ran").exists()


def test_a_whole_module_is_refused_with_the_remedy() -> None:
    with pytest.raises(UnsafeCheckpoint, match=r"asks for \S*test_state_dicts.Small and 2 more"):
        read_state_dict(saved(Small()))


def test_sizes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(small_state() | {"zeros": torch.zeros(10**5)})
    packed = io.BytesIO()
    with zipfile.ZipFile(path) as plain, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as out:
        for name in plain.namelist():
            out.writestr(name, plain.read(name))
    monkeypatch.setattr(holdings, "MAX_BYTES", 10**5)
    assert len(packed.getvalue()) < 10**5
    Path("packed").write_bytes(packed.getvalue())
    with pytest.raises(
        ConfigError,
        match="an entry is compressed or encrypted",
    ):
        read_state_dict(Path("packed"))
    with pytest.raises(ConfigError, match="small.pt has 4[0-9]{5} bytes; a checkpoint"):
        read_state_dict(path)


def test_a_safetensors_header_that_lies_is_refused() -> None:
    Path("s").write_bytes(struct.pack("<Q", 40) + b"{" + b"x" * 60)
    with pytest.raises(ConfigError, match="s cannot be read as a checkpoint"):
        read_state_dict(Path("s"))


def test_large_tensors_out_of_few_bytes_are_refused() -> None:
    # As arrays that a family converted: the check of shared bytes must see these too.
    few = np.broadcast_to(np.float32(1), (300, 300))
    network = nn.Linear(300, 300, bias=False)
    state = StateDict(path=Path("f"), size=100, tensors={"weight": few}, digest=str)
    with pytest.raises(ConfigError, match="360000 bytes, more than the file"):
        fill(network, state, network="small")
    fill(network, replace(state, size=180_000), network="small")  # half precision in the file


def test_safetensors_lie_one_after_another() -> None:
    def written(*places: tuple[int, int], size: int = 8) -> Path:
        header = {
            str(i): {"dtype": "U8", "shape": [end - begin], "data_offsets": [begin, end]}
            for i, (begin, end) in enumerate(places)
        }
        text = json.dumps(header).encode()
        Path("s").write_bytes(struct.pack("<Q", len(text)) + text + bytes(size))
        return Path("s")

    assert read_state_dict(written((3, 8), (0, 3))).tensors.keys() == {"0", "1"}
    for places, size in (([(0, 3), (2, 8)], 8), ([(0, 3), (4, 8)], 8), ([(0, 8)], 9)):
        with pytest.raises(ConfigError, match="its tensors overlap|bytes after its last tensor"):
            read_state_dict(written(*places, size=size))
