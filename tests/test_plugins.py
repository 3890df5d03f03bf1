import json
import math
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from ganaudit import networks, registry
from ganaudit.checkpoints.native import save_native
from ganaudit.config import DiagnoseConfig
from ganaudit.errors import ConfigError, PluginError, SourceError, UnsafeCheckpoint
from ganaudit.generators import Failure
from ganaudit.opening import open_request
from ganaudit.pipeline import diagnose
from ganaudit.slots import Draws, Stream, draw

CPU = torch.device("cpu")
Make = Callable[..., DiagnoseConfig]


def generator(spec: str, **options: str) -> Any:
    return registry.open_plugin("generators", spec, options, device=CPU)[0]


def descriptor(spec: str, **options: str) -> Any:
    return registry.open_plugin("descriptors", spec, options, device=CPU)[0]


def some_draws(source: Any, count: int = 5, seed: int = 0) -> Draws:
    return draw(
        np.arange(count),
        seed=seed,
        stream=Stream.SAMPLES,
        latent_shape=source.latent_shape,
        prior=source.prior,
        labels=np.arange(source.num_labels) if source.num_labels else None,
    )


def test_these_plugins_ship() -> None:
    """A new one needs tests here."""
    files = "checkpoint demo embeddings exported images onnx python torchscript"
    services = "image_api oip predictions"
    assert set(registry.installed("generators")) == {*files.split(), *services.split()}
    descriptors = "digits facenet onnx points timm torchscript"
    assert set(registry.installed("descriptors")) == set(descriptors.split())
    assert set(registry.installed("fetchers")) == {"facenet", "timm"}


# -- demo -------------------------------------------------------------------------------------


def test_the_demo_is_healthy_unless_told_otherwise() -> None:
    named, plain = generator("demo:healthy"), generator("demo")
    assert named.identity == plain.identity
    draws = some_draws(plain)
    images = plain.render(draws)
    assert (images.dtype, tuple(images.shape)) == (torch.uint8, (5, 3, 16, 16))
    assert torch.equal(images, named.render(draws))
    assert torch.equal(images[:, 0], images[:, 2])  # grey


def test_an_image_of_the_demo_depends_on_its_own_draw_alone() -> None:
    demo = generator("demo")
    draws = some_draws(demo, 9)
    alone = torch.cat([demo.render(draws[i : i + 1]) for i in range(9)])
    assert int((alone.int() - demo.render(draws).int()).abs().max()) <= 1


def test_a_third_demo_is_refused() -> None:
    with pytest.raises(ConfigError, match="there is demo:healthy and demo:collapsed, got demo:x"):
        generator("demo:x")


@pytest.mark.usefixtures("undrawn")
def test_the_report_names_the_mode_planted_in_the_demo_and_its_share(config: Make) -> None:
    """8 % were planted; the share of these very samples differs from it by chance."""
    n = 4000
    asked = config(generator="demo:collapsed", anchors=500, samples=n)
    report = diagnose(asked).report
    worst, source = report["figures"]["worst_mode"], generator("demo:collapsed")

    def planted(stream: Stream, slots: Sequence[int]) -> NDArray[np.bool_]:
        draws = draw(
            np.array(slots), seed=asked.seed, stream=stream, latent_shape=source.latent_shape
        )
        return source.module.planted(draws.latents).numpy()

    share = planted(Stream.SAMPLES, range(n)).mean()
    assert 0.06 < share < 0.10  # five standard deviations are .02
    for rate in (worst["rate"], worst["chosen_and_scored_apart"]["rate"]):
        assert rate["low"] <= 0.08 <= rate["high"]
        assert rate["low"] <= share <= rate["high"]
    assert planted(Stream.ANCHORS, [worst["anchor"]]).all()
    assert planted(Stream.ANCHORS, [report["figures"]["dense_modes"][0]["anchor"]]).all()
    shown = report["gallery"]["worst"]["neighbors"]
    assert planted(Stream.SAMPLES, [near["slot"] for near in shown]).all()


