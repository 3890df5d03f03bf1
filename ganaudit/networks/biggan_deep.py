"""BigGAN-deep's generator, as BigGAN-PyTorch (BigGANdeep.py) trains and saves it.

Brock, Donahue, Simonyan (2019), appendix B, figure 16. Arguments and tensors carry the names of
that code. Of its options only those are here that it can run itself: an embedding of the classes
shared by all layers and appended to the latent (G_shared, hier), and two blocks a stage except at
resolution 32. Deviations: float32 and evaluation mode, as in `ganaudit.networks.biggan`.
"""

import torch
from torch import Tensor, nn

from ganaudit.networks import check_size
from ganaudit.networks.biggan import (
    MAX_BOTTOM,
    MAX_CLASSES,
    MAX_LATENT_SIZE,
    WIDTHS,
    doubled,
    output_layer,
    widths_of,
)
from ganaudit.networks.biggan_layers import (
    Attention,
    ClassNorm,
    Recipe,
    Stage,
    attended_resolutions,
    check_quartered,
    class_numbers,
)

MAX_DEPTH = 8
DEEP_WIDTHS = {size: widths for size, widths in WIDTHS.items() if size <= 256}


class BigGANDeepGenerator(nn.Module):
    """Latents and class numbers in, images out."""

    def __init__(
        self,
        *,
        G_ch: int = 64,
        G_depth: int = 2,
        dim_z: int = 128,
        bottom_width: int = 4,
        resolution: int = 128,
        G_attn: str | int = "64",
        n_classes: int = 1000,
        shared_dim: int = 0,
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
          G_ch: unit of the widths, 1 to 256; from resolution 128 on at least 2.
          G_depth: blocks a stage, of which the last doubles the size: 2, and at 32 also 1 to 8.
          dim_z: length of a latent, 1 to 4096.
          bottom_width: height and width that layers start from, 1 to 8.
          resolution: height and width of an image of which bottom_width is 4: 32, 64, 128 or 256.
          G_attn: resolutions with attention after them, such as "64", "32_64"; "0": none.
          n_classes: 1 to 100,000.
          shared_dim: length of the classes' embedding, 0 to 4096; 0: dim_z.
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
        widths = widths_of(resolution, DEEP_WIDTHS, G_ch)
        attended = attended_resolutions("G_attn", G_attn)
        depth = _check_depth(G_depth, resolution)
        self.n_classes = check_size("n_classes", n_classes, 1, MAX_CLASSES)
        self.bottom_width = check_size("bottom_width", bottom_width, 1, MAX_BOTTOM)
        check_size("dim_z", dim_z, 1, MAX_LATENT_SIZE)
        embedding = check_size("shared_dim", shared_dim, 0, MAX_LATENT_SIZE) or dim_z
        condition = embedding + dim_z

        self.first_shape = (widths[0], bottom_width, bottom_width)
        self.shared = nn.Embedding(n_classes, embedding)
        self.linear = recipe.linear(condition, widths[0] * bottom_width**2)
        self.blocks = nn.ModuleList()
        for index, (inputs, outputs) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
            for step in range(depth):
                last = step == depth - 1
                block = Block(inputs, outputs if last else inputs, condition, recipe, doubles=last)
                stage = Stage([block])
                if last and 8 * 2**index in attended:
                    stage.append(Attention(outputs, recipe))
                self.blocks.append(stage)
        self.output_layer = output_layer(widths[-1], recipe)

        size = bottom_width * 2 ** (len(widths) - 1)
        self.latent_shape = (dim_z,)
        self.num_labels = n_classes if n_classes > 1 else 0
        self.image_shape = (3, size, size)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images [N, 3, H, W] float32 in [-1, 1].

        Args:
          latents: [N, *latent_shape] float32; networks are trained on a standard normal.
          labels: [N] int64, 0 to n_classes - 1; None: the only class.
        """
        classes = self.shared(class_numbers(labels, latents, self.n_classes))
        condition = torch.cat([classes, latents], dim=1)  # [N, embedding + dim_z]
        images = self.linear(condition).view(latents.shape[0], *self.first_shape)
        for stage in self.blocks:
            images = stage(images, condition)
        return torch.tanh(self.output_layer(images))


class Block(nn.Module):
    """Four convolutions through a quarter of the channels, beside a shortcut without weights."""

    def __init__(
        self, inputs: int, outputs: int, condition: int, recipe: Recipe, *, doubles: bool
    ) -> None:
        """Makes the layers.

        Args:
          inputs: channels in, at least 4.
          outputs: channels out, at most as many: the shortcut drops the others.
          condition: length of a condition.
          recipe: how the layers are made.
          doubles: the size of the images is doubled.

        Raises:
          ValueError: fewer than 4 channels.
        """
        super().__init__()
        check_quartered(inputs)
        self.outputs, self.doubles = outputs, doubles
        hidden = inputs // 4
        self.conv1 = recipe.conv(inputs, hidden, 1)
        self.conv2 = recipe.conv(hidden, hidden, 3)
        self.conv3 = recipe.conv(hidden, hidden, 3)
        self.conv4 = recipe.conv(hidden, outputs, 1)
        self.bn1 = ClassNorm(inputs, condition, recipe, embedded=True)
        self.bn2 = ClassNorm(hidden, condition, recipe, embedded=True)
        self.bn3 = ClassNorm(hidden, condition, recipe, embedded=True)
        self.bn4 = ClassNorm(hidden, condition, recipe, embedded=True)

    def forward(self, images: Tensor, condition: Tensor) -> Tensor:
        """[N, inputs, H, W] to [N, outputs, H, W], or twice the height and width."""
        changes = self.conv1(self.bn1(images, condition).relu())
        changes = self.bn2(changes, condition).relu()
        images = images[:, : self.outputs]
        if self.doubles:
            changes, images = doubled(changes), doubled(images)
        changes = self.conv2(changes)
        changes = self.conv3(self.bn3(changes, condition).relu())
        changes = self.conv4(self.bn4(changes, condition).relu())
        images = images + changes
        return images


def _check_depth(depth: int, resolution: int) -> int:
    check_size("G_depth", depth, 1, MAX_DEPTH)
    if depth != 2 and resolution != 32:
        raise ValueError(f"G_depth must be 2 at resolution {resolution}, got {depth}")
    return depth
