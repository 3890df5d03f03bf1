"""A generator behind a calibrator is a generator: its slots, its attempts, its counts."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ganaudit.calibration.calibrated import (
    CalibratedLatents,
    CalibratedLatentService,
    FilteredLatents,
    FilteredLatentService,
    FilteredStream,
    Judge,
)
from ganaudit.calibration.filters import OutputFilter
from ganaudit.calibration.latents import LatentSampler, Space, redraw, salted, sample
from ganaudit.errors import ConfigError, DescriptorError, SourceError
from ganaudit.generators import BlindGenerator, Failure, LatentGenerator, Streaming
from ganaudit.slots import (
    Draws,
    Stream,
    draw,
    latents_of,
    lots_of,
    noise_seeds_of,
    proposals_of,
    seeds_of_attempt,
)

SHAPE = (5,)
SLOTS = np.arange(40, dtype=np.int64)
KEEP = 0.25


@dataclass(frozen=True)
class Positive:
    """Latents whose first coordinate is positive are taken with probability KEEP."""

    space: Space = Space(SHAPE, "normal")
    attempts: int = 50

    def propose(self, latents: NDArray[np.float32], lots: NDArray[np.float64]) -> Any:
        return latents

    def acceptance(self, latents: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.where(latents[:, 0] > 0, KEEP, 1.0)

    def settings(self) -> dict[str, Any]:
        return {}

    def arrays(self) -> dict[str, Any]:
        return {}


def pictures(draws: Draws) -> torch.Tensor:
    """An image that shows its latent: uint8 [N, 3, 2, 5], and the seed in one pixel."""
    assert draws.latents is not None
    grey = (draws.latents.clamp(-4, 4) * 31 + 128).to(torch.uint8)
    images = grey[:, None, None, :].repeat(1, 3, 2, 1)
    images[:, 0, 1, 0] = (draws.seeds % 251).to(torch.uint8)
    return images


class Drawn:
    """A LatentGenerator that remembers what it was asked for."""

    latent_shape, prior, num_labels = SHAPE, "normal", 0
    identity = {"name": "drawn"}
    assumptions = ("It is drawn.",)

    def __init__(self) -> None:
        self.asked: list[Draws] = []

    def render(self, draws: Draws) -> torch.Tensor:
        self.asked.append(draws)
        return pictures(draws)


class Service(Drawn):
    """The same behind a service: answers in another order, slot 7 fails."""

    def stream(self, draws: Draws) -> Iterator[tuple[int, torch.Tensor | Failure]]:
        self.asked.append(draws)
        images = pictures(draws)
        for place in reversed(range(len(draws))):
            index = int(draws.index[place])
            yield index, Failure("no") if index == 7 else images[place]


class Blind:
    """A service that draws by its seed alone."""

    seedable, size = True, None
    per_request, patience_s, incidental = 4, 9.0, ("concurrency",)

    def __init__(self) -> None:
        self.asked: list[Draws] = []

    def stream(self, draws: Draws) -> Iterator[tuple[int, torch.Tensor | Failure]]:
        self.asked.append(draws)
        seeds = draws.seeds.numpy()
        latents = torch.from_numpy(proposals_of(seeds, 9, shape=SHAPE, prior="normal"))
        yield from zip(draws.index.tolist(), pictures(replace(draws, latents=latents)), strict=True)


class Eyes:
    """A descriptor in two dimensions: which side of grey the first pixel lies on."""

    card: Any = None

    def embed(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        dark = images[:, 2, 1, 0] < 128
        rows = torch.stack([dark.float(), (~dark).float()], dim=1)
        return rows, torch.ones(len(images), dtype=torch.bool)


def judge(keep: float = KEEP, attempts: int = 50) -> Judge:
    bright = np.array([[0.0, 1.0]], dtype=np.float32)
    chosen = OutputFilter(modes=bright, keep=np.array([keep]), radius=0.25, attempts=attempts)
    return Judge(chosen, Eyes())


def ordinary(slots: NDArray[np.int64] = SLOTS, latents: bool = True) -> Draws:
    return draw(slots, seed=3, stream=Stream.SAMPLES, latent_shape=SHAPE if latents else None)


NAMED = {"method": "importance", "identity": {"sha256": "ab"}}
ASKED = {**NAMED, "device": "cpu", "timeout_s": 2.0}


def literal(seeds: NDArray[np.int64], first: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Slot by slot and attempt by attempt, what `redraw` does for all of them at once."""
    found = []
    for seed, latent in zip(seeds, first, strict=True):
        own = np.array([seed])
        for attempt in range(Positive().attempts):
            if attempt:
                latent = proposals_of(own, attempt, shape=SHAPE, prior="normal")[0]
            lot = lots_of(own, attempt, 2)[0, 0]
            if lot < (KEEP if latent[0] > 0 else 1.0):
                break
        found.append(latent)
    return found


