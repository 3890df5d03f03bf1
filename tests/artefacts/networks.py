"""The architectures of the real artefacts, as their users would bring them: `python:` factories.

The weights stand beside the checkout in ../shared/artefacts and are never committed.
"""

from pathlib import Path

import torch
from torch import Tensor, nn


class Faces(nn.Module):
    """z in U(-1, 1)^100 to 32 x 32 CelebA faces."""

    latent_shape = (100,)
    range = (-1.0, 1.0)

    def __init__(self) -> None:
        super().__init__()
        self.generator_deconv = nn.Sequential(
            nn.Sequential(nn.ConvTranspose2d(100, 256, 4, 1, 0, bias=False), nn.BatchNorm2d(256)),
            _leaky(nn.Conv2d(256, 128, 3, 1, 1, bias=False), 128),
            _leaky(nn.ConvTranspose2d(128, 64, 4, 2, 1, bias=False), 64),
            _leaky(nn.ConvTranspose2d(64, 32, 4, 2, 1, bias=False), 32),
            nn.Sequential(nn.ConvTranspose2d(32, 3, 4, 2, 1)),
        )

    def forward(self, latents: Tensor) -> Tensor:
        return torch.tanh(self.generator_deconv(latents[:, :, None, None]))


def _leaky(layer: nn.Module, channels: int) -> nn.Module:
    return nn.Sequential(layer, nn.BatchNorm2d(channels), nn.LeakyReLU(0.2))


class FacesDiscriminator(nn.Module):
    """The faces' least-squares D: 3 x 32 x 32 in [-1, 1] to [N, 1]."""

    def __init__(self) -> None:
        super().__init__()
        sides = [(32, 64), (64, 128), (128, 256)]
        self.discriminator = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 32, 4, 2, 1), nn.LeakyReLU(0.2)),
            *(
                _leaky(nn.Conv2d(before, after, 4, 2, 1, bias=False), after)
                for before, after in sides
            ),
            nn.Flatten(),
            nn.Linear(1024, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.discriminator(images)


class WganCritic(nn.Module):
    """The digits' critic: 1 x 28 x 28 in [-1, 1] to [N, 1, 1, 1] and more."""

    def __init__(self) -> None:
        super().__init__()

        def block(before: int, after: int) -> nn.Module:
            layer = nn.Module()
            layer.block = nn.Sequential(
                nn.Conv2d(before, after, 4, 2), nn.BatchNorm2d(after), nn.LeakyReLU(0.2)
            )
            layer.forward = layer.block.forward
            return layer

        self.model = nn.Sequential(block(1, 64), block(64, 128), nn.Conv2d(128, 1, 4, 2))

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images).flatten(1).mean(dim=1)


class Wgan(nn.Module):
    """z in N(0, 1)^64 to 28 x 28 MNIST digits."""

    latent_shape = (64,)
    prior = "normal"
    range = (-1.0, 1.0)

    def __init__(self) -> None:
        super().__init__()

        def block(before: int, after: int, kernel: int, stride: int) -> nn.Module:
            layer = nn.Module()
            layer.block = nn.Sequential(
                nn.ConvTranspose2d(before, after, kernel, stride), nn.BatchNorm2d(after), nn.ReLU()
            )
            layer.forward = layer.block.forward
            return layer

        self.model = nn.Sequential(
            block(64, 256, 3, 2),
            block(256, 128, 4, 1),
            block(128, 64, 3, 2),
            nn.ConvTranspose2d(64, 1, 4, 2),
        )

    def forward(self, latents: Tensor) -> Tensor:
        return torch.tanh(self.model(latents[:, :, None, None]))


class Dcgan(nn.Module):
    """z in N(0, 1)^(100, 1, 1) to 28 x 28 MNIST digits."""

    latent_shape = (100, 1, 1)
    prior = "normal"
    range = (-1.0, 1.0)

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.ConvTranspose2d(100, 128, 7, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.ConvTranspose2d(128, 64, 4, 2, 1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.ConvTranspose2d(64, 1, 4, 2, 1, bias=False),
        )

    def forward(self, latents: Tensor) -> Tensor:
        return torch.tanh(self.net(latents))


class Lenet(nn.Module):
    """1 x 32 x 32 in [0, 1] to the 84 activations before the classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.convnet = nn.ModuleDict(
            {"c1": nn.Conv2d(1, 6, 5), "c3": nn.Conv2d(6, 16, 5), "c5": nn.Conv2d(16, 120, 5)}
        )
        self.fc = nn.ModuleDict({"f6": nn.Linear(120, 84), "f7": nn.Linear(84, 10)})

    def forward(self, images: Tensor) -> Tensor:
        x = torch.max_pool2d(torch.relu(self.convnet["c1"](images)), 2)
        x = torch.max_pool2d(torch.relu(self.convnet["c3"](x)), 2)
        return torch.relu(self.fc["f6"](torch.relu(self.convnet["c5"](x)).flatten(1)))


def faces(*, weights: Path) -> Faces:
    return _loaded(Faces(), weights)


def wgan(*, weights: Path) -> Wgan:
    return _loaded(Wgan(), weights)


def dcgan(*, weights: Path) -> Dcgan:
    return _loaded(Dcgan(), weights)


def lenet(*, weights: Path) -> Lenet:
    return _loaded(Lenet(), weights)


def _loaded(module: nn.Module, weights: Path) -> nn.Module:
    state = torch.load(weights, weights_only=True, map_location="cpu")
    module.load_state_dict(state.get("state_dict", state))
    return module.eval()
