"""ADA against pixel loops, with the same draws."""

import math
from collections.abc import Callable
from typing import Any

import literal_ada as literal
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from ganaudit.errors import ConfigError
from ganaudit.regularizers import ada_colour, ada_filters, ada_geometry
from ganaudit.regularizers.ada import PIPES, Ada
from ganaudit.regularizers.ada_chances import Chances
from ganaudit.regularizers.resample import bilinear, mirrored

SHAPES = [(4, 3, 9, 7), (5, 1, 6, 11), (1, 3, 4, 13)]
TAPS = ada_geometry._SYM6


def rng(seed: int = 7) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=rng(1), dtype=torch.float64) * 2 - 1


class Numbers:
    """The draws of `images` images with probability p, as lists."""

    def __init__(self, count: int, p: float, seed: int = 7) -> None:
        self.count, self.p, self.rng = count, p, rng(seed)

    def uniform(self, *shape: int) -> NDArray[np.float64]:
        return torch.rand((self.count, *shape), generator=self.rng).double().numpy()

    def normal(self, *shape: int) -> NDArray[np.float64]:
        return torch.randn((self.count, *shape), generator=self.rng).double().numpy()

    def sometimes(self, drawn: NDArray[np.float64], usual: float, p: float | None = None) -> Any:
        chosen = torch.rand(self.count, generator=self.rng) < (self.p if p is None else p)
        return [
            value if one else np.full_like(value, usual)
            for value, one in zip(drawn, chosen.tolist(), strict=True)
        ]


def changed(pipe: str, given: Tensor, numbers: Numbers) -> NDArray[np.float64]:
    """What ADA makes of images by the same draws, after which as many were drawn."""
    draws = rng()
    found = Ada(pipe=pipe)(given, draws, numbers.p)
    assert torch.equal(draws.get_state(), numbers.rng.get_state())
    return found.numpy()


def blit(numbers: Numbers, height: int, width: int) -> list[NDArray[np.float64]]:
    flips = numbers.sometimes(np.floor(2 * numbers.uniform()), 0)
    quarters = numbers.sometimes(np.floor(4 * numbers.uniform()), 0)
    shifts = numbers.sometimes((2 * numbers.uniform(2) - 1) / 8, 0)
    return [
        literal.translation(round(shift[0] * width), round(shift[1] * height))
        @ literal.rotation(-math.pi / 2 * quarter)
        @ literal.scaling(1 - 2 * flip, 1)
        for flip, quarter, shift in zip(flips, quarters, shifts, strict=True)
    ]


def geom(numbers: Numbers, height: int, width: int) -> list[NDArray[np.float64]]:
    either = 1 - math.sqrt(1 - numbers.p)
    zooms = numbers.sometimes(2 ** (0.2 * numbers.normal()), 1)
    before = numbers.sometimes(math.pi * (2 * numbers.uniform() - 1), 0, either)
    stretches = numbers.sometimes(2 ** (0.2 * numbers.normal()), 1)
    after = numbers.sometimes(math.pi * (2 * numbers.uniform() - 1), 0, either)
    shifts = numbers.sometimes(numbers.normal(2) / 8, 0)
    return [
        literal.translation(shift[0] * width, shift[1] * height)
        @ literal.rotation(-second)
        @ literal.scaling(stretch, 1 / stretch)
        @ literal.rotation(-first)
        @ literal.scaling(zoom, zoom)
        for zoom, first, stretch, second, shift in zip(
            zooms, before, stretches, after, shifts, strict=True
        )
    ]


