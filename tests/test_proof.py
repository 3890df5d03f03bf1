"""Calibrations of a generator whose modes are axes: every rate is a count of labels."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ganaudit.diagnosis import dense_modes
from ganaudit.errors import SourceError
from ganaudit.extremes import extremes
from ganaudit.fidelity import frechet_distance
from ganaudit.intervals import Interval, wilson, worst_mode
from ganaudit.paired import Pair
from ganaudit.proof import Proof, prove
from ganaudit.rarefaction import box
from ganaudit.ratios import Share, ratio_of_extremes
from ganaudit.scoring import Anchors, Scale
from ganaudit.slots import SHARD, Stream
from ganaudit.store import Rows, Store
from ganaudit.tally import tally

MODES = 24
SAMPLES = 2000
SCALE = Scale(theta=0.25, radius=0.25, backend="torch", device="cpu")
DENSE = np.array([0.3, 0.1, 0.05, *[0.55 / 20] * 20, 0.0])  # of the last mode there is nothing

Labels = NDArray[np.int64]
Made = Callable[..., Store]


def rows_of(labels: Labels, rng: np.random.Generator) -> NDArray[np.float32]:
    """A row near the axis of each label: within the radius of its own mode's rows alone."""
    rows = np.eye(MODES)[labels] + 0.04 * rng.standard_normal((len(labels), MODES))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def draw(rng: np.random.Generator, count: int = SAMPLES, rates: Any = DENSE) -> Labels:
    return rng.choice(MODES, count, p=rates)


ANCHORS = Anchors(rows_of(np.repeat(np.arange(MODES), 3), np.random.default_rng(99)),
                  np.arange(3 * MODES) * 2 + 1)  # fmt: skip  # every other slot


@pytest.fixture
def store(tmp_path: Path) -> Made:
    """Writes rows, all valid unless told otherwise, as the samples of a run of its own."""

    def made(rows: NDArray[np.float32], valid: NDArray[np.bool_] | None = None) -> Store:
        new = Store(tmp_path / f"run{len(list(tmp_path.iterdir()))}")
        good = np.ones(len(rows), dtype=np.bool_) if valid is None else valid
        for start in range(0, len(rows), SHARD):
            some = good[start : start + SHARD]
            shard = rows[start : start + SHARD] * some[:, None]
            status, hashes = (~some).astype(np.uint8), np.zeros((len(some), 16), dtype=np.uint8)
            new.write(Stream.SAMPLES, Rows(start, shard, status, hashes), {})
        return new

    return made


def rejected(
    labels: Labels, keep: NDArray[np.float64], rng: np.random.Generator, rates: Any = DENSE
) -> tuple[Labels, NDArray[np.bool_]]:
    """Labels behind a filter, slots drawing again until one is taken; and which drew again."""
    found, again = labels.copy(), rng.random(len(labels)) >= keep[labels]
    left = np.flatnonzero(again)
    while len(left):
        found[left] = draw(rng, len(left), rates)
        left = left[rng.random(len(left)) >= keep[found[left]]]
    return found, again


def kept(**modes: float) -> NDArray[np.float64]:
    """Probabilities by mode, 1 where none is given: kept(m0=.1)."""
    keep = np.ones(MODES)
    for name, share in modes.items():
        keep[int(name[1:])] = share
    return keep


