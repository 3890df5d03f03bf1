"""A minute of hostile clients beside good ones: what they got, and what the server's memory did.

    python benchmarks/serve_hostile.py [--seconds 60] [--good 4] [--hostile 4]

Aim: every attack refused or its connection closed, no error and no wrong image for a good client,
memory as before. The attacks are those of tests/hostile_clients.py, under the server's own limits.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from hostile_clients import Target, siege  # type: ignore[import-not-found]
from serving_processes import (  # type: ignore[import-not-found]
    LATENT,
    patches,
    resident,
    server_of_patches,
    settled,
)

from ganaudit.config import ServeConfig

TOKEN = "only-for-this"


def main() -> None:
    """Print a line an attack, then what good clients got and the memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--good", type=int, default=4)
    parser.add_argument("--hostile", type=int, default=4, help="of each kind")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        token = Path(folder) / "token"
        token.write_text(TOKEN)
        config = ServeConfig(generator="patches", port=0, device="cpu", token_file=token)
        with server_of_patches(config) as (address, process):
            place = urlsplit(address)
            to = Target(place.hostname or "", place.port or 0, TOKEN, latent=LATENT)
            how = {"expected": patches, "good": given.good, "hostile": given.hostile}
            siege(to, seconds=10, **how)  # what an allocator keeps, it keeps from now on
            before = resident(process)
            outcome = siege(to, seconds=given.seconds, **how)
            after = settled(process, before)
    for name, answers in sorted(outcome.answers.items()):
        print(f"{name:26s} {', '.join(f'{a} x {n}' for a, n in answers.most_common())}")
    sent = sum(sum(answers.values()) for answers in outcome.answers.values())
    print(f"{sent} attacks of {len(outcome.answers)} kinds in {given.seconds:g} s")
    print(f"not refused: {outcome.harmful or 'none'}")
    print(f"good clients: {outcome.images} images as they must be, {len(outcome.errors)} errors")
    for error in sorted(set(outcome.errors)):
        print(f"  {error}")
    print(f"memory: {before / 2**20:.0f} MiB before, {after / 2**20:.0f} MiB after")
    if outcome.harmful or outcome.errors:
        sys.exit(1)


if __name__ == "__main__":
    main()
