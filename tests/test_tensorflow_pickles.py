import json
import math
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tf_pickled import (
    DNNLIB,
    TFUTIL,
    OldNetwork,
    pggan_variables,
    stylegan2_network,
    stylegan_network,
    write_old_pickle,
)
from torch import Tensor, nn

from ganaudit import networks
from ganaudit.checkpoints import holdings, sources
from ganaudit.checkpoints.opened import Opened, open_network
from ganaudit.checkpoints.pggan import _INPUTS_FIRST, _OUTPUTS_FIRST
from ganaudit.checkpoints.records import Plan
from ganaudit.checkpoints.stylegan2_tensorflow import _filter
from ganaudit.checkpoints.tensorflow import MODULES, tensorflow
from ganaudit.errors import ConfigError
from ganaudit.networks.style_layers import low_pass

PGGAN: dict[str, Any] = {
    "num_channels": 3,
    "resolution": 16,
    "latent_size": 5,
    "fmap_base": 32,
    "fmap_max": 6,
}
STYLEGAN: dict[str, Any] = PGGAN | {
    "dlatent_size": 4,
    "mapping_layers": 2,
    "mapping_fmaps": 6,
}
STYLEGAN2: dict[str, Any] = {
    "num_channels": 3,
    "resolution": 16,
    "latent_size": 5,
    "dlatent_size": 4,
    "mapping_layers": 2,
    "fmap_base": 32,
    "fmap_max": 6,
}
DISCRIMINATOR = OldNetwork(
    function="D_basic", kwargs={}, variables={"4x4/Conv/bias": np.zeros(2, np.float32)}
)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def filled(name: str, **arguments: Any) -> nn.Module:
    """One of our networks with a number of its own in every tensor that is no filter."""
    module = networks.build(name, arguments).eval().requires_grad_(False)
    for i, (key, tensor) in enumerate(module.state_dict().items()):
        if not key.endswith("resample_filter"):
            tensor.copy_(normal(*tensor.shape, seed=i + 1))
    return module


def pggan(
    *, fused: bool = True, outputs_first: bool = True, lod: float = 0.0, **changes: Any
) -> tuple[nn.Module, OldNetwork]:
    known = {k: v for k, v in changes.items() if k != "dtype"}
    module = filled("pggan", **PGGAN | known, lod=lod)
    kwargs = PGGAN | changes | ({} if fused else {"fused_scale": False})
    variables = pggan_variables(
        module, kwargs["resolution"], fused=fused, outputs_first=outputs_first, lod=lod
    )
    return module, OldNetwork(function="G_paper", kwargs=kwargs, variables=variables, version=2)


def stylegan(
    *,
    fused: Callable[[int], bool] = lambda size: size >= 128,
    lod: float = 0.0,
    extra: Mapping[str, Any] = {},  # noqa: B006
    **changes: Any,
) -> tuple[nn.Module, OldNetwork]:
    module = filled("stylegan", **STYLEGAN | changes, lod=lod)
    kwargs = STYLEGAN | changes | dict(extra)
    return module, stylegan_network(module, kwargs, fused=fused, lod=lod)


def stylegan2(
    ours: Mapping[str, Any] = {},  # noqa: B006
    theirs: Mapping[str, Any] = {},  # noqa: B006
    synthesis_name: str = "G_synthesis_stylegan2",
) -> tuple[nn.Module, OldNetwork]:
    arguments: dict[str, Any] = {
        "z_dim": 5,
        "c_dim": 0,
        "w_dim": 4,
        "img_resolution": 16,
        "img_channels": 3,
        "channel_base": 64,
        "channel_max": 6,
        "mapping_num_layers": 2,
        "mapping_layer_features": 7,
    }
    module = filled("stylegan2", **arguments | dict(ours))
    kwargs = STYLEGAN2 | dict(theirs)
    return module, stylegan2_network(module, kwargs, synthesis_name=synthesis_name)


FAMILIES: dict[str, tuple[Callable[[], tuple[nn.Module, OldNetwork]], str]] = {
    "pggan": (pggan, TFUTIL),
    "stylegan": (stylegan, DNNLIB),
    "stylegan2": (stylegan2, DNNLIB),
}


def reopened(
    path: Path, network: OldNetwork, *, module: str = DNNLIB, others: Any = None, **how: Any
) -> Opened:
    first, second = others or (network, DISCRIMINATOR)
    file = write_old_pickle(path / "network.pkl", (first, second, network), module=module, **how)
    return open_network(file)


