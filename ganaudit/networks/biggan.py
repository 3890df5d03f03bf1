"""BigGAN's generator, as BigGAN-PyTorch (BigGAN.py) trains and saves it.

Brock, Donahue, Simonyan (2019), appendix B, figure 15. Arguments and tensors carry the names of
that code. Deviations: everything is computed in float32 and in evaluation mode, so statistics are
those stored, and singular vectors are not updated.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ganaudit.networks import check_size
from ganaudit.networks.biggan_layers import (
    Attention,
    ClassNorm,
    PlainNorm,
    Recipe,
    Stage,
    attended_resolutions,
    check_bool,
    class_numbers,
)

MAX_WIDTH = 256
MAX_LATENT_SIZE = 4096
MAX_CLASSES = 100_000
MAX_BOTTOM = 8

# Channels at the start and after each doubling of the size, in units of G_ch, by resolution.
WIDTHS = {
    32: (4, 4, 4, 4),
    64: (16, 16, 8, 4, 2),
    128: (16, 16, 8, 4, 2, 1),
    256: (16, 16, 8, 8, 4, 2, 1),
    512: (16, 16, 8, 8, 4, 2, 1, 1),
}


class BigGANGenerator(nn.Module):
    """Latents and class numbers in, images out."""

    def __init__(
        self,
        *,
        G_ch: int = 64,
        dim_z: int = 128,
        bottom_width: int = 4,
        resolution: int = 128,
        G_attn: str | int = "64",
        n_classes: int = 1000,
        G_shared: bool = True,
        shared_dim: int = 0,
        hier: bool = False,
        G_param: str = "SN",
        num_G_SVs: int = 1,
        SN_eps: float = 1e-8,
        cross_replica: bool = False,
        mybn: bool = False,
        norm_style: str = "bn",
        BN_eps: float = 1e-5,
        accumulate_standing: bool = False,
        sync_gain: str = "multiplied",
    ) -> None:
        """Makes the layers, randomly initialised.

        Args:
          G_ch: unit of the widths, 1 to 256; the narrowest layer of 128 x 128 has so many channels.
          dim_z: length of a latent, 1 to 4096; if hier, what its equal chunks leave over is cut.
          bottom_width: height and width that layers start from, 1 to 8.
          resolution: height and width of an image of which bottom_width is 4: 32, 64, 128, 256
            or 512. Another bottom_width scales the images, not this number.
          G_attn: resolutions (by the same count) with attention, such as "64", "32_64"; "0": none.
          n_classes: 1 to 100,000.
          G_shared: classes have one embedding for all layers; if not, each layer has its own.
          shared_dim: length of that embedding, 0 to 4096; 0: dim_z.
          hier: each block sees a chunk of the latent of its own. Needs G_shared.
          G_param: as `Recipe` has it, and so on for the rest.
          num_G_SVs: see `Recipe`.
          SN_eps: see `Recipe`; the default is that of its train.py.
          cross_replica: see `Recipe`.
          mybn: see `Recipe`.
          norm_style: see `Recipe`.
          BN_eps: see `Recipe`.
          accumulate_standing: see `Recipe`.
          sync_gain: see `Recipe`.

        Raises:
          ValueError: an argument out of its bounds.
        """
        super().__init__()
        recipe = Recipe(
            G_param=G_param,
            num_G_SVs=num_G_SVs,
            SN_eps=SN_eps,
            cross_replica=cross_replica,
            mybn=mybn,
            norm_style=norm_style,
            BN_eps=BN_eps,
            accumulate_standing=accumulate_standing,
            sync_gain=sync_gain,
        )
        widths = widths_of(resolution, WIDTHS, G_ch)
        attended = attended_resolutions("G_attn", G_attn)
        self.n_classes = check_size("n_classes", n_classes, 1, MAX_CLASSES)
        self.bottom_width = check_size("bottom_width", bottom_width, 1, MAX_BOTTOM)
        chunks = len(widths) if _check_hier(hier, G_shared) else 1
        self.chunk = check_size("dim_z", dim_z, chunks, MAX_LATENT_SIZE) // chunks
        embedding = check_size("shared_dim", shared_dim, 0, MAX_LATENT_SIZE) or dim_z
        condition = embedding + (self.chunk if hier else 0) if G_shared else n_classes

        self.shared = nn.Embedding(n_classes, embedding) if G_shared else nn.Identity()
        self.linear = recipe.linear(self.chunk, widths[0] * bottom_width**2)
        self.blocks = nn.ModuleList()
        for index, (inputs, outputs) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
            stage = Stage([Block(inputs, outputs, condition, recipe, embedded=G_shared)])
            if 8 * 2**index in attended:
                stage.append(Attention(outputs, recipe))
            self.blocks.append(stage)
        self.output_layer = output_layer(widths[-1], recipe)

        size = bottom_width * 2 ** len(self.blocks)
        self.latent_shape = (self.chunk * chunks,)
        self.num_labels = n_classes if n_classes > 1 else 0
        self.image_shape = (3, size, size)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images [N, 3, H, W] float32 in [-1, 1].

        Args:
          latents: [N, *latent_shape] float32; networks are trained on a standard normal.
          labels: [N] int64, 0 to n_classes - 1; None: the only class.
        """
        classes = self.shared(class_numbers(labels, latents, self.n_classes))
        first, *rest = latents.split(self.chunk, dim=1)
        conditions = [torch.cat([classes, chunk], dim=1) for chunk in rest] or [classes] * len(
            self.blocks
        )
        images = self.linear(first).view(latents.shape[0], -1, self.bottom_width, self.bottom_width)
        for stage, condition in zip(self.blocks, conditions, strict=True):
            images = stage(images, condition)
        return torch.tanh(self.output_layer(images))


