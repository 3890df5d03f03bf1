"""Embedded source texts that we know: those of public releases whose behaviour we implement.

A text is known by the SHA-256 of its UTF-8 bytes with plain line ends and without a byte order
mark, which Python leaves out when it reads a source. It is compared and never run. A file with
another text may have been trained with changed code: if its names, arguments and tensors are
those of a release, that release's behaviour is assumed, and said to be assumed.

The digests were computed from the public repositories' histories.
"""

from collections.abc import Iterable, Mapping

KNOWN: Mapping[str, str] = {
    "53b4e1ec457171d4e2c1454d48013765ab626141c35cdd383b020950effe11a5":
        "stylegan2-ada-pytorch, training/networks.py",
    "b6f14e8fa2a95de4d38218fef31380c6a70de770f585107e209ff83075c307ef":
        "stylegan3, training/networks_stylegan2.py",
    "06082fb3e8929e477f58fb8bc78e7ecb9a9209eb01444272d1d153c85a6a89f7":
        "stylegan3, training/networks_stylegan3.py",
    "59128b51ac64d5565b79017275f51532e7797bf1a1b701f5c1316bf8c6a4c959":
        "stylegan, training/networks_stylegan.py",
    "e87e39955249b4c3a858e95616c3c1a65961f97017aa21f29bbe45d6c22e2d0a":
        "stylegan, training/networks_progan.py",
    "e9e77f184660883fdfd9b283d3c11e076859a5e8192ee7c9b4c1c70d84c1b0b6":
        "stylegan2, training/networks_stylegan2.py",
    "12317d66b0297b0b4357e0cc991bf64f6cf2dfa54380270b1573765bf913a471":
        "stylegan2-ada, training/networks.py",
    "abffc1b9c091875f7be10c0fe67968cf827dbdbfdcd99b9532a3c03ee826109f":
        "stylegan2, training/networks_stylegan.py",
    "b56798bb349dad2138a45fae6a15b01075e8906fabcb0dbc8ee877f97fb711e7":
        "progressive_growing_of_gans of 2018-02-23, networks.py",
    "0ebc0f8f8776f274bc67073ce43720a59eda14e5b6ee564c13c7ee28175070c8":
        "progressive_growing_of_gans, networks.py",
}  # fmt: skip


def unknown(sources: Iterable[str]) -> tuple[str, ...]:
    """Those of some digests that belong to no release that we know, sorted."""
    return tuple(sorted(set(sources) - KNOWN.keys()))
