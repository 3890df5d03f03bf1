"""Figures of stored rows, at any size up to that of the run, without its generator."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Pixels, Toy, images_of, without_timings
from torch import Tensor

from ganaudit.comparable import Comparable
from ganaudit.config import DiagnoseConfig
from ganaudit.errors import GanauditError, SourceError
from ganaudit.extremes import extremes
from ganaudit.intervals import mean_similarity, mu_at_n
from ganaudit.labels import law_of
from ganaudit.measuring import Measured, measure
from ganaudit.pipeline import diagnose
from ganaudit.ratios import Share
from ganaudit.scoring import Scale
from ganaudit.slots import Draws
from ganaudit.store import Store

pytestmark = pytest.mark.usefixtures("undrawn")
Make = Callable[..., DiagnoseConfig]
SCALE = Scale(theta=0.4, radius=0.3, backend="torch", device="cpu")


def figures(found: Measured) -> dict[str, object]:
    return without_timings(
        {
            "figures": found.diagnosis.figures(),
            "screen": found.screen.figures(),
            "counts": found.counts(),
            "labels": found.labels,
        }
    )


class Faceless(Pixels):
    """Finds a face where the first pixel is bright."""

    def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
        rows, _ = super().embed(images)
        return rows, rows[:, 0] > -0.3


def test_a_stored_run_is_measured_as_it_was_when_it_was_made(config: Make) -> None:
    report = diagnose(config(samples=700), source=Toy(), descriptor=Faceless()).report
    found = measure(Store(config().out), SCALE, anchors=64, samples=700)
    assert figures(found) == {name: report[name] for name in figures(found)}
    assert 0 < found.counts()["samples"]["no_face"] == (found.status["samples"] == 1).sum() < 700
    assert (found.anchors, found.samples) == (64, 700)


@pytest.mark.parametrize(("anchors", "samples"), [(64, 300), (20, 700), (33, 513), (1, 1)])
def test_fewer_anchors_and_samples_are_the_shorter_run(
    config: Make, anchors: int, samples: int
) -> None:
    diagnose(config(samples=700), source=Toy(), descriptor=Pixels())
    found = measure(Store(config().out), SCALE, anchors=anchors, samples=samples)
    short = config(anchors=anchors, samples=samples, out=Path("short"))
    report = diagnose(short, source=Toy(), descriptor=Pixels()).report
    assert figures(found) == {name: report[name] for name in figures(found)}


def test_what_is_compared_is_of_the_tally_and_of_all_slots(config: Make) -> None:
    """Shares count anchors and samples alike, each of those that can have it."""
    bad = {1, 40, 300, 301, 699}

    class Mixed(Toy):
        def render(self, draws: Draws) -> Tensor:
            images = super().render(draws)
            images[draws.index % 50 == 0] = images_of(torch.tensor([3])) | 128  # with a face
            images[torch.tensor([slot in bad for slot in draws.index.tolist()])] = 9
            return images

    asked = config(samples=700)
    report = diagnose(asked, source=Mixed(), descriptor=Faceless()).report
    found = measure(Store(asked.out), SCALE, anchors=64, samples=700)
    compared, seen = found.comparable, found.diagnosis
    assert compared == Comparable.read(without_timings(report)["comparable"])
    assert (compared.anchors, compared.samples) == (seen.anchors, seen.samples)
    assert compared.pairs == mean_similarity(found.scored.tally)
    assert compared.mu == mu_at_n(found.scored.tally)
    assert (compared.worst_rate, compared.worst_similarity) == extremes(found.scored.tally)
    assert compared.vendi == found.scored.moments.log_vendi()["order_1"]
    status = np.concatenate([found.status["anchors"], found.status["samples"]])
    faceless, failed = int((status == 1).sum()), len(bad) + len({1, 40})
    assert 0 < faceless < 764 - failed - 100
    assert compared.shares == {
        "near-copies": Share(len(seen.near_copies.flagged), seen.anchors),
        # of slots 0, 50, ... but 300, the first repeats none
        "duplicates": Share(2 + 13 - 1, 764 - failed - faceless),
        "faceless": Share(faceless, 764 - failed),
        "failures": Share(failed, 764),
    }


def test_labels_are_looked_at_where_their_law_is_known(config: Make) -> None:
    class Classes(Toy):
        num_labels = 3

        def render(self, draws: Draws) -> Tensor:
            assert draws.labels is not None
            return super().render(draws)

    asked = config(anchors=300, samples=600, seed=4)
    report = diagnose(asked, source=Classes(), descriptor=Pixels()).report
    store = Store(asked.out)
    law = law_of(None, 3)
    found = measure(store, SCALE, anchors=300, samples=600, law=law, seed=4)
    assert found.labels == report["labels"]
    assert len(found.labels["by_label"]) == 3
    other = measure(store, SCALE, anchors=300, samples=600, law=law, seed=5)
    assert other.labels != found.labels  # slots have other labels under another seed
    without = measure(store, SCALE, anchors=300, samples=600)
    assert without.labels is None
    assert figures(without) == figures(found) | {"labels": None}


def test_stages_are_told_as_they_end(config: Make) -> None:
    diagnose(config(), source=Toy(), descriptor=Pixels())
    laps: list[str] = []
    told: list[tuple[str, int, int]] = []
    measure(
        Store(config().out),
        SCALE,
        anchors=64,
        samples=256,
        progress=lambda *step: told.append(step),
        lap=laps.append,
    )
    assert laps == ["screening", "scoring"]
    assert told[-1] == ("scoring", 256, 256)


def test_embeddings_are_called_embeddings(config: Make) -> None:
    np.save("rows.npy", np.repeat(np.eye(4), 80, axis=0))
    asked = config(generator="embeddings:rows.npy", theta=0.4, radius=0.3)
    report = diagnose(asked).report
    found = measure(Store(asked.out), SCALE, anchors=64, samples=256, what="embedding")
    assert found.screen.figures() == report["screen"]
    assert "316 of 320 embeddings repeat" in found.screen.findings[0]


def test_what_is_not_there_is_not_measured(config: Make) -> None:
    class Blank(Pixels):
        def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
            rows, valid = super().embed(images)
            return rows, ~valid

    diagnose(config(), source=Toy(), descriptor=Pixels())
    with pytest.raises(GanauditError, match="lacks the samples from slot 256 on"):
        measure(Store(config().out), SCALE, anchors=64, samples=257)
    with pytest.raises(GanauditError, match="lacks the anchors from slot 64 on"):
        measure(Store(config().out), SCALE, anchors=65, samples=256)
    blank = config(max_faceless=1.0, out=Path("blank"))
    with pytest.raises(SourceError, match="none of the 64 anchors can be scored"):
        diagnose(blank, source=Toy(), descriptor=Blank())
    with pytest.raises(SourceError, match="none of the 9 anchors can be scored"):
        measure(Store(Path("blank")), SCALE, anchors=9, samples=256)
