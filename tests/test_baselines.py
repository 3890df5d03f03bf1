import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Pixels, Toy
from torch import Tensor

from ganaudit import baselines
from ganaudit.baselines import Baseline
from ganaudit.config import DiagnoseConfig
from ganaudit.errors import ConfigError
from ganaudit.finished import Finished
from ganaudit.pipeline import diagnose
from ganaudit.slots import Draws, Stream, group_of
from ganaudit.tally import cosine_cut

pytestmark = pytest.mark.usefixtures("undrawn")

Make = Callable[..., DiagnoseConfig]


class Crowded(Toy):
    """A fifth of its images are nearly one."""

    def render(self, draws: Draws) -> Tensor:
        assert draws.latents is not None
        near = draws.index % 5 == 0
        draws.latents[near] = 0.1 * draws.latents[near] + 1.0
        draws.latents[near, 0, 0] = -1.0
        return super().render(draws)


@pytest.fixture
def run(config: Make) -> Finished:
    asked = config(anchors=80, samples=1000, out=Path("run"))
    return Finished.read(diagnose(asked, source=Crowded(), descriptor=Pixels()).folder)


@pytest.fixture
def saved(run: Finished) -> Baseline:
    return baselines.save(run.folder, Path("baseline.json"))


def rows_of(run: Finished, stream: Stream, stop: int) -> np.ndarray:
    return np.concatenate([piece.rows.copy() for piece in run.store.read(stream, stop)])


def test_what_is_written_is_what_is_read(saved: Baseline) -> None:
    found = baselines.read(Path("baseline.json"))
    assert found.document() == saved.document()
    assert found.figures == saved.figures and found.basis == saved.basis
    assert found.modes is not None and saved.modes is not None
    assert np.array_equal(found.modes.rows, saved.modes.rows)


def test_modes_are_counted_on_the_half_that_did_not_choose_them(
    run: Finished, saved: Baseline
) -> None:
    anchors, samples = (
        rows_of(run, stream, stop).astype(np.float64)
        for stream, stop in zip(Stream, (80, 1000), strict=True)
    )
    second = group_of(np.arange(1000)) >= 16
    assert saved.modes is not None
    assert np.array_equal(saved.modes.rows, anchors[saved.modes.anchors].astype(np.float32))
    assert saved.modes.anchors == [mode["anchor"] for mode in run.report["figures"]["dense_modes"]]
    for anchor, share in zip(saved.modes.anchors, saved.modes.counts, strict=True):
        near = samples @ anchors[anchor] >= cosine_cut(run.basis.radius)
        assert (share.count, share.of) == (int(near[second].sum()), int(second.sum()))
    again = baselines.count_again(saved.modes, run.store, run.scale, samples=1000)
    counts = [int((samples @ anchors[a] >= cosine_cut(run.basis.radius)).sum())
              for a in saved.modes.anchors]  # fmt: skip
    assert [(share.count, share.of) for share in again] == [(count, 1000) for count in counts]


def test_a_run_of_few_samples_has_a_baseline_without_modes(config: Make) -> None:
    asked = config(anchors=5, samples=16, out=Path("tiny"))
    diagnose(asked, source=Toy(), descriptor=Pixels())
    made = baselines.save(Path("tiny"), Path("tiny.json"))
    assert made.modes is None and baselines.read(Path("tiny.json")).modes is None


def places(value: Any, where: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every member of a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, one in list(inner)[:3] if isinstance(value, list) else inner:
        found.append((*where, key))
        if isinstance(one, dict | list):
            found += places(one, (*where, key))
    return found


def test_whatever_is_done_to_a_baseline_it_is_read_or_refused_in_a_sentence(
    saved: Baseline,
) -> None:
    document = saved.document()
    refused = 0
    for place in places(document):
        for wrong in (None, True, -1, 1e308, "x" * 100_000, [], {}, [[[]]], 10**400):
            broken = copy.deepcopy(document)
            holder: Any = broken
            for key in place[:-1]:
                holder = holder[key]
            holder[place[-1]] = wrong
            Path("broken.json").write_text(json.dumps(broken))
            try:
                found = baselines.read(Path("broken.json"))
            except ConfigError as error:
                refused += 1
                assert len(str(error)) < 500
            else:
                assert found.document()
    assert refused > 300


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot be read as JSON"),
        ("[]", "is no baseline"),
        ('{"kind": "baseline", "schema_version": 2}', "has schema version 2, wanted 1"),
        ('{"kind": "baseline", "schema_version": 1}', "is damaged"),
        ("NaN", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ('{"kind": "report", "schema_version": 3}', "is no baseline"),
    ],
)
def test_what_is_no_baseline_is_said(text: str, said: str) -> None:
    Path("none.json").write_text(text)
    with pytest.raises(ConfigError, match=said):
        baselines.read(Path("none.json"))
