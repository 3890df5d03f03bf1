"""Random numbers of a training."""

import pytest
import torch

from ganaudit.training.randomness import draw_latents, stream


def test_a_stream_follows_from_its_place_alone() -> None:
    first = torch.rand(5, generator=stream(3, "latents", 7))
    torch.rand(1000)  # the global generator has no part in it
    assert torch.equal(first, torch.rand(5, generator=stream(3, "latents", 7)))


@pytest.mark.parametrize("other", [(4, "latents", 7), (3, "mix", 7), (3, "latents", 8)])
def test_every_part_of_a_place_tells_streams_apart(other: tuple[int, str, int]) -> None:
    first = torch.rand(5, generator=stream(3, "latents", 7))
    assert not torch.equal(first, torch.rand(5, generator=stream(*other)))


def test_places_do_not_run_into_each_other() -> None:
    one, other = stream(1, "latents", 1, 23), stream(1, "latents", 12, 3)
    assert one.initial_seed() != other.initial_seed()


def test_latents_have_the_moments_of_their_prior() -> None:
    spread = {"normal": 1.0, "uniform": 3**-0.5, "truncated": 0.8796, "spherical": 1.0}
    for prior, wanted in spread.items():
        latents = draw_latents(stream(0, prior), 20_000, (3, 2), prior)  # type: ignore[arg-type]
        assert latents.shape == (20_000, 3, 2) and latents.dtype == torch.float32
        # five standard errors of a mean and of a spread over 120,000 numbers
        assert abs(float(latents.mean())) < 5 * wanted / 120_000**0.5
        assert float(latents.std()) == pytest.approx(wanted, abs=5 / 120_000**0.5)


def test_bounded_priors_keep_to_their_bounds() -> None:
    assert float(draw_latents(stream(0, "a"), 10_000, (4,), "uniform").abs().max()) <= 1
    assert float(draw_latents(stream(0, "b"), 10_000, (4,), "truncated").abs().max()) <= 2
    spherical = draw_latents(stream(0, "c"), 100, (7,), "spherical")
    assert torch.allclose(spherical.square().mean(dim=1), torch.ones(100), atol=1e-6)
