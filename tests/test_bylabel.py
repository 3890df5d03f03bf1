"""A conditional generator by label: the figures of a label are those of its own rows alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Pixels, Toy
from torch import Tensor

from ganaudit.comparable import Comparable
from ganaudit.config import DiagnoseConfig
from ganaudit.errors import ConfigError
from ganaudit.pipeline import diagnose
from ganaudit.slots import GROUPS, Draws, Stream, group_of, labels_of
from ganaudit.store import Store
from ganaudit.tally import Tally, tally

pytestmark = pytest.mark.usefixtures("undrawn")
Make = Callable[..., DiagnoseConfig]


class Classes(Toy):
    """Class 2 shows one image half of the time."""

    num_labels = 3

    def render(self, draws: Draws) -> Tensor:
        images = super().render(draws)
        stuck = (draws.labels == 2) & (draws.seeds % 2 == 0)
        images[stuck] = torch.arange(48, dtype=torch.uint8).view(3, 4, 4) * 5
        return images


def rows_of(folder: Path, stream: Stream, stop: int) -> np.ndarray:
    return np.concatenate([piece.rows.copy() for piece in Store(folder).read(stream, stop)])


def alone(rows: np.ndarray, anchors: np.ndarray, slots: np.ndarray, card: Any) -> Tally:
    """The tally of some samples, each put where its slot's group is: slot by slot, added up."""
    total = Tally.empty(len(anchors))
    for group in range(GROUPS):
        chosen = rows[group_of(slots) == group]
        if not len(chosen):
            continue
        one = tally(anchors, chosen, theta=card.theta, radius=card.radius)
        sums = {
            name: np.zeros_like(getattr(total, name))
            for name in ("n", "similarity", "within", "coherence")
        }
        sums["n"][group] = one.n.sum()
        sums["similarity"][:, group] = one.similarity.sum(axis=1)
        sums["within"][:, group] = one.within.sum(axis=1)
        sums["coherence"][group] = one.coherence.sum()
        total += Tally(**sums, squares=one.squares, within_half=one.within_half)
    return total


def test_a_labels_figures_are_those_of_its_own_anchors_and_samples(config: Make) -> None:
    m, n = 300, 1500
    audit = diagnose(
        config(anchors=m, samples=n, labels="labels.txt"),
        source=write_labels([0, 0, 1, 2, 2]),
        descriptor=Pixels(),
    )
    found = audit.report["labels"]
    choices = np.array([0, 0, 1, 2, 2])
    drawn = {
        stream: labels_of(np.arange(count), choices, seed=0, stream=stream)
        for stream, count in ((Stream.ANCHORS, m), (Stream.SAMPLES, n))
    }
    anchors, samples = (
        rows_of(audit.folder, stream, count) for stream, count in zip(Stream, (m, n), strict=True)
    )
    listed = {row["label"]: row for row in found["by_label"]}
    large = [label for label in range(3) if (drawn[Stream.ANCHORS] == label).sum() >= 64]
    assert set(listed) == set(large) >= {0, 2}
    assert found["left_out"] == 3 - len(large)
    for label, row in listed.items():
        ours = drawn[Stream.SAMPLES] == label
        own = anchors[drawn[Stream.ANCHORS] == label]
        expected = alone(samples[ours], own, np.flatnonzero(ours), Pixels.card)
        assert row["anchors"] == len(own) and row["samples"] == ours.sum()
        assert row["count"] == expected.within.sum(axis=1).max()
        assert drawn[Stream.ANCHORS][row["worst_anchor"]] == label
        for name, figure in Comparable.of(expected).figures().items():
            for end in ("estimate", "low", "high"):
                assert row[name][end] == pytest.approx(figure[end], rel=1e-9, abs=1e-12)
    stuck = listed[2]["worst_rate"]
    assert stuck["low"] < 0.5 < stuck["high"] and listed[0]["worst_rate"]["high"] < 0.3


def write_labels(labels: list[int]) -> Classes:
    Path("labels.txt").write_text("\n".join(map(str, labels)))
    return Classes()


def test_an_unconditional_generator_has_no_such_part(config: Make) -> None:
    assert diagnose(config(), source=Toy(), descriptor=Pixels()).report["labels"] is None


def test_one_label_is_the_whole_run(config: Make) -> None:
    report = diagnose(config(labels="1"), source=Classes(), descriptor=Pixels()).report
    (row,) = report["labels"]["by_label"]
    figures = report["figures"]
    assert (row["label"], row["anchors"], row["samples"]) == (1, 64, 256)
    assert row["mean_similarity"] == figures["mean_similarity"]
    assert row["count"] == figures["worst_mode"]["count"]
    assert row["worst_anchor"] == figures["worst_mode"]["anchor"]
    assert report["labels"]["left_out"] == 0
    assert "Every image has label 1, as requested." in report["assumptions"]


def test_other_labels_are_another_run(config: Make) -> None:
    diagnose(config(labels="1"), source=Classes(), descriptor=Pixels())
    with pytest.raises(ConfigError, match="labels"):
        diagnose(config(labels="0", resume=True), source=Classes(), descriptor=Pixels())
    with pytest.raises(ConfigError, match="labels of this generator are 0 to 2, got 3"):
        diagnose(config(labels="3", out=Path("other")), source=Classes(), descriptor=Pixels())


def test_few_of_every_label_are_left_out(config: Make) -> None:
    report = diagnose(config(), source=Classes(), descriptor=Pixels()).report
    assert report["labels"]["by_label"] == [] and report["labels"]["left_out"] == 3