def blit_then_geom(numbers: Numbers, height: int, width: int) -> list[NDArray[np.float64]]:
    first = blit(numbers, height, width)
    return [b @ a for a, b in zip(first, geom(numbers, height, width), strict=True)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("pipe", "moves"), [("blit", blit), ("geom", geom), ("bg", blit_then_geom)]
)
def test_places_are_those_of_the_pixel_loop(
    pipe: str,
    moves: Callable[[Numbers, int, int], list[NDArray[np.float64]]],
    shape: tuple[int, ...],
) -> None:
    given = images(*shape)
    numbers = Numbers(len(given), 0.7)
    wanted = literal.warped(given.numpy(), moves(numbers, *shape[2:]), TAPS)
    assert np.allclose(changed(pipe, given, numbers), wanted, atol=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_colours_are_those_of_the_pixel_loop(shape: tuple[int, ...]) -> None:
    given, numbers = images(*shape), Numbers(shape[0], 0.7)
    drawn = {
        "brightness": numbers.sometimes(0.2 * numbers.normal(), 0),
        "contrast": numbers.sometimes(2 ** (0.5 * numbers.normal()), 1),
        "flip": numbers.sometimes(np.floor(2 * numbers.uniform()), 0),
    }
    if shape[1] == 3:
        drawn["hue"] = numbers.sometimes(math.pi * (2 * numbers.uniform() - 1), 0)
        drawn["saturation"] = numbers.sometimes(2 ** numbers.normal(), 1)
    found = changed("color", given, numbers)
    for k, image in enumerate(given.numpy()):
        wanted = literal.recoloured(image, **{name: float(drawn[name][k]) for name in drawn})
        assert np.allclose(found[k], wanted, atol=1e-12)


@pytest.mark.parametrize("shape", [*SHAPES, (2, 3, 24, 30)])
def test_bands_are_those_of_the_pixel_loop(shape: tuple[int, ...]) -> None:
    given, numbers = images(*shape), Numbers(shape[0], 0.7)
    drawn = [numbers.sometimes(2 ** numbers.normal(), 1) for _ in range(4)]
    found = changed("filter", given, numbers)
    for k, image in enumerate(given.numpy()):
        factors = literal.gains([float(band[k]) for band in drawn])
        assert np.allclose(found[k], literal.filtered(image, factors), atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_noise_is_that_of_the_pixel_loop(shape: tuple[int, ...]) -> None:
    given, numbers = images(*shape), Numbers(shape[0], 0.7)
    deviations = numbers.sometimes(0.1 * abs(numbers.normal()), 0)
    noise = numbers.normal(*shape[1:])
    found = changed("noise", given, numbers)
    for place in np.ndindex(shape):
        wanted = float(given[place]) + noise[place] * float(deviations[place[0]])
        assert found[place] == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_holes_are_those_of_the_pixel_loop(shape: tuple[int, ...]) -> None:
    given, numbers = images(*shape), Numbers(shape[0], 0.7)
    chosen = numbers.sometimes(np.ones(len(given)), 0)
    middles = numbers.uniform(2)
    found = changed("cutout", given, numbers)
    for k, image in enumerate(given.numpy()):
        wanted = literal.cut_out(image, *middles[k]) if chosen[k] else image
        assert np.array_equal(found[k], wanted)


def test_a_pipe_is_its_groups_one_after_the_other() -> None:
    given = images(3, 3, 10, 8)
    for pipe in ("bg", "bgc", "bgcf", "bgcfn", "bgcfnc"):
        draws = rng()
        wanted = Ada(pipe="bg")(given, draws, 0.8)
        for group in PIPES[pipe][2:]:
            wanted = Ada(pipe=group)(wanted, draws, 0.8)
        assert torch.equal(Ada(pipe=pipe)(given, rng(), 0.8), wanted)


# -- facts -----------------------------------------------------------------------------------


def test_sym6_is_orthogonal_and_blind_to_polynomials() -> None:
    """Its shifts by two are orthonormal, and its mirror filter has six vanishing moments."""
    taps, places = np.array(TAPS), np.arange(12)
    for shift in range(6):
        product = taps[: 12 - 2 * shift] @ taps[2 * shift :]
        assert product == pytest.approx(float(shift == 0), abs=1e-11)
    for power in range(6):
        assert abs(((-1.0) ** places * places**power) @ taps) < 1e-9 * 11**power


def test_all_bands_together_change_nothing() -> None:
    bands = ada_filters.bands()
    assert bands.shape == (4, 43)
    assert np.allclose(bands, bands[:, ::-1])
    assert np.allclose(bands.sum(axis=0), np.eye(43)[21], atol=1e-15)


def test_a_natural_picture_keeps_its_power() -> None:
    """Of which the lowest band has 10 parts in 13; for one change, as several are not scaled so."""
    numbers = Numbers(60, 0.25)
    drawn = [numbers.sometimes(2 ** numbers.normal(), 1) for _ in range(4)]
    changes = np.sum(np.array(drawn) != 1, axis=0)
    power = ada_filters.gains(Chances(rng(), 60, 0.25, torch.float64)).numpy() ** 2
    kept = power @ np.array([10, 1, 1, 1]) / 13
    assert {0, 1, 2} <= set(changes.tolist())
    assert np.allclose(kept[changes <= 1], 1)
    assert np.allclose(power[changes == 0], 1)


@pytest.mark.parametrize("shape", SHAPES)
def test_where_nothing_moves_nothing_changes(shape: tuple[int, ...]) -> None:
    given = images(*shape)
    still = torch.eye(3, dtype=torch.float64).repeat(len(given), 1, 1)
    assert torch.allclose(ada_geometry.warped(given, still), given, atol=1e-10)


def test_a_shift_by_whole_pixels_keeps_every_value() -> None:
    given = images(2, 3, 12, 16)
    shift = torch.tensor(literal.translation(-2, 1)).repeat(2, 1, 1)
    found = ada_geometry.warped(given, shift)
    wanted = mirrored(given, (2, 0, 0, 1))[:, :, 1:, :16]  # from 2 to the left and 1 below
    assert torch.allclose(found, wanted, atol=1e-10)


def test_flipped_twice_is_as_before() -> None:
    """Of a slope to the right, but for what the mirror at its edges does to it."""
    given = torch.linspace(-1, 1, 30, dtype=torch.float64).repeat(1, 1, 26, 1)
    flip = torch.tensor(literal.scaling(-1, 1))[None]
    once = ada_geometry.warped(given, flip)
    twice = ada_geometry.warped(once, flip)
    assert torch.allclose(twice[..., 8:-8], given[..., 8:-8], atol=1e-9)
    # sym6 moves a slope by its mean tap in doubled pixels, and the flip is around 5 of them: both
    # filters together miss by that many pixels.
    missed = np.arange(12) @ np.array(TAPS) / sum(TAPS) - 5
    wanted = given.flip(3) - missed * 2 / 29
    assert torch.allclose(once[..., 8:-8], wanted[..., 8:-8], atol=1e-9)


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (3, 2), (6, 9)])
@pytest.mark.parametrize("margins", [(0, 0, 0, 0), (1, 0, 2, 1), (13, 4, 0, 21)])
def test_a_mirror_goes_to_and_fro(size: tuple[int, int], margins: tuple[int, ...]) -> None:
    given = images(2, 3, *size)
    left, right, top, bottom = margins
    found = mirrored(given, (left, right, top, bottom)).numpy()
    wanted = np.pad(given.numpy(), ((0, 0), (0, 0), (top, bottom), (left, right)), mode="reflect")
    assert np.array_equal(found, wanted)