def planned(path: Path, network: OldNetwork, *, module: str = DNNLIB) -> Plan | None:
    file = write_old_pickle(path / "network.pkl", (network, network, network), module=module)
    return tensorflow(holdings.read(file).networks["Gs"])


def assert_same(opened: Opened, module: nn.Module) -> None:
    ours, theirs = module.state_dict(), opened.module.state_dict()
    assert list(theirs) == list(ours)
    for name, tensor in ours.items():
        torch.testing.assert_close(theirs[name], tensor, rtol=0, atol=5e-7, msg=name)
    assert type(opened.module) is type(module)
    latents = normal(2, 5)
    labels = torch.tensor([0, 1]) if module.num_labels else None
    torch.testing.assert_close(
        opened.module(latents, labels), module(latents, labels), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_file_becomes_the_network_that_wrote_it(
    family: str, protocol: int, tmp_path: Path
) -> None:
    make, module = FAMILIES[family]
    wanted, network = make()
    opened = reopened(tmp_path, network, module=module, protocol=protocol)
    assert_same(opened, wanted)
    assert (opened.network, opened.role) == (family, "Gs")
    assert json.loads(json.dumps(opened.arguments)) == opened.arguments


@pytest.mark.parametrize("family", FAMILIES)
def test_a_file_of_python_2_becomes_the_network_that_wrote_it(family: str, tmp_path: Path) -> None:
    make, module = FAMILIES[family]
    wanted, network = make()
    assert_same(reopened(tmp_path, network, module=module, protocol=2, python2=True), wanted)


def test_the_moving_average_is_the_third_of_the_tuple(tmp_path: Path) -> None:
    wanted, network = stylegan()
    other = replace(network, kwargs={"nothing": "known"})
    assert_same(reopened(tmp_path, network, others=(other, DISCRIMINATOR)), wanted)


def test_the_writer_leaves_no_modules_behind(tmp_path: Path) -> None:
    write_old_pickle(tmp_path / "network.pkl", (DISCRIMINATOR,), module=DNNLIB)
    assert not [name for name in sys.modules if name.split(".")[0] in ("dnnlib", "tfutil")]


def test_a_source_text_is_never_run(tmp_path: Path) -> None:
    wanted, network = stylegan()
    trap = f"open({str(tmp_path / 'ran')!r}, 'w')"
    assert_same(reopened(tmp_path, replace(network, source=trap)), wanted)
    assert not (tmp_path / "ran").exists()


# -- PGGAN ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"label_size": 3},
        {"fused": False},
        {"lod": 1.25},
        {"outputs_first": False},
        {"use_wscale": False, "use_pixelnorm": False, "normalize_latents": False},
        {"use_leakyrelu": False, "pixelnorm_epsilon": 1e-4, "dtype": "float16"},
        {"resolution": 4},
        {"fmap_decay": 0.5, "num_channels": 1},
    ],
)
def test_every_kind_of_pggan_is_read(changes: dict[str, Any], tmp_path: Path) -> None:
    wanted, network = pggan(**changes)
    assert_same(reopened(tmp_path, network, module=TFUTIL), wanted)


def test_defaults_of_a_pggan_are_those_of_its_program(tmp_path: Path) -> None:
    network = OldNetwork(function="G_paper", kwargs={}, variables={"lod": np.float32(0)})
    plan = planned(tmp_path, network, module=TFUTIL)
    assert plan is not None
    assert plan.arguments == {
        "resolution": 32, "num_channels": 1, "label_size": 0, "latent_size": None,
        "fmap_base": 8192, "fmap_decay": 1.0, "fmap_max": 512, "normalize_latents": True,
        "use_wscale": True, "use_pixelnorm": True, "pixelnorm_epsilon": 1e-8,
        "use_leakyrelu": True, "lod": 0.0,
    }  # fmt: skip


def square_pggan(*, outputs_first: bool) -> tuple[nn.Module, OldNetwork]:
    return pggan(outputs_first=outputs_first, fmap_base=512)  # 6 features everywhere


@pytest.mark.parametrize("outputs_first", [True, False])
def test_uneven_weights_tell_their_layout_whatever_else_is_said(
    outputs_first: bool, tmp_path: Path
) -> None:
    wanted, network = pggan(outputs_first=outputs_first)
    for module in MODULES:
        assert_same(reopened(tmp_path, network, module=module), wanted)


