import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Blind, Pixels, Service, Spoilt, Toy
from torch import Tensor

from ganaudit.errors import DescriptorError, SourceError
from ganaudit.generators import Failure
from ganaudit.maker import Maker, Recipe
from ganaudit.probe import Probe, probe
from ganaudit.slots import Draws, Stream


def probed(
    source: object,
    descriptor: object = None,
    *,
    batch: int | None = None,
    max_faceless: float = 1.0,
    slots: tuple[Stream, np.ndarray] | None = None,
    **changes: object,
) -> Probe:
    usual = {"seed": 0, "device": "cpu", "batch": 1, "width": 1, "timeout_s": 30.0}
    recipe = Recipe(**(usual | changes))
    maker = Maker(source, descriptor or Pixels(), recipe)
    try:
        return probe(source, maker, recipe, batch=batch, max_faceless=max_faceless, slots=slots)
    finally:
        maker.close()


def test_a_good_generator_gets_a_whole_recipe_without_a_warning() -> None:
    found = probed(Toy())
    assert found.warnings == []
    assert (found.recipe.width, found.image_size) == (16, (4, 4))
    assert not found.recipe.embed_one_by_one
    assert found.seconds_per_image > 0


def test_the_batch_is_the_users_or_a_power_of_two_that_fits() -> None:
    assert probed(Toy(), batch=5).recipe.batch == 5
    chosen = probed(Toy()).recipe.batch
    assert 1 <= chosen <= 64
    assert chosen & (chosen - 1) == 0


def test_large_images_get_smaller_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    class Large(Toy):
        latent_shape = (3, 256, 256)

    megabytes = 2**30 // 4096  # a GiB free, in pages of 4 KiB
    monkeypatch.setattr("os.sysconf", {"SC_AVPHYS_PAGES": megabytes, "SC_PAGE_SIZE": 4096}.get)
    # A quarter of a GiB over 256 x 256 x 3 floats of 4 bytes, 64 times each: 5.3, so 4.
    assert probed(Large()).recipe.batch == 4
    assert probed(Toy()).recipe.batch == 64


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda images, bad: images[:, :2], r"images must be uint8 \[1, 3, H, W\], got"),
        (lambda images, bad: images * 0, "the image is a single colour"),
        (lambda images, bad: [][0], "IndexError: list index out of range"),
    ],
)
def test_a_first_batch_without_an_image_ends_the_run(
    spoil: Callable[[Tensor, Tensor], Tensor], reason: str
) -> None:
    with pytest.raises(SourceError, match=f"none of the first 8 images can be used: {reason}"):
        probed(Spoilt(set(range(100)), spoil))


def test_one_image_among_the_first_is_enough() -> None:
    def blacken(images: Tensor, bad: Tensor) -> Tensor:
        return images * (~bad)[:, None, None, None]

    assert probed(Spoilt(set(range(100)) - {5}, blacken)).recipe.width == 16


def test_a_generator_that_hangs_at_once_ends_the_run() -> None:
    let_go = threading.Event()

    class Hanging(Toy):
        def render(self, draws: Draws) -> Tensor:
            let_go.wait(20)
            return super().render(draws)

    with pytest.raises(SourceError, match=r"took longer than 0.2 s \(--timeout-s\)"):
        probed(Hanging(), timeout_s=0.2)
    let_go.set()


def test_a_generator_that_gives_images_only_once_is_still_probed() -> None:
    class Once(Toy):
        calls = 0

        def render(self, draws: Draws) -> Tensor:
            self.calls += 1
            if self.calls > 1:
                raise RuntimeError("worn out")
            return super().render(draws)

    assert probed(Once()).recipe.width == 16


class Shifting(Toy):
    """Adds `levels(draws)` grey levels."""

    def __init__(self, levels: Callable[[Draws], int]) -> None:
        self._levels = levels

    def render(self, draws: Draws) -> Tensor:
        images = super().render(draws).int() + self._levels(draws)
        return images.clamp(0, 255).to(torch.uint8)


def test_images_that_depend_on_their_batch_mates_stop_the_run() -> None:
    source = Shifting(lambda draws: 2 * len(draws))
    with pytest.raises(SourceError, match=r"depend on their batch mates, .* --batch 1$"):
        probed(source)
    assert probed(source, batch=1).warnings == []


def test_a_grey_level_is_no_dependence() -> None:
    found = probed(Shifting(lambda draws: len(draws) > 1))
    assert found.warnings == []


def test_a_generator_that_is_not_deterministic_is_named_and_nothing_else_is_said() -> None:
    calls = iter(range(0, 1000, 2))
    found = probed(Shifting(lambda draws: next(calls)))
    (warning,) = found.warnings
    assert "not deterministic" in warning


