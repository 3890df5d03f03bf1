"""From the names in a request to opened objects, on a device, with their identities."""

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ganaudit import registry
from ganaudit.attaching import attached
from ganaudit.cards import CardFile, read_card
from ganaudit.config import DiagnoseConfig, GeneratorConfig, split_options
from ganaudit.descriptors import Descriptor, open_descriptor
from ganaudit.errors import ConfigError, PluginError, UnsafeCheckpoint, one_line
from ganaudit.files import is_file, sha256_of
from ganaudit.generators import (
    BlindGenerator,
    EmbeddingSource,
    LatentGenerator,
    Source,
    identity_of,
    is_service,
)
from ganaudit.labels import Law, law_of
from ganaudit.maker import Guard, Maker, Recipe
from ganaudit.probe import Probe, probe
from ganaudit.runner import Team
from ganaudit.scoring import Scale
from ganaudit.slots import Stream, check_prior, permutation

_DEMO_DESCRIPTOR = "digits"


@dataclass(frozen=True, kw_only=True)
class Request:
    """A config with everything it names opened.

    Attributes:
      config: as given.
      source: the generator, or what stands in for one.
      descriptor: None for embeddings.
      generator: identity of the source, JSON values.
      described: how the descriptor was opened, JSON values; beside its card's identity.
      named: "spec" and "options" that open the descriptor again; None: it is an object, or none.
      device: "cpu" or "cuda:N".
      theta: reach of the similarity, fraction of pi.
      radius: of a neighbourhood, fraction of pi.
      origins: where theta and radius come from.
      law: how labels are drawn; None: the generator takes none.
      order: [size] item numbers of a finite source in the run's order; None: slots are drawn.
    """

    config: DiagnoseConfig
    source: Source
    descriptor: Descriptor | None
    generator: dict[str, Any]
    described: dict[str, Any]
    named: dict[str, Any] | None
    device: str
    theta: float
    radius: float
    origins: dict[str, str]
    law: Law | None
    order: NDArray[np.int64] | None

    def manifest(self) -> dict[str, Any]:
        """What decides the bytes of a row."""
        pinned: dict[str, Any] = {
            "generator": self.generator,
            "descriptor": None
            if self.descriptor is None
            else {**self.descriptor.card.identity(), **self.described},
            "seed": self.config.seed,
        }
        if self.order is not None:  # the samples follow the anchors
            pinned["anchors"] = self.config.anchors
        return pinned | (dict(self.law.identity) if self.law is not None else {})

    def assumptions(self) -> list[str]:
        """What was taken on somebody's word, a sentence each."""
        law = [] if self.law is None else [self.law.sentence]
        return [*getattr(self.source, "assumptions", ()), *law]

    def scale(self) -> Scale:
        """What decides a tally, beside the rows."""
        return Scale(
            theta=self.theta,
            radius=self.radius,
            backend=self.config.backend,
            device=self.device,
        )

    @property
    def what(self) -> str:
        """What a slot holds, in a word."""
        return "embedding" if self.descriptor is None else "image"

    def requests(self, slots: int) -> int | None:
        """Requests that a service is sent for some slots, repeats apart; None: it is none.

        Raises:
          ConfigError: they are more than --max-requests, or several processes would count them.
        """
        if not is_service(self.source):
            return None
        needed = -(-slots // int(getattr(self.source, "per_request", 1)))
        most = self.config.max_requests
        if most is not None and self.config.workers not in (None, 1):
            raise ConfigError(
                "--max-requests is counted in one process; leave --workers out: a service is asked "
                "for several images at a time anyway"
            )
        if most is not None and needed > most:
            raise ConfigError(
                f"{slots:,} slots take {needed:,} requests and more, --max-requests is {most:,}; "
                "ask for fewer --anchors and --samples"
            )
        return needed

    def recipe(self) -> Recipe:
        """The recipe as far as it is known before any image."""
        return Recipe(
            seed=self.config.seed,
            device=self.device,
            batch=1,
            width=1,
            timeout_s=self.config.timeout_s,
            keep=self._keeps(),
            labels=None if self.law is None else self.law.choices,
            order=self.order,
            anchors=self.config.anchors,
        )

    def _keeps(self) -> bool:
        """Whether thumbnails are stored: of a source where each image costs, unless told."""
        asked = is_service(self.source)
        return self.config.keep == "thumbnails" or (self.config.keep == "auto" and asked)

    def maker(self, recipe: Recipe, *, reopen: bool) -> Maker:
        """A maker in this process; with `reopen`, a generator that hangs is opened anew."""
        config, device = self.config, self.device
        looking = self.descriptor
        again = (lambda: open_source(config, device, descriptor=looking)[0]) if reopen else None
        return Maker(self.source, self.descriptor, recipe, reopen=again)

    def team(self, recipe: Recipe) -> Team | None:
        """Worker processes as the config asks for; None: this process does it."""
        devices = [self.device]
        if self.config.device in ("auto", "cuda") and self.device.startswith("cuda"):
            devices = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        alone = is_service(self.source)  # it is waited for, not computed
        workers = self.config.workers or (1 if alone else len(devices))
        if workers == 1:
            return None
        spread = tuple(devices[i % len(devices)] for i in range(workers))
        return Team(open_maker=open_maker, arguments=(self.config, recipe), devices=spread)


def open_request(
    config: DiagnoseConfig, *, source: Source | None = None, descriptor: Descriptor | None = None
) -> Request:
    """Open what `config` names, or take the objects given in its place.

    Raises:
      ConfigError: something cannot be opened, contradicts something else, or is missing.
      SourceError: the generator's own code raised or hung.
    """
    device = open_device(config.device)
    given = source is not None
    if source is None:
        source, generator = open_source(config, device, descriptor=descriptor)
    else:
        generator = {"object": type(source).__qualname__, **identity_of(source)}
        if not isinstance(source, EmbeddingSource | LatentGenerator | BlindGenerator):
            raise ConfigError(f"{type(source).__name__} is no generator: see ganaudit.generators")
        check_source(source, config.generator)
        if config.calibrator is not None:
            source, generator = attached(
                config, source, generator, device=device, descriptor=descriptor
            )
    if given and config.workers not in (None, 1):
        raise ConfigError("--workers needs a generator that each process can open by its name")
    card = None if config.descriptor_card is None else read_card(config.descriptor_card)
    described: dict[str, Any] = {}
    named: dict[str, Any] | None = None
    if descriptor is None:
        descriptor, described, named = _open_descriptor(config, source, generator, card, device)
    if card is not None:
        if descriptor is None:
            raise ConfigError("embeddings are described already; leave --descriptor-card out")
        card.check(descriptor.card)
    theta, theta_origin = _scale("theta", config.theta, descriptor, card)
    radius, radius_origin = _scale("radius", config.radius, descriptor, card)
    num_labels = source.num_labels if isinstance(source, LatentGenerator) else 0
    return Request(
        config=config,
        source=source,
        descriptor=descriptor,
        generator=generator,
        described=described,
        named=named,
        device=device,
        theta=theta,
        radius=radius,
        origins={"theta_origin": theta_origin, "radius_origin": radius_origin},
        law=law_of(config.labels, num_labels),
        order=_order(config, source),
    )


def open_reference(request: Request, *, source: Source | None = None) -> Request:
    """The real images that a request names, under its own descriptor, theta and radius.

    Args:
      request: opened.
      source: a finite collection of them instead of what `config.reference` then names.

    Raises:
      ConfigError: they cannot be opened, have no end, or are of another kind than the source.
    """
    config = request.config
    name = config.reference or ""
    described = request.descriptor is not None
    config = replace(
        config,
        generator=name,
        descriptor=_reference_descriptor(config) if described else None,
        set=tuple(pair for pair in config.set if pair.startswith("descriptor.")),
        labels=None,
        max_requests=None,
        calibrator=None,  # real images are as they are
        anchors=1,
        samples=1,
    )
    if source is not None:
        identity = {"object": type(source).__qualname__, **identity_of(source)}
    else:
        try:
            source, identity = open_source(config, request.device)
        except ConfigError as error:
            raise ConfigError(f"--reference {str(error).removeprefix('--generator ')}") from error
    if isinstance(source, LatentGenerator) or source.size is None:
        raise ConfigError(f"--reference {name} is a generator; name a folder of images")
    if isinstance(source, EmbeddingSource) == described:
        raise ConfigError(
            f"--reference {name}: embeddings are compared with embeddings, images with images"
        )
    order = permutation(source.size, seed=config.seed)
    return replace(request, config=config, source=source, generator=identity, law=None, order=order)


def _reference_descriptor(config: DiagnoseConfig) -> str | None:
    """What a worker opens for the reference: the run's, by its own name or its card's."""
    if config.descriptor is None and config.descriptor_card is None:
        return _DEMO_DESCRIPTOR
    return config.descriptor


def first_images(
    request: Request,
    *,
    batch: int | None,
    slots: tuple[Stream, NDArray[np.int64]] | None = None,
) -> Probe:
    """Probe an opened request; `batch`: the user's, or None; `slots`: as `probe` takes them."""
    recipe = request.recipe()
    with closing(request.maker(recipe, reopen=False)) as maker:
        return probe(
            request.source,
            maker,
            recipe,
            batch=batch,
            max_faceless=request.config.max_faceless,
            slots=slots,
        )


def open_maker(config: DiagnoseConfig, recipe: Recipe, device: str) -> Maker:
    """A maker for a worker process, which opens everything by name on its own device."""
    request = open_request(replace(config, device=device, workers=1))
    return request.maker(replace(recipe, device=device), reopen=True)


def open_device(wanted: str) -> str:
    """`--device` as "cpu" or "cuda:N".

    Raises:
      ConfigError: there is no such device.
    """
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise ConfigError(f"--device must be auto, cpu, cuda or cuda:N, got {wanted!r}") from None
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"--device must be auto, cpu, cuda or cuda:N, got {wanted!r}")
    if device.type == "cpu":
        return "cpu"
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if (device.index or 0) >= count:
        raise ConfigError(f"--device {wanted}: this machine has {count} CUDA devices")
    return f"cuda:{device.index or 0}"


