from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import Blind, Pixels, Toy
from PIL import Image
from torch import Tensor

from ganaudit.cards import CardFile, write_card
from ganaudit.config import DiagnoseConfig
from ganaudit.descriptors import DescriptorCard
from ganaudit.errors import ConfigError, PluginError, UnsafeCheckpoint
from ganaudit.generators import Failure
from ganaudit.maker import Maker
from ganaudit.opening import open_maker, open_reference, open_request
from ganaudit.slots import Draws, Stream

Make = Callable[..., DiagnoseConfig]


def nothing(draws: Draws, images: Tensor) -> Iterator[tuple[int, Tensor | Failure]]:
    yield from ()


def test_names_are_opened_and_identified(config: Make) -> None:
    request = open_request(config(generator="demo:collapsed"))
    assert request.generator["plugin"] == "demo"
    assert len(request.generator["sha256"]) == 64
    assert request.descriptor is not None
    assert request.descriptor.card.name == "digits"  # the demo's own, when none is named
    assert request.order is None


def test_objects_stand_in_for_names(config: Make) -> None:
    toy, pixels = Toy(), Pixels()
    toy.identity = {"psi": 0.7}
    request = open_request(config(), source=toy, descriptor=pixels)
    assert (request.source, request.descriptor) == (toy, pixels)
    assert request.generator == {"object": "Toy", "psi": 0.7}


def test_an_object_that_is_no_generator_is_refused(config: Make) -> None:
    with pytest.raises(ConfigError, match="SimpleNamespace is no generator"):
        open_request(config(), source=SimpleNamespace(render=len), descriptor=Pixels())


def test_only_the_demo_has_a_descriptor_of_its_own(config: Make) -> None:
    with pytest.raises(ConfigError, match=r"--descriptor is needed: .*\(digits, facenet, onnx"):
        open_request(config(), source=Toy())


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("gpu", "must be auto, cpu, cuda or cuda:N, got 'gpu'"),
        ("meta", "must be auto, cpu, cuda or cuda:N, got 'meta'"),
        ("cuda:512", "--device cuda:512: this machine has"),
    ],
)
def test_a_device_that_is_none_is_refused(config: Make, device: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_request(config(device=device), source=Toy(), descriptor=Pixels())


def test_auto_is_the_cpu_where_there_is_nothing_else(
    config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    request = open_request(config(device="auto"), source=Toy(), descriptor=Pixels())
    assert request.device == "cpu"


def test_theta_and_radius_come_from_the_request_before_the_card(config: Make) -> None:
    request = open_request(config(theta=0.9), source=Toy(), descriptor=Pixels())
    assert (request.theta, request.radius) == (0.9, 0.3)
    assert request.origins == {"theta_origin": "as requested", "radius_origin": "by decree"}


@pytest.mark.parametrize("name", ["theta", "radius"])
def test_what_nobody_measured_is_asked_for(config: Make, name: str) -> None:
    pixels = Pixels()
    pixels.card = replace(Pixels.card, **{name: None})
    with pytest.raises(ConfigError, match=f"--{name} is needed, .* for the descriptor pixels"):
        open_request(config(), source=Toy(), descriptor=pixels)
    given = open_request(config(**{name: 0.5}), source=Toy(), descriptor=pixels)
    assert getattr(given, name) == 0.5


def test_a_card_may_leave_its_origin_out(config: Make) -> None:
    pixels = Pixels()
    pixels.card = DescriptorCard(name="p", weights_sha256="0" * 64, theta=0.4, radius=0.3)
    request = open_request(config(), source=Toy(), descriptor=pixels)
    assert request.origins["theta_origin"] == "descriptor card"


# -- finite sources ---------------------------------------------------------------------------


def test_a_finite_source_is_read_in_a_seeded_order(config: Make) -> None:
    blind = Blind(nothing)
    blind.size = 320  # 64 anchors and 256 samples
    orders = [
        open_request(config(seed=seed), source=blind, descriptor=Pixels()).order
        for seed in (0, 0, 1)
    ]
    assert sorted(orders[0]) == list(range(320))
    assert np.array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0], orders[2])


def test_too_few_items_name_how_many_there_can_be(config: Make) -> None:
    blind = Blind(nothing)
    blind.size = 319
    message = r"toy holds 319 items, so anchors \+ samples can be at most 319; got 64 \+ 256"
    with pytest.raises(ConfigError, match=message):
        open_request(config(), source=blind, descriptor=Pixels())


def test_a_service_is_asked_by_slot(config: Make) -> None:
    assert open_request(config(), source=Blind(nothing), descriptor=Pixels()).order is None