class Leaning(Pixels):
    """Rows that lean towards one axis, by so much for every further image of the batch."""

    def __init__(self, tangent: float) -> None:
        self._tangent = tangent

    def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
        rows, valid = super().embed(images)
        rows = rows.clone()
        rows[:, 0] += self._tangent * (len(images) - 1)
        return rows / rows.norm(dim=1, keepdim=True), valid


def test_rows_that_depend_on_their_batch_mates_are_embedded_one_by_one() -> None:
    found = probed(Toy(), Leaning(0.1))
    assert found.recipe.embed_one_by_one
    (warning,) = found.warnings
    assert "descriptor's rows depend on their batch mates" in warning


def test_rounding_is_no_dependence_of_rows() -> None:
    found = probed(Toy(), Leaning(1e-5))  # moves a row by at most 7e-5 / pi
    assert found.warnings == []
    assert not found.recipe.embed_one_by_one


def test_a_descriptor_that_breaks_its_contract_is_found_at_once() -> None:
    class Zero(Pixels):
        def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
            rows, valid = super().embed(images)
            return rows * 0, valid

    with pytest.raises(DescriptorError, match="zero"):
        probed(Toy(), Zero())


def test_a_blind_source_is_asked_in_small_batches_and_not_compared() -> None:
    calls: list[int] = []

    def answer(draws: Draws, images: Tensor) -> Iterator[tuple[int, Tensor | Failure]]:
        calls.append(len(draws))
        noise = len(calls)  # another image every time
        shifted = (images.int() + noise).clamp(0, 255).to(torch.uint8)
        yield from zip(draws.index.tolist(), shifted, strict=True)

    found = probed(Blind(answer))
    assert found.warnings == []
    assert found.recipe.batch <= 32
    assert sum(calls) <= 16  # two looks at eight


def test_a_service_that_ignores_the_seed_is_warned_of() -> None:
    calls: list[int] = []

    def answer(draws: Draws, images: Tensor) -> Iterator[tuple[int, Tensor | Failure]]:
        calls.append(len(draws))
        yield from zip(draws.index.tolist(), images.roll(len(calls), 3), strict=True)

    blind = Blind(answer)
    (warning,) = probed(blind).warnings
    assert "ignores the seed: the same seed gave different images" in warning
    blind.seedable = False
    (warning,) = probed(blind).warnings
    assert "takes no seed that is known" in warning


@pytest.mark.parametrize("kind", [Blind, Service])
def test_a_service_of_one_image_stops_the_run_before_it_begins(kind: Any) -> None:
    def cached(draws: Draws, images: Tensor) -> Iterator[tuple[int, Tensor | Failure]]:
        one = torch.arange(48, dtype=torch.uint8).view(3, 4, 4)
        yield from ((index, one) for index in draws.index.tolist())

    with pytest.raises(SourceError, match="8 different slots with one image, .* a cache answers"):
        probed(kind(cached))