class World:
    """A fitted run, and fresh slots before and after, with their labels."""

    def __init__(self, store: Made, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.made = store
        self.fit_rows = rows_of(draw(self.rng), self.rng)
        self.before = draw(self.rng)
        self.before_rows = rows_of(self.before, self.rng)
        self.stores = [store(self.fit_rows), store(self.before_rows)]

    def behind(self, labels: Labels, changed: NDArray[np.bool_]) -> Store:
        """The store of other labels, with other rows where they are `changed`."""
        self.after, self.after_rows = labels, self.before_rows.copy()
        self.after_rows[changed] = rows_of(labels[changed], self.rng)
        return self.made(self.after_rows)

    def filtered(self, keep: NDArray[np.float64]) -> Store:
        return self.behind(*rejected(self.before, keep, self.rng))

    def prove(self, after: Store, modes: tuple[int, ...] = (0,), **changes: Any) -> Proof:
        """Modes are given by their label; each has three anchors."""
        usual: dict[str, Any] = {
            "anchors": ANCHORS,
            "modes": [3 * mode for mode in modes],
            "samples": SAMPLES,
            "scale": SCALE,
            "target": 0.05,
            "acceptance": Interval(1.0, 1.0, 1.0),
            "method": "rejection",
            "progress": lambda *_: None,
        }
        fit, before = self.stores
        return prove(**(usual | {"fit": fit, "before": before, "after": after} | changes))


@pytest.fixture
def world(store: Made) -> World:
    return World(store)


def taken(keep: NDArray[np.float64]) -> Interval:
    share = float(DENSE @ keep)
    return Interval(share, share - 0.01, share + 0.01)


def test_rates_are_those_of_the_labels(world: World) -> None:
    keep = kept(m0=1 / 9, m1=1 / 3)  # both come to .05: .3 / 9 of what is left, .6 + .1 / 1.5
    found = world.prove(world.filtered(keep), (0, 1), acceptance=taken(keep)).figures()
    for mode, said in zip((0, 1), found["modes"], strict=True):
        old, new = world.before == mode, world.after == mode
        assert said["anchor"] == ANCHORS.slots[3 * mode]
        for side, labels in (("before", old), ("after", new)):
            assert said[side] == wilson(int(labels.sum()), SAMPLES).figures()
        pair = Pair(*(Share(int(one.sum()), SAMPLES) for one in (old, new)),
                    int((old & new).sum()), SAMPLES)  # fmt: skip
        assert said["ratio"] == pair.ratio.figures()
    assert found["sizes"] == {"anchors": 72, "before": SAMPLES, "after": SAMPLES}
    assert found["verdict"]["outcome"] == "thinned"
    assert [one["against_target"] for one in found["modes"]] == ["at", "at"]


def test_the_worst_is_that_of_either_tally(world: World) -> None:
    keep = kept(m0=0.1)
    found = world.prove(world.filtered(keep), acceptance=taken(keep)).figures()["worst"]
    old, new = (
        tally(ANCHORS.rows, rows, theta=SCALE.theta, radius=SCALE.radius)
        for rows in (world.before_rows, world.after_rows)
    )
    apart = [worst_mode(one) for one in (old, new)]
    assert [found[side] for side in ("before", "after")] == [
        one.rate.figures() for one in apart if one is not None
    ]
    before, after = extremes(old), extremes(new)
    assert before is not None and after is not None
    assert found["ratio"] == ratio_of_extremes(after[0], before[0]).interval().figures()
    assert set(found) == {"before", "after", "ratio"}


def test_the_others_are_all_dense_modes_but_the_chosen_one(world: World) -> None:
    keep = kept(m0=0.1)
    found = world.prove(world.filtered(keep), acceptance=taken(keep)).figures()["others"]
    sums = tally(ANCHORS.rows, world.fit_rows, theta=SCALE.theta, radius=SCALE.radius)
    dense = dense_modes(sums, ANCHORS.rows, radius=SCALE.radius)
    assert len({one.anchor // 3 for one in dense} - {0}) == 22 == found["looked_at"]
    assert found["allowed"] == pytest.approx(1 / (0.73 - 0.01))
    assert found["grown"] == []
    assert found["largest"]["ratio"]["low"] > 1


def test_a_collapse_that_moves_to_a_dense_mode_is_named(world: World) -> None:
    labels, gone = rejected(world.before, kept(m0=0.2), world.rng, np.eye(MODES)[5])
    found = world.prove(world.behind(labels, gone), acceptance=taken(kept(m0=0.2))).figures()
    assert found["verdict"]["outcome"] == "moved"
    assert [int(np.flatnonzero(ANCHORS.slots == one["anchor"])[0]) // 3
            for one in found["others"]["grown"]] == [5]  # fmt: skip
    assert found["others"]["largest"] == found["others"]["grown"][0]
    assert found["others"]["grown"][0]["p"] < 1e-6


def test_a_collapse_that_moves_to_where_there_was_nothing_is_named(world: World) -> None:
    labels, gone = rejected(world.before, kept(m0=0.5), world.rng, np.eye(MODES)[23])
    found = world.prove(world.behind(labels, gone), acceptance=taken(kept(m0=0.5))).figures()
    assert found["verdict"]["outcome"] == "moved"
    (grown,) = found["others"]["grown"]
    assert int(np.flatnonzero(ANCHORS.slots == grown["anchor"])[0]) // 3 == 23
    assert grown["before"]["estimate"] == 0
    assert grown["ratio"]["estimate"] is None and grown["ratio"]["low"] > 10
    half = np.arange(SAMPLES) // 16 % 32 >= 16  # which did not choose it
    assert grown["after"] == wilson(int((labels[half] == 23).sum()), int(half.sum())).figures()


def test_a_worst_mode_that_rises_is_a_collapse_that_moved(world: World) -> None:
    """The chosen one is the second: every one that it loses goes to the worst."""
    labels, gone = rejected(world.before, kept(m1=0.0), world.rng, np.eye(MODES)[0])
    found = world.prove(world.behind(labels, gone), (1,), growth=5.0).figures()
    assert found["verdict"]["outcome"] == "moved"
    assert found["worst"]["ratio"]["low"] > 1 and found["others"]["grown"] == []
    assert "--modes" in found["verdict"]["next"]


def test_a_generator_as_it_was_is_not_thinned(world: World) -> None:
    found = world.prove(world.stores[1]).figures()
    assert found["verdict"]["outcome"] == "nothing"
    assert found["modes"][0]["ratio"]["estimate"] == 1
    assert found["companions"]["to_uncalibrated"] == found["companions"]["noise"]
    assert found["boxes"][0] == found["boxes"][1] | {"label": "all anchors, before"}


def test_what_cannot_be_scored_is_counted_on_neither_side(world: World) -> None:
    rng = np.random.default_rng(3)
    old, new = rng.random(SAMPLES) < 0.9, rng.random(SAMPLES) < 0.8
    world.filtered(kept(m0=0.1))
    found = world.prove(
        world.made(world.after_rows, new), before=world.made(world.before_rows, old)
    ).figures()
    assert found["sizes"] == {"anchors": 72, "before": old.sum(), "after": new.sum()}
    sides = (world.before == 0) & old, (world.after == 0) & new
    pair = Pair(
        Share(int(sides[0].sum()), int(old.sum())),
        Share(int(sides[1].sum()), int(new.sum())),
        int((sides[0] & sides[1]).sum()),
        int((old & new).sum()),
    )
    assert found["modes"][0]["ratio"] == pair.ratio.figures()


def test_what_cannot_be_scored_is_within_no_radius(world: World) -> None:
    """Its row is zero, at a right angle to all; at this radius every other row is within."""
    valid = np.arange(SAMPLES) % 3 > 0
    after = world.made(world.before_rows, valid)
    found = world.prove(after, scale=replace(SCALE, radius=0.6)).figures()
    assert found["modes"][0]["after"] == wilson(int(valid.sum()), int(valid.sum())).figures()
    assert found["others"]["looked_at"] == 0 and found["others"]["largest"] is None


def test_boxes_are_of_all_anchors_and_of_the_chosen(world: World) -> None:
    found = world.prove(world.filtered(kept(m0=0.1)), (0, 4)).figures()["boxes"]
    assert [one["label"] for one in found] == [
        "all anchors, before",
        "all anchors, after",
        "the chosen modes, before",
        "the chosen modes, after",
    ]
    for one, rows, anchors in (
        (found[0], world.before_rows, ANCHORS.rows),
        (found[3], world.after_rows, ANCHORS.rows[[0, 12]]),
    ):
        wanted = box(tally(anchors, rows, theta=SCALE.theta, radius=SCALE.radius))
        assert (one["median"], one["largest"]) == pytest.approx((wanted.median, wanted.largest))
        assert one["at_samples"] == SAMPLES


def test_companions_compare_equal_numbers_with_the_fitted_run(world: World) -> None:
    """The fitted run may be smaller; what is left of a mode is far from what there was."""
    fewer = world.made(world.fit_rows[:1500])
    after = world.filtered(kept(m0=0.0))
    found = world.prove(after, fit=fewer, fitted_samples=1500).figures()["companions"]
    assert found["rows"] == 1500
    for name, rows in (("noise", world.before_rows), ("to_uncalibrated", world.after_rows)):
        wanted = frechet_distance(world.fit_rows[:1500], rows[:1500])
        assert found[name]["frechet_distance"] == pytest.approx(wanted)
    assert (
        found["noise"]["kernel_distance"]["high"]
        < (found["to_uncalibrated"]["kernel_distance"]["low"])
    )
    assert found["to_reference"] is None


def test_few_samples_leave_the_worst_mode_unknown(world: World) -> None:
    found = world.prove(world.filtered(kept(m0=0.1)), samples=64, fitted_samples=SAMPLES).figures()
    assert found["worst"]["ratio"] == {"estimate": None, "low": None, "high": None}
    assert "too few groups" in found["verdict"]["sentences"][1]


def test_without_samples_there_is_nothing_to_prove(world: World) -> None:
    none = world.made(world.before_rows, np.zeros(SAMPLES, dtype=np.bool_))
    with pytest.raises(SourceError, match="of 2000 samples fewer than 2 can be scored"):
        world.prove(none)


def outcomes(
    store: Made, behind: Callable[[World], tuple[Store, Interval]], runs: int
) -> list[str]:
    found = []
    for seed in range(runs):
        world = World(store, seed=1000 + seed)
        after, acceptance = behind(world)
        proof = world.prove(after, acceptance=acceptance)
        found.append(proof.effects.outcome)
    return found


def test_an_unchanged_generator_is_hardly_ever_called_thinned(store: Made) -> None:
    """Rows of its own: nothing is shared. 2.5 % are expected; of 60, 5 or more are 1 in 60."""
    new = outcomes(
        store,
        lambda world: (world.behind(draw(world.rng), np.ones(SAMPLES, bool)), Interval(1, 1, 1)),
        60,
    )
    assert new.count("nothing") >= 56


def test_a_thinned_mode_is_hardly_ever_called_moved(store: Made) -> None:
    """Every other mode stands at the edge of what it may grow to, where 5 % are expected."""
    keep = kept(m0=0.1)
    edge = float(DENSE @ keep)
    found = outcomes(store, lambda world: (world.filtered(keep), Interval(edge, edge, edge)), 60)
    assert found.count("thinned") >= 54 and found.count("nothing") == 0


def test_another_mode_that_doubles_is_hardly_ever_missed(store: Made) -> None:
    """55 samples become 110, where 75 are allowed."""
    keep = kept(m0=0.1)
    twice = DENSE + np.eye(MODES)[7] * DENSE[7]

    def behind(world: World) -> tuple[Store, Interval]:
        labels, again = rejected(world.before, keep, world.rng)
        spare = np.flatnonzero(again & (labels != 7))
        labels[world.rng.choice(spare, int(SAMPLES * twice[7]) - (labels == 7).sum(), False)] = 7
        return world.behind(labels, again), taken(keep)

    assert outcomes(store, behind, 20).count("moved") >= 19
