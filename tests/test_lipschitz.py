"""How steep features are: exact for linear maps, and written once a checkpoint."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from test_training_runs import broken_off, request
from torch import Tensor, nn

from ganaudit.training.journal import read_log
from ganaudit.training.lipschitz import lipschitz_ratio
from ganaudit.training.runs import train


class Affine(nn.Module):
    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.matrix = matrix

    def features(self, images: Tensor, labels: Tensor | None) -> Tensor:
        found = images.flatten(1) @ self.matrix.T + 5
        return found if labels is None else found * (1 + labels[:, None])


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("count", [2, 7, 300])
def test_a_turn_that_stretches_has_its_stretch_whatever_the_pairs(count: int) -> None:
    turn, _ = torch.linalg.qr(normal(12, 12))
    found = lipschitz_ratio(Affine(2.5 * turn), normal(count, 3, 2, 2))
    assert found == pytest.approx(2.5, rel=1e-5)


def test_pairs_are_neighbouring_rows_and_the_mean_is_of_their_ratios() -> None:
    network = Affine(torch.tensor([[3.0, 0.0], [0.0, 1.0]]))
    rows = torch.tensor([[0.0, 0], [2, 0], [1, 1], [1, 6], [0, 0], [1, 1], [9, 9]])
    wanted = (3 + 1 + math.sqrt((9 + 1) / 2)) / 3  # the last row has no partner
    assert lipschitz_ratio(network, rows) == pytest.approx(wanted)


def test_equal_images_say_nothing() -> None:
    network = Affine(torch.eye(2) * 4)
    rows = torch.tensor([[1.0, 1], [1, 1], [0, 0], [0, 3]])
    assert lipschitz_ratio(network, rows) == pytest.approx(4)
    assert math.isnan(lipschitz_ratio(network, rows[:2]))


def test_labels_are_those_of_their_images() -> None:
    rows = torch.cat([torch.zeros(80, 2), torch.ones(80, 2)])[
        torch.arange(160) // 2 + 80 * (torch.arange(160) % 2)
    ]
    rows = rows * torch.arange(1, 161)[:, None]
    labels = torch.full((160,), 2)
    assert lipschitz_ratio(Affine(torch.eye(2)), rows, labels) != pytest.approx(1)


def test_mode_and_buffers_stay_what_they_were() -> None:
    class Judge(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(4)
            self.modes: list[bool] = []

        def features(self, images: Tensor, labels: Tensor | None) -> Tensor:
            self.modes.append(self.training)
            return self.norm(images)

    network = Judge().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = lipschitz_ratio(network, normal(130, 4))
    assert found == pytest.approx(1 / math.sqrt(1 + 1e-5), rel=1e-5)  # its first statistics
    assert network.training and network.norm.training and not any(network.modes)
    assert len(network.modes) == 3  # 130 images, 64 at once
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not lipschitz_ratio(network.eval(), normal(2, 4)) == 0 and not network.training


def test_every_checkpoint_has_one_line_about_it_though_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data.npz"
    rng = np.random.default_rng(3)
    np.savez(data, images=rng.integers(0, 256, (60, 8, 8), dtype=np.uint8))
    train(request(data, tmp_path / "whole"))
    cut = request(data, tmp_path / "cut")
    broken_off(cut, 5, monkeypatch)
    train(request(data, tmp_path / "cut", resume=True))
    found = [
        [
            (line["step"], line["lipschitz_real"], line["lipschitz_fake"])
            for line in read_log(tmp_path / name)
            if "lipschitz_real" in line
        ]
        for name in ("whole", "cut")
    ]
    assert found[0] == found[1]
    assert [step for step, _, _ in found[0]] == [0, 2, 4, 6]
    assert all(real > 0 and fake > 0 for _, real, fake in found[0])
