"""From a stranger's file to a network of ours that holds its tensors."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ganaudit import networks
from ganaudit.checkpoints.families import choose, plan
from ganaudit.checkpoints.holdings import Hashed, Holding, read
from ganaudit.checkpoints.native import header_of
from ganaudit.checkpoints.records import Network, Plan
from ganaudit.checkpoints.state_dicts import StateDict, check, fill
from ganaudit.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Opened(Hashed):
    """A network read from a file, on the CPU, in eval mode and without gradients.

    Attributes:
      module: ours, with the tensors of the file.
      network: a key of `ganaudit.networks.NETWORKS`.
      arguments: of its constructor, JSON values.
      facts: what the file or its format says beside it (prior, latent_shape, ...): unchecked.
      role: the network's name in the file.
      notes: what was assumed or left out, a sentence each.
      own: the facts are the file's own words; else they follow from the architecture.
    """

    module: nn.Module
    network: str
    arguments: Mapping[str, Any]
    facts: Mapping[str, Any]
    role: str
    notes: tuple[str, ...] = ()
    own: bool = False


def open_network(
    path: Path,
    *,
    role: str | None = None,
    said: Mapping[str, str] | None = None,
    strict_source: bool = False,
) -> Opened:
    """Open one network of a file without executing anything of it.

    Args:
      path: a file of any format that `holdings` reads, or a folder with config.json.
      role: the network's name in the file; None: see `families.choose`.
      said: what the user says of a state dict; see `families.plan`.
      strict_source: refuse an embedded source of no known release.

    Raises:
      ConfigError: no such file or network, damaged, or a network that we do not have.
      UnsafeCheckpoint: reading the file would mean running it.
    """
    holding = read(path)
    holding.refuse_unknown()
    network = choose(holding, role)
    found = plan_of(holding, network, said=said, strict_source=strict_source)
    return Opened(
        module=filled(found, holding),
        network=found.network,
        arguments=found.arguments,
        facts=found.facts,
        role=network.role,
        digest=holding.digest,
        notes=found.notes,
        own=found.own,
    )


def plan_of(
    holding: Holding,
    network: Network,
    *,
    said: Mapping[str, str] | None = None,
    strict_source: bool = False,
) -> Plan:
    """How one of our networks takes a network of a file; a file of `save_native` says it itself.

    Raises:
      ConfigError: see `families.plan`.
    """
    if holding.kind != "safetensors" or "ganaudit" not in holding.metadata:
        return plan(holding, network, said=said, strict_source=strict_source)
    if said:
        raise ConfigError(f"--set {next(iter(said))}: {holding.path} says itself what it is")
    name, arguments, facts = header_of(holding.path, holding.metadata)
    notes = facts.get("notes")
    return Plan(
        network=name,
        arguments=arguments,
        tensors=network.tensors,
        facts=facts,
        notes=tuple(map(str, notes)) if isinstance(notes, list) else (),
        own=True,
    )


def filled(plan: Plan, holding: Holding) -> nn.Module:
    """The network of a plan with the tensors of the file, in eval mode.

    Raises:
      ConfigError: see `fitting`; or a value is not finite.
    """
    module = _empty(plan, holding.path)
    fill(module, _state(plan, holding), network=plan.network)
    return module


def fitting(plan: Plan, holding: Holding) -> nn.Module:
    """The network of a plan without values, on torch's meta device, if the tensors are its own.

    Raises:
      ConfigError: the arguments are out of bounds, or the tensors are those of another network.
    """
    module = _empty(plan, holding.path)
    check(module, _state(plan, holding), network=plan.network)
    return module


def _empty(plan: Plan, path: Path) -> nn.Module:
    try:
        with torch.device("meta"):
            return networks.build(plan.network, plan.arguments)
    except (ValueError, TypeError, RecursionError) as error:
        raise ConfigError(f"{path} asks for a network that we cannot build: {error}") from error


def _state(plan: Plan, holding: Holding) -> StateDict:
    return StateDict(
        path=holding.path,
        size=holding.size,
        tensors=plan.tensors,
        digest=holding.digest,
        exact=plan.own,
    )