def test_square_weights_are_laid_out_as_the_source_or_the_class_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, network = square_pggan(outputs_first=True)
    assert_same(reopened(tmp_path, network, module=TFUTIL), wanted)
    text = "the source of one of the programs\n"
    digest = holdings.source_hash(text)
    network = replace(network, source=text)
    monkeypatch.setattr("ganaudit.checkpoints.pggan._OUTPUTS_FIRST", frozenset({digest}))
    assert_same(reopened(tmp_path, network, module=DNNLIB), wanted)
    monkeypatch.setattr("ganaudit.checkpoints.pggan._OUTPUTS_FIRST", frozenset())
    monkeypatch.setattr("ganaudit.checkpoints.pggan._INPUTS_FIRST", frozenset({digest}))
    wanted, network = square_pggan(outputs_first=False)
    assert_same(reopened(tmp_path, replace(network, source=text), module=DNNLIB), wanted)


def test_square_weights_of_which_nothing_tells_the_layout_are_refused(tmp_path: Path) -> None:
    _, network = square_pggan(outputs_first=True)
    with pytest.raises(ConfigError, match="nothing in the file tells which dimension"):
        reopened(tmp_path, network, module=DNNLIB)


def test_sources_that_tell_the_layout_are_known_releases() -> None:
    assert _OUTPUTS_FIRST | _INPUTS_FIRST <= sources.KNOWN.keys()


# -- StyleGAN -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"label_size": 3},
        {"lod": 1.75},
        {"fused": lambda size: True, "extra": {"fused_scale": True}},
        {"fused": lambda size: False, "extra": {"fused_scale": False}},
        {"resolution": 128, "fmap_base": 128},
        {"structure": "fixed"},
        {"const_input_layer": False, "use_noise": False},
        {
            "use_styles": False,
            "use_pixel_norm": True,
            "use_instance_norm": False,
            "mapping_layers": 0,
            "dlatent_size": 5,
            "const_input_layer": False,
            "use_noise": False,
        },
        {"use_wscale": False, "nonlinearity": "relu", "mapping_nonlinearity": "relu"},
        {"blur_filter": [1, 3, 3, 1], "extra": {"structure": "recursive", "dtype": "float32"}},
        {"blur_filter": None, "normalize_latents": False, "mapping_lrmul": 0.1},
    ],
)
def test_every_kind_of_stylegan_is_read(changes: dict[str, Any], tmp_path: Path) -> None:
    wanted, network = stylegan(**changes)
    assert_same(reopened(tmp_path, network), wanted)


def test_kernels_are_turned_where_the_program_fuses_them(tmp_path: Path) -> None:
    fused, separate = stylegan(extra={"fused_scale": True})[1], stylegan()[1]
    first = planned(tmp_path, fused)
    second = planned(tmp_path, separate)
    assert first is not None and second is not None
    name = "synthesis.b16_0.conv.weight"
    one, two = np.asarray(first.tensors[name]), np.asarray(second.tensors[name])
    assert np.array_equal(one, two[..., ::-1, ::-1])
    assert not np.array_equal(one, two)


@pytest.mark.parametrize(
    ("said", "facts"),
    [
        ({}, {"psi": 0.7, "cutoff": 8, "noise": "random"}),
        ({"truncation_psi": 0.5, "truncation_cutoff": 3}, {"psi": 0.5, "cutoff": 3}),
        ({"truncation_psi": None}, {"psi": 1.0, "cutoff": None}),
        ({"truncation_cutoff": None}, {"psi": 1.0, "cutoff": None}),
        ({"truncation_cutoff": 0}, {"psi": 1.0, "cutoff": None}),
        ({"randomize_noise": False}, {"psi": 0.7, "noise": "const"}),
    ],
)
def test_a_stylegan_says_how_its_owner_draws(
    said: dict[str, Any], facts: dict[str, Any], tmp_path: Path
) -> None:
    opened = reopened(tmp_path, stylegan(extra=said)[1])
    assert opened.facts | facts == opened.facts


def test_a_stylegan_without_noise_does_not_say_which(tmp_path: Path) -> None:
    assert "noise" not in reopened(tmp_path, stylegan(use_noise=False)[1]).facts


def test_arguments_of_training_are_named_as_without_effect(tmp_path: Path) -> None:
    opened = reopened(
        tmp_path, stylegan(extra={"style_mixing_prob": 0.9, "dlatent_avg_beta": 0.99})[1]
    )
    assert "dlatent_avg_beta, style_mixing_prob: without effect" in " ".join(opened.notes)