def test_the_image_size_of_a_latent_generator_is_no_number_of_items(config: Make) -> None:
    toy = Toy()
    toy.size = 4
    assert open_request(config(), source=toy, descriptor=Pixels()).order is None


def test_the_anchors_of_a_finite_source_are_pinned_and_those_of_another_are_not(
    config: Make,
) -> None:
    blind = Blind(nothing)
    blind.size = 320
    finite = open_request(config(), source=blind, descriptor=Pixels()).manifest()
    endless = open_request(config(), source=Toy(), descriptor=Pixels()).manifest()
    assert finite["anchors"] == 64
    assert set(endless) == {"generator", "descriptor", "seed"}


# -- embeddings -------------------------------------------------------------------------------


@pytest.fixture
def rows_file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.npy"
    np.save(path, np.random.default_rng(0).normal(size=(400, 6)).astype(np.float32))
    return path


def test_embeddings_need_theta_and_radius_and_no_descriptor(config: Make, rows_file: Path) -> None:
    spec = f"embeddings:{rows_file}"
    request = open_request(config(generator=spec, theta=0.3, radius=0.2))
    assert request.descriptor is None
    assert request.manifest()["descriptor"] is None
    with pytest.raises(ConfigError, match="--theta is needed, .* for these embeddings"):
        open_request(config(generator=spec, radius=0.2))
    for more in ({"descriptor": "digits"}, {"set": ("descriptor.size=3",)}):
        with pytest.raises(ConfigError, match="embeddings are described already"):
            open_request(config(generator=spec, theta=0.3, radius=0.2, **more))


# -- plugins that return something else -------------------------------------------------------


def test_a_plugin_that_returns_no_generator_is_refused(
    config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ganaudit.registry.load", lambda kind, name, files: lambda target: 7)
    with pytest.raises(PluginError, match="the generator 'demo' returned int, which is none of"):
        open_request(config(generator="demo"))
    with pytest.raises(PluginError, match="the descriptor 'digits' returned int"):
        open_request(config(descriptor="digits"), source=Toy())


# -- processes --------------------------------------------------------------------------------


def test_objects_are_for_one_process(config: Make) -> None:
    with pytest.raises(ConfigError, match="--workers needs a generator that each process can open"):
        open_request(config(workers=2), source=Toy(), descriptor=Pixels())


def test_workers_are_spread_over_the_devices_in_use(
    config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = open_request(config(generator="demo"))
    assert request.team(request.recipe()) is None
    three = replace(request, config=config(generator="demo", workers=3))
    assert three.team(three.recipe()).devices == ("cpu", "cpu", "cpu")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    both = replace(request, config=config(generator="demo", device="cuda"), device="cuda:0")
    assert both.team(both.recipe()).devices == ("cuda:0", "cuda:1")
    more = replace(both, config=config(generator="demo", device="cuda", workers=3))
    assert more.team(more.recipe()).devices == ("cuda:0", "cuda:1", "cuda:0")
    one = replace(both, config=config(generator="demo", device="cuda:0"))
    assert one.team(one.recipe()) is None


def test_a_worker_opens_what_the_request_names_and_makes_the_same_rows(config: Make) -> None:
    asked = config(generator="demo")
    request = open_request(asked)
    recipe = replace(request.recipe(), batch=16, width=64)
    makers: list[Maker] = [
        request.maker(recipe, reopen=False),
        open_maker(replace(asked, workers=2), recipe, "cpu"),
    ]
    here, there = (maker.rows(Stream.SAMPLES, 0, 32) for maker in makers)
    assert np.array_equal(here.rows, there.rows)
    assert np.array_equal(here.hashes, there.hashes)
    for maker in makers:
        maker.close()


# -- what an object says of itself ------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("latent_shape", 8, "latent_shape must be positive whole numbers, got 8"),
        ("latent_shape", (8.0,), "latent_shape must be positive whole numbers"),
        ("latent_shape", (0,), "latent_shape must be positive whole numbers"),
        ("num_labels", None, "num_labels must be 0 or more, got None"),
        ("num_labels", "3", "num_labels must be 0 or more, got '3'"),
        ("prior", "cauchy", "prior must be one of"),
        ("assumptions", "one sentence", "assumptions must be a list of sentences"),
        ("warnings", None, "warnings must be a list of sentences, got None"),
        ("identity", {"psi": float("nan")}, "identity must be JSON values"),
        ("identity", {"path": Path("a")}, "identity must be JSON values"),
    ],
)
def test_an_impossible_attribute_is_refused_before_anything_is_rendered(
    config: Make, name: str, value: object, message: str
) -> None:
    source = Toy()
    setattr(source, name, value)
    with pytest.raises(ConfigError, match=message):
        open_request(config(), source=source, descriptor=Pixels())


