"""Well-formed files whose networks are not: every argument and tensor of a good one, spoilt.

Whatever a file says, it is opened or refused in a sentence: no crash, no warning, no memory.
"""

import random
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pickled
import pytest
import tf_pickled
import torch
from test_stylegan3 import CLASSES as STYLEGAN3_CLASSES
from torch import nn

from ganaudit import networks
from ganaudit.checkpoints.holdings import Holding, read
from ganaudit.checkpoints.opened import filled, open_network, plan_of
from ganaudit.checkpoints.records import ITEM_BYTES, Array, Network, Storage
from ganaudit.errors import ConfigError

VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2, 3, 4, 7, 16, 1000, 2**20, 2**31, 2**62, 0.0, -0.5, 0.3, 1.0,
    2.0, 1e-320, 1e300, -1e300, "", "x", "0", "8_16", "lrelu", "linear", "orig", "resnet", "auto",
    "G_mapping", "x" * 4000, [], [0], [1], [1, -1], [1e9, -1e9, 1e-9], [1e300] * 4, [[1, 2], [3]],
    [[0]], [None], ["1"], [1] * 4000, {}, {"a": 1}, {"z_dim": 1},
)  # fmt: skip
MOST_BYTES = 2**27
ROUNDS = 80


def network(name: str, arguments: dict[str, Any]) -> nn.Module:
    torch.manual_seed(0)
    made = networks.build(name, arguments)
    for key, tensor in made.state_dict().items():
        if "filter" not in key and tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor))
    return made


def _stylegan2(path: Path) -> Path:
    kwargs = {"z_dim": 4, "c_dim": 2, "w_dim": 4, "img_resolution": 8, "img_channels": 3}
    synthesis = {"channel_base": 32, "channel_max": 4, "conv_clamp": 256}
    module = network("stylegan2", kwargs | synthesis)
    given = kwargs | {"synthesis_kwargs": synthesis, "mapping_kwargs": {"num_layers": 8}}
    written = pickled.NvidiaNetwork(module=module, kwargs=given)
    return pickled.write_nvidia_pickle(path, {"G_ema": written})


def _stylegan3(path: Path) -> Path:
    kwargs = {
        "z_dim": 4, "c_dim": 0, "w_dim": 4, "img_resolution": 16, "img_channels": 3,
        "channel_base": 64, "channel_max": 4, "num_layers": 4, "num_critical": 1,
    }  # fmt: skip
    module = network("stylegan3", kwargs)
    written = pickled.NvidiaNetwork(module=module, kwargs=kwargs, class_names=STYLEGAN3_CLASSES)
    return pickled.write_nvidia_pickle(path, {"G_ema": written})


def _pggan(path: Path) -> Path:
    kwargs = {
        "num_channels": 3, "resolution": 8, "label_size": 0, "fmap_base": 16, "fmap_max": 4,
        "latent_size": 4, "fused_scale": True,
    }  # fmt: skip
    arguments = {key: value for key, value in kwargs.items() if key != "fused_scale"}
    module = network("pggan", arguments)
    variables = tf_pickled.pggan_variables(module, 8)
    written = tf_pickled.OldNetwork(
        function="G_paper", kwargs=kwargs, variables=variables, version=2
    )
    return tf_pickled.write_old_pickle(path, (written,) * 3, module=tf_pickled.TFUTIL)


def _stylegan(path: Path) -> Path:
    kwargs = {
        "num_channels": 3, "resolution": 8, "label_size": 2, "latent_size": 4, "dlatent_size": 4,
        "mapping_fmaps": 4, "mapping_layers": 2, "fmap_base": 16, "fmap_max": 4,
    }  # fmt: skip
    written = tf_pickled.stylegan_network(network("stylegan", kwargs), kwargs)
    return tf_pickled.write_old_pickle(path, (written,) * 3)


def _stylegan2_tensorflow(path: Path) -> Path:
    ours = {
        "z_dim": 4, "c_dim": 0, "w_dim": 4, "img_resolution": 8, "img_channels": 3,
        "channel_base": 32, "channel_max": 4, "mapping_layer_features": 4,
    }  # fmt: skip
    kwargs = {
        "num_channels": 3, "resolution": 8, "label_size": 0, "latent_size": 4, "dlatent_size": 4,
        "mapping_fmaps": 4, "fmap_base": 16, "fmap_max": 4,
    }  # fmt: skip
    written = tf_pickled.stylegan2_network(network("stylegan2", ours), kwargs)
    return tf_pickled.write_old_pickle(path, (written,) * 3)


