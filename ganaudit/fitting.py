"""From a finished run to a calibrator: what it is fitted on, which method, and the file."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np

from ganaudit import registry
from ganaudit.calibration.artefact import Artefact
from ganaudit.calibration.crowds import Crowd, Fitted, Goal, last_kept
from ganaudit.calibration.latents import Space
from ganaudit.config import CalibrateConfig, DiagnoseConfig, MixtureDraw, Region, split_options
from ganaudit.errors import ConfigError
from ganaudit.finished import Finished
from ganaudit.generators import EmbeddingSource, LatentGenerator
from ganaudit.opening import Request
from ganaudit.report import canonical, outputs
from ganaudit.scoring import Anchors
from ganaudit.slots import Stream
from ganaudit.store import check_same, read_manifest

_MOST_FITTED = 100_000  # samples of a run that are fitted on
_MANY_LAST = 0.001  # of slots, that come to their last proposal


def request_of_run(folder: Path, flags: Mapping[str, Any]) -> DiagnoseConfig:
    """The request of a finished run, to be audited again on other slots.

    Args:
      folder: of the run.
      flags: what the user says beside it, setting to value. With a generator among them, its
        options are the user's alone.

    Raises:
      ConfigError: no finished run, or one whose generator only the user may name: a folder that
        somebody else wrote must neither run code nor send requests.
    """
    report = canonical.read(folder)
    with outputs.complete(folder):  # anybody may have written it
        said, scale = report["request"], report["scale"]
        theirs = {name: said[name] for name in ("anchors", "samples", "seed")}
        theirs |= {name: scale[name] for name in ("theta", "radius")}
        named = dict(flags)
        if "generator" in named:
            named.setdefault("descriptor", said["descriptor"])
        else:
            for name in ("generator", "descriptor", "labels", "set"):
                named.setdefault(name, said[name])
            _check_word(named["generator"], folder, named)
        options = named.get("set") or ()
        if not isinstance(options, list | tuple) or not all(isinstance(x, str) for x in options):
            raise ConfigError(f"the report of {folder} has options that are no texts")
        if any(pair.startswith("calibrator.") for pair in options):
            raise ConfigError(
                f"{folder} is the run of a calibrated generator: fit on one of the generator as it "
                "is"
            )
        named["set"] = tuple(options)
        origins = {"out": "flag" if named.get("out") else "default"}
        return DiagnoseConfig(**{**theirs, **named}, origins=origins)


def _check_word(generator: object, folder: Path, flags: Mapping[str, Any]) -> None:
    """Refuse a generator that a folder names and that its word is not enough for."""
    if not isinstance(generator, str):
        raise ConfigError(f"the report of {folder} names no generator")
    files = tuple(flags.get("plugin") or ())
    name, _ = registry.resolve("generators", generator, files)
    alone = getattr(registry.load("generators", name, files), "by_user_alone", False)
    if alone or flags.get("trust"):  # what is trusted is what the user names
        raise ConfigError(
            f"the generator of {folder} runs code or sends requests, which a folder's word is not "
            f"enough for: say --generator {generator}, and its options, yourself"
        )


@dataclass(frozen=True)
class Ground:
    """What a calibrator is fitted on.

    Attributes:
      run: finished, of the generator as it is.
      anchors: all of its anchors that can be scored.
      crowd: neighbourhoods of the densest of them.
    """

    run: Finished
    anchors: Anchors
    crowd: Crowd

    @classmethod
    def read(cls, folder: Path, opened: Request) -> "Ground":
        """From a run's folder.

        Raises:
          ConfigError: no finished run, or one of another generator or descriptor.
          SourceError: nothing of it can be scored.
        """
        check_same(
            folder,
            read_manifest(folder),
            opened.manifest(),
            remedy="fit on a run of this generator as it is",
        )
        run = Finished.read(folder)
        anchors, samples = run.basis.size
        found = Anchors.read(run.store, Stream.ANCHORS, anchors)
        rows = Anchors.read(run.store, Stream.SAMPLES, min(samples, _MOST_FITTED))
        crowd = Crowd.of(found.rows, found.slots, rows.rows, rows.slots, radius=run.basis.radius)
        return cls(run, found, crowd)

    @property
    def manifest_sha256(self) -> str:
        """Of what decides the run's rows."""
        pinned = json.dumps(self.run.manifest, sort_keys=True).encode()
        return hashlib.sha256(pinned).hexdigest()

    def position(self, slot: int) -> int:
        """The place among all anchors of an anchor's slot."""
        return int(np.searchsorted(self.anchors.slots, slot))


def check(config: CalibrateConfig, opened: Request) -> None:
    """Refuse a calibration that cannot be, before any image is made for it.

    Raises:
      ConfigError: the generator does not give what the method needs.
    """
    source = opened.source
    if isinstance(source, EmbeddingSource) or getattr(source, "size", None) is not None:
        raise ConfigError(
            f"{opened.config.generator} holds what was delivered already, and nothing of it can be "
            "drawn anew: calibrate a generator"
        )
    if config.method != "rejection" and not isinstance(source, LatentGenerator):
        raise ConfigError(
            f"--method {config.method} needs a generator that takes latents, and "
            f"{opened.config.generator} hides its own; --method rejection needs none"
        )
    if config.method == "advlatgan-z":
        _refiner(config, opened)