def test_every_slot_draws_until_a_proposal_is_taken() -> None:
    draws = ordinary()
    drawn = redraw(Positive(), draws.latents.numpy(), draws.seeds.numpy())
    expected = literal(draws.seeds.numpy(), draws.latents.numpy())
    assert np.array_equal(drawn.latents, np.stack(expected))
    kept = (drawn.latents == draws.latents.numpy()).all(axis=1)
    assert np.array_equal(kept, drawn.attempts == 1) and 0 < kept.sum() < len(kept)
    assert kept[draws.latents.numpy()[:, 0] <= 0].all() and drawn.taken.all()


def test_after_the_last_attempt_the_proposal_stands_and_is_counted() -> None:
    draws = ordinary()
    drawn = redraw(replace(Positive(), attempts=1), draws.latents.numpy(), draws.seeds.numpy())
    assert np.array_equal(drawn.latents, draws.latents.numpy())
    refused = lots_of(draws.seeds.numpy(), 0, 2)[:, 0] >= np.where(
        draws.latents.numpy()[:, 0] > 0, KEEP, 1
    )
    assert np.array_equal(drawn.taken, ~refused) and refused.any()


@pytest.mark.parametrize("chance", [0.0, 0.3, 1.0])
def test_a_region_of_mass_q_keeps_the_share_that_identity_12_names(chance: float) -> None:
    @dataclass(frozen=True)
    class Chance(Positive):
        attempts: int = 200

        def acceptance(self, latents: NDArray[np.float32]) -> NDArray[np.float64]:
            return np.where(latents[:, 0] > 0.5244, chance, 1.0)  # the upper 30 %

    n = 20_000
    slots = np.arange(n)
    first = latents_of(slots, seed=1, stream=Stream.SAMPLES, shape=SHAPE)
    seeds = noise_seeds_of(slots, seed=1, stream=Stream.SAMPLES)
    drawn = redraw(Chance(), first, seeds)
    q = 0.3
    share = q * chance / (1 - q * (1 - chance))
    acceptance = 1 - q * (1 - chance)
    inside = float((drawn.latents[:, 0] > 0.5244).mean())
    assert abs(inside - share) <= 4 * np.sqrt(max(share * (1 - share), 1e-9) / n)
    # attempts are geometric with that mean and variance (1 - a) / a^2
    spread = np.sqrt((1 - acceptance) / acceptance**2 / n)
    assert abs(drawn.attempts.mean() - 1 / acceptance) <= 4 * spread
    if chance == 1:
        assert np.array_equal(drawn.latents, first)