def open_source(
    config: GeneratorConfig, device: str, *, descriptor: Descriptor | None = None
) -> tuple[Source, dict[str, Any]]:
    """The generator that a request names, and its identity.

    Args:
      config: the request.
      device: "cpu" or "cuda:N".
      descriptor: for a calibrator that looks at images; None: its own is opened.

    Raises:
      ConfigError: it cannot be opened, or an option is wrong.
      SourceError: its own code raised or hung, or the service behind it does not answer.
    """
    options = split_options(config.set).generator
    guard = Guard(config.timeout_s)
    try:
        source, name, target = guard.call(
            lambda: registry.open_plugin(
                "generators",
                config.generator,
                options,
                device=torch.device(device),
                trust=config.trust,
                strict_source=config.strict_source,
                max_requests=config.max_requests,
                files=config.plugin,
            ),
            what="opening the generator",
            inference=False,
        )
    finally:
        guard.close()
    if not isinstance(source, EmbeddingSource | LatentGenerator | BlindGenerator):
        raise PluginError(
            f"the generator {name!r} returned {type(source).__name__}, which is none of "
            "LatentGenerator, BlindGenerator and EmbeddingSource"
        )
    check_source(source, config.generator)
    deciding = {
        key: text for key, text in options.items() if key not in getattr(source, "incidental", ())
    }
    identity = identity_of(source) or {"target": target}
    identity |= _opened_as("generators", name, deciding, config.plugin)
    if config.calibrator is None:
        return source, identity
    return attached(config, source, identity, device=device, descriptor=descriptor)