class Block(nn.Module):
    """Doubles the size: two convolutions of 3 x 3 beside a shortcut of 1 x 1."""

    def __init__(
        self, inputs: int, outputs: int, condition: int, recipe: Recipe, *, embedded: bool
    ) -> None:
        """Makes the layers; condition and embedded are those of `ClassNorm`."""
        super().__init__()
        self.conv1 = recipe.conv(inputs, outputs, 3)
        self.conv2 = recipe.conv(outputs, outputs, 3)
        self.conv_sc = recipe.conv(inputs, outputs, 1)
        self.bn1 = ClassNorm(inputs, condition, recipe, embedded=embedded)
        self.bn2 = ClassNorm(outputs, condition, recipe, embedded=embedded)

    def forward(self, images: Tensor, condition: Tensor) -> Tensor:
        """[N, inputs, H, W] to [N, outputs, 2H, 2W]."""
        changes = doubled(self.bn1(images, condition).relu())
        changes = self.conv1(changes)
        changes = self.conv2(self.bn2(changes, condition).relu())
        images = changes + self.conv_sc(doubled(images))
        return images


def widths_of(resolution: int, known: dict[int, tuple[int, ...]], unit: int) -> list[int]:
    """Channels before the first block and after each stage.

    Raises:
      ValueError: a resolution that is not `known`, or G_ch out of its bounds.
    """
    if check_size("resolution", resolution, min(known), max(known)) not in known:
        raise ValueError(f"resolution must be one of {', '.join(map(str, known))}")
    check_size("G_ch", unit, 1, MAX_WIDTH)
    return [width * unit for width in known[resolution]]


def output_layer(channels: int, recipe: Recipe) -> nn.Sequential:
    """The last layers: from channels to colours, before tanh."""
    return nn.Sequential(PlainNorm(channels, recipe), nn.ReLU(), recipe.conv(channels, 3, 3))


def doubled(images: Tensor) -> Tensor:
    """[N, C, H, W] to [N, C, 2H, 2W], each value four times."""
    return functional.interpolate(images, scale_factor=2, mode="nearest")


def _check_hier(hier: bool, shared: bool) -> bool:
    check_bool("hier", hier)
    check_bool("G_shared", shared)
    if hier and not shared:
        raise ValueError("hier needs G_shared: chunks of a latent are appended to an embedding")
    return hier
