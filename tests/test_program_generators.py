"""Generators as TorchScript and torch.export programs: `torchscript:FILE` and `exported:FILE`."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TESTS, Pixels
from ganaudit_plugins.generators.exported import open_exported
from ganaudit_plugins.generators.torchscript import open_torchscript
from test_probe import probed
from test_programs import (
    CPU,
    PROGRAMS,
    Net,
    export,
    extra,
    latents,
    made,
    opened,
    programs_of,
    script,
    trace,
)
from torch import Tensor, nn
from torch.export import Dim

from ganaudit import registry
from ganaudit.errors import ConfigError, SourceError
from ganaudit.files import sha256_of
from ganaudit.generators import Failure
from ganaudit.images import to_rgb
from ganaudit.maker import Maker, Recipe
from ganaudit.slots import Draws, Stream, draw
from ganaudit.userfile import import_file


class Indexed(nn.Module):
    """The same with a class number."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net()
        self.classes = nn.Embedding(7, 5)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        return self.net(latents + 3 * self.classes(labels))


class OneHot(Indexed):
    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        return self.net(latents + 3 * labels @ self.classes.weight)


class Bytes(Net):
    """uint8 [N, 8, 8, 3]."""

    def forward(self, latents: Tensor) -> Tensor:
        hidden = torch.relu(self.norm(self.first(latents[:, :, None, None])))
        grey = torch.sigmoid(3 * self.last(hidden)) * 255
        return grey.permute(0, 2, 3, 1).round().to(torch.uint8)


def draws(count: int, labels: Tensor | None = None) -> Draws:
    index = torch.arange(count)
    return Draws(index=index, seeds=index, latents=latents(count), labels=labels)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return programs_of(tmp_path_factory.mktemp("programs"))


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("count", [1, 4, 9])
def test_images_are_those_of_the_network(name: str, count: int, files: dict[str, Path]) -> None:
    wanted = to_rgb(made(Net)(latents(count)), value_range=(-1, 1))
    with torch.inference_mode():
        found = opened(files[name]).render(draws(count))
    assert found.dtype == torch.uint8 and found.shape == (count, 3, 8, 8)
    assert int((found.int() - wanted.int()).abs().max()) <= 1
    assert found.float().std() > 20  # they show something


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_image_depends_on_its_own_latent_alone(name: str, files: dict[str, Path]) -> None:
    generator, together = opened(files[name]), draws(9)
    images = generator.render(together)
    alone = torch.cat([generator.render(together[i : i + 1]) for i in range(9)])
    assert int((images.int() - alone.int()).abs().max()) <= 1
    assert torch.equal(images, generator.render(together))  # and on no earlier call


def conditional(how: str, path: Path) -> Path:
    """A conditional network as a program: "indexed scripted", say."""
    encoding, kind = how.split()
    net = made(Indexed if encoding == "index" else OneHot)
    labels = torch.arange(2) if encoding == "index" else torch.eye(7)[:2]
    if kind == "scripted":
        return script(path.with_suffix(".pt"), net)
    return export(path.with_suffix(".pt2"), net, latents(2), labels, batch=Dim("n"))


@pytest.mark.parametrize(
    "how", ["index scripted", "one-hot scripted", "index exported", "one-hot exported"]
)
def test_labels_are_given_as_the_network_wants_them(how: str) -> None:
    encoding = how.split()[0]
    generator = opened(conditional(how, Path("it")), num_labels=7, label_encoding=encoding)
    assert generator.num_labels == 7
    assert generator.identity["label_encoding"] == encoding
    labels = torch.tensor([6, 0, 3, 3, 5])
    with torch.inference_mode():
        found = generator.render(draws(5, labels))
    wanted = to_rgb(made(Indexed)(latents(5), labels), value_range=(-1, 1))
    assert int((found.int() - wanted.int()).abs().max()) <= 1
    other = to_rgb(made(Indexed)(latents(5), labels * 0), value_range=(-1, 1))
    assert int((found.int() - other.int()).abs().max()) > 20


@pytest.mark.parametrize("kind", ["scripted", "exported"])
def test_uint8_images_with_channels_last_need_no_range(kind: str) -> None:
    net = made(Bytes)
    path = (
        script(Path("it.pt"), net)
        if kind == "scripted"
        else export(Path("it.pt2"), net, latents(2), batch=Dim("n"))
    )
    found = opened(path, range=None, layout="NHWC").render(draws(3))
    assert torch.equal(found, net(latents(3)).permute(0, 3, 1, 2))