def target_of(config: CalibrateConfig, crowd: Crowd) -> float:
    """The rate to come down to; a refiner, which aims at none, is held against it like others.

    Raises:
      ConfigError: there is none, or the worst anchor lies below it already.
    """
    worst = float(crowd.hits[0].mean())
    target = crowd.median if config.target is None else config.target
    if config.method == "advlatgan-z":
        return float(max(target, 1 / crowd.hits.shape[1]))
    if target <= 0:
        raise ConfigError(
            f"the median anchor has no neighbour among {crowd.hits.shape[1]:,} samples, so there "
            "is no rate to come down to: say --target, or take more --samples or a larger --radius"
        )
    if worst <= target:
        raise ConfigError(
            f"there is nothing to thin: the worst anchor's rate is {worst:.2%}, the target "
            f"{target:.2%}"
        )
    return target


def fit(config: CalibrateConfig, opened: Request, ground: Ground, *, target: float) -> Fitted:
    """The calibrator of a method, and what is to be expected of it.

    Raises:
      ConfigError: the method needs what the generator does not give, or cannot be fitted.
    """
    found = _fitted(config, opened, ground, target=target)
    attempts = found.calibrator.attempts
    last = 0.0 if found.forecast is None else last_kept(found.forecast.acceptance, attempts)
    if last > _MANY_LAST:
        found.sentences.append(
            f"Of the slots {last:.1%} come to the last of {attempts} proposals, which is kept "
            "whatever it is: more --attempts goes further."
        )
    if opened.law is not None and len(opened.law.choices) > 1 and found.forecast is not None:
        found.sentences.append(
            "A slot keeps its class through all proposals, which this forecast does not know: "
            "where a mode is most of a class, less of it goes than announced."
        )
    return found


def _fitted(config: CalibrateConfig, opened: Request, ground: Ground, *, target: float) -> Fitted:
    """The calibrator of a method.

    Raises:
      ConfigError: the method needs what the generator does not give, or cannot be fitted.
    """
    crowd, source = ground.crowd, opened.source
    goal = Goal(
        target=target,
        modes=config.mode_count,
        min_acceptance=config.min_acceptance,
        attempts=config.attempts,
        seed=opened.config.seed,
    )
    if config.method == "rejection":
        from ganaudit.calibration import rejection

        return rejection.fit(crowd, goal)
    assert isinstance(source, LatentGenerator)  # as `check` has seen
    space = _space_of(source)
    if config.method == "advlatgan-z":
        return _refiner(config, opened)
    latents = space.draw(crowd.samples, seed=opened.config.seed, stream=Stream.SAMPLES)
    if config.method == "gmm":
        from ganaudit.calibration import gmm

        usual = "mixture" if config.paper_exact else "cell"
        return gmm.fit(
            crowd,
            latents,
            space,
            goal,
            draw=cast(MixtureDraw, config.draw or usual),
            clusters=config.clusters or 50,
            paper_exact=config.paper_exact,
        )
    from ganaudit.calibration import importance

    region = cast(Region, config.region or get_args(Region)[0])
    return importance.fit(crowd, latents, space, goal, region=region)


def _space_of(source: LatentGenerator) -> Space:
    return Space(tuple(int(side) for side in source.latent_shape), source.prior)


def _refiner(config: CalibrateConfig, opened: Request) -> Fitted:
    from ganaudit.calibration import advlatgan_z
    from ganaudit.discriminators import open_discriminator

    assert config.discriminator is not None and isinstance(opened.source, LatentGenerator)
    advlatgan_z.check_differentiable(opened.source)
    options = split_options(config.set).discriminator
    judge = open_discriminator(config.discriminator, options, device=opened.device, code=True)
    return advlatgan_z.fit(
        _space_of(opened.source),
        discriminator={
            "spec": config.discriminator,
            "options": options,
            "identity": judge.identity,
        },
        preset=config.preset,
        attack=config.attack,
        step=config.step,
        steps=config.steps,
        ball=config.ball,
        momentum=config.momentum,
    )


def artefact_of(
    config: CalibrateConfig, opened: Request, ground: Ground, fitted: Fitted, *, target: float
) -> Artefact:
    """What is written of a fitted calibrator, so that anybody can put it in front again."""
    run = ground.run
    return Artefact(
        calibrator=fitted.calibrator,
        method=config.method,
        generator=opened.generator,
        descriptor=None
        if opened.descriptor is None
        else {
            **(opened.named or {"spec": None, "options": {}}),
            "identity": opened.descriptor.card.identity(),
        },
        run={
            "manifest_sha256": ground.manifest_sha256,
            "seed": opened.config.seed,
            "anchors": run.basis.anchors,
            "samples": len(ground.crowd.samples),
            "theta": run.basis.theta,
            "radius": run.basis.radius,
        },
        about={
            "target": target,
            "min_acceptance": config.min_acceptance,
            "asked": asked(config),
            "modes": [int(ground.crowd.slots[mode]) for mode in fitted.modes],
            "announced": announced(fitted),
        },
    )


def asked(config: CalibrateConfig) -> dict[str, Any]:
    """What decides a calibrator beside the run that it is fitted on, as JSON values."""
    beside = ("run", "inception", "format", "origins")
    found = {name: value for name, value in asdict(config).items() if name not in beside}
    return {**found, "set": list(config.set)}


def announced(fitted: Fitted) -> dict[str, Any]:
    """What was said before fresh slots were made, as JSON values."""
    forecast = None if fitted.forecast is None else asdict(fitted.forecast)
    return {
        "sentences": list(fitted.sentences),
        "facts": dict(fitted.facts),
        "forecast": forecast,
    }
