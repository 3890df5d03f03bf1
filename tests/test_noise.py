import numpy as np
import pytest
import torch
from scipy.special import ndtri

from ganaudit.noise import layer_noise, philox
from ganaudit.slots import philox as philox_of_slots

CPU = torch.device("cpu")


def test_philox_in_torch_is_that_of_the_slots() -> None:
    rng = np.random.default_rng(3)
    counter = rng.integers(0, 2**32, (5, 7, 4), dtype=np.uint32)
    key = (0xFFFFFFFF, 0x80000001)
    words = philox(
        tuple(torch.from_numpy(counter[..., i].astype(np.int64)) for i in range(4)),  # type: ignore[arg-type]
        (torch.tensor(key[0]), torch.tensor(key[1])),
    )
    assert np.array_equal(torch.stack(words, -1).numpy(), philox_of_slots(counter, key))


def test_noise_is_the_inverse_normal_of_its_counter() -> None:
    seed = (5 << 32) | 77
    (noise,) = layer_noise(torch.tensor([seed]), [(3, 5)], device=CPU)
    counter = np.zeros((4, 4), np.uint32)
    counter[:, 0] = np.arange(4)
    words = philox_of_slots(counter, (77, 5)).reshape(-1)[:15]
    expected = ndtri((words + 0.5) / 2**32).reshape(1, 1, 3, 5)
    assert noise.dtype == torch.float32
    np.testing.assert_allclose(noise.numpy(), expected, rtol=1e-6)


def test_a_row_depends_on_its_seed_and_layer_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = torch.tensor([1, 2**62, 9, 1])
    together = layer_noise(seeds, [(4, 4), (8, 8), (8, 8)], device=CPU)
    monkeypatch.setattr("ganaudit.noise._AT_ONCE", 1)
    for i in range(4):
        for layer, alone in enumerate(
            layer_noise(seeds[i : i + 1], [(4, 4), (8, 8), (8, 8)], device=CPU)
        ):
            assert torch.equal(together[layer][i : i + 1], alone)
    assert torch.equal(together[1][0], together[1][3])
    assert not torch.equal(together[1], together[2])  # equal shapes, other layers
    assert not torch.equal(together[1][0], together[1][1])


def test_it_is_standard_normal() -> None:
    noise = torch.cat([n.flatten() for n in layer_noise(torch.arange(40), [(64, 64)], device=CPU)])
    count = noise.numel()
    assert abs(noise.mean()) < 4 / count**0.5
    assert abs(noise.var() - 1) < 4 * (2 / count) ** 0.5
    assert abs((noise.abs() < 1).double().mean() - 0.682689) < 4 * (0.2167 / count) ** 0.5


@pytest.mark.gpu
def test_a_gpu_makes_the_same_noise() -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    seeds = torch.tensor([3, 2**61])
    (here,) = layer_noise(seeds, [(16, 16)], device=CPU)
    (there,) = layer_noise(seeds, [(16, 16)], device=torch.device("cuda"))
    torch.testing.assert_close(there.cpu(), here, rtol=1e-6, atol=1e-7)