# -- chances ---------------------------------------------------------------------------------

TIMES = 20_000


def share(happened: Tensor | NDArray[np.bool_]) -> float:
    return float(np.asarray(happened).mean())


def near(p: float) -> Any:
    return pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / TIMES) + 1e-9)


def differs(matrices: Tensor) -> Tensor:
    return (matrices - torch.eye(matrices.shape[1])).abs().amax(dim=(1, 2)) > 1e-12


@pytest.mark.parametrize("p", [0.1, 0.6, 1.0])
def test_each_change_is_as_frequent_as_it_should_be(p: float) -> None:
    """A flip that is drawn is none in one of two cases, and quarters of a turn in one of four."""
    chances = Chances(rng(), TIMES, p, torch.float64)
    places = {
        ada_geometry.flipped: p / 2,
        ada_geometry.turned_by_quarters: p * 3 / 4,
        ada_geometry.shifted_by_pixels: p,
        ada_geometry.zoomed: p,
        ada_geometry.turned: 1 - math.sqrt(1 - p),
        ada_geometry.stretched: p,
        ada_geometry.shifted: p,
    }
    for move, wanted in places.items():
        assert share(differs(move(chances, 30_000, 20_000))) == near(wanted), move
    turns = [differs(ada_geometry.turned(chances, 8, 8)) for _ in range(2)]
    assert share(turns[0] | turns[1]) == near(p)
    colours = {
        ada_colour.brightened: p,
        ada_colour.contrasted: p,
        ada_colour.luma_flipped: p / 2,
        ada_colour.hue_turned: p,
        ada_colour.saturated: p,
    }
    for change, wanted in colours.items():
        assert share(differs(change(chances))) == near(wanted), change
    bands = ada_filters.gains(chances)
    assert share((bands - 1).abs().amax(dim=1) > 1e-12) == near(1 - (1 - p) ** 4)
    given = torch.ones(TIMES, 1, 4, 4)
    for pipe in ("noise", "cutout"):
        found = Ada(pipe=pipe)(given, rng(), p)
        assert share((found != given).flatten(1).any(dim=1)) == near(p), pipe


def test_above_1_each_change_is_done() -> None:
    given = images(3, 3, 8, 6)
    augment = Ada(pipe="bgcfnc")
    assert torch.equal(augment(given, rng(), 1.5), augment(given, rng(), 1.0))


@pytest.mark.parametrize("pipe", PIPES)
def test_at_0_nothing_changes_and_nothing_is_drawn(pipe: str) -> None:
    given, draws = images(2, 3, 8, 6), rng()
    assert Ada(pipe=pipe)(given, draws, 0.0) is given
    assert torch.equal(draws.get_state(), rng().get_state())