@pytest.mark.parametrize("kind", [Blind, Service])
def test_a_service_that_repeats_some_images_is_warned_of(kind: Any) -> None:
    def cached(draws: Draws, images: Tensor) -> Iterator[tuple[int, Tensor | Failure]]:
        yield from zip(draws.index.tolist(), images[torch.arange(len(draws)) // 4], strict=True)

    source = kind(cached)
    if kind is Service:
        with pytest.raises(SourceError, match="batch mates"):
            probed(source)
        return
    (warning,) = probed(source).warnings
    assert "of the first 8 images of the service 6 repeat another to the last byte" in warning


def test_the_window_of_a_service_is_a_shard_or_what_memory_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert probed(Service()).recipe.window == 512
    assert probed(Service(), batch=20).recipe.window == 500
    assert probed(Toy()).recipe.window is None
    monkeypatch.setattr("ganaudit.probe._WINDOW_BYTES", 100 * 3 * 4 * 4)
    assert probed(Service(), batch=32).recipe.window == 96
    assert probed(Service(), batch=128).recipe.window == 128


def test_a_service_with_latents_is_compared_with_itself_singly() -> None:
    service = Service()
    assert probed(service).warnings == []
    assert service.asked == [[*range(8)]] * 2 + [[i] for i in range(8)]


def test_a_service_is_looked_at_where_it_has_yet_to_answer() -> None:
    """Faces too: no other slot is asked for."""
    service = Service()
    slots = (Stream.SAMPLES, np.arange(100, 130))
    seeing = Seeing(lambda number: number % 2 == 0)
    found = probed(service, seeing, slots=slots, max_faceless=0.9)
    assert {slot for slots in service.asked for slot in slots} == set(range(100, 130))
    assert found.recipe.width == 16
    few = Service()
    probed(few, slots=(Stream.SAMPLES, np.arange(7, 10)))
    assert {slot for slots in few.asked for slot in slots} == {7, 8, 9}


def test_a_source_of_fewer_items_than_a_look_is_asked_for_those() -> None:
    asked: set[int] = set()

    def answer(draws: Draws, images: Tensor) -> Iterator[tuple[int, Tensor | Failure]]:
        asked.update(draws.index.tolist())
        yield from zip(draws.index.tolist(), images, strict=True)

    probed(Blind(answer), order=np.array([2, 0, 1]), anchors=1)
    assert asked == {0, 1, 2}


def test_embeddings_tell_their_width_and_need_no_batch() -> None:
    class Ready:
        size = 3

        def rows(self, slots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return np.ones((len(slots), 7), dtype=np.float32), np.ones(len(slots), dtype=bool)

    source = Ready()
    found = probed(source)
    assert (found.recipe.width, found.image_size, found.seconds_per_image) == (7, None, None)


def test_the_first_images_are_those_of_the_first_anchors() -> None:
    drawn: list[Draws] = []

    class Watched(Toy):
        def render(self, draws: Draws) -> Tensor:
            drawn.append(draws)
            return super().render(draws)

    probed(Watched())
    recipe = Recipe(seed=0, device="cpu", batch=1, width=1, timeout_s=1)
    maker = Maker(Toy(), Pixels(), recipe)
    assert torch.equal(drawn[0].latents, maker.draws(Stream.ANCHORS, np.arange(8)).latents)


# -- images without a face --------------------------------------------------------------------


class Seeing(Pixels):
    """Finds a face where `sees(number of the image that it is shown)`; remembers how many."""

    def __init__(self, sees: Callable[[int], bool]) -> None:
        self._sees = sees
        self.known: dict[bytes, int] = {}

    def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
        rows, _ = super().embed(images)
        numbers = [self.known.setdefault(i.numpy().tobytes(), len(self.known)) for i in images]
        return rows, torch.tensor([self._sees(number) for number in numbers])


def test_eight_faces_are_enough_to_go_on() -> None:
    descriptor = Seeing(lambda number: True)
    probed(Toy(), descriptor, max_faceless=0.0)
    assert len(descriptor.known) == 8


@pytest.mark.parametrize(("every", "stops"), [(2, False), (3, True)])
def test_half_of_the_images_may_be_without_a_face(every: int, stops: bool) -> None:
    """One image in `every` has one; of 64 images that is 32, or 22 and so 42 without."""
    descriptor = Seeing(lambda number: number % every == 0)
    if stops:
        with pytest.raises(SourceError, match=r"no face in 42 of the first 64 images \(66%, .*0.5"):
            probed(Toy(), descriptor, max_faceless=0.5)
    else:
        probed(Toy(), descriptor, max_faceless=0.5)
    assert len(descriptor.known) == 64
    probed(Toy(), descriptor, max_faceless=1.0)


def test_a_bad_start_alone_stops_nothing() -> None:
    probed(Toy(), Seeing(lambda number: number >= 8), max_faceless=0.5)


def test_the_advice_names_the_ways_out() -> None:
    with pytest.raises(SourceError) as caught:
        probed(Toy(), Seeing(lambda number: False), max_faceless=0.5)
    for way in ("descriptor.detect=false", "another descriptor", "--max-faceless 1"):
        assert way in str(caught.value)
    assert caught.value.exit_code == 3


def test_a_folder_with_fewer_images_is_looked_at_as_far_as_it_goes() -> None:
    def answer(draws: Draws, images: Tensor) -> Iterator[tuple[int, Tensor]]:
        yield from zip(draws.index.tolist(), images, strict=True)

    source = Blind(answer)
    source.size = 20
    order = np.arange(20)
    with pytest.raises(SourceError, match="no face in 20 of the first 20 images"):
        probed(source, Seeing(lambda number: False), max_faceless=0.9, order=order, anchors=5)


def test_a_generator_that_cannot_render_one_image_is_not_taken_for_independent() -> None:
    class Together(Toy):
        """As a batch norm over latents in training mode: it needs two."""

        def render(self, draws: Draws) -> Tensor:
            if len(draws) == 1:
                raise ValueError("Expected more than 1 value per channel when training")
            return super().render(draws)

    with pytest.raises(SourceError, match=r"none of them singly, .* \(ValueError: Expected more"):
        probed(Together())
