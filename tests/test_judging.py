"""The one door to a discriminator in training."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ganaudit.networks.conditional_dcgan import ACGANDiscriminator, ConditionalDCGANDiscriminator
from ganaudit.regularizers.adaptivemix import AdaptiveMix
from ganaudit.training.judging import Judge
from ganaudit.training.losses import LOSSES, gradient_penalty


class Counted(nn.Module):
    """A discriminator that counts the rows which its features are asked for."""

    num_labels = 0

    def __init__(self, *, norm: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        layers = [nn.Linear(6, 5), *([nn.BatchNorm1d(5)] if norm else []), nn.Tanh()]
        self.layers, self.last = nn.Sequential(*layers), nn.Linear(5, 1)
        self.rows: list[int] = []

    def features(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        self.rows.append(len(images))
        return self.layers(images)  # type: ignore[no-any-return]

    def head(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.last(features).flatten()  # type: ignore[no-any-return]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_every_image_passes_the_features_once_and_every_pair_once() -> None:
    network = Counted()
    for pairing, pairs in (("within", 8), ("union", 8), ("cross", 3)):
        mix = AdaptiveMix(pairing=pairing).draw(3, 5, rng())  # type: ignore[arg-type]
        network.rows = []
        Judge(network)(normal(8, 6), None, mix)
        assert sum(network.rows) == 8 + pairs


def test_logits_of_unmixed_images_are_those_without_a_mix() -> None:
    network, images = Counted(), normal(8, 6)
    mix = AdaptiveMix(pairing="within").draw(4, 4, rng())
    plain, mixed = Judge(network)(images), Judge(network)(images, None, mix)
    assert torch.equal(plain.logits, mixed.logits) and torch.equal(plain.features, mixed.features)
    assert plain.mixed_features is None and plain.classes is None
    assert torch.equal(mixed.mixed_features, network.layers(mix.of(images)))


def test_a_mixed_sum_adds_the_logits_of_both_mixes() -> None:
    network, images = Counted(), normal(8, 6)
    mix = AdaptiveMix.preset("release").draw(4, 4, rng())
    found = Judge(network)(images, None, mix)
    features = network.layers(images)
    wanted = network.head(mix.of(features)) + network.head(network.layers(mix.of(images)))
    assert torch.allclose(found.logits, wanted, atol=1e-6)


def test_each_source_is_judged_among_itself() -> None:
    network, images = Counted(norm=True), normal(9, 6)
    together = Judge(network)(images, None, None, (4, 5)).logits
    apart = torch.cat([Judge(network)(part).logits for part in images.split([4, 5])])
    assert torch.equal(together, apart)
    assert not torch.allclose(together, Judge(network)(images).logits)


def test_mixed_images_of_each_source_are_judged_among_themselves() -> None:
    network, images = Counted(norm=True), normal(9, 6)
    mix = AdaptiveMix.preset("release").draw(4, 5, rng())
    found = Judge(network)(images, None, mix, (4, 5))
    mixed = torch.cat([network.features(part) for part in mix.of(images).split([4, 5])])
    clean = torch.cat([network.features(part) for part in images.split([4, 5])])
    assert torch.equal(found.mixed_features, mixed)
    wanted = network.head(mix.of(clean)) + network.head(mixed)
    assert torch.allclose(found.logits, wanted, atol=1e-6)


def test_mixed_images_leave_no_trace_in_statistics_and_singular_vectors() -> None:
    images, mix = normal(8, 6), AdaptiveMix(pairing="within").draw(4, 4, rng())
    networks = [Counted(norm=True) for _ in range(2)]
    for network, given in zip(networks, (None, mix), strict=True):
        network.last = spectral_norm(network.last)
        torch.manual_seed(5)
        for buffer in network.last.buffers():
            nn.init.normal_(buffer)
        Judge(network)(images, None, given, (4, 4))
    one, other = (network.state_dict() for network in networks)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_labels_of_a_pair_are_mixed() -> None:
    torch.manual_seed(0)
    network = ConditionalDCGANDiscriminator(num_labels=3, width=2, size=8)
    images, labels = normal(4, 1, 8, 8), torch.tensor([0, 1, 2, 0])
    mix = AdaptiveMix().draw(2, 2, rng())
    found = Judge(network)(images, labels, mix)
    soft = mix.of(F.one_hot(labels, 3).float())
    assert torch.equal(found.mixed_features, network.features(mix.of(images), soft))
    assert torch.equal(found.logits, network(images, labels))


def test_guessed_classes_come_along() -> None:
    torch.manual_seed(0)
    network = ACGANDiscriminator(num_classes=3, width=2, size=8)
    images = normal(4, 1, 8, 8)
    found = Judge(network)(images, torch.tensor([0, 1, 2, 0]))
    assert torch.equal(found.classes, network.classes(network.features(images)))
    found.classes.sum().backward()  # the features learn to tell classes apart
    assert all(p.grad is not None for p in network.discriminator.layers.parameters())


# -- two devices ----------------------------------------------------------------------------


def gradients(judge: nn.Module, rank: int) -> list[Tensor]:
    """Of a loss with mixing and a gradient penalty, of the images and the mix of one rank."""
    images = normal(8, 6, seed=20 + rank)
    mixing = AdaptiveMix(pairing="within", detach=True)
    mix = mixing.draw(4, 4, torch.Generator().manual_seed(rank))
    judged = judge(images, None, mix, (4, 4))
    real, fake = judged.logits.split(4)
    total = LOSSES["wgan-gp"].discriminator(real, fake) + mixing.loss(
        judged.features, judged.mixed_features, mix, torch.Generator().manual_seed(30 + rank)
    )
    total = total + gradient_penalty(
        lambda x, y: judge(x, y).logits, images[:4], images[4:], None,
        weight=10, rng=torch.Generator().manual_seed(40 + rank),
    )  # fmt: skip
    judge.zero_grad()
    total.backward()
    found = [parameter.grad for parameter in judge.parameters()]
    return [gradient.clone() for gradient in found if gradient is not None]


def on_one_rank(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    store = torch.distributed.FileStore(str(folder / "store"), 2)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    wrapped = nn.parallel.DistributedDataParallel(Judge(Counted()))
    torch.save(gradients(wrapped, rank), folder / f"{rank}.pt")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def test_ranks_share_the_gradient_of_mixes_and_penalties(tmp_path: Path) -> None:
    """Identity 23: on each it is the mean of those that the ranks would have had alone."""
    torch.multiprocessing.spawn(on_one_rank, args=(tmp_path,), nprocs=2)
    one, other = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    alone = [gradients(Judge(Counted()), rank) for rank in (0, 1)]
    assert len(one) == 4
    for place, gradient in enumerate(one):
        assert torch.equal(gradient, other[place])
        first, second = alone[0][place], alone[1][place]
        assert torch.allclose(gradient, (first + second) / 2, atol=1e-6)
        assert place == 3 or not torch.allclose(first, second, atol=1e-2)  # 3: D's bias cancels