@pytest.mark.parametrize("pipe", PIPES)
def test_draws_follow_from_their_generator_alone(pipe: str) -> None:
    given, augment = images(6, 3, 16, 12), Ada(pipe=pipe)
    torch.manual_seed(1)
    one = augment(given, rng(2), 0.9)
    torch.manual_seed(2)
    assert torch.equal(one, augment(given, rng(2), 0.9))
    assert not torch.equal(one, augment(given, rng(3), 0.9))


def test_as_much_is_drawn_whatever_p_and_the_type_are() -> None:
    ends = []
    for p, dtype in ((0.01, torch.float32), (0.99, torch.float32), (0.5, torch.float64)):
        draws = rng()
        Ada(pipe="bgcfnc")(images(3, 3, 8, 6).to(dtype), draws, p)
        ends.append(draws.get_state())
    assert torch.equal(ends[0], ends[1]) and torch.equal(ends[0], ends[2])


# -- what is given ---------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_a_type_of_16_bits_is_rounded_at_the_end_alone(channels: int) -> None:
    augment = Ada(pipe="bgcfnc")
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        given = images(3, channels, 8, 6).to(dtype)
        kept = given.clone()
        found = augment(given, rng(), 0.8)
        assert torch.equal(found, augment(given.float(), rng(), 0.8).to(dtype))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(augment(given, rng(), 0.8), found)
        assert torch.equal(given, kept)


def test_a_batch_may_be_empty_and_an_image_one_pixel() -> None:
    augment = Ada(pipe="bgcfnc")
    assert augment(images(0, 3, 8, 6), rng(), 0.8).shape == (0, 3, 8, 6)
    for shape in ((1, 3, 1, 1), (2, 1, 1, 7), (2, 3, 5, 1)):
        found = augment(images(*shape), rng(), 0.8)
        assert found.shape == shape and bool(found.isfinite().all())


def test_only_pictures_of_1_or_3_colours_are_recoloured() -> None:
    with pytest.raises(ConfigError, match="--augment ada changes pictures, and these are points"):
        Ada()(images(4, 2), rng(), 0.5)
    with pytest.raises(ConfigError, match="with 1 or 3 channels, and these have 4; ada.pipe=bg"):
        Ada()(images(2, 4, 8, 8), rng(), 0.5)
    assert Ada(pipe="bg")(images(2, 4, 8, 8), rng(), 0.5).shape == (2, 4, 8, 8)


# -- slopes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, 3, 3, 2), (2, 1, 2, 4)])
def test_slopes_have_slopes_themselves(shape: tuple[int, ...]) -> None:
    given = images(*shape).requires_grad_()

    def judged(one: Tensor) -> Tensor:
        return Ada(pipe="bgcfnc")(one, rng(), 1.0).tanh()  # of itself it is no curve

    assert gradcheck(judged, given, fast_mode=True)
    assert gradgradcheck(judged, given, fast_mode=True)


def test_reading_between_pixels_can_be_derived_again_and_again() -> None:
    given = images(2, 2, 4, 3).requires_grad_()
    grid = 1.3 * images(2, 5, 2, 2)  # some of it outside

    def read(one: Tensor) -> Tensor:
        return bilinear(one, grid)

    def slope(one: Tensor) -> Tensor:
        (found,) = torch.autograd.grad(read(one).pow(3).sum(), one, create_graph=True)
        return found

    assert gradcheck(read, given) and gradgradcheck(read, given)
    assert gradcheck(slope, given) and gradgradcheck(slope, given)
    wanted = torch.nn.functional.grid_sample(given, grid, align_corners=False)
    assert torch.equal(read(given), wanted)


def test_no_slope_flows_into_the_places() -> None:
    given, grid = images(1, 1, 4, 3).requires_grad_(), images(1, 2, 2, 2).requires_grad_()
    bilinear(given, grid).sum().backward()
    assert given.grad is not None and grid.grad is None


# -- settings --------------------------------------------------------------------------------


def test_settings_are_read_from_text() -> None:
    assert Ada.from_options({"pipe": "bgcfnc"}) == Ada(pipe="bgcfnc")
    assert Ada.from_options({}) == Ada(pipe="bgc")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pipe": "bc"}, "ada.pipe must be one of blit, geom, .*, bgcfnc; got 'bc'"),
        ({"p": "0.5"}, "--augment ada has no option 'p'"),  # augment.p: see Strength
        ({"pip": "bg"}, "--augment ada has no option 'pip'.*pipe"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Ada.from_options(options)
