"""What each update minimises: lazy penalties, replaced images, signs, and parts of a batch."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from styled import phases, pictures, request, styled
from test_loop import fabric, images, recipe, trained
from torch import Tensor, nn

from ganaudit.regularizers.buffers import buffers_kept
from ganaudit.training import loop, rendering
from ganaudit.training.phases import Phases
from ganaudit.training.recipe import Recipe
from ganaudit.training.rendering import Rendered
from ganaudit.training.states import make_state


def slopes(total: Tensor, network: nn.Module) -> list[Tensor]:
    network.zero_grad()
    total.backward()
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in network.parameters()]


# -- R1 --------------------------------------------------------------------------------------


def test_a_rare_r1_has_its_own_update_and_is_as_many_times_as_strong() -> None:
    data = images()
    rare, usual, none = (
        phases(recipe(data, *pairs), data)
        for pairs in (("loss.r1=2", "loss.r1_every=3"), ("loss.r1=2", "loss.r1_every=1"), ())
    )
    _, values = rare.discriminator(0)
    assert "r1" not in values
    alone = slopes(rare.r1(0)[0], rare.state.discriminator)
    together = slopes(usual.discriminator(0)[0], usual.state.discriminator)
    without = slopes(none.discriminator(0)[0], none.state.discriminator)
    assert max(float(one.abs().max()) for one in alone) > 0
    for one, both, rest in zip(alone, together, without, strict=True):
        torch.testing.assert_close(one, 3 * (both - rest), atol=1e-5, rtol=1e-3)


def test_rare_penalties_are_updates_between_the_others() -> None:
    data = pictures(size=8)
    made = styled(data, "loss.r1_every=3", "styles.path_every=2", steps=5)
    seen: dict[int, set[str]] = {}
    state, _ = trained(made, data, after_step=lambda step, values: seen.update({step: {*values}}))
    assert [step for step in seen if "r1" in seen[step]] == [1, 4]
    assert [step for step in seen if "path_penalty" in seen[step]] == [1, 3, 5]
    taken = state.tensors()
    assert float(taken["discriminator_optimizer.0.step"]) == 5 + 2
    assert float(taken["generator_optimizer.0.step"]) == 5 + 3


def test_a_rare_penalty_reaches_every_weight_of_its_network() -> None:
    """Several devices wait for all of them; the last bias is in no slope, so it is 0."""
    data = pictures(size=8)
    made = phases(styled(data), data)
    for phase, network, last in (
        (made.r1, made.state.discriminator, "b4.out.bias"),
        (made.path_length, made.state.generator, "synthesis.b8.torgb.bias"),
    ):
        network.zero_grad()
        phase(0)[0].backward()
        assert all(parameter.grad is not None for parameter in network.parameters())
        slope = network.get_parameter(last).grad
        assert slope is not None and not slope.any()


# -- path lengths --------------------------------------------------------------------------------


def test_the_path_penalty_is_the_spread_around_a_mean_that_follows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Tensor] = []
    measure = rendering.path_lengths

    def watched(*given: Any) -> Tensor:
        seen.append(measure(*given))
        return seen[-1]

    monkeypatch.setattr(rendering, "path_lengths", watched)
    data = pictures(size=8)
    pairs = ("styles.path_length=3", "styles.path_every=5", "styles.path_decay=0.25")
    made, mean = phases(styled(data, *pairs), data), 0.0
    for at in range(3):
        total, values = made.path_length(at)
        lengths = seen[at].detach().tolist()
        assert len(lengths) == 8 // 2
        mean += 0.25 * (sum(lengths) / 4 - mean)
        assert float(made.state.numbers["path_mean"]) == pytest.approx(mean, rel=1e-5)
        spread = sum((length - mean) ** 2 for length in lengths) / 4
        assert float(total.detach()) == pytest.approx(5 * 3 * spread, rel=1e-4)
        assert float(values["path_penalty"].detach()) == float(total.detach())
        assert float(values["path_length"].detach()) == pytest.approx(sum(lengths) / 4, rel=1e-5)
        # As published, the mean is derived too, by the share that it follows.
        (slope,) = torch.autograd.grad(total, seen[at])
        away = sum(length - mean for length in lengths) / 4
        wanted = [5 * 3 * 2 / 4 * (length - mean - 0.25 * away) for length in lengths]
        assert slope.tolist() == pytest.approx(wanted, rel=1e-3)
    assert not made.state.numbers["path_mean"].requires_grad


@pytest.mark.parametrize(("mixing", "crossed"), [(0.0, [False] * 5), (1.0, [True] * 5)])
def test_styles_are_crossed_as_often_as_asked(mixing: float, crossed: list[bool]) -> None:
    data = pictures(size=8)
    made = phases(styled(data, f"styles.mixing={mixing}"), data)
    found, places = [], []

    def watched(*given: Any) -> Rendered:
        found.append(given[3] is not None)
        places.append(given[4])
        return made.renderer(*given)

    for at in range(5):
        replace(made, renderer=watched).generator(at)
    assert found == crossed
    assert all(1 <= place <= 3 for place in places) == bool(mixing)
    assert all(place == 0 for place in places) != bool(mixing)


# -- replaced real images, and signs ----------------------------------------------------------


def test_at_1_all_real_images_are_the_generators_own() -> None:
    data = images(labels=3)
    made = phases(recipe(data, "augment.p=1", augment=("apa",), arch="cdcgan"), data)
    real, labels = made._real(0, "deceived")
    latents = made.draws.latents("deceived latents", 0, 8)
    assert labels is not None
    with torch.no_grad(), buffers_kept(made.state.generator):
        assert torch.equal(real, made.state.generator(latents, labels))
    assert torch.equal(labels, made.draws.real(0)[1])


def test_others_stay_what_they_were_and_buffers_too() -> None:
    data = images()
    made = phases(recipe(data, "augment.p=0.5", augment=("apa",)), data)
    before = {name: value.clone() for name, value in made.state.generator.state_dict().items()}
    changed = 0
    for at in range(20):
        real, _ = made._real(at, "deceived")
        untouched, _ = made.draws.real(at)
        replaced = (real != untouched).flatten(1).any(dim=1)
        changed += int(replaced.sum())
        assert torch.equal(real[~replaced], untouched[~replaced])
    assert 50 < changed < 110  # 80 of 160, five deviations of 6.3
    after = made.state.generator.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_at_0_the_real_images_are_real() -> None:
    data = images()
    made = phases(recipe(data, augment=("apa",)), data)
    assert made.state.strength == 0
    assert torch.equal(made._real(3, "deceived")[0], made.draws.real(3)[0])


def test_signs_of_real_logits_are_counted_over_parts_and_penalties() -> None:
    data = images()
    pairs = ("loss.r1=1", "loss.r1_every=2")
    made = phases(recipe(data, *pairs, augment=("ada",), parts=2), data)
    wanted = 0.0
    for at in (0, 1):
        made.discriminator(at)
        made.r1(at)
        shown, _ = made.draws.real(at)
        assert len(shown) == 4
        wanted += 2 * float(made.state.discriminator(shown).detach().sign().sum())
    assert float(made.state.numbers["judged"]) == 16
    assert float(made.state.numbers["signs"]) == wanted


# -- parts -----------------------------------------------------------------------------------


def plain(**said: Any) -> Recipe:
    return recipe(images(), steps=1, **said)


def test_parts_of_a_batch_have_its_images_and_the_mean_of_their_slopes_is_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def grey(self: Phases, latents: Tensor, *given: Any, **more: Any) -> Rendered:
        return Rendered(torch.full((len(latents), 1, 8, 8), 0.3), None)

    monkeypatch.setattr(Phases, "_fakes", grey)
    data = images()
    whole, parted = phases(plain(), data), phases(plain(parts=4), data)
    shown = torch.cat([parted.draws.real(at)[0] for at in range(4, 8)])
    assert torch.equal(shown, whole.draws.real(1)[0])
    wanted = slopes(whole.discriminator(1)[0], whole.state.discriminator)
    sums = [torch.zeros_like(one) for one in wanted]
    for at in range(4, 8):
        for total, one in zip(
            sums, slopes(parted.discriminator(at)[0], parted.state.discriminator), strict=True
        ):
            total += one / 4
    for one, other in zip(wanted, sums, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("parts", [1, 2, 8])
def test_an_update_is_one_whatever_its_parts(parts: int) -> None:
    data, asked = images(), fabric()
    totals: list[Tensor] = []
    seen: dict[str, Tensor] = {}
    backward = asked.backward
    asked.backward = lambda total: (totals.append(total.detach()), backward(total))
    made = plain(parts=parts)
    state = make_state(made)
    loop.train(asked, made, data, state, after_step=lambda _, values: seen.update(values))
    assert len(totals) == 2 * parts
    torch.testing.assert_close(sum(totals[:parts]), seen["loss_discriminator"])
    torch.testing.assert_close(sum(totals[parts:]), seen["loss_generator"])
    for name in ("generator", "discriminator"):
        assert float(state.tensors()[f"{name}_optimizer.0.step"]) == 1


def test_no_part_draws_what_another_did() -> None:
    made = phases(plain(parts=2), images())
    drawn = [made.draws.latents("latents", at, 4) for at in range(4)]
    assert len({some.numpy().tobytes() for some in drawn}) == 4


def test_a_batch_that_parts_do_not_divide_is_refused() -> None:
    with pytest.raises(Exception, match="--batch 8 must be a multiple of --devices 1 times --pa"):
        plain(parts=3)
    data = pictures(size=8)
    with pytest.raises(Exception, match="gives parts of 4 images, and the .* at groups of 3"):
        styled(data, "discriminator.mbstd_group_size=3", parts=2)
    assert request(parts=2).parts == 2
