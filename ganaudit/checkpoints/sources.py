"""Embedded source texts that we know: those of public releases whose behaviour we implement.

A text is known by the SHA-256 of its UTF-8 bytes with plain line ends. It is compared and never
run. A file with another text may have been trained with changed code: if its names, arguments and
tensors are those of a release, that release's behaviour is assumed, and said to be assumed.

The digests were computed from the public repositories' histories.
"""

from collections.abc import Iterable, Mapping

KNOWN: Mapping[str, str] = {
    "df49fc78a0364015a09b592bb43546af83a6cdaad753d89a2a1a69bd6e171c24":
        "stylegan2-ada-pytorch, training/networks.py",
    "137a76d163766bad469acb7a0835a6598419fb17585e5e0a72e3f0008668811c":
        "stylegan3 of 2021-10-11, training/networks_stylegan2.py",
    "b6f14e8fa2a95de4d38218fef31380c6a70de770f585107e209ff83075c307ef":
        "stylegan3, training/networks_stylegan2.py",
    "739c91ff0995b5901ecaa5d1ccc89e1f0ec0d6999e2204828ce10410051a838c":
        "stylegan3 of 2021-10-11, training/networks_stylegan3.py",
    "06082fb3e8929e477f58fb8bc78e7ecb9a9209eb01444272d1d153c85a6a89f7":
        "stylegan3, training/networks_stylegan3.py",
    "a4c4a6d1cedd350ac2a01125bc256679f0288dd6a316f36d48e19e66025499e5":
        "stylegan, training/networks_stylegan.py",
    "e87e39955249b4c3a858e95616c3c1a65961f97017aa21f29bbe45d6c22e2d0a":
        "stylegan, training/networks_progan.py",
    "7e87ef9e4fad63fe714cf988a610475ca660c156370068d903e571d68c418f7b":
        "stylegan2, training/networks_stylegan2.py",
    "3b1d8823d22587c4c3c110899435ef623854272a1ce1d72c5ec540172dac137f":
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