@pytest.mark.usefixtures("undrawn")
def test_the_healthy_demo_has_no_such_mode(config: Make) -> None:
    figures = diagnose(config(generator="demo", anchors=500, samples=4000)).report["figures"]
    assert figures["worst_mode"]["rate"]["high"] < 0.08 / 4


# -- checkpoint -------------------------------------------------------------------------------

ARGUMENTS = {"latent_size": 5, "width": 2, "channels": 1, "size": 8}
FACTS: dict[str, object] = {"prior": "uniform", "latent_shape": [5]}


def saved(path: Path, facts: dict[str, object] = FACTS, network: str = "dcgan") -> Path:
    torch.manual_seed(0)
    arguments = ARGUMENTS if network == "dcgan" else {"width": 2, "embedding_size": 4}
    module = networks.build(network, arguments)
    save_native(path, module, network=network, arguments=arguments, facts=facts)
    return path


def test_a_checkpoint_draws_from_the_prior_that_it_declares(tmp_path: Path) -> None:
    source = generator(f"checkpoint:{saved(tmp_path / 'g.safetensors')}")
    assert (source.prior, source.latent_shape) == ("uniform", (5,))
    draws = some_draws(source)
    images = source.render(draws)
    native = source.forward(draws.latents).detach()
    assert tuple(native.shape) == (5, 1, 8, 8)
    level = (native.clamp(-1, 1) + 1) * 127.5  # black is -1, white 1
    assert float((images[:, :1] - level).abs().max()) <= 0.5 + 1e-4


