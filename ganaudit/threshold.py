"""Theta and radius of a descriptor, from pictures of known identities: one step a paragraph."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganaudit.cards import NAME, CardFile, write_card
from ganaudit.config import ThresholdConfig
from ganaudit.descriptors import Descriptor, DescriptorCard, open_descriptor
from ganaudit.errors import ConfigError, DescriptorError
from ganaudit.files import free_folder
from ganaudit.identities import Embedded, IdentityFolder, embed
from ganaudit.opening import open_device
from ganaudit.report import canonical
from ganaudit.report import verification as pages
from ganaudit.runner import Progress
from ganaudit.store import write_json
from ganaudit.variants import try_variants
from ganaudit.verification import Verification, verify


@dataclass(frozen=True)
class Threshold:
    """The result of `threshold`.

    Attributes:
      report: the document, as in report.json.
      card: what was measured; None: variants of the preprocessing were tried, and no more.
      folder: of both; None without a card.
    """

    report: dict[str, Any]
    card: CardFile | None
    folder: Path | None


def threshold(
    config: ThresholdConfig,
    *,
    descriptor: Descriptor | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Threshold:
    """Measure theta and radius of a descriptor.

    Args:
      config: the request.
      descriptor: an object instead of opening `config.descriptor`, which then names it.
      progress: told (what, done, total).

    Returns:
      The figures; the folder holds card.json, report.json and charts.

    Raises:
      ConfigError: the request cannot be carried out, or the pictures make no pairs.
      DescriptorError: the descriptor gave rows that cannot be compared.
    """
    device = open_device(config.device)
    pictures = IdentityFolder(Path(config.identities))
    out = _free_folder(config)

    def opened(options: Mapping[str, str]) -> Descriptor:
        return open_descriptor(
            config.descriptor, options, device=device, trust=config.trust, files=config.plugin
        )[0]

    # How the pictures are prepared may be what is asked.
    trial = None
    if config.try_preprocessing:
        trial = try_variants(
            pictures,
            config.descriptor,
            config.options,
            reopen=opened,
            files=config.plugin,
            device=device,
            batch=config.batch,
            seed=config.seed,
            progress=progress,
        )
        if not trial.asked:
            report = _report(config, pictures, device, trial=trial.figures())
            return Threshold(report, None, None)

    # Every picture is read and embedded once.
    descriptor = descriptor or opened(config.options)
    found = embed(pictures, descriptor, device=device, batch=config.batch, progress=progress)

    # Every pair is compared; identities are drawn again for the intervals.
    figures = verify(found.rows, found.labels, fmr=config.fmr, seed=config.seed, progress=progress)
    if not figures.theta.estimate:
        raise DescriptorError(
            "the descriptor gives most pictures the same row: it does not tell them apart; check "
            "its weights and preprocessing"
        )

    report = _report(
        config,
        pictures,
        device,
        card=descriptor.card,
        found=found,
        figures=figures.figures(),
        trial=None if trial is None else trial.figures(),
    )
    card = _card(config, descriptor.card, pictures, figures)
    pages.write(report, out)
    write_json(out / pages.NAME, report)
    write_card(out / NAME, card)  # last: where it is, all is
    return Threshold(report, card, out)


def _free_folder(config: ThresholdConfig) -> Path:
    """Where the card goes: never onto another one, nor among the pictures."""
    out = config.out or free_folder("threshold")
    if out.resolve().is_relative_to(Path(config.identities).resolve()):
        raise ConfigError(
            f"--out {out} lies in --identities {config.identities}: its charts would be taken for "
            "pictures of somebody; name another folder"
        )
    if out == Path() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
        raise ConfigError(f"--out {out} already holds something; name another folder")
    return out


def _report(
    config: ThresholdConfig,
    pictures: IdentityFolder,
    device: str,
    *,
    card: DescriptorCard | None = None,
    found: Embedded | None = None,
    figures: dict[str, Any] | None = None,
    trial: dict[str, Any] | None = None,
) -> dict[str, Any]:
    return pages.build(
        request={
            "descriptor": config.descriptor,
            "identities": config.identities,
            "set": list(config.set),
            "fmr": config.fmr,
            "seed": config.seed,
        },
        card=card,
        counts={
            "pictures": len(pictures.labels),
            "embedded": 0 if found is None else len(found.rows),
            "without_face": 0 if found is None else found.faceless,
            "failed": 0 if found is None else found.failed,
            "loose": pictures.loose,
        },
        reasons={} if found is None else found.reasons,
        figures=figures,
        trial=trial,
        listing_sha256=pictures.listing_sha256,
        warnings=[] if found is None else found.warnings,
        environment=canonical.versions() | {"device": device},
    )


def _card(
    config: ThresholdConfig, card: DescriptorCard, pictures: IdentityFolder, found: Verification
) -> CardFile:
    return CardFile(
        descriptor=config.descriptor,
        options=config.options,
        name=card.name,
        weights_sha256=card.weights_sha256,
        licence=card.licence,
        preprocessing=card.preprocessing,
        settings=card.settings,
        figures={
            "theta": found.theta.figures(),
            "radius": found.radius.figures(),
            "auc": found.auc.figures(),
            "eer": found.eer.figures(),
        },
        fmr=found.fmr,
        identities=found.identities,
        images=found.images,
        listing_sha256=pictures.listing_sha256,
        versions=canonical.versions(),
    )
