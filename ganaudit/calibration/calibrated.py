"""A generator behind a calibrator is again a generator: whatever takes one takes the other.

Slot i draws proposals from what names it, `Draws.seeds[i]` and the calibrator's salt, until one is
taken; attempt 0 is its ordinary draw, and of M attempts the last one stands. So what a slot draws
depends on the slot alone, whatever batch it is asked for in.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ganaudit.calibration.filters import OutputFilter
from ganaudit.calibration.latents import LatentSampler, redraw, salted
from ganaudit.descriptors import Descriptor, check_rows
from ganaudit.errors import ConfigError, DescriptorError, GanauditError, SourceError, one_line
from ganaudit.generators import (
    BlindGenerator,
    Failure,
    LatentGenerator,
    Streaming,
    identity_of,
)
from ganaudit.images import check_images, single_colour
from ganaudit.slots import Draws, lots_of, proposals_of, seeds_of_attempt

Item = tuple[int, torch.Tensor | Failure]
_EMBEDDED = 32  # images of a stream that wait to be embedded together
_WAITED_S = 1.0  # after which those that came are embedded without the others
_IN_A_ROW = 10  # answers that may be waited for until one is taken


class Calibrated:
    """What every generator behind a calibrator says of itself.

    Attributes:
      counts: of this process: "slots" rendered, "proposals" they took, and "unaccepted": slots of
        which no proposal was taken, so that the last one stands.
    """

    def __init__(
        self,
        source: LatentGenerator | BlindGenerator,
        *,
        method: str,
        identity: Mapping[str, Any],
        salt: int = 0,
    ) -> None:
        """Describe it.

        Args:
          source: the generator itself.
          method: of the calibrator.
          identity: of the calibrator, JSON values; it becomes part of the generator's.
          salt: of the calibrator's draws, in [0, 2**63).
        """
        self.identity = {**identity_of(source), "calibrator": {"method": method, **identity}}
        self.assumptions = (
            *getattr(source, "assumptions", ()),
            f"Images are those of the generator behind a calibrator ({method}).",
        )
        self.incidental = tuple(getattr(source, "incidental", ()))
        self.counts: Counter[str] = Counter(slots=0, proposals=0, unaccepted=0)
        self._source: Any = source
        self._salt = salt

    @property
    def warnings(self) -> Any:
        """Of the source, which may come to doubt what it gives later on."""
        return getattr(self._source, "warnings", ())

    @property
    def per_request(self) -> int:
        """Slots that a service is asked for at once."""
        return int(getattr(self._source, "per_request", 1))

    @property
    def patience_s(self) -> float:
        """Seconds that an answer may take, where the source keeps time itself."""
        return float(getattr(self._source, "patience_s", 0.0))

    def close(self) -> None:
        """Let the source's connections go, where it has any."""
        close = getattr(self._source, "close", None)
        if close is not None:
            close()

    def _own(self, seeds: torch.Tensor) -> NDArray[np.int64]:
        """What the slots' proposals and lots are drawn from."""
        return salted(seeds.cpu().numpy(), self._salt)

    def _count(self, slots: int, proposals: int, unaccepted: int) -> None:
        self.counts.update(slots=slots, proposals=proposals, unaccepted=unaccepted)


class CalibratedLatents(Calibrated):
    """A generator that is given other latents than were drawn for it.

    Attributes:
      seeded: a slot's seed decides its image, not its latent alone: who names a latent without a
        seed names no slot.
    """

    seeded = True

    def __init__(
        self,
        source: LatentGenerator,
        change: "Callable[[Draws], Draws] | LatentSampler",
        **described: Any,
    ) -> None:
        """`change`: a sampler, or draws to draws with other latents; `described`: as Calibrated."""
        super().__init__(source, **described)
        self.latent_shape = tuple(source.latent_shape)
        self.prior = source.prior
        self.num_labels = source.num_labels
        self._change = change

    def render(self, draws: Draws) -> torch.Tensor:
        """uint8 [N, 3, H, W] for `draws`, of the latents that the calibrator gives them."""
        images: torch.Tensor = self._source.render(self.changed(draws))
        return images

    def changed(self, draws: Draws) -> Draws:
        """The draws with the latents that are rendered."""
        if not isinstance(self._change, LatentSampler):
            self._count(len(draws), len(draws), 0)
            return self._change(draws)
        assert draws.latents is not None
        flat = draws.latents.detach().cpu().numpy().reshape(len(draws), -1)
        drawn = redraw(self._change, flat, self._own(draws.seeds))
        self._count(len(draws), int(drawn.attempts.sum()), int((~drawn.taken).sum()))
        latents = torch.from_numpy(drawn.latents).reshape(draws.latents.shape)
        return replace(draws, latents=latents.to(draws.latents.device))


