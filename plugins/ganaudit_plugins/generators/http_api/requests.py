"""Slots as requests: what is drawn for one, put into a template."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganaudit.errors import ConfigError
from ganaudit.slots import Draws
from ganaudit_plugins.generators.declared import Declared, declare, declare_images
from ganaudit_plugins.generators.http_api.options import INCIDENTAL
from ganaudit_plugins.generators.http_api.service import BlindService, LatentService, Service
from ganaudit_plugins.generators.http_api.template import Template, read_template

MOST_SEED_BITS = 63


@dataclass(frozen=True)
class Requests:
    """Slots to requests.

    Attributes:
      template: of a request; None: nothing is sent along.
      declared: what the user said about latents; None: the template has none.
      seed_bits: seeds are whole numbers below 2 ** seed_bits.
    """

    template: Template | None
    declared: Declared | None
    seed_bits: int

    @property
    def names(self) -> frozenset[str]:
        """The placeholders that are in the template."""
        return frozenset() if self.template is None else self.template.names

    def body(self, draws: Draws) -> bytes | None:
        """The request for one slot, JSON."""
        if self.template is None:
            return None
        values: dict[str, Any] = {"SEED": int(seeds_of(draws, self.seed_bits)[0])}
        if self.declared is not None:
            assert draws.latents is not None
            values["LATENT"] = self.declared.scaled(draws.latents)[0].tolist()
            values["LABEL"] = None if draws.labels is None else int(draws.labels[0])
        return self.template.filled(values)

    def identity(self) -> dict[str, Any]:
        """What decides an image, as JSON values."""
        identity: dict[str, Any] = {"template_sha256": None}
        if self.template is not None:
            canonical = json.dumps(self.template.value, sort_keys=True).encode()
            identity["template_sha256"] = sha256(canonical).hexdigest()
        if self.declared is not None:
            identity |= self.declared.identity()
        return identity | ({"seed_bits": self.seed_bits} if "SEED" in self.names else {})

    def assumptions(self) -> tuple[str, ...]:
        """A sentence for everything that was taken on somebody's word."""
        said: tuple[str, ...] = ()
        if self.template is not None:
            said += (f"Every request is {self.template}, as --set template says.",)
        if self.declared is not None:
            return said + self.declared.assumptions()
        if "SEED" in self.names:
            said += (f"The service draws its own latents, by seeds below 2**{self.seed_bits}.",)
        return said


def read_requests(
    template: str | None, said: Mapping[str, Any], *, seed_bits: int, what: str
) -> Requests:
    """What the user said about requests, put together.

    Args:
      template: JSON text, or the path of a file with it; None: nothing is sent along.
      said: key to value, as `declare` takes it; None: not said.
      seed_bits: of a seed.
      what: the service, for messages.

    Raises:
      ConfigError: something is not declared, cannot be, or would change nothing.
    """
    check_seed_bits(seed_bits)
    read = None if template is None else read_template(template)
    names: frozenset[str] = frozenset() if read is None else read.names
    if "LATENT" in names:
        declared = declare(what, said, {}, by="the service")
        if ("LABEL" in names) != bool(declared.num_labels):
            raise ConfigError(
                "a template has $LABEL exactly where the number of classes is known: say "
                "--set num_labels=10, or leave it out"
            )
        return Requests(read, declared, seed_bits)
    if "LABEL" in names:
        raise ConfigError(
            "$LABEL is drawn with latents, and the template has no $LATENT; write one class into it"
        )
    declare_images(what, said, {}, by="the service")  # refuses what would change nothing
    return Requests(read, None, seed_bits)


def source_of(
    service: Service,
    requests: Requests,
    identity: Mapping[str, Any],
    *,
    incidental: tuple[str, ...] = (),
) -> LatentService | BlindService:
    """The generator that a service is, by what its requests say.

    Args:
      service: set up, asks for a slot at a time.
      requests: of it.
      identity: beside what the requests say of it.
      incidental: options of the plugin that decide no image.
    """
    declared = requests.declared
    facts: dict[str, Any] = {
        "identity": {**identity, **requests.identity()},
        "assumptions": requests.assumptions(),
    }
    source: LatentService | BlindService
    if declared is None:
        source = BlindService(service, seedable="SEED" in requests.names, **facts)
    else:
        source = LatentService(
            service,
            latent_shape=declared.latent_shape,
            prior=declared.prior,
            num_labels=declared.num_labels,
            **facts,
        )
    source.incidental = (*INCIDENTAL, *incidental)
    return source


def check_seed_bits(seed_bits: int) -> None:
    """A ConfigError unless seeds can have so many bits."""
    if not 1 <= seed_bits <= MOST_SEED_BITS:
        raise ConfigError(f"seed_bits must be in [1, {MOST_SEED_BITS}], got {seed_bits}")


def seeds_of(draws: Draws, bits: int) -> NDArray[np.int64]:
    """The slots' seeds as a service takes them: [N], 0 <= seed < 2 ** bits."""
    return np.asarray(draws.seeds.cpu().numpy() & (2**bits - 1), dtype=np.int64)