KINDS = {
    "latents": lambda source: CalibratedLatents(source, Positive(), **NAMED),
    "filter": lambda source: FilteredLatents(source, judge(), **NAMED),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_slot_is_the_same_in_whatever_batch_and_order(kind: str) -> None:
    whole = KINDS[kind](Drawn()).render(ordinary())
    order = np.random.default_rng(0).permutation(len(SLOTS))
    parts = [KINDS[kind](Drawn()).render(ordinary(part)) for part in np.array_split(order, 7)]
    assert torch.equal(torch.cat(parts), whole[torch.from_numpy(order)])


@pytest.mark.parametrize("kind", KINDS)
def test_it_says_what_it_is(kind: str) -> None:
    made = KINDS[kind](Drawn())
    assert isinstance(made, LatentGenerator) and not isinstance(made, Streaming)
    assert made.identity == {
        "name": "drawn",
        "calibrator": {"method": "importance", "sha256": "ab"},
    }
    assert made.assumptions[0] == "It is drawn." and "calibrator" in made.assumptions[1]
    assert (made.latent_shape, made.prior, made.num_labels, made.seeded) == (SHAPE, "normal", 0, 1)


def test_the_latents_of_a_calibrated_generator_are_those_of_the_file() -> None:
    source = Drawn()
    CalibratedLatents(source, Positive(), **NAMED).render(ordinary())
    (asked,) = source.asked
    alone = sample(Positive(), 17, seed=3, start=5)
    assert np.array_equal(asked.latents[5:22].numpy(), alone)
    assert torch.equal(asked.seeds, ordinary().seeds)  # the noise of a slot stays its own


SALT = 0x1234_5678_9ABC_DEF0


def test_two_calibrators_in_a_row_draw_apart() -> None:
    """Else what the first has not taken at some attempt, the second does not take at it either."""
    slots = np.arange(4000)
    draws = ordinary(slots)
    inner = CalibratedLatents(Drawn(), Positive(), **NAMED, salt=7)
    outer = FilteredLatents(inner, judge(keep=0.5), **NAMED, salt=SALT)
    bright = float((outer.render(draws)[:, 2, 1, 0] >= 128).float().mean())
    # A half of latent mass is kept with .25, and of what is left a part q with .5.
    q = 0.5 * KEEP / (1 - 0.5 * (1 - KEEP))
    share = q * 0.5 / (1 - q * 0.5)
    assert abs(bright - share) < 4 * (share * (1 - share) / 4000) ** 0.5
    own = draws.seeds.numpy()
    lots = [lots_of(salted(own, salt), 0)[:, 0] for salt in (0, 7, SALT)]
    assert np.abs(np.corrcoef(lots) - np.eye(3)).max() < 4 / 4000**0.5
    assert all((0 <= salted(own, salt)).all() for salt in (7, SALT, 2**63 - 1))


@pytest.mark.parametrize("kind", ["latents", "filter", "stream"])
def test_a_salt_changes_what_is_drawn_anew_and_nothing_else(kind: str) -> None:
    def images(salt: int, draws: Draws) -> torch.Tensor:
        if kind == "stream":
            found = dict(FilteredStream(Service(), judge(), **ASKED, salt=salt).stream(draws))
            return torch.stack([found[index] for index in draws.index.tolist()])
        if kind == "filter":
            return FilteredLatents(Drawn(), judge(), **NAMED, salt=salt).render(draws)
        return CalibratedLatents(Drawn(), Positive(), **NAMED, salt=salt).render(draws)

    draws = ordinary(SLOTS[8:])
    plain, one, other = (images(salt, draws) for salt in (0, SALT, SALT))
    first = pictures(draws)
    changed = (one != first).flatten(1).any(dim=1)
    assert torch.equal(one, other) and not torch.equal(one, plain)
    dark = draws.latents[:, 0] <= 0  # taken at once, whatever the lot is
    assert not changed[dark].any() and changed.any()
    alone = [images(SALT, draws[i : i + 1]) for i in range(len(draws))]
    assert torch.equal(torch.cat(alone), one)


def test_the_latents_of_a_salted_calibrator_are_those_of_the_file() -> None:
    source = Drawn()
    CalibratedLatents(source, Positive(), **NAMED, salt=SALT).render(ordinary())
    alone = sample(Positive(), 17, seed=3, start=5, salt=SALT)
    assert np.array_equal(source.asked[0].latents[5:22].numpy(), alone)
    assert torch.equal(source.asked[0].seeds, ordinary().seeds)


def test_what_the_source_comes_to_doubt_is_passed_on() -> None:
    class Doubtful(Drawn):
        warnings: tuple[str, ...] = ()

        def render(self, draws: Draws) -> torch.Tensor:
            self.warnings = ("It is grey.",)
            return super().render(draws)

    for kind in KINDS.values():
        made = kind(Doubtful())
        assert made.warnings == ()
        made.render(ordinary())
        assert made.warnings == ("It is grey.",)


def test_a_filter_looks_at_images_and_asks_for_other_latents_and_noise() -> None:
    source = Drawn()
    made = FilteredLatents(source, judge(keep=0.0), **NAMED)
    images = made.render(ordinary())
    assert (images[:, 2, 1, 0] < 128).all()  # no bright one is delivered
    rounds = [len(asked) for asked in source.asked]
    assert rounds[0] == len(SLOTS) and sum(rounds) == made.counts["proposals"]
    bright = pictures(ordinary())[:, 2, 1, 0] >= 128
    assert rounds[1] == int(bright.sum()) and made.counts["unaccepted"] == 0
    again = source.asked[1]
    left = ordinary().seeds[bright].numpy()
    assert torch.equal(again.seeds, torch.from_numpy(seeds_of_attempt(left, 1)))
    assert np.array_equal(again.latents.numpy(), proposals_of(left, 1, shape=SHAPE, prior="normal"))


def test_of_all_attempts_the_last_one_stands() -> None:
    made = FilteredLatents(Drawn(), judge(keep=0.0, attempts=2), **NAMED)
    images = made.render(ordinary())
    bright = int((images[:, 2, 1, 0] >= 128).sum())
    assert bright == made.counts["unaccepted"] > 0
    assert made.counts["slots"] == len(SLOTS)


class One(Drawn):
    def render(self, draws: Draws) -> torch.Tensor:
        return torch.full((len(draws), 3, 2, 2), 200, dtype=torch.uint8)


def test_what_cannot_be_described_is_left_to_the_audit() -> None:
    made = FilteredLatents(One(), judge(keep=0.0), **NAMED)
    assert len(made.render(ordinary())) == len(SLOTS)
    assert made.counts["proposals"] == len(SLOTS)  # a single colour is asked for once


def test_a_filter_of_another_descriptor_is_refused() -> None:
    modes = np.eye(3, dtype=np.float32)[:1]
    chosen = OutputFilter(modes=modes, keep=np.array([0.5]), radius=0.25, attempts=3)
    with pytest.raises(ConfigError, match="of another descriptor: rows must be .N, 3., got"):
        FilteredLatents(Drawn(), Judge(chosen, Eyes()), **NAMED).render(ordinary())


def test_a_descriptor_that_raises_is_at_fault_itself() -> None:
    class Broken(Eyes):
        def embed(self, images: torch.Tensor) -> Any:
            raise RuntimeError("out of memory")

    chosen = judge()._filter
    with pytest.raises(DescriptorError, match="the descriptor raised RuntimeError: out of memory"):
        FilteredLatents(Drawn(), Judge(chosen, Broken()), **NAMED).render(ordinary())


def test_a_blind_service_is_asked_again_by_other_seeds() -> None:
    source = Blind()
    made = FilteredStream(source, judge(keep=0.0), **ASKED)
    assert isinstance(made, BlindGenerator) and not isinstance(made, LatentGenerator)
    # Ten answers of the service may go by until one is taken.
    assert (made.seedable, made.size, made.per_request, made.patience_s) == (True, None, 4, 90.0)
    hasty = FilteredStream(source, judge(), **{**ASKED, "timeout_s": 20.0})
    assert hasty.patience_s == 200.0
    assert made.incidental == ("concurrency",)
    draws = ordinary(latents=False)
    found = dict(made.stream(draws))
    assert sorted(found) == SLOTS.tolist()
    assert all(int(image[2, 1, 0]) < 128 for image in found.values())
    first, second = source.asked[:2]
    asked_again = torch.isin(first.index, second.index)
    own = first.seeds[asked_again].numpy()
    assert torch.equal(second.seeds, torch.from_numpy(seeds_of_attempt(own, 1)))
    alone = dict(made.stream(ordinary(SLOTS[11:12], latents=False)))
    assert torch.equal(alone[11], found[11])


def test_a_service_that_answers_twice_is_heard_once() -> None:
    class Twice(Blind):
        def stream(self, draws: Draws) -> Iterator[tuple[int, torch.Tensor | Failure]]:
            for answer in super().stream(draws):
                yield answer
                yield answer

    draws = ordinary(latents=False)
    once = dict(FilteredStream(Blind(), judge(), **ASKED).stream(draws))
    answers = list(FilteredStream(Twice(), judge(), **ASKED).stream(draws))
    assert len(answers) == len(SLOTS)
    assert all(torch.equal(once[index], image) for index, image in answers)


def test_a_slow_service_is_not_waited_for_until_a_part_is_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Slow(Blind):
        given = 0

        def stream(self, draws: Draws) -> Iterator[tuple[int, torch.Tensor | Failure]]:
            for answer in super().stream(draws):
                self.given += 1
                monkeypatch.setattr("time.monotonic", lambda: 0.4 * self.given)
                yield answer

    monkeypatch.setattr("time.monotonic", lambda: 0.0)
    draws, source = ordinary(latents=False), Slow()
    answers = FilteredStream(source, judge(keep=1.0), **ASKED).stream(draws)
    next(answers)
    assert source.given == 3  # 1.2 s have gone by
    slow = dict(answers)
    quick = dict(FilteredStream(Blind(), judge(keep=1.0), **ASKED).stream(draws))
    assert len(slow) == len(SLOTS) - 1 and all(torch.equal(quick[i], slow[i]) for i in slow)


def test_a_service_of_latents_stays_one_behind_either_calibrator() -> None:
    for made in (
        CalibratedLatentService(Service(), Positive(), **NAMED),
        FilteredLatentService(Service(), judge(), **ASKED),
    ):
        assert isinstance(made, LatentGenerator) and isinstance(made, Streaming)
        found = dict(made.stream(ordinary()))
        assert sorted(found) == SLOTS.tolist()
        assert isinstance(found[7], Failure)
    local = CalibratedLatents(Drawn(), Positive(), **NAMED).render(ordinary())
    served = dict(CalibratedLatentService(Service(), Positive(), **NAMED).stream(ordinary()))
    assert all(torch.equal(served[i], local[i]) for i in SLOTS if i != 7)
    filtered = FilteredLatents(Drawn(), judge(), **NAMED).render(ordinary())
    made = FilteredLatentService(Service(), judge(), **ASKED)
    streamed = dict(made.stream(ordinary()))
    assert all(torch.equal(streamed[i], filtered[i]) for i in SLOTS if i != 7)
    few = SLOTS[8:15]
    assert torch.equal(made.render(ordinary(few))[:3], filtered[8:11])
    with pytest.raises(SourceError, match="no"):
        FilteredLatentService(Service(), judge(), **ASKED).render(replace(ordinary(SLOTS[:8])))


def test_positive_is_a_sampler() -> None:
    assert isinstance(Positive(), LatentSampler)


@pytest.mark.parametrize("prior", ["normal", "uniform", "truncated", "spherical"])
def test_normal_coordinates_and_back(prior: Any) -> None:
    space = Space((7,), prior)
    latents = space.draw(np.arange(3000), seed=1, stream=Stream.SAMPLES)
    normal = space.to_normal(latents)
    assert np.allclose(space.from_normal(normal), latents, atol=2e-5)
    if prior != "spherical":
        # 21,000 values of N(0, 1): 4 standard errors of mean and variance
        assert abs(normal.mean()) < 4 / np.sqrt(normal.size)
        assert abs(normal.var() - 1) < 4 * np.sqrt(2 / normal.size)
    wild = np.random.default_rng(0).normal(size=(50, 7)) * 9
    back = space.from_normal(wild)
    bound = {"uniform": 1.0, "truncated": 2.0}.get(prior, np.inf)
    assert np.isfinite(back).all() and np.abs(back).max() <= bound