def _opened_as(
    kind: registry.Kind, name: str, options: Mapping[str, str], plugins: Sequence[str]
) -> dict[str, Any]:
    """How a plugin was opened: its name, its options, and the content of files among them."""
    files = {key: sha256_of(Path(text)) for key, text in options.items() if is_file(Path(text))}
    texts = {key: text for key, text in options.items() if key not in files}
    opened: dict[str, Any] = {"plugin": name, "options": texts}
    if files:
        opened["files_sha256"] = files
    own = registry.installed(kind, plugins)[name].file
    return opened | ({} if own is None else {"plugin_sha256": sha256_of(Path(own))})


def check_source(source: Source, name: str) -> None:
    """Refuse an object that says impossible things of itself, before anything is rendered.

    Raises:
      PluginError: an attribute is not what `ganaudit.generators` says it is.
    """
    if isinstance(source, LatentGenerator):
        shape: Any = source.latent_shape
        whole = isinstance(shape, tuple | list) and all(isinstance(n, Integral) for n in shape)
        if not whole or not all(n > 0 for n in shape):
            raise PluginError(
                f"{name}: latent_shape must be positive whole numbers, got {shape!r:.80}"
            )
        if not isinstance(source.num_labels, Integral) or source.num_labels < 0:
            raise PluginError(
                f"{name}: num_labels must be 0 or more, got {source.num_labels!r:.80}"
            )
        check_prior(source.prior, where=f"{name}: ")
    for key, of_what in (
        ("assumptions", "sentences"),
        ("warnings", "sentences"),
        ("incidental", "option names"),
    ):
        said = getattr(source, key, ())
        if not isinstance(said, tuple | list) or not all(isinstance(text, str) for text in said):
            raise PluginError(f"{name}: {key} must be a list of {of_what}, got {said!r:.80}")
    patience: Any = getattr(source, "patience_s", 0.0)
    if not isinstance(patience, Real) or not 0 <= float(patience) < 1e7:
        raise PluginError(f"{name}: patience_s must be seconds below 1e7, got {patience!r:.80}")
    each: Any = getattr(source, "per_request", 1)
    if not isinstance(each, Integral) or each < 1:
        raise PluginError(f"{name}: per_request must be 1 or more slots, got {each!r:.80}")
    try:
        json.dumps(identity_of(source), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise PluginError(f"{name}: identity must be JSON values ({one_line(error)})") from error


def _open_descriptor(
    config: DiagnoseConfig,
    source: Source,
    generator: dict[str, Any],
    card: CardFile | None,
    device: str,
) -> tuple[Descriptor | None, dict[str, Any], dict[str, Any] | None]:
    options = split_options(config.set).descriptor
    if isinstance(source, EmbeddingSource):
        if config.descriptor is not None or options:
            raise ConfigError("embeddings are described already; leave the descriptor out")
        return None, {}, None
    spec = config.descriptor
    if card is not None:  # it says how what it measured is opened; the request goes before it
        card.check_options(options)
        spec, options = spec or card.descriptor, {**card.options, **options}
    if spec is None:
        if generator.get("plugin") != "demo":
            names = ", ".join(registry.installed("descriptors", config.plugin))
            raise ConfigError(f"--descriptor is needed: what tells identities apart? ({names})")
        spec = _DEMO_DESCRIPTOR
    trust = config.trust and (card is None or config.descriptor is not None)
    try:
        descriptor, name = open_descriptor(
            spec, options, device=device, trust=trust, files=config.plugin
        )
    except (UnsafeCheckpoint, ConfigError) as error:
        if card is None or config.descriptor is not None:
            raise
        said = f"{error} (the card names {spec}; name it yourself by --descriptor)"
        if isinstance(error, UnsafeCheckpoint):
            raise UnsafeCheckpoint(said, error.file) from error
        raise type(error)(said) from error
    opened = _opened_as("descriptors", name, options, config.plugin)
    return descriptor, opened, {"spec": spec, "options": dict(options)}


def _scale(
    name: str, wanted: float | None, descriptor: Descriptor | None, measured: CardFile | None
) -> tuple[float, str]:
    """The value of theta or radius, and where it comes from."""
    if wanted is not None:
        return wanted, "as requested"
    if measured is not None:
        value = measured.theta if name == "theta" else measured.radius
        if value is None:
            raise ConfigError(f"--{name} is needed, a fraction of pi: the card has none")
        return value, measured.origin()
    card = None if descriptor is None else descriptor.card
    known = None if card is None else (card.theta if name == "theta" else card.radius)
    if card is None or known is None:
        what = "these embeddings" if card is None else f"the descriptor {card.name}"
        how = "" if card is None else "; ganaudit threshold measures it"
        raise ConfigError(
            f"--{name} is needed, a fraction of pi: nobody has measured it for {what}{how}"
        )
    return known, card.origin or "descriptor card"


def _order(config: DiagnoseConfig, source: Source) -> NDArray[np.int64] | None:
    size = None if isinstance(source, LatentGenerator) else source.size
    if size is None:
        return None
    if config.anchors + config.samples > size:
        raise ConfigError(
            f"{config.generator} holds {size} items, so anchors + samples can be at most {size}; "
            f"got {config.anchors} + {config.samples}"
        )
    return permutation(size, seed=config.seed)
