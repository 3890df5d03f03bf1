"""A calibrator from a run to its proof: fit, announce, build, audit before and after, judge.

OUT/fit/                        the run that it is fitted on, unless one is named
OUT/calibrator.json, .safetensors
OUT/before/, OUT/after/         audits on fresh slots, without it and behind it
OUT/calibration.json, .html, .md, figures/, gallery/
"""

import json
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganaudit import difference, inception
from ganaudit.calibrated_gallery import pictures
from ganaudit.calibration.artefact import NAME as CALIBRATOR
from ganaudit.calibration.artefact import Artefact, load, save, type_of
from ganaudit.calibration.cells import MixtureSampler
from ganaudit.calibration.filters import OutputFilter
from ganaudit.calibration.latents import LatentSampler, salted
from ganaudit.calibration.refining import LatentRefiner
from ganaudit.config import CalibrateConfig, DiagnoseConfig, split_options
from ganaudit.descriptors import Descriptor
from ganaudit.errors import ConfigError
from ganaudit.files import free_folder, json_text
from ganaudit.finished import Finished
from ganaudit.fitting import Ground, artefact_of, asked, check, fit, target_of
from ganaudit.generators import Source
from ganaudit.intervals import Interval
from ganaudit.maker import Maker
from ganaudit.opening import Request, open_request
from ganaudit.pipeline import diagnose
from ganaudit.planning import plan
from ganaudit.proof import prove
from ganaudit.report import calibrated, canonical
from ganaudit.runner import Progress, silent
from ganaudit.scoring import Anchors
from ganaudit.slots import Stream, labels_of, lots_of, noise_seeds_of
from ganaudit.store import MANIFEST, write_json

SCHEMA_VERSION = 1
KIND = "calibration"
NAME = "calibration.json"
FIT, BEFORE, AFTER = "fit", "before", "after"
_PICTURED = 32  # images rendered at once for the page
_IN_INCEPTION = {"cpu": 2000, "cuda": 10_000}  # slots: three images a second on a CPU
_JUDGED = 2048  # fresh slots that the discriminator looks at
Notice = Callable[[str], None]


@dataclass(frozen=True)
class Calibration:
    """The result of `calibrate`.

    Attributes:
      document: as written to calibration.json.
      folder: which holds the calibrator, both audits and the page.
    """

    document: dict[str, Any]
    folder: Path

    @property
    def exit_code(self) -> int:
        """0 the chosen modes were thinned; 1 nothing happened, or the collapse moved."""
        return 0 if self.document["verdict"]["outcome"] == "thinned" else 1


