"""The losses of a training: what each network minimises on a part of a batch.

A phase is given a place, the number of that part since the training began; all that is random
follows from it. Whatever is looked at a second time goes through the networks' wrapped forward, so
that several devices stay in step.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812, its usual name
from torch import Tensor

from ganaudit.regularizers.buffers import buffers_kept
from ganaudit.regularizers.searching import Look
from ganaudit.training.drawing import Drawing
from ganaudit.training.judging import Judged, Penalty
from ganaudit.training.losses import divergence_penalty, gradient_penalty, r1_penalty
from ganaudit.training.recipe import Recipe
from ganaudit.training.rendering import Rendered
from ganaudit.training.states import State

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Values = dict[str, Tensor]
Phase = Callable[[int], tuple[Tensor, Values]]


@dataclass(frozen=True)
class Phases:
    """What one rank computes.

    Attributes:
      fabric: devices and precision.
      recipe: what a step does.
      draws: what this rank takes of what a step draws.
      state: networks, and the numbers that a training keeps.
      renderer, judge: the networks as the fabric wraps them.
    """

    fabric: "Fabric"
    recipe: Recipe
    draws: Drawing
    state: State
    renderer: Any
    judge: Any

    # -- the discriminator ---------------------------------------------------------------------

    def discriminator(self, at: int) -> tuple[Tensor, Values]:
        """The loss of the discriminator, with all that is added to it."""
        recipe, draws = self.recipe, self.draws
        loss, settings = recipe.loss, recipe.settings
        mixing, mining, pair = (
            recipe.regularizers.adaptivemix,
            recipe.regularizers.qua,
            recipe.regularizers.pair,
        )
        real, labels = self._real(at, "deceived")
        latents = draws.latents("latents", at, len(real))
        if pair is not None and pair.everywhere:  # both halves of a pair are judged
            partners = self._partners("pairs", latents, labels, at)
            latents, real = torch.cat([latents, partners]), torch.cat([real, real])
            labels = None if labels is None else torch.cat([labels, labels])
        if mining is not None:
            latents = mining.mine(
                latents,
                labels,
                generator=self._render("noise", at),
                judge=lambda images, classes: (
                    self._look(self._seen(images, "mined", at), classes).logits
                ),
                networks=self._networks,
            )
        with torch.no_grad():
            fake = self._fakes(latents, labels, "noise", at).images.float()
        count = len(real)
        images = self._seen(torch.cat([real, fake]), "augmented", at)
        both = None if labels is None else torch.cat([labels, labels])
        mix = None
        if mixing is not None:
            mix = mixing.draw(count, count, draws.rng("mix", at), self.fabric.device)
        judged = self.judge(images, both, mix, (count // self._halves,) * 2 * self._halves)
        real_logits, fake_logits = judged.logits.split(len(judged.logits) // 2)
        self._note(real_logits)
        total = loss.discriminator(real_logits, fake_logits)
        values = {
            "loss_discriminator": total,
            "real_logit": real_logits.mean(),
            "fake_logit": fake_logits.mean(),
        }
        added: Values = {}
        if judged.classes is not None and both is not None:
            added["classes_discriminator"] = F.cross_entropy(judged.classes, both)
        if mixing is not None and mix is not None and judged.mixed_features is not None:
            added["adaptivemix_discriminator"] = mixing.loss(
                judged.features, judged.mixed_features, mix, draws.rng("noise", at)
            )
        if settings.gradient_penalty:
            added["gradient_penalty"] = self._penalty(
                lambda look: gradient_penalty(
                    look, images[:count], images[count:], labels,
                    weight=settings.gradient_penalty, rng=draws.rng("penalty", at),
                )
            )  # fmt: skip
        if settings.div_weight:
            added["divergence_penalty"] = self._penalty(
                lambda look: divergence_penalty(
                    look, images[:count], images[count:], labels,
                    weight=settings.div_weight, power=settings.div_power,
                    rng=draws.rng("penalty", at),
                )
            )  # fmt: skip
        if settings.r1 and settings.r1_every == 1:
            _, found = self.r1(at)
            added |= found
        return self._halves * sum(added.values(), start=total), values | added

    def r1(self, at: int) -> tuple[Tensor, Values]:
        """R1 alone, as many times as strong as it is rare; of unmixed images."""
        settings = self.recipe.settings
        real, labels = self._real(at, "r1 deceived")

        def penalty(look: Look) -> Tensor:
            seen: list[Tensor] = []

            def judge(images: Tensor, labels: Tensor | None) -> Tensor:
                seen.append(look(self._seen(images, "r1 augmented", at), labels))
                self._note(seen[0])
                return seen[0]

            return r1_penalty(judge, real, labels, gamma=settings.r1) + _nothing(seen[0])

        total = settings.r1_every * self._penalty(penalty)
        return total, {"r1": total}

    # -- the generator ---------------------------------------------------------------------------

    def generator(self, at: int) -> tuple[Tensor, Values]:
        """The loss of the generator, with all that is added to it."""
        recipe, draws = self.recipe, self.draws
        mixing, pair = recipe.regularizers.adaptivemix, recipe.regularizers.pair
        count = draws.part * recipe.optim.generator_batch
        latents, labels = draws.latents("generator latents", at, count), draws.labels(at, count)
        if pair is not None:
            partners = self._partners("generator pairs", latents, labels, at)
        noise = "generator noise of layers"
        if pair is not None and pair.everywhere:  # both halves are judged
            labels = None if labels is None else torch.cat([labels, labels])
            both = torch.cat([latents, partners])
            fake = self._fakes(both, labels, noise, at).images.float()
            one, other = fake.chunk(2)
        else:
            fake = one = self._fakes(latents, labels, noise, at).images.float()
            if pair is not None:
                with buffers_kept(self.state.generator):
                    other = self._fakes(partners, labels, noise, at).images.float()
        images = self._seen(fake, "generator augmented", at)
        mix = None
        if mixing is not None and mixing.generator_step:
            mix = mixing.draw(0, len(images), draws.rng("generator mix", at), self.fabric.device)
        judged = self._look(images, labels, mix)
        total = recipe.loss.generator(judged.logits)
        values, added = {"loss_generator": total}, {}
        if judged.classes is not None and labels is not None:
            added["classes_generator"] = F.cross_entropy(judged.classes, labels)
        if mixing is not None and mix is not None and judged.mixed_features is not None:
            added["adaptivemix_generator"] = mixing.loss(
                judged.features, judged.mixed_features, mix, draws.rng("generator noise", at)
            )
        total = self._halves * sum(added.values(), start=total)
        if pair is not None:
            added["pair"] = pair.loss(one, other, latents, partners)
            total = total + added["pair"]
        return total, values | added

    def path_length(self, at: int) -> tuple[Tensor, Values]:
        """StyleGAN2's penalty on path lengths, as many times as strong as it is rare.

        The mean length follows; on several devices it is that of all.
        """
        styles, draws = self.recipe.styles, self.draws
        assert styles is not None
        count = max(1, draws.part // styles.path_shrink)
        latents, labels = draws.latents("path latents", at, count), draws.labels(at, count, "path ")
        rendered = self._fakes(latents, labels, "path noise", at, paths=True)
        assert rendered.path_lengths is not None
        lengths = rendered.path_lengths.float()
        mean = self.state.numbers["path_mean"]
        moved = mean.to(lengths).lerp(lengths.mean(), styles.path_decay)
        everywhere: Any = self.fabric.all_reduce(moved.detach(), reduce_op="mean")
        mean.copy_(everywhere)
        total = styles.path_every * styles.path_length * (lengths - moved).square().mean()
        values = {"path_penalty": total, "path_length": lengths.mean()}
        return total + _nothing(rendered.images[:, 0, 0, 0]), values

    # -- what they have in common -----------------------------------------------------------------

    @property
    def _halves(self) -> int:
        """Batches that a batch of pairs counts as; each counts in full, as released."""
        pair = self.recipe.regularizers.pair
        return 2 if pair is not None and pair.everywhere else 1

    @property
    def _networks(self) -> tuple[torch.nn.Module, torch.nn.Module]:
        return self.state.generator, self.state.discriminator

    def _real(self, at: int, what: str) -> tuple[Tensor, Tensor | None]:
        """Real images; with APA some of them are fakes, and pass for real."""
        real, labels = self.draws.real(at)
        deceit = self.recipe.regularizers.deceit
        if deceit is None:
            return real, labels
        chosen = deceit.chosen(len(real), self.draws.rng(what, at), self.state.strength)
        chosen = chosen.to(real.device)
        if bool(chosen.any()):
            count = int(chosen.sum())
            latents = self.draws.latents(f"{what} latents", at, len(real))[:count]
            classes = None if labels is None else labels[chosen]
            with torch.no_grad(), buffers_kept(self.state.generator):
                fakes = self._fakes(latents, classes, f"{what} noise", at).images
            real[chosen] = fakes.to(real)
        return real, labels

    def _fakes(
        self, latents: Tensor, labels: Tensor | None, noise: str, at: int, *, paths: bool = False
    ) -> Rendered:
        """Through the wrapped generator, with noise, crossed styles and, if asked for, paths."""
        styles, draws = self.recipe.styles, self.draws
        if styles is None:
            rendered: Rendered = self.renderer(latents, labels)
            return rendered
        others, first = None, 0
        rng = draws.rng(f"{noise}: crossing", at)
        generator: Any = self.state.generator
        place = int(torch.randint(1, generator.synthesis.num_ws, (), generator=rng))
        if float(torch.rand((), generator=rng)) < styles.mixing:
            others, first = draws.latents(f"{noise}: others", at, len(latents)), place
        paths_rng = draws.near(f"{noise}: paths", at) if paths else None
        rendered = self.renderer(latents, labels, draws.near(noise, at), others, first, paths_rng)
        return rendered

    def _render(self, noise: str, at: int) -> Callable[[Tensor, Tensor | None], Tensor]:
        """A look at images that a search takes: the noise is the same every time."""

        def render(latents: Tensor, labels: Tensor | None) -> Tensor:
            with self.fabric.autocast():
                images: Tensor = self.renderer.module(
                    latents, labels, self.draws.near(noise, at)
                ).images
            return images.float()

        return render

    def _partners(self, what: str, latents: Tensor, labels: Tensor | None, at: int) -> Tensor:
        pair = self.recipe.regularizers.pair
        assert pair is not None
        return pair.partner(
            latents,
            labels,
            generator=self._render(f"{what} noise", at),
            networks=self._networks,
            rng=self.draws.rng(what, at),
            prior=self.draws.prior,
        )

    def _seen(self, images: Tensor, what: str, at: int) -> Tensor:
        """Images as the discriminator is shown them."""
        augment = self.recipe.regularizers.augment
        if augment is None:
            return images
        return augment(images, self.draws.rng(what, at), self.state.strength)

    def _look(self, images: Tensor, labels: Tensor | None, mix: Any = None) -> Judged:
        """Past the wrapper: no gradient of the discriminator is wanted."""
        parts = (len(images) // self._halves,) * self._halves
        with self.fabric.autocast():
            judged: Judged = self.judge.module(images, labels, mix, parts)
        return judged._replace(logits=judged.logits.float())

    def _penalty(self, penalty: Penalty) -> Tensor:
        found: Tensor = self.judge(None, penalty=penalty)
        return found

    def _note(self, real_logits: Tensor) -> None:
        """How often real images pass for real: what adapts the strength of augmentations."""
        if "signs" in self.state.numbers:
            self.state.numbers["signs"] += real_logits.detach().sign().sum()
            self.state.numbers["judged"] += len(real_logits)


def _nothing(values: Tensor) -> Tensor:
    """0 with a slope of 0 by every weight that made the values.

    No slope depends on the last bias; but several devices wait for slopes by all weights, and Adam
    counts an update of each.
    """
    return 0 * values.float().mean()
