"""The generator of StyleGAN3, in the configurations T (3x3 kernels) and R (1x1, radial filters).

Karras, Aittala, Laine, Härkönen, Hellsten, Lehtinen, Aila (2021), "Alias-Free Generative
Adversarial Networks". Names, shapes and defaults of arguments and tensors are those of the
authors' PyTorch release, so that its tensors fit; its half precision is not used, and its moving
averages (`w_avg`, `magnitude_ema`) are read and never written.
"""

from torch import Tensor, nn

from ganaudit.networks import check_size
from ganaudit.networks.style_layers import MAX_FEATURES, StyleMapping, check_flag, check_number
from ganaudit.networks.stylegan3_layout import MAX_CHANNELS, layer_plans, signals
from ganaudit.networks.stylegan3_synthesis import Synthesis

MAX_SIZE = 2048


class StyleGAN3Generator(nn.Module):
    """Latents in, images out.

    Attributes:
      latent_shape: (z_dim,).
      num_labels: c_dim; 0: unconditional.
      image_shape: (C, H, W).
      num_ws: how many times the intermediate latent is used; the bound of `cutoff`.
    """

    def __init__(
        self,
        *,
        z_dim: int,
        c_dim: int,
        w_dim: int,
        img_resolution: int,
        img_channels: int,
        mapping_num_layers: int = 2,
        mapping_lr_multiplier: float = 0.01,
        channel_base: int = 32768,
        channel_max: int = 512,
        num_layers: int = 14,
        num_critical: int = 2,
        first_cutoff: float = 2,
        first_stopband: float = 2**2.1,
        last_stopband_rel: float = 2**0.3,
        margin_size: int = 10,
        output_scale: float = 0.25,
        conv_kernel: int = 3,
        filter_size: int = 6,
        lrelu_upsampling: int = 2,
        use_radial_filters: bool = False,
        conv_clamp: float | None = 256,
    ) -> None:
        """Makes the layers, randomly initialised; on the meta device no filter is designed.

        Args:
          z_dim: length of a latent, 1 to 16384.
          c_dim: classes, 0 to 100000; 0: unconditional.
          w_dim: length of an intermediate latent, 1 to 16384.
          img_resolution: height and width, pixels, 8 to 2048; any number, as in the release.
          img_channels: 1 to 4.
          mapping_num_layers: 0 to 64.
          mapping_lr_multiplier: factor on the mapping's stored weights, 1e-6 to 100.
          channel_base: channels are this by twice the cutoff frequency, 1 to 2**20.
          channel_max: most channels of a layer, 1 to 4096.
          num_layers: layers before the last, 1 to 64.
          num_critical: critically sampled ones at the end, 0 to num_layers - 1.
          first_cutoff: cycles per image, 0.5 to 1024; below the stopband and the image's half.
          first_stopband: cycles per image, 0.5 to 2048.
          last_stopband_rel: stopband of the last layer by its cutoff, 1 to 16.
          margin_size: pixels computed beyond each edge, 0 to 256.
          output_scale: factor on the images, -1000 to 1000.
          conv_kernel: edge of a kernel, 1 to 9; the last layer's is 1.
          filter_size: taps by the factor of a change of resolution, 1 to 16.
          lrelu_upsampling: of the leaky ReLU, 1 to 4.
          use_radial_filters: jinc filters where the sampling is not critical.
          conv_clamp: limit of a layer's absolute value, 0 to 1e6; None: no limit.

        Raises:
          ValueError: an argument out of its bounds, or several that exclude each other.
        """
        super().__init__()
        check_size("img_resolution", img_resolution, 8, MAX_SIZE)
        check_size("img_channels", img_channels, 1, 4)
        check_size("num_layers", num_layers, 1, 64)
        check_size("num_critical", num_critical, 0, num_layers - 1)
        flow = signals(
            img_resolution=img_resolution,
            img_channels=img_channels,
            channel_base=check_size("channel_base", channel_base, 1, 2**20),
            channel_max=check_size("channel_max", channel_max, 1, MAX_CHANNELS),
            num_layers=num_layers,
            num_critical=num_critical,
            first_cutoff=check_number("first_cutoff", first_cutoff, 0.5, 1024),
            first_stopband=check_number("first_stopband", first_stopband, 0.5, 2048),
            last_stopband_rel=check_number("last_stopband_rel", last_stopband_rel, 1, 16),
            margin_size=check_size("margin_size", margin_size, 0, 256),
        )
        plans = layer_plans(
            flow,
            num_critical=num_critical,
            conv_kernel=check_size("conv_kernel", conv_kernel, 1, 9),
            filter_size=check_size("filter_size", filter_size, 1, 16),
            lrelu_upsampling=check_size("lrelu_upsampling", lrelu_upsampling, 1, 4),
            use_radial_filters=check_flag("use_radial_filters", use_radial_filters),
        )
        self.latent_shape = (check_size("z_dim", z_dim, 1, MAX_FEATURES),)
        self.image_shape = (img_channels, img_resolution, img_resolution)
        self.num_ws = num_layers + 2
        self.mapping = StyleMapping(
            z_dim=z_dim,
            c_dim=c_dim,
            w_dim=w_dim,
            num_layers=mapping_num_layers,
            lr_multiplier=mapping_lr_multiplier,
        )
        self.num_labels = c_dim
        self.synthesis = Synthesis(
            w_dim,
            flow[0],
            plans,
            clamp=None if conv_clamp is None else check_number("conv_clamp", conv_clamp, 0, 1e6),
            scale=check_number("output_scale", output_scale, -1000, 1000),
        )

    def forward(
        self,
        latents: Tensor,
        labels: Tensor | None = None,
        *,
        psi: float = 1.0,
        cutoff: int | None = None,
    ) -> Tensor:
        """Images for latents, each row by itself.

        Args:
          latents: [N, z_dim] float32 from a standard normal.
          labels: [N] int64, class numbers; None exactly where the network has no classes.
          psi: truncation: intermediate latents are this far from their mean, 1 as they are.
          cutoff: how many of the `num_ws` uses are truncated, counted from the first; None: all.

        Returns:
          [N, C, H, W] float32, nominally in [-1, 1], not clamped.

        Raises:
          ValueError: latents of another length, labels missing or not wanted, a negative cutoff.
        """
        styles = self.mapping(latents, labels)  # [N, w_dim]
        uses = self.mapping.broadcast(styles, self.num_ws, psi=psi, cutoff=cutoff).unbind(dim=1)
        images: Tensor = self.synthesis(uses)
        return images
