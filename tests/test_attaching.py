"""What a calibrator's file names, and the generator that it goes in front of."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ganaudit.calibration import Artefact, load, save
from ganaudit.calibration.cells import CellSampler
from ganaudit.calibration.filters import OutputFilter
from ganaudit.calibration.latents import Space
from ganaudit.calibration.refining import LatentRefiner
from ganaudit.config import DiagnoseConfig
from ganaudit.errors import ConfigError
from ganaudit.opening import open_source
from ganaudit.slots import Stream, draw

FILTER = OutputFilter(
    modes=np.eye(1, 8, dtype=np.float32), keep=np.array([0.5]), radius=0.2, attempts=9
)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A calibrator that names the descriptor digits, with an option that digits has not."""
    artefact = Artefact(
        calibrator=FILTER,
        method="rejection",
        generator={},
        descriptor={"spec": "digits", "options": {"size": "9"}, "identity": {}},
        run={},
        about={},
    )
    save(tmp_path / "calibrator.json", artefact)
    return tmp_path / "calibrator.json"


def opened(calibrator: Path, said: Sequence[str] = ()) -> Any:
    config = DiagnoseConfig(generator="demo", calibrator=calibrator, set=tuple(said))
    return open_source(config, "cpu")[0]


def test_a_descriptor_that_does_not_open_says_what_to_say_instead(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"no option 'size'.*where it is with --set calibrator"):
        opened(written)

    def refuse(*_: Any, **__: Any) -> Any:
        raise ConfigError("it needs --set size=... --set crop=..., or --set descriptor.whole=true")

    monkeypatch.setattr("ganaudit.attaching.open_descriptor", refuse)
    with pytest.raises(ConfigError) as refused:
        opened(written, ["calibrator.descriptor=digits"])
    assert str(refused.value) == (
        f"--calibrator {written}: its descriptor cannot be opened: it needs --set "
        "calibrator.descriptor.size=... --set calibrator.descriptor.crop=..., or --set "
        "calibrator.descriptor.whole=true"
    )


@pytest.mark.parametrize(
    ("spec", "said", "sentence"),
    [
        ("gone.pt", (), r"gone.pt: no such file.*say where it is with --set calibrator.discrim"),
        ("python:d.py:make", (), r"runs on your own word alone: say --set calibrator.d[a-z]*=pyth"),
        (
            "python:d.py:make",
            ("calibrator.discriminator=python:d.py:make", "calibrator.discriminator.weights=no.pt"),
            r"opened: --set calibrator.discriminator.weights=no.pt: no such file$",
        ),
    ],
)
def test_a_discriminator_that_does_not_open_says_so_too(
    spec: str,
    said: Sequence[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("d.py").write_text("import torch\ndef make():\n    return torch.nn.Linear(2, 1)\n")
    demo = open_source(DiagnoseConfig(generator="demo"), "cpu")[0]
    made = LatentRefiner(
        space=Space(tuple(demo.latent_shape), demo.prior),
        attack="i-fgsm",
        step=0.1,
        steps=2,
        ball=None,
        momentum=0.0,
        discriminator={"spec": spec, "options": {}, "identity": {}},
    )
    artefact = Artefact(
        calibrator=made, method="advlatgan-z", generator={}, descriptor=None, run={}, about={}
    )
    save(tmp_path / "c.json", artefact)
    with pytest.raises(ConfigError, match=f"^--calibrator c.json: its disc.*{sentence}"):
        opened(Path("c.json"), said)


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        ({"object": "Mine"}, 'it had the object "Mine", this one has none'),
        ({}, "it had no name, this one has"),
        ({"name": "other"}, 'name is "other" there and '),
    ],
)
def test_another_generator_is_told_in_words(theirs: dict[str, str], said: str) -> None:
    from ganaudit.attaching import _doubts

    artefact = Artefact(
        calibrator=FILTER, method="rejection", generator=theirs, descriptor=None, run={}, about={}
    )
    identity = {"name": "demo"} | ({"zoom": 1} if "name" not in theirs else {})
    if "object" in theirs:
        identity = {}
    (doubt,) = _doubts(artefact, identity)
    assert doubt.startswith(f"The calibrator was fitted on another generator: {said}")
    assert "null" not in doubt and doubt.endswith("this one has to be measured.")
    assert not _doubts(replace(artefact, generator=identity), identity)


def test_a_generator_gets_the_latents_of_the_file(tmp_path: Path) -> None:
    demo = open_source(DiagnoseConfig(generator="demo"), "cpu")[0]
    space = Space(tuple(demo.latent_shape), demo.prior)
    centres = np.stack([np.ones(space.size), -np.ones(space.size)]).astype(np.float32)
    made = CellSampler(space=space, centres=centres, keep=np.array([0.1, 1.0]), attempts=50)
    artefact = Artefact(
        calibrator=made, method="gmm", generator={}, descriptor=None, run={}, about={}
    )
    save(tmp_path / "c.json", artefact)
    draws = draw(
        np.arange(60), seed=4, stream=Stream.SAMPLES, latent_shape=space.shape, prior=space.prior
    )
    got = opened(tmp_path / "c.json").changed(draws).latents.numpy()
    alone = load(tmp_path / "c.json").sample(50, seed=4, start=10)
    np.testing.assert_array_equal(got[10:], alone)
    assert draws.latents is not None and not np.array_equal(got, draws.latents.numpy())
    assert not np.array_equal(alone, artefact.sample(50, seed=4, start=10))  # by the file's hash