def test_files_among_the_options_are_pinned_by_content(config: Make, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "import torch\n"
        "def load(*, weights):\n"
        "    made = lambda z: z\n"
        "    made.latent_shape, made.prior, made.range = (3, 4, 5), 'normal', (-4, 4)\n"
        "    made.identity = {'plugin': 'mine', 'options': 'none'}\n"
        "    return made\n"
    )
    (tmp_path / "w.bin").write_bytes(b"one")

    def pinned() -> object:
        asked = config(generator="python:own.py:load", descriptor="digits", set=("weights=w.bin",))
        return open_request(asked).manifest()["generator"]

    before = pinned()
    assert before["plugin"] == "python" and before["options"] == {}
    assert pinned() == before
    (tmp_path / "w.bin").write_bytes(b"two")
    assert pinned() != before


def test_a_descriptor_is_pinned_with_its_options_and_its_file(config: Make, tmp_path: Path) -> None:
    code = (
        "import torch\n"
        "from ganaudit.descriptors import DescriptorCard\n"
        "class D:\n"
        "    card = DescriptorCard(name='d', weights_sha256='0' * 64)\n"
        "    def embed(self, images): ...\n"
        "def open_d(target, *, off: int = 0): return D()\n"
        "DESCRIPTORS = {'d': open_d}\n"
    )

    def pinned(text: str, *options: str) -> object:
        (tmp_path / "own.py").write_text(text)
        asked = config(descriptor="d", plugin=("own.py",), set=options, theta=0.2, radius=0.2)
        return open_request(asked, source=Toy()).manifest()["descriptor"]

    before = pinned(code)
    assert pinned(code) == before
    assert pinned(code, "descriptor.off=3") != before
    assert pinned(code + "# changed\n") != before


def test_a_reference_is_described_as_the_card_says(config: Make, tmp_path: Path) -> None:
    """Also in worker processes, which open everything by its name."""
    card = open_request(config(generator="demo")).descriptor.card
    figure = {"estimate": 0.25, "low": None, "high": None}
    write_card(
        tmp_path / "card.json",
        CardFile(
            descriptor="digits",
            options={},
            name=card.name,
            weights_sha256=card.weights_sha256,
            licence=None,
            preprocessing=card.preprocessing,
            settings=card.settings,
            figures=dict.fromkeys(("theta", "radius", "auc", "eer"), figure),
            fmr=0.001,
            identities=40,
            images=400,
            listing_sha256="0" * 64,
            versions={},
        ),
    )
    rows = tmp_path / "pictures"
    rows.mkdir()
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 255, (4, 5, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(rows / f"{i}.png")
    asked = config(descriptor_card=tmp_path / "card.json", reference=str(rows))
    request = open_request(asked, source=Toy())
    assert (request.theta, request.radius) == (0.25, 0.25)
    assert "400 images of 40 identities" in request.origins["theta_origin"]
    reference = open_reference(request)
    again = open_request(replace(reference.config, workers=1))  # as a worker does
    assert again.descriptor.card == card


@pytest.mark.parametrize("option", ["off=1", "size=3"])
def test_options_that_no_card_can_check_are_held_against_it(option: str) -> None:
    fields = dict.fromkeys(CardFile.__dataclass_fields__)
    card = CardFile(**(fields | {"options": {"off": "2"}}))
    name, _, value = option.partition("=")
    if name == "off":
        with pytest.raises(ConfigError, match="off=1: the card was measured with 2"):
            card.check_options({name: value})
    else:  # the opened descriptor's own card says what it became
        card.check_options({name: value})
    card.check_options({"off": "2"})


def test_trust_is_not_lent_to_a_program_that_a_card_names(
    config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = dict.fromkeys(CardFile.__dataclass_fields__)
    card = CardFile(**(fields | {"descriptor": "torchscript:evil.pt", "options": {}}))
    monkeypatch.setattr("ganaudit.opening.read_card", lambda path: card)
    lent: list[bool] = []

    def opened(kind: str, spec: str, options: object, **given: object) -> None:
        lent.append(bool(given["trust"]))
        raise UnsafeCheckpoint("it is a program")

    monkeypatch.setattr("ganaudit.registry.open_plugin", opened)
    usual = {"trust": True, "descriptor_card": tmp_path / "card.json"}
    with pytest.raises(UnsafeCheckpoint, match=r"the card names torchscript:evil.pt; name it your"):
        open_request(config(**usual), source=Toy())
    with pytest.raises(UnsafeCheckpoint, match="^it is a program$"):
        open_request(config(descriptor="torchscript:evil.pt", **usual), source=Toy())
    assert lent == [False, True]