class CalibratedLatentService(CalibratedLatents):
    """The same of a service that takes latents."""

    def stream(self, draws: Draws) -> Iterator[Item]:
        """(index, image or why there is none) once for each draw, in any order."""
        yield from self._source.stream(self.changed(draws))


class Judge:
    """An output filter with the descriptor that it looks through."""

    def __init__(self, chosen: OutputFilter, descriptor: Descriptor) -> None:
        """`chosen`: which images are taken, by their embeddings."""
        self.attempts = chosen.attempts
        self._filter = chosen
        self._descriptor = descriptor

    def taken(self, images: torch.Tensor, lots: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which images are taken: uint8 [N, 3, H, W] and lots [N] in (0, 1) to [N] bool.

        What cannot be described (a single colour, no face) is taken: the audit names it.
        """
        found = np.ones(len(images), dtype=np.bool_)
        plain = single_colour(images).cpu().numpy()
        if plain.all():
            return found
        shown = images[torch.from_numpy(~plain).to(images.device)]
        try:
            rows, valid = self._descriptor.embed(shown)
        except GanauditError:
            raise
        except Exception as error:  # the border to foreign code: it is not the generator's fault
            raise DescriptorError(f"the descriptor raised {one_line(error)}") from error
        check_rows(rows, valid, len(shown))
        place = np.flatnonzero(~plain)[valid.cpu().numpy()]
        if len(place):
            try:
                acceptance = self._filter.acceptance(rows[valid].float().cpu().numpy())
            except ValueError as error:
                raise ConfigError(f"the calibrator is of another descriptor: {error}") from error
            found[place] = lots[place] < acceptance
        return found


class FilteredLatents(Calibrated):
    """A generator whose images are looked at before they are delivered."""

    seeded = True

    def __init__(self, source: LatentGenerator, judge: Judge, **described: Any) -> None:
        """`judge`: takes an image or has the slot draw again; `described`: as Calibrated."""
        super().__init__(source, **described)
        self.latent_shape = tuple(source.latent_shape)
        self.prior = source.prior
        self.num_labels = source.num_labels
        self._judge = judge

    def render(self, draws: Draws) -> torch.Tensor:
        """uint8 [N, 3, H, W] for `draws`, each the first of its slot's images that is taken."""
        seeds = self._own(draws.seeds)
        images = check_images(self._source.render(draws), len(draws)).clone()
        left = np.flatnonzero(~self._judge.taken(images, lots_of(seeds, 0)[:, 0]))
        proposals = len(draws)
        for attempt in range(1, self._judge.attempts):
            if not len(left):
                break
            again = self._again(draws, left, seeds[left], attempt)
            found = check_images(self._source.render(again), len(left))
            if found.shape[1:] != images.shape[1:]:
                raise ConfigError("the generator's images must have one size to be filtered")
            images[torch.from_numpy(left).to(images.device)] = found
            proposals += len(left)
            left = left[~self._judge.taken(found, lots_of(seeds[left], attempt)[:, 0])]
        self._count(len(draws), proposals, len(left))
        return images

    def _again(
        self, draws: Draws, left: NDArray[np.int64], seeds: NDArray[np.int64], attempt: int
    ) -> Draws:
        """Another latent, and other noise, for those that are left; labels stay the slots'."""
        assert draws.latents is not None
        rows = torch.from_numpy(left)
        latents = torch.from_numpy(
            proposals_of(seeds, attempt, shape=self.latent_shape, prior=self.prior)
        )
        labels = None if draws.labels is None else draws.labels[rows.to(draws.labels.device)]
        return Draws(
            index=draws.index[rows],
            seeds=torch.from_numpy(seeds_of_attempt(seeds, attempt)),
            latents=latents.to(draws.latents.device),
            labels=labels,
        )


class FilteredStream(Calibrated):
    """A service whose images are looked at; each that is not taken costs a further request.

    An answer of its is the first one that is taken, so several of the service's may be waited for.

    Attributes:
      seedable: the same seed gives the same image.
      size: None: it has no end.
    """

    size = None

    def __init__(
        self, source: Streaming, judge: Judge, *, device: str, timeout_s: float, **described: Any
    ) -> None:
        """Put a judge behind a service.

        Args:
          source: the service.
          judge: takes an image or has the slot ask again.
          device: where it embeds them.
          timeout_s: for an answer of the service.
          described: as Calibrated.
        """
        self.seedable = bool(getattr(source, "seedable", True))
        super().__init__(source, **described)  # type: ignore[arg-type]
        self._judge = judge
        self._device = torch.device(device)
        self._timeout_s = timeout_s

    @property
    def patience_s(self) -> float:
        """Seconds that an answer may take: as long as several of the service's."""
        return _IN_A_ROW * max(super().patience_s, self._timeout_s)

    def stream(self, draws: Draws) -> Iterator[Item]:
        """(index, image or why there is none) once for each draw, in any order."""
        left = draws
        for attempt in range(self._judge.attempts):
            asked = self._attempt(left, attempt)
            rejected: list[int] = []
            seen: set[int] = set()
            last = attempt == self._judge.attempts - 1
            for part in _parts(self._source.stream(asked)):
                firsts = list(_firsts(part, seen))
                for index, item, taken in self._judged(firsts, left, attempt):
                    if taken or last:
                        yield index, item
                    if not taken:
                        rejected.append(index)
            self._count(len(draws) if attempt == 0 else 0, len(asked), len(rejected) if last else 0)
            if not rejected:
                return
            chosen = torch.isin(left.index, torch.tensor(rejected))
            left = Draws(
                index=left.index[chosen],
                seeds=left.seeds[chosen],
                latents=None if left.latents is None else left.latents[chosen],
                labels=None if left.labels is None else left.labels[chosen],
            )

    def _attempt(self, draws: Draws, attempt: int) -> Draws:
        if attempt == 0:
            return draws
        seeds = self._own(draws.seeds)
        latents = draws.latents
        if latents is not None:
            redrawn = proposals_of(
                seeds, attempt, shape=tuple(latents.shape[1:]), prior=self._source.prior
            )
            latents = torch.from_numpy(redrawn).to(latents.device)
        again = torch.from_numpy(seeds_of_attempt(seeds, attempt))
        return replace(draws, seeds=again, latents=latents)

    def _judged(
        self, part: list[Item], left: Draws, attempt: int
    ) -> Iterator[tuple[int, torch.Tensor | Failure, bool]]:
        """(index, item, whether it is taken); a failure is: the audit counts it."""
        seeds = dict(zip(left.index.tolist(), self._own(left.seeds).tolist(), strict=True))
        sizes: dict[tuple[int, ...], list[tuple[int, torch.Tensor]]] = {}
        for index, item in part:
            if isinstance(item, Failure) or index not in seeds or not _is_image(item):
                yield index, item, True
            else:
                sizes.setdefault(tuple(item.shape), []).append((index, item.clone()))
        for group in sizes.values():
            own = np.array([seeds[index] for index, _ in group], dtype=np.int64)
            images = torch.stack([item for _, item in group]).to(self._device)
            taken = self._judge.taken(images, lots_of(own, attempt)[:, 0])
            for (index, item), one in zip(group, taken.tolist(), strict=True):
                yield index, item, one


class FilteredLatentService(FilteredStream):
    """The same of a service that takes latents."""

    seeded = True

    def __init__(self, source: Any, judge: Judge, **described: Any) -> None:
        """As FilteredStream."""
        super().__init__(source, judge, **described)
        self.latent_shape = tuple(source.latent_shape)
        self.prior = source.prior
        self.num_labels = source.num_labels

    def render(self, draws: Draws) -> torch.Tensor:
        """uint8 [N, 3, H, W] for `draws`, each the first of its slot's images that is taken.

        Raises:
          SourceError: one of them has no image.
        """
        numbered = replace(draws, index=torch.arange(len(draws)))
        answers = dict(self.stream(numbered))
        return stacked([answers[index] for index in range(len(draws))])


def _parts(answers: Iterator[Item]) -> Iterator[list[Item]]:
    """Answers as they are embedded together: so many, or those that came within a second."""
    part: list[Item] = []
    began = time.monotonic()
    for answer in answers:
        part.append(answer)
        if len(part) == _EMBEDDED or time.monotonic() - began >= _WAITED_S:
            yield part
            part, began = [], time.monotonic()
    if part:
        yield part


def _firsts(answers: list[Item], seen: set[int]) -> Iterator[Item]:
    """Of several answers for one slot the first."""
    for index, item in answers:
        if index not in seen:
            seen.add(index)
            yield index, item


def stacked(items: list[torch.Tensor | Failure]) -> torch.Tensor:
    """Images as one batch.

    Raises:
      SourceError: one of them is none, or they have several sizes.
    """
    for item in items:
        if isinstance(item, Failure):
            raise SourceError(item.reason)
    images = [item for item in items if isinstance(item, torch.Tensor)]
    if len({image.shape for image in images}) > 1:
        raise SourceError("the service gave images of different sizes")
    return torch.stack(images)


def _is_image(item: object) -> bool:
    return isinstance(item, torch.Tensor) and item.dtype == torch.uint8 and item.ndim == 3
