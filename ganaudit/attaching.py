"""A calibrator's file and the generator that it goes in front of.

The file may be anybody's: it names networks, and what it names is opened as data alone. What would
run code for it (a discriminator out of a Python file, a descriptor in TorchScript) is opened on the
user's own word, `--set calibrator.discriminator=python:FILE.py:FACTORY`, never on the file's.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from ganaudit import calibration
from ganaudit.calibration.artefact import Artefact
from ganaudit.calibration.calibrated import (
    CalibratedLatents,
    CalibratedLatentService,
    FilteredLatents,
    FilteredLatentService,
    FilteredStream,
    Judge,
)
from ganaudit.calibration.filters import OutputFilter
from ganaudit.calibration.latents import Space
from ganaudit.calibration.refining import LatentRefiner
from ganaudit.config import GeneratorConfig, split_options
from ganaudit.descriptors import Descriptor, open_descriptor
from ganaudit.errors import ConfigError, UnsafeCheckpoint
from ganaudit.generators import EmbeddingSource, LatentGenerator, Source, Streaming
from ganaudit.store import difference

_NONE = "null"  # as JSON says it


def attached(
    config: GeneratorConfig,
    source: Source,
    identity: Mapping[str, Any],
    *,
    device: str,
    descriptor: Descriptor | None = None,
) -> tuple[Source, dict[str, Any]]:
    """The generator behind the calibrator that a request names, and the identity of both.

    Args:
      config: the request; it names a calibrator.
      source: the generator itself.
      identity: of it, JSON values.
      device: "cpu" or "cuda:N".
      descriptor: an opened one, which an output filter looks through if it is the filter's; None:
        the filter's own is opened.

    Raises:
      ConfigError: no calibrator, or one that cannot go in front of this generator.
    """
    assert config.calibrator is not None
    artefact = calibration.load(config.calibrator)
    where = f"--calibrator {config.calibrator}"
    if isinstance(source, EmbeddingSource) or getattr(source, "size", None) is not None:
        raise ConfigError(
            f"{where} needs a generator: {config.generator} holds what was delivered already, and "
            "nothing of it can be drawn anew"
        )
    described: dict[str, Any] = {
        "method": artefact.method,
        "identity": {"sha256": artefact.sha256},
        "salt": artefact.salt,
    }
    chosen = artefact.calibrator
    made: Any
    if isinstance(chosen, OutputFilter):
        judge = Judge(chosen, _descriptor_of(artefact, config, where, device, descriptor))
        if isinstance(source, Streaming):
            kind = FilteredLatentService if isinstance(source, LatentGenerator) else FilteredStream
            made = kind(source, judge, device=device, timeout_s=config.timeout_s, **described)
        else:
            made = FilteredLatents(source, judge, **described)
    else:
        if not isinstance(source, LatentGenerator):
            raise ConfigError(
                f"{where} calibrates latents, and {config.generator} hides its own: use a "
                "calibrator by --method rejection"
            )
        check_space(chosen.space, source, where)
        change: Any = chosen
        if isinstance(chosen, LatentRefiner):
            change = _refining(artefact, source, config, where, device)
        behind = CalibratedLatentService if isinstance(source, Streaming) else CalibratedLatents
        made = behind(source, change, **described)
    made.assumptions += _doubts(artefact, identity)
    return made, {**identity, "calibrator": made.identity["calibrator"]}


def check_space(space: Space, source: LatentGenerator, where: str) -> None:
    """Refuse a calibrator of other latents than the generator takes.

    Raises:
      ConfigError: shape or prior differ.
    """
    theirs = Space(tuple(int(side) for side in source.latent_shape), source.prior)
    if space != theirs:
        raise ConfigError(
            f"{where} is for latents {list(space.shape)} of the {space.prior} prior, this "
            f"generator takes {list(theirs.shape)} of the {theirs.prior} prior: build one for it "
            "with ganaudit calibrate"
        )


def _descriptor_of(
    artefact: Artefact,
    config: GeneratorConfig,
    where: str,
    device: str,
    given: Descriptor | None,
) -> Descriptor:
    """The descriptor that an output filter was fitted under; `given` if it is that one."""
    named = artefact.descriptor
    if named is None:
        raise ConfigError(f"{where} names no descriptor, so it cannot look at images")
    if given is not None and _json(given.card.identity()) == _json(named["identity"]):
        return given
    own, options = _whose(config, "descriptor", named)
    spec = own or named["spec"]
    if spec is None:
        raise ConfigError(
            f"{where} was fitted under the descriptor {named['identity'].get('name')!r:.80}, which "
            "was an object and no plugin's: give it, or name it by --set calibrator.descriptor=..."
        )
    try:
        found, _ = open_descriptor(
            spec,
            options,
            device=device,
            trust=config.trust and own is not None,
            files=config.plugin,
        )
    except UnsafeCheckpoint as error:
        raise UnsafeCheckpoint(
            f"{where} names a descriptor that is a program, which runs on your own word alone: say "
            f"--set calibrator.descriptor={spec} --trust",
            error.file,
        ) from error
    except ConfigError as error:
        raise type(error)(_unopened("descriptor", where, own, error)) from error
    unequal = difference(_json(named["identity"]), _json(found.card.identity()))
    if unequal is not None:
        key, there, here = unequal
        raise ConfigError(
            f"{where} was fitted under another descriptor: {key} is {there} there and {here} in "
            f"{spec}"
        )
    return found


def _whose(
    config: GeneratorConfig, what: str, named: Mapping[str, Any]
) -> tuple[str | None, dict[str, str]]:
    """The user's own word for a network that a file names, and the options that it is opened with.

    A file's options go to what the file names, never to code that the user names.
    """
    said = split_options(config.set).calibrator
    mine = {
        key.removeprefix(f"{what}."): value
        for key, value in said.items()
        if key.startswith(f"{what}.")
    }
    own = said.get(what)
    return own, mine if own is not None else {**named["options"], **mine}


def _unopened(what: str, where: str, own: str | None, error: ConfigError) -> str:
    """The sentence for a network that a file names; its options are named as the user says them."""
    said = re.sub(rf"--set (?:{what}\.)?(?=\w+=)", f"--set calibrator.{what}.", str(error))
    known = own is not None or "--set calibrator." in said
    remedy = "" if known else f"; say where it is with --set calibrator.{what}=..."
    return f"{where}: its {what} cannot be opened: {said}{remedy}"


def _refining(
    artefact: Artefact, source: Source, config: GeneratorConfig, where: str, device: str
) -> Any:
    """Draws to draws with refined latents."""
    from ganaudit.calibration.advlatgan_z import refiner_of
    from ganaudit.discriminators import open_discriminator

    refiner = artefact.calibrator
    assert isinstance(refiner, LatentRefiner)
    named = refiner.discriminator
    own, options = _whose(config, "discriminator", named)
    spec = own or named["spec"]
    try:
        judge = open_discriminator(spec, options, device=device, code=own is not None)
    except ConfigError as error:
        raise type(error)(_unopened("discriminator", where, own, error)) from error
    unequal = difference(_json(named["identity"]), _json(judge.identity))
    if unequal is not None:
        key, there, here = unequal
        raise ConfigError(
            f"{where} was made with another discriminator: {key} is {there} there and {here} in "
            f"{spec}"
        )
    return refiner_of(refiner, source, judge, salt=artefact.salt)


def _doubts(artefact: Artefact, identity: Mapping[str, Any]) -> tuple[str, ...]:
    """A sentence when the generator is not the one that the calibrator was fitted on."""
    unequal = difference(_json(artefact.generator), _json(identity))
    if unequal is None:
        return ()
    key, there, here = unequal
    unlike = f"{key} is {there} there and {here} here"
    if there == _NONE:
        unlike = f"it had no {key}, this one has {here}"
    elif here == _NONE:
        unlike = f"it had the {key} {there}, this one has none"
    return (
        f"The calibrator was fitted on another generator: {unlike}. What it does to this one has "
        "to be measured.",
    )


def _json(value: Any) -> Any:
    return json.loads(json.dumps(value))