def _biggan(path: Path) -> Path:
    arguments = {"resolution": 32, "G_ch": 4, "dim_z": 8, "n_classes": 3, "shared_dim": 4}
    torch.save(network("biggan", arguments).state_dict(), path)
    return path


FILES: dict[str, Callable[[Path], Path]] = {
    "stylegan2": _stylegan2, "stylegan3": _stylegan3, "pggan": _pggan, "stylegan": _stylegan,
    "stylegan2-tensorflow": _stylegan2_tensorflow, "biggan": _biggan,
}  # fmt: skip


# -- spoiling --------------------------------------------------------------------------------------


def _spoilt_array(array: Array, rng: random.Random) -> Array:
    """Another shape or dtype, over bytes enough for it."""
    shape = list(array.shape)
    match rng.randrange(6):
        case 0:
            shape.insert(rng.randrange(len(shape) + 1), rng.choice((0, 1, 2, 3)))
        case 1 if shape:
            del shape[rng.randrange(len(shape))]
        case 2 if shape:
            shape[rng.randrange(len(shape))] = rng.choice((0, 1, 2, 5, 1000))
        case 3 if shape:
            shape = shape[::-1]
        case 4:
            shape = []
    dtype = rng.choice((array.dtype, array.dtype, *ITEM_BYTES))
    strides = [1]
    for size in shape[:0:-1]:
        strides.append(strides[-1] * size)
    count = max(1, min(torch.Size(shape).numel(), 2**16))
    fill_with = rng.choice((b"\x00", b"\x3f", b"\x7f", b"\xff"))
    storage = Storage(dtype, count, memoryview(fill_with * (count * ITEM_BYTES[dtype])))
    try:
        return Array(dtype, tuple(shape), tuple(strides[::-1][: len(shape)]), 0, storage)
    except ValueError:
        return array


def _spoilt_dict(given: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    made = dict(given)
    key = rng.choice([*made, "new"])
    inner = made.get(key)
    if isinstance(inner, dict) and rng.random() < 0.7:
        return made | {key: _spoilt_dict(inner, rng)}
    if rng.random() < 0.2:
        made.pop(key, None)
        return made
    return made | {key: rng.choice(VALUES)}


def _spoilt(good: Network, rng: random.Random) -> Network:
    made = good
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        tensors = dict(made.tensors)
        children = dict(made.children)
        kind = rng.random()
        if children and kind < 0.5:
            name = rng.choice(list(children))
            children[name] = _spoilt(children[name], rng)
            made = replace(made, children=children)
        elif kind < 0.75 or not tensors:
            made = replace(made, kwargs=_spoilt_dict(dict(made.kwargs), rng))
        else:
            name = rng.choice(list(tensors))
            array = tensors[name]
            if rng.random() < 0.7:
                tensors[name] = _spoilt_array(array, rng)
            else:
                del tensors[name]
                other = rng.choice(
                    (name + "x", name.upper(), "lod", "\u0663", f"Dense{10**9}/bias")
                )
                tensors[other] = array
            made = replace(made, tensors=tensors)
    return made


def _open(holding: Holding, network: Network) -> None:
    filled(plan_of(holding, network), holding)


@pytest.mark.parametrize("kind", FILES)
def test_a_spoilt_network_is_opened_or_refused(kind: str, tmp_path: Path) -> None:
    path = FILES[kind](tmp_path / f"{kind}.pkl")
    open_network(path)
    holding = read(path)
    good = holding.networks.get("Gs") or next(iter(holding.networks.values()))
    rng = random.Random(kind)
    refused = 0
    tracemalloc.start()
    try:
        for _ in range(ROUNDS):
            try:
                _open(holding, _spoilt(good, rng))
            except ConfigError as error:
                refused += 1
                assert len(str(error)) < 2000
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()
    assert ROUNDS / 4 < refused < ROUNDS
