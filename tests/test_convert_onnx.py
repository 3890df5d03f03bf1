"""`ganaudit convert IN OUT.onnx`: the checkpoint's images, from a file that says what it is."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from conftest import Ended, read_report

from ganaudit import networks, registry
from ganaudit.checkpoints import exporting, inspecting
from ganaudit.checkpoints.native import save_native
from ganaudit.checkpoints.opened import open_network
from ganaudit.errors import ConfigError
from ganaudit.slots import Draws, Stream, draw

STYLEGAN2: dict[str, Any] = {
    "z_dim": 6, "c_dim": 0, "w_dim": 8, "img_resolution": 16, "img_channels": 3,
    "channel_base": 64, "channel_max": 8,
}  # fmt: skip
STYLEGAN3: dict[str, Any] = STYLEGAN2 | {
    "channel_base": 128, "num_layers": 4, "num_critical": 1, "margin_size": 4,
}  # fmt: skip
STYLEGAN: dict[str, Any] = {
    "resolution": 16, "num_channels": 3, "label_size": 0, "latent_size": 6, "dlatent_size": 7,
    "fmap_base": 64, "fmap_max": 8, "mapping_layers": 3,
}  # fmt: skip
PGGAN: dict[str, Any] = {
    "resolution": 16, "num_channels": 3, "label_size": 0, "latent_size": 6, "fmap_base": 64,
    "fmap_max": 8,
}  # fmt: skip
BIGGAN: dict[str, Any] = {"G_ch": 4, "dim_z": 12, "resolution": 32}
HUB: dict[str, Any] = {
    "z_dim": 6, "channel_width": 8, "n_stats": 3, "attention_layer_position": 2,
    "layers": [[False, 16, 8], [True, 8, 4], [True, 4, 2], [False, 2, 1]],
}  # fmt: skip

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "dcgan": ("dcgan", {"latent_size": 5, "width": 4, "channels": 3, "size": 48}),
    "mlp": ("mlp", {"latent_size": 5, "widths": [7, 8], "image_shape": [3, 3, 3],
                    "batch_norm": True}),
    "cdcgan": ("cdcgan", {"latent_size": 5, "num_labels": 4, "width": 4, "size": 16}),
    "sngan": ("sngan", {"latent_size": 5, "width": 4, "channels": 1, "size": 48}),
    "collapsed": ("collapsed", {"latent_size": 5, "width": 4}),
    "stylegan2": ("stylegan2", STYLEGAN2),
    "stylegan2-resnet": ("stylegan2", STYLEGAN2 | {"c_dim": 3, "architecture": "resnet",
                                                   "conv_clamp": 256, "kernel_size": 1}),
    "stylegan2-orig": ("stylegan2", STYLEGAN2 | {"architecture": "orig", "use_noise": False,
                                                 "activation": "elu", "mapping_num_layers": 2,
                                                 "resample_filter": [1, 2, 3, 4, 4, 3, 2, 1]}),
    "stylegan2-alpha": ("stylegan2", STYLEGAN2 | {"img_channels": 4, "resample_filter": None,
                                                  "mapping_w_avg": False, "kernel_size": 5}),
    "stylegan3-t": ("stylegan3", STYLEGAN3 | {"img_resolution": 19, "filter_size": 3,
                                              "lrelu_upsampling": 3}),
    "stylegan3-r": ("stylegan3", STYLEGAN3 | {"use_radial_filters": True, "conv_kernel": 1,
                                              "c_dim": 4, "conv_clamp": None}),
    "stylegan": ("stylegan", STYLEGAN),
    "stylegan-growing": ("stylegan", STYLEGAN | {"label_size": 4, "lod": 1.5,
                                                 "blur_filter": [1, 2, 3]}),
    "stylegan-plain": ("stylegan", STYLEGAN | {"use_styles": False, "use_pixel_norm": True,
                                               "const_input_layer": False, "use_noise": False}),
    "pggan": ("pggan", PGGAN),
    "pggan-growing": ("pggan", PGGAN | {"label_size": 3, "lod": 0.5, "num_channels": 1,
                                        "use_wscale": False, "normalize_latents": False}),
    "biggan-hier": ("biggan", BIGGAN | {"G_attn": "16", "n_classes": 5, "hier": True,
                                        "G_shared": True, "shared_dim": 6}),
    "biggan-alone": ("biggan", BIGGAN | {"n_classes": 1, "G_param": "None", "mybn": True,
                                         "accumulate_standing": True, "G_shared": True}),
    "biggan-sync": ("biggan", BIGGAN | {"n_classes": 5, "cross_replica": True, "G_attn": "0",
                                        "sync_gain": "added", "G_shared": False,
                                        "bottom_width": 2}),
    "biggan-deep": ("biggan_deep", BIGGAN | {"n_classes": 5, "G_attn": "16", "shared_dim": 6}),
    "biggan-hub": ("biggan_hub", HUB | {"num_classes": 4}),
    "biggan-hub-alone": ("biggan_hub", HUB | {"num_classes": 1}),
}  # fmt: skip


def saved(path: Path, name: str, arguments: dict[str, Any], **facts: Any) -> Path:
    """A checkpoint of random weights, statistics and scales among them."""
    torch.manual_seed(0)
    module = networks.build(name, arguments).eval()
    with torch.no_grad():
        for key, tensor in module.state_dict().items():
            last = key.split(".")[-1]
            if last in ("gamma", "noise_strength", "threshold", "spread"):
                tensor.fill_(0.3)
            elif last == "accumulation_counter":
                tensor.fill_(3)
            elif "mean" in last or last in ("direction", "centre", "w_avg"):
                tensor.normal_(0, 0.1)
            elif tensor.ndim > 1 and name in ("dcgan", "mlp", "cdcgan", "sngan", "collapsed"):
                tensor.mul_(3)  # or the images would be grey
            elif "var" in last:
                tensor.uniform_(0.5, 2)
    save_native(path, module, network=name, arguments=arguments, facts=facts)
    return path


def opened(target: str, **options: str) -> Any:
    return registry.open_plugin("generators", target, options, device=torch.device("cpu"))[0]


def drawn(source: Any, count: int) -> Draws:
    return draw(
        np.arange(count),
        seed=7,
        stream=Stream.SAMPLES,
        latent_shape=source.latent_shape,
        prior=source.prior,
        labels=np.arange(source.num_labels) if source.num_labels else None,
    )


@pytest.mark.parametrize("case", CASES)
def test_the_images_are_those_of_the_checkpoint(case: str) -> None:
    name, arguments = CASES[case]
    path = saved(Path("g.safetensors"), name, arguments, prior="uniform")
    inspecting.convert(path, Path("g.onnx"))
    noisy = bool(getattr(open_network(path).module, "noise_shapes", ()))
    ours = opened(f"checkpoint:{path}", **({"noise": "const"} if noisy else {}))
    theirs = opened("g.onnx")
    for told in ("latent_shape", "prior", "num_labels"):
        assert getattr(theirs, told) == getattr(ours, told)
    for count in (1, 5):
        draws = drawn(ours, count)
        wanted, found = ours.render(draws).int(), theirs.render(draws).int()
        assert found.shape == wanted.shape
        assert int((found - wanted).abs().max()) <= 1
        assert (found != wanted).float().mean() < 0.01  # rounded the other way
    assert len({image.numpy().tobytes() for image in wanted}) == 5


def test_every_generator_of_ours_is_tried() -> None:
    every = {name for name in networks.NETWORKS if not name.endswith("_discriminator")}
    assert {name for name, _ in CASES.values()} == every - {"digit_embedder"}


def test_the_file_says_what_it_is(ganaudit: Any) -> None:
    path = saved(
        Path("s.safetensors"), "stylegan2", STYLEGAN2 | {"c_dim": 3},
        prior="normal", psi=0.7, notes=["Something was assumed."],
    )  # fmt: skip
    ended = ganaudit("convert", path, "s.onnx")
    assert (ended.code, ended.out) == (0, "s.onnx: stylegan2, state_dict of s.safetensors\n")
    notes = [
        "Something was assumed.",
        "The noise of each layer is the same in every image, as the checkpoint has it.",
        "The checkpoint truncates with psi 0.7 unless told otherwise; this file does not.",
    ]
    assert ended.err == "".join(f"note: {note}\n" for note in notes)
    told = {entry.key: json.loads(entry.value) for entry in onnx.load("s.onnx").metadata_props}
    assert told["ganaudit"] == {
        "prior": "normal", "latent_shape": [6], "range": [-1, 1], "layout": "NCHW", "num_labels": 3,
    }  # fmt: skip
    assert told["ganaudit.from"] == {
        "sha256": open_network(path).sha256,
        "role": "state_dict",
        "network": "stylegan2",
        "notes": notes,
    }
    assert str(Path.cwd()).encode() not in Path("s.onnx").read_bytes()
    assert opened("s.onnx").assumptions[-3:] == tuple(notes)
    said = opened("s.onnx", prior="spherical")
    assert said.prior == "spherical" and any("as --set says" in a for a in said.assumptions)
    first = Path("s.onnx").read_bytes()
    inspecting.convert(path, Path("again.onnx"))
    assert Path("again.onnx").read_bytes() == first


def test_a_prior_that_nobody_told_is_not_made_up(ganaudit: Any) -> None:
    saved(Path("g.safetensors"), "dcgan", {"latent_size": 5, "width": 4})
    ended = ganaudit("convert", "g.safetensors", "g.onnx")
    assert ended.code == 0 and "The file does not say its prior" in ended.err
    with pytest.raises(ConfigError, match=r"g\.onnx declares no prior"):
        opened("g.onnx")
    assert opened("g.onnx", prior="uniform").prior == "uniform"


def test_an_audit_of_either_file_is_the_same(ganaudit: Any) -> None:
    saved(Path("g.safetensors"), "cdcgan", CASES["cdcgan"][1], prior="normal")
    assert ganaudit("convert", "g.safetensors", "g.onnx").code == 0
    figures = []
    for file in ("g.safetensors", "g.onnx"):
        request = ("--descriptor", "digits", "--anchors", 64, "--samples", 128, "--device", "cpu")
        ended: Ended = ganaudit("diagnose", "--generator", file, *request, "--out", f"run-{file}")
        assert ended.code == 0, ended.err
        report = read_report(Path(f"run-{file}"))
        figures.append((report["figures"]["mccs"]["mu"], report["figures"]["vendi"]["order_1"]))
    for ours, theirs in zip(*figures, strict=True):
        assert theirs == pytest.approx(ours, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "arguments", "facts", "said"),
    [
        ("mlp", {}, {}, "its state_dict is a mlp, which makes points"),
        ("stylegan2", STYLEGAN2 | {"img_channels": 5}, {}, "which makes images of 5 channels"),
        ("dcgan_discriminator", {"width": 4}, {}, "which takes no latents; a generator alone"),
        ("digit_embedder", {"width": 4}, {}, "which takes no latents; a generator alone"),
        ("dcgan", {"latent_size": 5, "width": 4}, {"prior": "cauchy"}, "prior must be one of"),
        ("dcgan", {"latent_size": 5, "width": 4}, {"prior": [1]}, "prior must be one of"),
    ],
)
def test_what_is_no_generator_of_images_is_refused(
    name: str, arguments: dict[str, Any], facts: dict[str, Any], said: str
) -> None:
    path = saved(Path("g.safetensors"), name, arguments, **facts)
    with pytest.raises(ConfigError) as refusal:
        inspecting.convert(path, Path("g.onnx"))
    assert str(refusal.value).startswith("g.safetensors: ") and said in str(refusal.value)
    assert [file.name for file in Path().iterdir()] == ["g.safetensors"]


def _brighter(called: Any, where: str) -> bytes:
    return _traced(_Changed(called, lambda images: images + 2e-4), where)


def _of_a_fixed_batch(called: Any, where: str) -> bytes:
    return _traced(_Changed(called, lambda images: images.reshape(2, -1, 16, 16)), where)


def _not_finite(called: Any, where: str) -> bytes:
    return _traced(_Changed(called, lambda images: images * float("nan")), where)


def _without_operator(called: Any, where: str) -> bytes:
    return _traced(_Changed(called, torch.special.bessel_j0), where)


class _Changed(exporting._Called):
    def __init__(self, called: Any, change: Any) -> None:
        super().__init__(called.module)
        self.change = change
        self.eval()

    def forward(self, latents: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        return self.change(super().forward(latents, labels))


_traced = exporting._traced


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (_brighter, "ONNX Runtime's images differ from torch's by 0.0002, more than 0.0001"),
        (_of_a_fixed_batch, "cannot be written as ONNX: "),
        (_not_finite, "ONNX Runtime's images differ from torch's by nan"),
        (_without_operator, "cannot be written as ONNX: UnsupportedOperatorError"),
    ],
)
def test_a_file_of_other_images_is_not_kept(
    wrong: Any, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(Path("g.safetensors"), "dcgan", {"latent_size": 5, "width": 4}, prior="normal")
    monkeypatch.setattr(exporting, "_traced", wrong)
    with pytest.raises(ConfigError) as refusal:
        inspecting.convert(path, Path("g.onnx"))
    assert said in str(refusal.value) and "\n" not in str(refusal.value)
    assert [file.name for file in Path().iterdir()] == ["g.safetensors"]


def test_more_than_the_format_holds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(Path("g.safetensors"), "dcgan", {"latent_size": 5, "width": 4})
    monkeypatch.setattr(exporting, "_MOST_BYTES", 1000)
    with pytest.raises(ConfigError, match="an ONNX file has room for less than 2 GiB"):
        inspecting.convert(path, Path("g.onnx"))


def test_a_full_disk_leaves_nothing(ganaudit: Any) -> None:
    saved(Path("g.safetensors"), "dcgan", {"latent_size": 5, "width": 4}, prior="normal")
    ended = ganaudit("convert", "g.safetensors", "g.onnx", fsize=1000)
    assert ended.code == 6 and "g.onnx cannot be written: " in ended.complaint
    assert [file.name for file in Path().iterdir()] == ["g.safetensors"]
    Path("g.onnx").write_text("mine")
    ended = ganaudit("convert", "g.safetensors", "g.onnx")
    assert ended.code == 2 and "g.onnx exists" in ended.complaint
    assert Path("g.onnx").read_text() == "mine"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "its ganaudit metadata cannot be read"),
        ('"notes"', "must hold a list of texts"),
        ('{"notes": "all is well"}', "must hold a list of texts"),
        ('{"notes": [1]}', "must hold a list of texts"),
        ("[" * 9999, "its ganaudit metadata cannot be read"),
        (" " * 2**17, "it is too long"),
    ],
)
def test_where_a_file_is_from_may_be_anything(text: str, said: str) -> None:
    model = _converted()
    model.metadata_props[1].value = text
    onnx.save(model, "g.onnx")
    with pytest.raises(ConfigError, match=said):
        opened("g.onnx")


def test_notes_of_a_file_cannot_steer_a_terminal() -> None:
    model = _converted()
    model.metadata_props[1].value = json.dumps({"notes": ["one\x1b[31m\ntwo"]})
    onnx.save(model, "g.onnx")
    assert opened("g.onnx").assumptions[-1] == "one [31m two"


def _converted() -> onnx.ModelProto:
    path = saved(Path("g.safetensors"), "dcgan", {"latent_size": 5, "width": 4}, prior="normal")
    inspecting.convert(path, Path("g.onnx"))
    model = onnx.load("g.onnx")
    assert model.metadata_props[1].key == "ganaudit.from"
    return model