# -- StyleGAN2 ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"architecture": "orig"}, {"architecture": "orig"}),
        (
            {"architecture": "resnet", "resample_filter": [1, 2, 1]},
            {"architecture": "resnet", "resample_kernel": [1, 2, 1]},
        ),
        ({"resample_filter": [1, 1]}, {"resample_kernel": None}),
        (
            {"activation": "relu", "mapping_activation": "swish"},
            {"nonlinearity": "relu", "mapping_nonlinearity": "swish"},
        ),
        (
            {"mapping_lr_multiplier": 0.1, "img_channels": 1},
            {"mapping_lrmul": 0.1, "num_channels": 1},
        ),
        ({}, {"mapping_fmaps": 7, "fused_modconv": True, "fmap_decay": 1.0, "fmap_min": 1}),
    ],
)
def test_every_kind_of_stylegan2_is_read(
    ours: dict[str, Any], theirs: dict[str, Any], tmp_path: Path
) -> None:
    wanted, network = stylegan2(ours, theirs)
    assert_same(reopened(tmp_path, network), wanted)


def test_stylegan2_ada_is_read_with_its_labels(tmp_path: Path) -> None:
    wanted, network = stylegan2(
        {"c_dim": 3, "mapping_embed_features": 5, "conv_clamp": 0.5},
        {"label_size": 3, "conv_clamp": 0.5, "num_fp16_res": 4},
        "G_synthesis",
    )
    assert_same(reopened(tmp_path, network), wanted)
    wanted, network = stylegan2(
        {"c_dim": 3, "mapping_embed_features": 9},
        {"label_size": 3, "label_fmaps": 9},
        "G_synthesis",
    )
    assert_same(reopened(tmp_path, network), wanted)


def revised(lod: float) -> tuple[nn.Module, OldNetwork]:
    """A synthesis of the revised kind, with an image layer of every resolution."""
    name = "G_synthesis_stylegan_revised"
    wanted, network = stylegan2({"architecture": "orig"}, {"synthesis_func": name}, name)
    synthesis = network.components["synthesis"]
    variables = {
        re.sub("16x16/ToRGB", "ToRGB_lod0", key): value
        for key, value in synthesis.variables.items()
    }
    variables |= {"lod": np.float32(lod), "ToRGB_lod1/bias": np.zeros(3, np.float32)}
    changed = replace(synthesis, variables=variables)
    return wanted, replace(network, components={**network.components, "synthesis": changed})


def test_a_revised_stylegan_is_the_architecture_orig_once_it_has_grown(tmp_path: Path) -> None:
    wanted, network = revised(0)
    assert_same(reopened(tmp_path, network), wanted)
    with pytest.raises(ConfigError, match=r"not grown to its full resolution \(lod 0.5\)"):
        reopened(tmp_path, revised(0.5)[1])


def test_a_stylegan2_says_how_its_owner_draws(tmp_path: Path) -> None:
    facts = reopened(tmp_path, stylegan2()[1]).facts
    assert {"psi": 0.5, "cutoff": None, "noise": "random"}.items() <= facts.items()
    network = stylegan2({}, {"truncation_psi": 0.8, "truncation_cutoff": 4})[1]
    assert {"psi": 0.8, "cutoff": 4}.items() <= reopened(tmp_path, network).facts.items()
    facts = reopened(tmp_path, stylegan2({"use_noise": False}, {"use_noise": False})[1]).facts
    assert "noise" not in facts


