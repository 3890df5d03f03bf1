"""Which layers a StyleGAN3 generator has: sizes, rates, filters, all from a few numbers.

Karras et al. (2021), "Alias-Free Generative Adversarial Networks", section 3.2: the cutoff
frequency f_c and the stopband frequency f_t grow geometrically from layer to layer, the sampling
rate s is the power of two that carries the stopband, and the transition band is widened to what
that rate leaves room for. The last layers are critically sampled: sharp, at full resolution.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

MAX_UP = 256  # factor of one layer; the paper's are 1, 2 and 4
MAX_CHANNELS = 4096


@dataclass(frozen=True, kw_only=True)
class Signal:
    """What flows between two layers, of the same extent in both directions."""

    channels: int
    size: int  # pixels of an edge, margins included
    rate: int  # pixels of an edge that the image itself takes
    cutoff: float  # cycles per image, f_c
    half_width: float  # of the transition band, cycles per image, f_h


@dataclass(frozen=True, kw_only=True)
class LayerPlan:
    """One layer: a modulated convolution and a filtered leaky ReLU."""

    index: int
    source: Signal
    result: Signal
    to_rgb: bool  # the last layer: linear, unfiltered, not demodulated
    kernel: int  # edge of the convolution
    up: int
    down: int
    up_taps: int  # 1: no filter
    down_taps: int
    radial: bool  # the downsampling filter is [taps, taps]

    @property
    def name(self) -> str:
        """As in the authors' state dict."""
        return f"L{self.index}_{self.result.size}_{self.result.channels}"

    @property
    def rate(self) -> int:
        """Sampling rate at which the leaky ReLU works."""
        return self.source.rate * self.up

    @property
    def padding(self) -> tuple[int, int]:
        """Zeros before and after the upsampled rows; negative: cropped."""
        wanted = (self.result.size - 1) * self.down + self.up_taps + self.down_taps - 1
        total = wanted - (self.source.size + self.kernel - 1) * self.up
        before = (total + self.up) // 2
        return before, total - before


def signals(
    *,
    img_resolution: int,
    img_channels: int,
    channel_base: int,
    channel_max: int,
    num_layers: int,
    num_critical: int,
    first_cutoff: float,
    first_stopband: float,
    last_stopband_rel: float,
    margin_size: int,
) -> list[Signal]:
    """What leaves each of the `num_layers` + 1 layers; the input has the form of the first.

    Raises:
      ValueError: the frequencies are in no order, or a layer would have no channel.
    """
    last_cutoff = img_resolution / 2
    if not first_cutoff < min(first_stopband, last_cutoff):
        raise ValueError(
            "first_cutoff must be below first_stopband and half of img_resolution, got "
            f"{first_cutoff}, {first_stopband} and {img_resolution}"
        )
    last_stopband = last_cutoff * last_stopband_rel
    progress = np.minimum(np.arange(num_layers + 1) / (num_layers - num_critical), 1)
    cutoffs = first_cutoff * (last_cutoff / first_cutoff) ** progress
    stopbands = first_stopband * (last_stopband / first_stopband) ** progress
    rates = 2 ** np.ceil(np.log2(np.minimum(2 * stopbands, img_resolution)))
    half_widths = np.maximum(stopbands, rates / 2) - cutoffs
    sizes = rates + 2 * margin_size
    sizes[-2:] = img_resolution
    channels = np.rint(np.minimum(channel_base / 2 / cutoffs, channel_max))
    channels[-1] = img_channels
    if channels.min() < 1:
        raise ValueError(
            f"channel_base must leave every layer a channel, got {channel_base} "
            f"at {img_resolution} pixels"
        )
    return [
        Signal(
            channels=int(channels[i]),
            size=int(sizes[i]),
            rate=int(rates[i]),
            cutoff=float(cutoffs[i]),
            half_width=float(half_widths[i]),
        )
        for i in range(num_layers + 1)
    ]


def layer_plans(
    flow: list[Signal],
    *,
    num_critical: int,
    conv_kernel: int,
    filter_size: int,
    lrelu_upsampling: int,
    use_radial_filters: bool,
) -> list[LayerPlan]:
    """The layers between the signals of `signals`; the first keeps the form of its input.

    Raises:
      ValueError: a layer would have to upsample more than MAX_UP times.
    """
    last = len(flow) - 1
    plans = []
    for i, (source, result) in enumerate(pairwise([flow[0], *flow])):
        to_rgb = i == last
        rate = max(source.rate, result.rate) * (1 if to_rgb else lrelu_upsampling)
        up, down = rate // source.rate, rate // result.rate
        if up > MAX_UP:
            raise ValueError(
                f"num_layers must leave no layer an upsampling above {MAX_UP}, "
                f"got {last}, which asks for {up}"
            )
        plans.append(
            LayerPlan(
                index=i,
                source=source,
                result=result,
                to_rgb=to_rgb,
                kernel=1 if to_rgb else conv_kernel,
                up=up,
                down=down,
                up_taps=filter_size * up if up > 1 and not to_rgb else 1,
                down_taps=filter_size * down if down > 1 and not to_rgb else 1,
                radial=use_radial_filters and i < last - num_critical,
            )
        )
    return plans
