"""Which of our networks takes what a file holds: by its names and shapes, never approximately."""

import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ganaudit.checkpoints.holdings import Holding
from ganaudit.checkpoints.records import Network, Plan, shown
from ganaudit.checkpoints.sources import unknown
from ganaudit.errors import ConfigError

Family = Callable[[Network], Plan | None]

_FAMILIES = (  # asked in this order; each looks at names before anything else
    "ganaudit.checkpoints.stylegan3:stylegan3",
    "ganaudit.checkpoints.stylegan2:stylegan2",
    "ganaudit.checkpoints.tensorflow:tensorflow",
    "ganaudit.checkpoints.biggan:biggan",
)
_PREFERRED = (  # of several networks, the one that its makers would show
    "G_ema", "Gs", "g_ema", "ema", "generator_ema", "netG_ema", "params_ema",
    "G", "g", "netG", "generator", "network", "state_dict", "model_state_dict", "model", "params",
)  # fmt: skip


def choose(holding: Holding, role: str | None) -> Network:
    """The network of a file that is meant.

    Args:
      holding: the file.
      role: its name in there; None: the moving average of a generator before the generator itself
        before an only network.

    Raises:
      ConfigError: it holds none of that name, or several of which none is preferred.
    """
    networks = holding.networks
    there = ", ".join(shown(name) for name in list(networks)[:20]) or "none"
    if role is not None:
        if role not in networks:
            raise ConfigError(f"{holding.path} holds no network {shown(role)}; it holds {there}")
        return networks[role]
    for name in _PREFERRED:
        if name in networks:
            return networks[name]
    if len(networks) == 1:
        return next(iter(networks.values()))
    raise ConfigError(
        f"{holding.path} holds "
        + (f"several networks; say which: --set role=NAME of {there}" if networks else "no network")
    )


def plan(
    holding: Holding,
    network: Network,
    *,
    said: Mapping[str, str] | None = None,
    strict_source: bool = False,
) -> Plan:
    """How one of our networks takes `network`.

    Args:
      holding: the file.
      network: one of its networks.
      said: what the user says of a state dict, as text: "network", a key of our own NETWORKS, with
        the arguments of its constructor; without it, what a family asks for.
      strict_source: refuse a network with an embedded source that belongs to no known release.

    Raises:
      ConfigError: we have no such network, or one that would not be the same: the message names
        the class, argument or tensor.
    """
    arguments = {key: _value(text) for key, text in (said or {}).items()}
    where = f"{holding.path} ({network.role})"
    if network.hooks:
        raise ConfigError(
            f"{where} has code attached to {shown(network.hooks[0])} that would run with every "
            "image; ganaudit runs none of it, and without it the images would be others"
        )
    strange = unknown(network.sources)
    if strange and strict_source:
        raise ConfigError(
            f"{where} carries a source text of no release that we know (SHA-256 {strange[0]}); "
            "without --strict-source the behaviour of the release is assumed"
        )
    found = _found(holding, network, arguments)
    if found is None:
        raise ConfigError(f"{where} is {_described(network)}")
    if strange:
        note = (
            f"The file carries a source text of no release that we know (SHA-256 {strange[0]}): "
            "unknown source, standard behaviour assumed."
        )
        found = replace(found, notes=(*found.notes, note))
    return found


def _found(holding: Holding, network: Network, said: dict[str, Any]) -> Plan | None:
    bare = not network.name
    if said and (not bare or holding.config is not None):
        raise ConfigError(
            f"--set {next(iter(said))} would change nothing: {network.role} of {holding.path} "
            "says itself what it is"
        )
    if bare and holding.config is not None:
        from ganaudit.checkpoints.biggan import biggan_folder

        return biggan_folder(holding.config, network.tensors)
    if bare and "network" in said:
        name = str(said.pop("network"))
        return Plan(network=name, arguments=said, tensors=network.tensors)
    if bare:
        network = replace(network, kwargs=said)
    for address in _FAMILIES:
        module, _, name = address.partition(":")
        family: Family = getattr(importlib.import_module(module), name)
        found = family(network)
        if found is not None:  # all of them were trained on normal latents
            return replace(found, facts={"prior": "normal", **found.facts})
    return None


def _described(network: Network) -> str:
    if network.name:
        return (
            f"a network of class {shown(network.name)}, which ganaudit does not implement; it "
            "does not approximate one network by another"
        )
    return (
        "a state dict of no architecture that ganaudit knows by its names; say which network of "
        "ours takes it (--set network=NAME and its arguments), or name code of yours that builds "
        "it (--generator python:FILE.py:FACTORY --set weights=FILE)"
    )


def _value(text: str) -> Any:
    """A number, a bool or a list where it reads as one, else the text itself."""
    try:
        return json.loads(text, parse_constant=lambda name: name)
    except (ValueError, RecursionError):
        return text