@pytest.mark.parametrize(
    "taps", [[1, 3, 3, 1], [1], [1, 2, 3, 4, 5, 6, 7], [1.0] * 8, [[1, 2], [3, 4]]]
)
def test_filters_are_those_that_our_network_makes(taps: Any) -> None:
    np.testing.assert_allclose(_filter(taps), low_pass(taps).numpy(), rtol=1e-6)


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "said", "complaint"),
    [
        ("pggan", {"tanh_at_end": True}, "G_paper has no argument tanh_at_end"),
        ("pggan", {"structure": "fixed"}, "structure = fixed is not implemented"),
        ("pggan", {"dtype": "float64"}, "dtype = float64 is not implemented"),
        ("pggan", {"fused_scale": 1}, "fused_scale = 1 is not implemented"),
        ("pggan", {"fused_scale": False}, "variable 8x8/Conv0_up/weight, which such a network has"),
        ("pggan", {"resolution": 16.5}, "resolution must be an integer of at least 0, got a float"),
        ("pggan", {"resolution": -16}, "resolution must be an integer of at least 0"),
        ("pggan", {"resolution": 32}, "torgb|missing|b4"),
        ("pggan", {"resolution": 24}, "resolution must be a power of two"),
        ("stylegan", {"attention": True}, "G_style has no argument attention"),
        ("stylegan", {"is_training": True}, "is_training = True is not implemented"),
        ("stylegan", {"is_validation": True}, "is_validation = True is not implemented"),
        ("stylegan", {"use_noise": 2}, "use_noise = 2 is not implemented"),
        ("stylegan", {"truncation_psi": "x"}, "truncation_psi must be a number or None, got str x"),
        ("stylegan", {"truncation_cutoff": True}, "truncation_cutoff must be a number or None"),
        ("stylegan", {"structure": "spiral"}, "structure = spiral is not implemented"),
        ("stylegan", {"nonlinearity": "tanh"}, "nonlinearity must be one of"),
        ("stylegan", {"force_clean_graph": True}, "no argument force_clean_graph"),
        ("stylegan2", {"attention": True}, "G_main has no argument attention"),
        ("stylegan2", {"fmap_decay": 0.9}, "fmap_decay = 0.9 is not implemented"),
        ("stylegan2", {"fmap_min": 4}, "fmap_min = 4 is not implemented"),
        ("stylegan2", {"fmap_const": 4}, "fmap_const = 4 is not implemented"),
        ("stylegan2", {"normalize_latents": False}, "normalize_latents = False is not implemented"),
        ("stylegan2", {"return_dlatents": True}, "return_dlatents = True is not implemented"),
        ("stylegan2", {"mapping_func": "G_map"}, "mapping_func = G_map is not implemented"),
        ("stylegan2", {"synthesis_func": "G_other"}, "synthesis_func = G_other is not implemented"),
        ("stylegan2", {"fmap_base": 32.5}, "fmap_base must be an integer"),
        ("stylegan2", {"resample_kernel": "soft"}, "resample_kernel must be numbers"),
        ("stylegan2", {"resample_kernel": [1e300]}, "resample_kernel must be numbers"),
        ("stylegan2", {"resample_kernel": [[1, 2], [3]]}, "resample_kernel must be numbers"),
        ("stylegan2", {"resample_kernel": [1, -1]}, "resample_kernel must be numbers of a sum"),
        ("stylegan2", {"architecture": "unet"}, "architecture must be one of|missing"),
        ("stylegan2", {"label_size": 3}, "embed"),
    ],
)
def test_an_argument_that_is_not_implemented_is_refused_by_name(
    family: str, said: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    make, module = FAMILIES[family]
    network = make()[1]
    parts = {
        name: replace(part, kwargs={**part.kwargs, **said})
        for name, part in network.components.items()
    }
    network = replace(network, kwargs={**network.kwargs, **said}, components=parts)
    with pytest.raises(ConfigError, match=complaint):
        reopened(tmp_path, network, module=module)


@pytest.mark.parametrize(
    ("family", "variables", "complaint"),
    [
        ("pggan", {"4x4/Conv/gamma": np.zeros(3)}, "variable 4x4/Conv/gamma, which such a network"),
        ("pggan", {"4x4/Conv/weight": np.zeros(3)}, "4x4/Conv/weight must have 4 dimensions"),
        ("pggan", {"4x4/Dense/weight": np.zeros(3)}, "4x4/Dense/weight must have 2 dimensions"),
        ("pggan", {"4x4/Conv/bias": np.zeros(3)}, "b4.bias1"),
        ("pggan", {"lod": np.zeros(1)}, "no number lod among its variables"),
        ("pggan", {"lod": np.float32(3)}, r"lod must be a number in \[0, 2\]"),
        ("pggan", {"lod": np.float32(math.nan)}, "lod must be a number"),
        ("pggan", {"ToRGB_lod00/bias": np.zeros(3)}, "ToRGB_lod00/bias under two names"),
        ("pggan", {"ToRGB_lod99/bias": np.zeros(3)}, "torgb0.bias"),
        ("pggan", {"ToRGB_lod999/bias": np.zeros(3)}, "ToRGB_lod999/bias, which such a network"),
        ("stylegan", {"dlatent_avg2": np.zeros(4)}, "variable dlatent_avg2, which"),
        ("stylegan", {"dlatent_avg": np.zeros(3)}, "mapping.w_avg"),
        (
            "stylegan",
            {"synthesis/noise0": np.zeros((2, 1, 4, 4))},
            "noise0 has an unexpected shape",
        ),
        ("stylegan", {"synthesis/noise99": np.zeros((1, 1, 4, 4))}, "noise_const"),
        ("stylegan", {"synthesis/8x8/Conv/weight": np.zeros((3, 3, 5, 5))}, "under two names"),
        ("stylegan", {"mapping/Dense9/bias": np.zeros(4)}, "mapping.bias9"),
        ("stylegan", {"mapping/LabelConcat/weight": np.zeros((2, 5))}, "mapping.embed"),
        ("stylegan2", {"mapping/LabelConcat/weight": np.zeros((2, 5))}, "program of 2019"),
        ("stylegan2", {"synthesis/4x4/Conv/noise_strength": np.zeros(1)}, "noise_strength"),
        (
            "stylegan2",
            {"synthesis/ToRGB_lod1/bias": np.zeros(1)},
            "variable ToRGB_lod1/bias, which",
        ),
        ("stylegan2", {"synthesis/4x4/Const/const": np.zeros((6, 4))}, "an unexpected shape"),
        ("stylegan2", {"synthesis/16x16/ToRGB/weight": np.zeros((1, 6, 3))}, "4 dimensions"),
    ],
)
def test_a_variable_that_does_not_fit_is_refused_by_name(
    family: str, variables: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    make, module = FAMILIES[family]
    network = make()[1]
    for path, value in variables.items():
        array = np.asarray(value, dtype=np.float32)
        part, _, name = path.partition("/")
        if part in network.components:
            inner = network.components[part]
            inner = replace(inner, variables={**inner.variables, name: array})
            network = replace(network, components={**network.components, part: inner})
        else:
            network = replace(network, variables={**network.variables, path: array})
    with pytest.raises(ConfigError, match=complaint):
        reopened(tmp_path, network, module=module)


def test_a_missing_variable_is_refused_by_name(tmp_path: Path) -> None:
    _, network = pggan()
    left = {name: v for name, v in network.variables.items() if name != "8x8/Conv1/bias"}
    with pytest.raises(ConfigError, match="b8.bias1 is missing"):
        reopened(tmp_path, replace(network, variables=left), module=TFUTIL)


@pytest.mark.parametrize("family", ["stylegan", "stylegan2"])
def test_components_must_be_those_of_the_program(family: str, tmp_path: Path) -> None:
    network = FAMILIES[family][0]()[1]
    parts = dict(network.components)
    with pytest.raises(ConfigError, match="components mapping and synthesis, got mapping$"):
        reopened(tmp_path, replace(network, components={"mapping": parts["mapping"]}))
    with pytest.raises(ConfigError, match="components mapping and synthesis, got none"):
        reopened(tmp_path, replace(network, components={}))
    other = replace(parts["synthesis"], function="G_synthesis_attention")
    with pytest.raises(ConfigError, match="synthesis was built by G_synthesis_attention"):
        reopened(tmp_path, replace(network, components=parts | {"synthesis": other}))
    deep = replace(parts["mapping"], components={"more": DISCRIMINATOR})
    with pytest.raises(ConfigError, match="mapping has components of its own"):
        reopened(tmp_path, replace(network, components=parts | {"mapping": deep}))
    torn = replace(parts["synthesis"], kwargs={**parts["synthesis"].kwargs, "resolution": 32})
    with pytest.raises(ConfigError, match="resolution is another in its component synthesis"):
        reopened(tmp_path, replace(network, components=parts | {"synthesis": torn}))
    fewer = replace(parts["mapping"], kwargs={**parts["mapping"].kwargs, "dlatent_broadcast": 4})
    with pytest.raises(ConfigError, match="dlatent_broadcast = 4 is not implemented"):
        reopened(tmp_path, replace(network, components=parts | {"mapping": fewer}))


@pytest.mark.parametrize("name", ["D_basic", "D_paper", "D_stylegan2", "G_main2", ""])
def test_discriminators_and_unknown_functions_have_no_plan(name: str, tmp_path: Path) -> None:
    network = replace(DISCRIMINATOR, function=name)
    assert planned(tmp_path, network) is None


def test_a_name_from_elsewhere_is_of_no_interest(tmp_path: Path) -> None:
    _, network = stylegan()
    file = write_old_pickle(tmp_path / "network.pkl", (network, network, network))
    record = holdings.read(file).networks["Gs"]
    assert tensorflow(record) is not None
    assert tensorflow(replace(record, module="training.networks")) is None
    with pytest.raises(ConfigError, match="by position"):
        tensorflow(replace(record, args=(1,)))