def test_a_path_is_told_apart_by_its_content(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.anything")
    opened, name, target = registry.open_plugin("generators", str(path), {}, device=CPU)
    assert (name, target) == ("checkpoint", str(path))
    assert opened.latent_shape == (5,)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"latent_shape": [5]}, "declares no prior .* so say --set prior="),
        (FACTS | {"prior": "cauchy"}, "prior must be one of normal, .*, got 'cauchy'"),
        (FACTS | {"latent_shape": [0]}, "latent_shape must be positive whole numbers"),
        (FACTS | {"latent_shape": [2**20, 2**20]}, "latent_shape must be positive whole numbers"),
        (FACTS | {"latent_shape": "5"}, "latent_shape must be positive whole numbers"),
        (FACTS | {"latent_shape": [True]}, "latent_shape must be positive whole numbers"),
    ],
)
def test_a_checkpoint_must_say_what_it_takes(
    tmp_path: Path, facts: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        generator(f"checkpoint:{saved(tmp_path / 'g.safetensors', facts)}")


def test_a_wrong_latent_shape_is_the_generators_fault(config: Make, tmp_path: Path) -> None:
    path = saved(tmp_path / "g.safetensors", FACTS | {"latent_shape": [6]})
    with pytest.raises(SourceError, match="none of the first 8 images can be used"):
        diagnose(config(generator=str(path), descriptor="digits"))


def test_a_descriptor_is_no_generator_and_the_other_way_round(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="its state_dict is a digit_embedder"):
        facts = {"prior": "normal"}
        generator(f"checkpoint:{saved(tmp_path / 'd.safetensors', facts, 'digit_embedder')}")
    with pytest.raises(ConfigError, match="must be a digit_embedder, with its origin"):
        descriptor(f"digits:{saved(tmp_path / 'g.safetensors')}")


class Trap:
    """Unpickling it leaves a file behind."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self._mark,)


def test_nothing_in_a_hostile_checkpoint_runs(tmp_path: Path) -> None:
    import pickle

    mark = tmp_path / "sprung"
    (tmp_path / "g.pkl").write_bytes(pickle.dumps(Trap(mark)))
    torch.save({"w": Trap(mark)}, tmp_path / "g.pt")
    for name in ("g.pkl", "g.pt"):
        path = tmp_path / name
        for spec in (str(path), f"checkpoint:{path}"):
            with pytest.raises(UnsafeCheckpoint, match="nothing of it was run"):
                generator(spec)
        with pytest.raises(UnsafeCheckpoint, match="nothing of it was run"):
            descriptor(str(path))
    header = json.dumps({"w": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}})
    lying = struct.pack("<Q", len(header)) + header.encode()
    (tmp_path / "lying.safetensors").write_bytes(lying)
    with pytest.raises(ConfigError):
        generator(str(tmp_path / "lying.safetensors"))
    assert not mark.exists()


# -- python -----------------------------------------------------------------------------------

USER_CODE = '''
import torch
from torch import nn


def declared(function, **facts):
    for name, value in facts.items():
        setattr(function, name, value)
    return function


def render(latents):
    return (latents / 4).clamp(-1, 1)


def complete():
    return declared(lambda z: render(z), latent_shape=(3, 6, 6), prior="normal", range=(-1, 1))


def no_prior():
    return declared(lambda z: render(z), latent_shape=(3, 6, 6), range=(-1, 1))


def no_shape():
    return declared(lambda z: render(z), prior="normal", range=(-1, 1))


def no_range():
    return declared(lambda z: render(z), latent_shape=(3, 6, 6), prior="normal")


def backwards():
    return declared(lambda z: render(z), latent_shape=(3, 6, 6), prior="normal", range=(1, -1))


def last():
    """Channels last, in a shape that leaves it open."""
    return declared(lambda z: z, latent_shape=(3, 6, 3), prior="normal", range=(-4, 4))


class Net(nn.Module):
    latent_shape, prior, range = (6,), "uniform", (0.0, 1.0)

    def __init__(self, gain):
        super().__init__()
        self.layer = nn.Linear(6, 12)
        self.noise = nn.Dropout(0.5)
        self.gain = gain

    def forward(self, z):
        return torch.sigmoid(self.gain * self.noise(self.layer(z))).view(-1, 3, 2, 2)


def module(*, gain: float = 1.0):
    torch.manual_seed(0)
    return Net(gain)


class Latent:
    latent_shape, prior, num_labels = (3, 6, 6), "normal", 7
    identity = {"psi": 0.5}
    size = 4

    def render(self, draws):
        return (128 + 9 * draws.latents + draws.labels[:, None, None, None]).to(torch.uint8)


class Service:
    seedable, size = True, None

    def stream(self, draws):
        for i, seed in zip(draws.index.tolist(), draws.seeds.tolist()):
            rng = torch.Generator().manual_seed(seed)
            yield i, torch.randint(256, (3, 6, 6), generator=rng).to(torch.uint8)


def raising(*, path: str = "?"):
    raise FileNotFoundError(f"no weights\\nat {path}")


def leaving():
    raise SystemExit(0)


def nan():
    return declared(
        lambda z: z * float("nan"), latent_shape=(3, 6, 6), prior="normal", range=(-1, 1)
    )


def a_list():
    return declared(lambda z: [z], latent_shape=(3, 6, 6), prior="normal", range=(-1, 1))


seven = 7


def seventh():
    return declared(type("T", (), {})(), prior="normal", latent_shape=(3,))
'''


@pytest.fixture
def user_code(tmp_path: Path) -> Path:
    path = tmp_path / "user code.py"  # a space on purpose
    path.write_text(USER_CODE)
    return path


def test_a_function_is_rendered_in_the_range_it_declares(user_code: Path) -> None:
    source = generator(f"python:{user_code}:complete")
    draws = some_draws(source)
    level = ((draws.latents / 4).clamp(-1, 1) + 1) * 127.5
    assert float((source.render(draws) - level).abs().max()) <= 0.5 + 1e-4


def test_what_an_object_declares_is_overridden_by_the_user(user_code: Path) -> None:
    source = generator(f"python:{user_code}:complete", range="-2,2", prior="uniform")
    draws = some_draws(source)
    assert float(draws.latents.abs().max()) <= 1  # uniform
    level = ((draws.latents / 4) + 2) * 63.75
    assert float((source.render(draws) - level).abs().max()) <= 0.5 + 1e-4


def test_a_module_is_rendered_in_eval_mode_with_its_options(user_code: Path) -> None:
    spec = f"python:{user_code}:module"
    source = generator(spec, gain="3")
    draws = some_draws(source)
    assert torch.equal(source.render(draws), source.render(draws))  # no dropout
    assert not torch.equal(source.render(draws), generator(spec).render(draws))
    with pytest.raises(ConfigError, match="gain must be a finite number, got 'x'"):
        generator(spec, gain="x")


def test_a_latent_generator_is_taken_as_it_is(config: Make, user_code: Path) -> None:
    spec = f"python:{user_code}:Latent"
    source = generator(spec)
    assert source.num_labels == 7
    assert source.identity["psi"] == 0.5
    assert source.identity["prior"] == "normal"
    report = diagnose(config(generator=spec, descriptor="digits")).report
    assert report["counts"]["samples"]["ok"] == 256  # though its images have a `size`


def test_a_blind_generator_is_taken_as_it_is(config: Make, user_code: Path) -> None:
    report = diagnose(config(generator=f"python:{user_code}:Service", descriptor="digits")).report
    assert report["counts"]["samples"]["ok"] == 256
    assert report["generator"]["factory"] == "Service"


def test_the_identity_of_user_code_is_its_file_and_factory(user_code: Path) -> None:
    one = generator(f"python:{user_code}:complete").identity
    assert one["factory"] == "complete"
    user_code.write_text(USER_CODE + "\n# changed")
    other = generator(f"python:{user_code}:complete").identity
    assert one["sha256"] != other["sha256"]


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("no_prior", r"declares no prior \(normal, uniform, .*\); .* say --set prior="),
        ("no_shape", "declares no latent_shape; say --set latent_shape="),
        ("backwards", "range must go from black up to white"),
        ("seven", "has no function 'seven'"),
        ("absent", "has no function 'absent'"),
        ("seventh", "must return a generator or a callable from latents to images, got T"),
        ("", "python: wants FILE.py:FACTORY"),
    ],
)
def test_what_is_not_declared_is_not_guessed(user_code: Path, factory: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        generator(f"python:{user_code}:{factory}")


def test_a_range_that_is_not_declared_is_not_guessed(config: Make, user_code: Path) -> None:
    spec = f"python:{user_code}:no_range"
    with pytest.raises(ConfigError, match="declares no range"):
        diagnose(config(generator=spec, descriptor="digits"))
    assert generator(spec, range="-1,1").render(some_draws(generator(spec))).dtype == torch.uint8


def test_an_open_layout_is_not_guessed(user_code: Path) -> None:
    spec = f"python:{user_code}:last"
    source = generator(spec)
    with pytest.raises(SourceError, match="may be NCHW or NHWC; say --set layout=NCHW"):
        source.render(some_draws(source))
    images = {name: generator(spec, layout=name) for name in ("NCHW", "NHWC")}
    draws = some_draws(source)
    shapes = {name: tuple(found.render(draws).shape) for name, found in images.items()}
    assert shapes == {"NCHW": (5, 3, 6, 3), "NHWC": (5, 3, 3, 6)}
    with pytest.raises(ConfigError, match="layout must be one of NCHW, NHWC, got 'HWC'"):
        generator(spec, layout="HWC")


def test_an_unknown_option_names_the_nearest(user_code: Path) -> None:
    with pytest.raises(ConfigError, match="'module' has no option 'gian'; did you mean 'gain'"):
        generator(f"python:{user_code}:module", gian="2")
    with pytest.raises(ConfigError, match="'demo' has no option 'psi'"):
        generator("demo", psi="0.5")
    with pytest.raises(ConfigError, match="has no option 'device'"):
        generator("demo", device="cpu")


def test_user_code_that_raises_is_quoted_on_one_line(user_code: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        generator(f"python:{user_code}:raising", path="here")
    assert str(caught.value) == (
        "the factory 'raising' raised FileNotFoundError: no weights at here"
    )
    (tmp_path / "broken.py").write_text("import no_such_module")
    with pytest.raises(SourceError, match=r"broken.py raised ModuleNotFoundError"):
        generator(f"python:{tmp_path}/broken.py:make")
    with pytest.raises(ConfigError, match="python: no such file"):
        generator("python:absent.py:make")


def test_user_code_that_exits_is_a_generator_that_misbehaves(config: Make, user_code: Path) -> None:
    asked = config(generator=f"python:{user_code}:leaving", descriptor="digits")
    with pytest.raises(SourceError, match="the factory 'leaving' raised SystemExit"):
        open_request(asked)


@pytest.mark.parametrize(
    ("factory", "reason"),
    [("nan", "holds NaN or infinite values"), ("a_list", "must return a tensor, got list")],
)
def test_user_code_that_returns_no_images_ends_the_run(
    config: Make, user_code: Path, factory: str, reason: str
) -> None:
    asked = config(generator=f"python:{user_code}:{factory}", descriptor="digits")
    with pytest.raises(SourceError, match=f"none of the first 8 images can be used: .*{reason}"):
        diagnose(asked)


# -- images -----------------------------------------------------------------------------------


def answers(folder: Path) -> dict[str, torch.Tensor | Failure]:
    """What an image folder answers, by file name."""
    source = generator(f"images:{folder}")
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))
    assert source.size == len(names)
    found = dict(source.stream(draw(np.arange(len(names)), seed=0, stream=Stream.SAMPLES)))
    return {name: found[i] for i, name in enumerate(names)}


def test_pictures_become_rgb(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (5, 7), dtype=np.uint8)  # 7 wide, 5 high
    colour = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    folder = tmp_path / "pictures"
    (folder / "below").mkdir(parents=True)
    Image.fromarray(grey).save(folder / "grey.png")
    Image.fromarray(colour).save(folder / "below" / "colour.png")
    Image.fromarray(grey > 99).save(folder / "bits.png")

    clear = np.dstack([colour, np.full((5, 7), 255, np.uint8)])
    clear[0, 0, 3], clear[0, 1] = 0, (0, 0, 0, 102)
    Image.fromarray(clear).save(folder / "alpha.png")

    palette = Image.new("P", (7, 5), 0)
    palette.putpalette([10, 20, 30, 200, 100, 0])
    palette.putpixel((6, 4), 1)
    palette.save(folder / "palette.png")
    palette.save(folder / "transparent.png", transparency=0)

    found = answers(folder)
    assert torch.equal(found["grey.png"], torch.from_numpy(grey).expand(3, 5, 7))
    expected = torch.from_numpy(colour).permute(2, 0, 1)
    assert torch.equal(found["below/colour.png"], expected)
    bits = torch.from_numpy((grey > 99).astype(np.uint8) * 255)
    assert torch.equal(found["bits.png"], bits.expand(3, 5, 7))
    alpha = found["alpha.png"]
    assert alpha[:, 0, 0].tolist() == [255] * 3  # nothing there: white
    assert alpha[:, 0, 1].tolist() == [153] * 3  # 40 % black on white: 255 * 0.6
    assert torch.equal(alpha[:, 1:], expected[:, 1:])
    assert found["palette.png"][:, 0, 0].tolist() == [10, 20, 30]
    assert found["palette.png"][:, 4, 6].tolist() == [200, 100, 0]
    assert found["transparent.png"][:, 0, 0].tolist() == [255] * 3
    assert found["transparent.png"][:, 4, 6].tolist() == [200, 100, 0]


def test_pictures_that_are_none_of_ours_fail_with_a_reason(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    deep = np.arange(35, dtype=np.uint16).reshape(5, 7) * 1000
    Image.fromarray(deep).save(folder / "deep.png")
    Image.new("CMYK", (7, 5), (1, 2, 3, 4)).save(folder / "cmyk.jpg")
    Image.fromarray(np.zeros((5, 7), np.float32)).save(folder / "float.tif")
    (folder / "text.png").write_text("not a picture")
    Image.new("RGB", (70, 50), (1, 2, 3)).save(folder / "whole.png")
    whole = (folder / "whole.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    found = answers(folder)
    assert isinstance(found.pop("whole.png"), torch.Tensor)
    for name, reason in (
        ("deep.png", "8-bit grey or RGB wanted, got mode I;16"),
        ("cmyk.jpg", "got mode CMYK"),
        ("float.tif", "got mode F"),
        ("text.png", "cannot be read as a picture"),
        ("cut.png", "cannot be read as a picture"),
    ):
        failure = found.pop(name)
        assert isinstance(failure, Failure)
        assert reason in failure.reason
        assert name in failure.reason
        assert "\n" not in failure.reason
    assert not found


def test_a_folder_of_all_sizes_is_audited_but_for_the_broken_files(
    config: Make, tmp_path: Path
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(40):
        shape = (9 + i % 3, 12 - i % 2, 3)  # six sizes, none of them square
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(folder / f"{i:02}.png")
    (folder / "07.png").write_bytes(b"broken")
    asked = config(generator=str(folder), descriptor="digits", anchors=10, samples=30)
    counts = diagnose(asked).report["counts"]
    assert counts["anchors"]["failed"] + counts["samples"]["failed"] == 1
    assert counts["anchors"]["ok"] + counts["samples"]["ok"] == 39


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ConfigError, match="holds no pictures"):
        generator(f"images:{tmp_path}")
    for spec in ("images:", f"images:{tmp_path}/absent"):
        with pytest.raises(ConfigError, match="images: no such folder"):
            generator(spec)


# -- embeddings -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", ">f4"])
def test_embeddings_of_any_float_become_unit_rows(tmp_path: Path, kind: str) -> None:
    raw = np.array([[3, 4, 0], [0, -2, 0], [1, 1, 1]]).astype(kind)
    np.save(tmp_path / "rows.npy", raw)
    source = generator(f"embeddings:{tmp_path}/rows.npy")
    assert source.size == 3
    rows, valid = source.rows(np.array([2, 0, 1, 0]))
    third = 1 / math.sqrt(3)
    expected = [[third] * 3, [0.6, 0.8, 0], [0, -1, 0], [0.6, 0.8, 0]]
    assert rows.dtype == np.float32
    assert np.allclose(rows, expected, atol=1e-7)
    assert valid.all()


def test_embeddings_without_a_direction_are_not_valid(tmp_path: Path) -> None:
    raw = np.ones((5, 3), dtype=np.float32)
    raw[1] = 0
    raw[2, 1] = np.nan
    raw[3, 0] = np.inf
    np.save(tmp_path / "rows.npy", raw)
    rows, valid = generator(f"embeddings:{tmp_path}/rows.npy").rows(np.arange(5))
    assert valid.tolist() == [True, False, False, False, True]
    assert not rows[~valid].any()


def test_rows_without_a_direction_are_counted_as_failed_and_are_no_repeats(config: Make) -> None:
    raw = np.random.default_rng(0).normal(size=(320, 5))
    raw[:40] = 0
    np.save("rows.npy", raw)
    asked = config(generator="embeddings:rows.npy", theta=0.3, radius=0.2, max_failure_rate=0.125)
    report = diagnose(asked).report
    failed = [counts["failed"] for counts in report["counts"].values()]
    assert sum(failed) == 40
    assert report["figures"]["samples"] == 256 - failed[1]
    assert report["warnings"] == []


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.asfortranarray(np.ones((4, 3))), r"got float64 \[4, 3\] in Fortran order"),
        (np.ones((4, 3), dtype=np.int32), r"got int32 \[4, 3\]"),
        (np.ones((4, 3), dtype=np.complex64), r"got complex64 \[4, 3\]"),
        (np.ones(4), r"got float64 \[4\]"),
        (np.ones((4, 0)), r"got float64 \[4, 0\]"),
    ],
)
def test_a_file_of_anything_else_is_refused(
    tmp_path: Path, array: np.ndarray, message: str
) -> None:
    np.save(tmp_path / "rows.npy", array)
    with pytest.raises(ConfigError, match=message):
        generator(f"embeddings:{tmp_path}/rows.npy")


def test_objects_in_a_file_of_embeddings_are_not_loaded(tmp_path: Path) -> None:
    mark = tmp_path / "sprung"
    objects = np.empty((2, 1), dtype=object)
    objects[:] = Trap(mark)
    np.save(tmp_path / "rows.npy", objects, allow_pickle=True)
    with pytest.raises(ConfigError, match="got object"):
        generator(f"embeddings:{tmp_path}/rows.npy")
    assert not mark.exists()


def test_a_file_that_is_cut_or_no_npy_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.npy"
    np.save(path, np.ones((40, 3)))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(ConfigError, match="is cut short: its header promises 40 rows"):
        generator(f"embeddings:{path}")
    for content in (b"", b"text", whole[:20], b"\x93NUMPY\x09\x00"):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match="cannot be read as a .npy file"):
            generator(f"embeddings:{path}")
    with pytest.raises(ConfigError, match="embeddings: no such file"):
        generator("embeddings:absent.npy")


# -- digits -----------------------------------------------------------------------------------


def test_the_bundled_descriptor_has_a_complete_card() -> None:
    digits = descriptor("digits")
    card = digits.card
    assert card.theta > card.radius > 0
    assert card.origin
    rows, valid = digits.embed(torch.randint(256, (3, 3, 20, 11), dtype=torch.uint8))
    assert tuple(rows.shape) == (3, 64)
    assert valid.all()
    assert torch.allclose(rows.norm(dim=1), torch.ones(3), atol=1e-6)


def test_rows_do_not_depend_on_their_batch_mates() -> None:
    digits = descriptor("digits")
    images = generator("demo").render(some_draws(generator("demo"), 9))
    alone = torch.cat([digits.embed(image[None])[0] for image in images])
    assert torch.allclose(alone, digits.embed(images)[0], atol=1e-5)


def test_a_digits_file_must_state_its_scale(tmp_path: Path) -> None:
    path = tmp_path / "d.safetensors"
    facts: dict[str, object] = {"origin": "measured", "theta": 0.3, "radius": 0.2}
    assert descriptor(f"digits:{saved(path, facts, 'digit_embedder')}").card.theta == 0.3
    for name, value in (("theta", 0.0), ("radius", 1.5), ("theta", None), ("radius", "0.2")):
        with pytest.raises(ConfigError, match=rf"must state {name} in \(0, 1\], got"):
            descriptor(f"digits:{saved(path, facts | {name: value}, 'digit_embedder')}")


# -- the door ---------------------------------------------------------------------------------


def test_an_unknown_plugin_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="no generator is called 'demmo'; did you mean 'demo'"):
        generator("demmo:collapsed")
    with pytest.raises(ConfigError, match="no such file, and no descriptor of that name"):
        descriptor("digtis.bin")
    (tmp_path / "mine.py").write_text("")
    with pytest.raises(ConfigError, match="name the factory in it: python:.*mine.py:FACTORY"):
        generator(str(tmp_path / "mine.py"))


def test_what_is_declared_reaches_a_factory_that_asks_for_it(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "def load(*, num_labels: int, latent_shape=(1,)):\n"
        "    def made(z, labels):\n"
        "        return z\n"
        "    made.prior, made.identity = 'normal', {'built': [num_labels, list(latent_shape)]}\n"
        "    return made\n"
    )
    spec = f"python:{tmp_path / 'own.py'}:load"
    source = generator(spec, num_labels="4", latent_shape="3,6,7", range="-4,4")
    assert source.num_labels == 4
    assert source.identity["built"] == [4, [3, 6, 7]]
    with pytest.raises(ConfigError, match="needs --set num_labels="):
        generator(spec, latent_shape="3,6,7")


def test_a_module_that_renders_by_itself_is_held_against_its_batch_norms(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    latent_shape, prior, num_labels = (3, 4, 4), 'normal', 0\n"
        "    def render(self, draws): ...\n"
    )
    source = generator(f"python:{tmp_path / 'own.py'}:Net")
    assert isinstance(source.module, torch.nn.Module)
