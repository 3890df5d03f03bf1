"""Networks of the TensorFlow years out of their pickles: PGGAN, StyleGAN, StyleGAN2.

Such a file is a tuple (G, D, Gs); Gs is the moving average of G. Each names the function that
built its graph, carries that function's source text (which is never run) and its arguments, and
lists its variables. Facts of the format: `tfutil.Network` of progressive_growing_of_gans,
`dnnlib.tflib.network.Network` of stylegan, stylegan2 and stylegan2-ada, versions 2 to 5.
"""

from collections.abc import Callable, Mapping

from ganaudit.checkpoints.pggan import pggan
from ganaudit.checkpoints.records import Network, Plan
from ganaudit.checkpoints.stylegan import stylegan
from ganaudit.checkpoints.stylegan2_tensorflow import stylegan2_tensorflow

MODULES = ("tfutil", "dnnlib.tflib.network")  # of the class; other modules are other formats
_BUILDERS: Mapping[str, Callable[[Network], Plan]] = {
    "G_paper": pggan,
    "G_style": stylegan,
    "G_main": stylegan2_tensorflow,
}


def tensorflow(network: Network) -> Plan | None:
    """The plan for a generator of these years; None: it is none, or one that we do not have.

    There is no plan for their discriminators: nothing that ganaudit does needs one.

    Raises:
      ConfigError: it is one, with an argument or a variable that we do not implement.
    """
    builder = _BUILDERS.get(network.name)
    if network.module not in MODULES or builder is None:
        return None
    return builder(network)