def calibrate(
    config: CalibrateConfig,
    request: DiagnoseConfig,
    *,
    source: Source | None = None,
    descriptor: Descriptor | None = None,
    progress: Progress = silent,
    notice: Notice = lambda text: None,
) -> Calibration:
    """Build a calibrator, and measure on fresh slots what it does.

    Args:
      config: which, and how far it goes.
      request: the audits: of the run to fit on, of fresh slots before and after.
      source: a generator object instead of `request.generator`, which then names it.
      descriptor: likewise, instead of `request.descriptor`.
      progress: told (what, done, total) as slots are made and scored.
      notice: told a sentence now and then; before fresh slots are made, what is to be expected.

    Returns:
      What was measured; the folder holds the calibrator whatever the verdict is.

    Raises:
      ConfigError: the request cannot be carried out.
      SourceError: the generator gave nothing that can be scored.
    """
    out = request.out or free_folder("calibration")
    _check_free(out, resume=request.resume)
    weights = inception.available(config.inception)
    opened = open_request(request, source=source, descriptor=descriptor)
    check(config, opened)

    def audit(name: str, wanted: DiagnoseConfig) -> Finished:
        place = out / name
        begun = (place / MANIFEST).is_file()  # of a calibration that is resumed
        diagnose(
            replace(wanted, out=place, resume=begun),
            source=source,
            descriptor=descriptor,
            progress=progress,
            notice=notice,
        )
        return Finished.read(place)

    # What the calibrator is fitted on is a run of the generator as it is.
    if config.run is None:
        audit(FIT, replace(request, reference=None))
    ground = Ground.read(config.run or out / FIT, opened)
    basis = ground.run.basis
    request = replace(request, theta=basis.theta, radius=basis.radius)
    artefact = _kept(out / CALIBRATOR, config, ground)
    if artefact is None:
        target = target_of(config, ground.crowd)
        fitted = fit(config, opened, ground, target=target)
        save(out / CALIBRATOR, artefact_of(config, opened, ground, fitted, target=target))
        artefact = load(out / CALIBRATOR)
    target, calibrator = artefact.about["target"], artefact.calibrator
    for sentence in artefact.about["announced"]["sentences"]:
        notice(sentence)

    # Fresh slots, without it and behind it: nothing is judged on what it was fitted on.
    fresh = replace(request, seed=(request.seed + 1) % 2**63)
    behind = replace(
        fresh, calibrator=out / CALIBRATOR, set=(*fresh.set, *_own_words(config, request))
    )
    before, after = audit(BEFORE, fresh), audit(AFTER, behind)
    taken = Taken.of(
        expected_share(artefact, before),
        _classes(opened, before),
        attempts=calibrator.attempts,
    )
    modes = [ground.position(slot) for slot in artefact.about["modes"]]
    tempered = isinstance(calibrator, MixtureSampler) and not config.paper_exact
    found = prove(
        anchors=ground.anchors,
        modes=modes,
        fit=ground.run.store,
        before=before.store,
        after=after.store,
        samples=request.samples,
        scale=replace(ground.run.scale, device=opened.device),
        target=target,
        acceptance=taken.acceptance,
        method=config.method,
        variant=config.region or config.draw,
        min_acceptance=config.min_acceptance,
        fitted_samples=min(ground.run.basis.samples, request.samples),
        unaccepted=taken.unaccepted,
        growth=1 / config.min_acceptance if tempered else None,
        progress=progress,
    )

    document = {
        "schema_version": SCHEMA_VERSION,
        "kind": KIND,
        **_about(config, opened, artefact),
        "theta": ground.run.basis.theta,
        "radius": ground.run.basis.radius,
        "calibrator": {"file": CALIBRATOR, "sha256": artefact.sha256},
        "seeds": {"fit": request.seed, "fresh": fresh.seed},
        **taken.figures(by_image=isinstance(calibrator, OutputFilter)),
        **found.figures(),
        "difference": difference.diff(before.folder, after.folder, rarefy=True)["figures"],
        "discriminator": _judged(config, artefact, opened, fresh),
        "environment": canonical.versions() | {"device": opened.device},
    }
    document["companions"]["to_reference"] = _to_reference(before, after)

    # What lies around the chosen modes, without it and behind it.
    calibrated_source = open_request(behind, source=source, descriptor=descriptor).source
    recipe = replace(opened.recipe(), batch=_PICTURED)
    later = replace(recipe, seed=fresh.seed)
    makers = (
        Maker(opened.source, None, recipe),
        Maker(opened.source, None, later),
        Maker(calibrated_source, None, later),
    )
    with ExitStack() as stack:
        for maker in makers:
            stack.callback(maker.close)
        document["gallery"] = pictures(
            out,
            anchors=ground.anchors,
            modes=modes,
            stores=(before.store, after.store),
            samples=request.samples,
            makers=makers,
            radius=ground.run.basis.radius,
            fit=ground.run.store,
            device=opened.device,
        )
        document["companions"]["inception"] = inception.compare(
            weights=weights,
            makers=makers,
            slots=min(request.samples, _IN_INCEPTION["cpu" if opened.device == "cpu" else "cuda"]),
            device=opened.device,
            progress=progress,
        )
    document = json.loads(json_text(document))  # as whoever reads the file has it
    write_json(out / NAME, document)
    calibrated.write(document, out)
    return Calibration(document, out)


def _to_reference(before: Finished, after: Finished) -> dict[str, Any] | None:
    """How far both are from real images, where there are any."""
    sections = [run.report["reference"] for run in (before, after)]
    if any(section is None for section in sections):
        return None
    return {
        name: section["fidelity"] for name, section in zip((BEFORE, AFTER), sections, strict=True)
    }