def test_a_script_that_was_saved_in_training_mode_is_evaluated() -> None:
    net = made(Net).train()
    path = script(Path("it.pt"), net)
    found = opened(path).render(draws(5))
    assert torch.equal(found, to_rgb(net.eval()(latents(5)), value_range=(-1, 1)))


@pytest.mark.parametrize("kind", ["traced", "exported"])
def test_a_trace_of_training_mode_is_found_by_its_images(kind: str) -> None:
    """It cannot be undone, nor told from an instance norm made of a batch norm."""
    net = made(Net).train()
    path = (
        trace(Path("it.pt"), net, latents(8))
        if kind == "traced"
        else export(Path("it.pt2"), net, latents(8), batch=Dim("n"))
    )
    with pytest.raises(SourceError, match="images depend on their batch mates"):
        probed(opened(path), Pixels())


# -- what is declared -------------------------------------------------------------------------

CLAIMS = {"prior": "truncated", "latent_shape": [5], "range": [-1, 1], "latent_scale": 0.5}


@pytest.fixture(scope="module")
def claiming(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, net = tmp_path_factory.mktemp("claiming"), made(Net)
    return {
        "scripted": script(folder / "it.pt", net, CLAIMS),
        "exported": export(folder / "it.pt2", net, latents(2), batch=Dim("n"), said=CLAIMS),
    }


@pytest.mark.parametrize("kind", ["scripted", "exported"])
def test_a_file_says_what_it_wants(kind: str, claiming: dict[str, Path]) -> None:
    path = claiming[kind]
    open_it = {"scripted": open_torchscript, "exported": open_exported}[kind]
    generator = open_it(str(path), device=CPU, trust=True)
    assert (generator.prior, generator.latent_shape, generator.num_labels) == ("truncated", (5,), 0)
    by = {"scripted": "the file's metadata", "exported": "the file"}[kind]
    assert f"Latents are drawn from the truncated prior, as {by} says." in generator.assumptions
    assert generator.identity == {
        "kind": {"scripted": "torchscript"}.get(kind, kind),
        "sha256": sha256_of(path),
        "prior": "truncated",
        "range": [-1.0, 1.0],
        "layout": None,
        "latent_scale": 0.5,
    }
    wanted = to_rgb(made(Net)(0.5 * latents(4)), value_range=(-1, 1))
    assert int((generator.render(draws(4)).int() - wanted.int()).abs().max()) <= 1
    assert generator.module is None


@pytest.mark.parametrize("kind", ["scripted", "exported"])
def test_the_user_is_heard_before_the_file(kind: str, claiming: dict[str, Path]) -> None:
    generator = opened(claiming[kind], prior="uniform", range=(-2.0, 2.0))
    assert generator.prior == "uniform"
    assert "Latents are drawn from the uniform prior, as --set says." in generator.assumptions
    assert generator.identity["range"] == [-2.0, 2.0]
    assert generator.identity["latent_scale"] == 0.5


@pytest.mark.parametrize(
    "claim",
    ["no JSON", '{"mean": 3}', "[" * 9999, '{"prior": "' + "x" * 2**18, "{}" + " " * 2**17 + "x"],
)
def test_claims_that_cannot_be_read_are_refused(claim: str) -> None:
    net = made(Net)
    for path in (
        script(Path("it.pt"), net, claim),
        export(Path("it.pt2"), net, latents(2), said=claim),
    ):
        with pytest.raises(ConfigError, match=f"{path}: its ganaudit metadata"):
            opened(path)


def test_a_prior_is_never_guessed(files: dict[str, Path]) -> None:
    for name in ("scripted", "any batch"):
        with pytest.raises(ConfigError, match="declares no prior"):
            opened(files[name], prior=None)


def test_a_script_must_be_told_its_latents_and_an_export_knows_them(files: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="declares no latent_shape"):
        opened(files["scripted"], latent_shape=None)
    assert opened(files["any batch"], latent_shape=None).latent_shape == (5,)
    with pytest.raises(ConfigError, match=r"takes latents of shape \[5\], and .* says \[5, 1\]"):
        opened(files["any batch"], latent_shape=(5, 1))


def test_options_come_as_text(files: dict[str, Path]) -> None:
    options = {"prior": "normal", "latent_shape": "5", "range": "-1,1", "label_encoding": "one-hot"}
    for open_it in (open_torchscript, open_exported):
        bound = registry.bind(open_it, options, what="it", device=CPU, trust=True)
        assert bound["label_encoding"] == "one-hot" and bound["latent_shape"] == (5,)
    with pytest.raises(ConfigError, match="label_encoding must be one of index, one-hot"):
        registry.bind(open_it, {"label_encoding": "hot"}, what="it", device=CPU, trust=True)


# -- what a program takes ---------------------------------------------------------------------


class Optional(Indexed):
    def forward(self, latents: Tensor, labels: Tensor | None = None, gain: float = 1.0) -> Tensor:
        shift = latents if labels is None else latents + 3 * self.classes(labels)
        return self.net(gain * shift)


class Gained(Net):
    def forward(self, latents: Tensor, gain: float) -> Tensor:
        return latents * gain


class Three(Net):
    def forward(self, latents: Tensor, labels: Tensor, noise: Tensor) -> Tensor:
        return latents + labels + noise


class Nothing(Net):
    def forward(self) -> Tensor:
        return torch.zeros(1, 3, 8, 8)


class Faceless(nn.Module):
    @torch.jit.export
    def generate(self, latents: Tensor) -> Tensor:
        return latents


def test_arguments_with_defaults_may_be_left_out() -> None:
    path = script(Path("it.pt"), made(Optional))
    labels = torch.tensor([1, 2, 6])
    plain, labelled = opened(path), opened(path, num_labels=7)
    for found, wanted in (
        (plain.render(draws(3)), made(Net)(latents(3))),
        (labelled.render(draws(3, labels)), made(Indexed)(latents(3), labels)),
    ):
        assert torch.equal(found, to_rgb(wanted, value_range=(-1, 1)))


@pytest.mark.parametrize(
    ("kind", "num_labels", "complaint"),
    [
        (Net, 7, "takes latents alone and no labels; leave num_labels out"),
        (Indexed, None, "needs latents and labels, .* --set num_labels=10"),
        (Three, 7, "must take latents, .* and needs latents, labels, noise"),
        (Gained, None, "must take latents, .* and needs latents, gain"),
        (Nothing, None, "must take latents, .* and needs nothing"),
        (Faceless, None, "has no forward"),
    ],
)
def test_a_script_that_takes_something_else_is_refused(
    kind: Callable[[], nn.Module], num_labels: int | None, complaint: str
) -> None:
    path = script(Path("it.pt"), made(kind))
    with pytest.raises(ConfigError, match=complaint):
        opened(path, num_labels=num_labels)


def test_an_export_is_called_as_it_was_exported() -> None:
    """By name, and with the values that it was exported with."""
    named = {"labels": torch.arange(2), "gain": 0.5}
    path = export(Path("it.pt2"), made(Optional), latents(2), named=named, batch=Dim("n"))
    labels = torch.tensor([4, 0, 2])
    found = opened(path, num_labels=7).render(draws(3, labels))
    wanted = made(Optional)(latents(3), labels, 0.5)
    assert int((found.int() - to_rgb(wanted, value_range=(-1, 1)).int()).abs().max()) <= 1


def test_an_export_gets_the_dtypes_that_it_was_exported_with() -> None:
    net = made(Net).double()
    found = opened(export(Path("it.pt2"), net, latents(3).double())).render(draws(3))
    assert torch.equal(found, to_rgb(net(latents(3).double()), value_range=(-1, 1)))


class Open(Net):
    def forward(self, latents: Tensor) -> Tensor:
        return torch.tanh(latents[:, None, None, :].expand(-1, 3, 4, -1))


def test_what_an_export_left_open_is_said_by_the_file_or_the_user() -> None:
    said = {"prior": "normal", "range": [-1, 1], "latent_shape": [6]}
    program = torch.export.export(
        made(Open), (latents(2),), dynamic_shapes=({0: Dim("n"), 1: Dim("width")},)
    )
    torch.export.save(program, "it.pt2", extra_files=extra(said))
    assert opened(Path("it.pt2"), latent_shape=None).latent_shape == (6,)
    assert opened(Path("it.pt2"), latent_shape=(5,)).render(draws(3)).shape == (3, 3, 4, 5)


class Scaled(Indexed):
    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        return self.net(latents * labels[:, None])


class Swapped(Indexed):
    def forward(self, labels: Tensor, latents: Tensor) -> Tensor:
        return self.net(latents + self.classes(labels))


@pytest.mark.parametrize(
    ("kind", "inputs", "said", "complaint"),
    [
        (Net, [latents(2)], {"num_labels": 7}, "takes latents alone and no labels"),
        (Indexed, [latents(2), torch.arange(2)], {}, "needs latents and labels"),
        (
            Indexed,
            [latents(2), torch.arange(2)],
            {"num_labels": 7, "label_encoding": "one-hot"},
            r"its labels labels as torch.int64 \[2\], which 7 classes are not as one-hot",
        ),
        (
            OneHot,
            [latents(2), torch.eye(7)[:2]],
            {"num_labels": 7},
            r"as torch.float32 \[2, 7\], which 7 classes are not as index",
        ),
        (
            OneHot,
            [latents(2), torch.eye(7)[:2]],
            {"num_labels": 6, "label_encoding": "one-hot"},
            r"\[2, 7\], which 6 classes are not as one-hot; say",
        ),
        (
            Scaled,
            [latents(2), torch.rand(2)],
            {"num_labels": 7},
            r"as torch.float32 \[2\], which 7 classes are not as index",
        ),
        (Three, [latents(2)] * 3, {"num_labels": 7}, "and needs latents, labels, noise"),
        (Nothing, [], {}, "must take latents first, in floating point; it takes nothing"),
    ],
)
def test_an_export_that_takes_something_else_is_refused(
    kind: Callable[[], nn.Module], inputs: list[Tensor], said: Any, complaint: str
) -> None:
    program = torch.export.export(made(kind), tuple(inputs))
    torch.export.save(program, "it.pt2")
    with pytest.raises(ConfigError, match=complaint):
        opened(Path("it.pt2"), **said)


def test_labels_before_latents_are_refused() -> None:
    program = torch.export.export(made(Swapped), (torch.arange(2), latents(2)))
    torch.export.save(program, "it.pt2")
    with pytest.raises(
        ConfigError, match="latents first, .* it takes labels: torch.int64, latents"
    ):
        opened(Path("it.pt2"), num_labels=7)


# -- at run time ------------------------------------------------------------------------------


class Moody(Indexed):
    def forward(self, latents: Tensor) -> Tensor:
        if bool((latents[:, 0] > 1).any()):
            raise ValueError("not this one")
        return self.net(latents)


class Several(Net):
    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        return latents, latents


class One(Net):
    def forward(self, latents: Tensor) -> Tensor:
        return latents.mean(0).reshape(1, 1, 1, 5).expand(1, 3, 4, 5)


def test_only_the_slots_that_raise_fail() -> None:
    generator, asked = opened(script(Path("it.pt"), made(Moody))), draws(32)
    recipe = Recipe(seed=0, device="cpu", batch=32, width=16, timeout_s=30)
    with closing(Maker(generator, Pixels(), recipe)) as maker:
        rendered = maker.render(asked)
    assert asked.latents is not None
    bad = [i for i in range(32) if asked.latents[i, 0] > 1]
    assert 0 < len(bad) < 32
    reason = "RuntimeError: builtins.ValueError: not this one"
    assert rendered.failures == {i: Failure(reason) for i in bad}
    assert sum(len(images) for _, images in rendered.images) == 32 - len(bad)


def test_a_tuple_is_no_image() -> None:
    net = made(Several)
    for path in (script(Path("it.pt"), net), export(Path("it.pt2"), net, latents(2))):
        with pytest.raises(SourceError, match="must return a tensor, got tuple"):
            opened(path).render(draws(2))


def test_an_export_that_mixes_its_rows_is_refused() -> None:
    path = export(Path("it.pt2"), made(One), latents(4))
    with pytest.raises(SourceError, match=r"returned shape \[1, 3, 4, 5\] for 4 latents"):
        opened(path).render(draws(1))


def test_batches_are_bounded() -> None:
    program = torch.export.export(made(Several), (latents(5000),))
    torch.export.save(program, "it.pt2")
    with pytest.raises(ConfigError, match="takes batches of 5000 to 5000; at most 4096 can be"):
        opened(Path("it.pt2"))


# -- the real thing ---------------------------------------------------------------------------


@pytest.mark.artefacts
def test_the_shared_faces_are_those_of_the_module(artefacts: Path) -> None:
    networks = import_file(TESTS / "artefacts" / "networks.py")
    net = networks.faces(weights=artefacts / "faces" / "generator.pt").requires_grad_(False)
    drawn = draw(np.arange(64), seed=0, stream=Stream.SAMPLES, latent_shape=(100,), prior="uniform")
    wanted = to_rgb(net(drawn.latents), value_range=(-1, 1))
    example = torch.zeros(2, 100)
    for path in (
        script(Path("scripted.pt"), net),
        trace(Path("traced.pt"), net, example),
        export(Path("any.pt2"), net, example, batch=Dim("n")),
        export(Path("one.pt2"), net, example[:1]),
    ):
        generator = opened(path, prior="uniform", latent_shape=(100,))
        with torch.inference_mode():
            found = generator.render(drawn)
        assert int((found.int() - wanted.int()).abs().max()) <= 1, path