def _judged(
    config: CalibrateConfig, artefact: Artefact, opened: Request, fresh: DiagnoseConfig
) -> dict[str, Any] | None:
    """What the discriminator says of fresh images before and after they were refined."""
    calibrator = artefact.calibrator
    if not isinstance(calibrator, LatentRefiner):
        return None
    from ganaudit.calibration.advlatgan_z import measure
    from ganaudit.discriminators import open_discriminator

    assert config.discriminator is not None
    options = split_options(config.set).discriminator
    judge = open_discriminator(config.discriminator, options, device=opened.device, code=True)
    with closing(Maker(opened.source, None, replace(opened.recipe(), seed=fresh.seed))) as maker:
        slots = np.arange(min(fresh.samples, _JUDGED), dtype=np.int64)
        draws = maker.draws(Stream.SAMPLES, slots)
    return measure(
        calibrator,
        source=opened.source,
        judge=judge,
        draws=draws,
        batch=_PICTURED,
        salt=artefact.salt,
    )


def _kept(path: Path, config: CalibrateConfig, ground: Ground) -> Artefact | None:
    """The calibrator of a calibration that is resumed; None: there is none yet.

    It is not fitted again: other threads may give other last bits, and so another calibrator.

    Raises:
      ConfigError: it is of another request, or was fitted on another run.
    """
    if not path.exists():
        return None
    found = load(path)
    theirs = (found.method, found.run.get("manifest_sha256"), found.about.get("asked"))
    if theirs != (config.method, ground.manifest_sha256, asked(config)):
        raise ConfigError(
            f"{path.parent} holds another calibration: {found.method}, with other options or "
            "fitted on another run; name another folder with --out"
        )
    return found


def _own_words(config: CalibrateConfig, request: DiagnoseConfig) -> list[str]:
    """`--set` pairs that name the networks which a calibrator's file is not enough to open."""
    options, said = split_options(request.set).descriptor, split_options(config.set).discriminator
    own = []
    if request.trust and request.descriptor is not None:
        own += [f"calibrator.descriptor={request.descriptor}"]
        own += [f"calibrator.descriptor.{key}={value}" for key, value in options.items()]
    if config.discriminator is not None:
        own += [f"calibrator.discriminator={config.discriminator}"]
        own += [f"calibrator.discriminator.{key}={value}" for key, value in said.items()]
    return own


def _about(config: CalibrateConfig, opened: Request, artefact: Artefact) -> dict[str, Any]:
    """Which calibrator of which generator it is, and what was announced of it."""
    chosen = artefact.calibrator
    card = None if opened.descriptor is None else opened.descriptor.card
    return {
        "method": config.method,
        "type": type_of(chosen),
        "settings": dict(chosen.settings()),
        "attempts": chosen.attempts,
        "generator": {"name": opened.config.generator, **opened.generator},
        "descriptor": None if card is None else asdict(card),
        "target": artefact.about["target"],
        "target_origin": "the median anchor's rate" if config.target is None else "as requested",
        "min_acceptance": config.min_acceptance,
        "modes_asked": config.mode_count or "auto",
        "announced": artefact.about["announced"],
    }


def outlook(config: CalibrateConfig, request: DiagnoseConfig) -> dict[str, Any]:
    """What `--dry-run` prints: the plan of one audit, of a calibration that can be.

    Raises:
      GanauditError: whatever would stop the calibration at its start.
    """
    check(config, open_request(request))
    return plan(request)


def _check_free(out: Path, *, resume: bool) -> None:
    """Refuse a folder that is taken; one that holds a calibration is continued if told so."""
    try:
        taken = out.exists() and (not out.is_dir() or any(out.iterdir()))
    except OSError as error:
        raise ConfigError(f"--out {out} cannot be written: {error.strerror}") from error
    if not taken:
        return
    known = {FIT, BEFORE, AFTER, CALIBRATOR}
    if not out.is_dir() or not any((out / name).exists() for name in known):
        raise ConfigError(f"--out {out} is not empty and holds no calibration; name another folder")
    if not resume:
        raise ConfigError(
            f"{out} already holds a calibration; continue it with --resume or name another folder "
            "with --out"
        )


@dataclass(frozen=True)
class Taken:
    """How many proposals are taken.

    A slot keeps its class through all of its proposals, so each class has an acceptance of its own.

    Attributes:
      acceptance: share of proposals, measured on the fresh slots' ordinary draws.
      proposals: of a slot, on average.
      unaccepted: share of slots that keep their last proposal although it was not taken.
    """

    acceptance: Interval
    proposals: Interval
    unaccepted: float

    @classmethod
    def of(
        cls, share: NDArray[np.float64], classes: NDArray[np.int64], *, attempts: int
    ) -> "Taken":
        """From the probability [N] that each fresh proposal is taken, and the slots' classes [N].

        The ends of `proposals` are those of the acceptance, up or down by as much in every class.
        """
        mean, n = float(share.mean()), len(share)
        _, own = np.unique(classes, return_inverse=True)
        slots = np.bincount(own)
        each = np.bincount(own, share) / slots

        def proposals(shift: float) -> float:
            taken = np.clip(each + shift, 0.0, 1.0)
            return float(slots @ expected_proposals(taken, attempts)) / n

        unaccepted = float(slots @ (1 - each) ** attempts) / n
        if n < 2:
            one, other = (Interval(x, None, None) for x in (mean, proposals(0.0)))
            return cls(one, other, unaccepted)
        half = 1.96 * float(share.std(ddof=1)) / n**0.5
        return cls(
            Interval(mean, max(0.0, mean - half), min(1.0, mean + half)),
            Interval(proposals(0.0), proposals(half), proposals(-half)),
            unaccepted,
        )

    def figures(self, *, by_image: bool) -> dict[str, Any]:
        """As JSON values; `by_image`: every proposal is an image that was rendered."""
        cost = self.proposals if by_image else Interval(1.0, 1.0, 1.0)
        return {
            "acceptance": self.acceptance.figures(),
            "images_per_image": cost.figures(),
            "unaccepted": self.unaccepted,
        }


def expected_proposals(acceptance: NDArray[np.float64], attempts: int) -> NDArray[np.float64]:
    """Proposals that a slot takes on average, of at most M: (1 - (1 - a)^M) / a, M where a = 0."""
    taken = np.maximum(acceptance, 1e-9)  # 1 - (1 - a)^M of a smaller one is rounding
    return np.asarray((1 - (1 - taken) ** attempts) / taken)


def expected_share(artefact: Artefact, before: Finished) -> NDArray[np.float64]:
    """The probability [N] that the ordinary draw of each fresh slot is taken.

    A filter takes what it cannot describe: the audit names that.

    Args:
      artefact: of any type.
      before: the audit without it, whose slots are looked at.
    """
    calibrator, count = artefact.calibrator, before.basis.samples
    if isinstance(calibrator, OutputFilter):
        found = Anchors.read(before.store, Stream.SAMPLES, count)
        share = np.ones(count)
        share[found.slots] = calibrator.acceptance(found.rows)
        return share
    if not isinstance(calibrator, LatentSampler):
        return np.ones(count)
    slots, seed = np.arange(count, dtype=np.int64), int(before.manifest["seed"])
    latents = calibrator.space.draw(slots, seed=seed, stream=Stream.SAMPLES)
    seeds = salted(noise_seeds_of(slots, seed=seed, stream=Stream.SAMPLES), artefact.salt)
    return calibrator.acceptance(calibrator.propose(latents, lots_of(seeds, 0, 2)[:, 1]))


def _classes(opened: Request, before: Finished) -> NDArray[np.int64]:
    """The class of each fresh slot, [N]; of a generator without classes 0."""
    slots = np.arange(before.basis.samples, dtype=np.int64)
    if opened.law is None:
        return np.zeros_like(slots)
    seed = int(before.manifest["seed"])
    return labels_of(slots, opened.law.choices, seed=seed, stream=Stream.SAMPLES)
