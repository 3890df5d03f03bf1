"""Hostile clients are refused, their neighbours do not notice, and memory stays as it was."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hostile_clients import Target, siege
from serving_processes import LATENT, patches, resident, server_of_patches, settled

from ganaudit.config import ServeConfig

SECONDS = 4.0  # of a siege; benchmarks/serve_hostile.py takes a minute
GROWTH = 64 * 2**20  # bytes: buffers of what is in flight, and what an allocator keeps
TOKEN = "only-for-tests"


def config(folder: Path) -> ServeConfig:
    token = folder / "token"
    token.write_text(TOKEN)
    return ServeConfig(generator="patches", port=0, device="cpu", token_file=token)


def target(address: str) -> Target:
    parts = urlsplit(address)
    return Target(parts.hostname or "", parts.port or 0, TOKEN, latent=LATENT)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_neighbours_of_hostile_clients_notice_nothing(tmp_path: Path) -> None:
    with server_of_patches(config(tmp_path), head_s=1.0, body_s=2.0, look_s=1.0) as (address, pid):
        to = target(address)
        siege(to, seconds=0.5, expected=patches, hostile=1)  # what is imported and kept once
        before = resident(pid)
        outcome = siege(to, seconds=SECONDS, expected=patches, hostile=2)
        after = settled(pid, before + GROWTH)
    assert outcome.errors == []
    assert outcome.images > 100
    assert outcome.harmful == {}
    assert all(sum(answers.values()) for answers in outcome.answers.values())
    assert after < before + GROWTH, f"memory grew from {before >> 20} to {after >> 20} MiB"
    # Who is slow is not waited for: it was sent away long before the end.
    for slow in ("a slow head", "slow headers", "a slow body", "slow chunks", "silence"):
        assert outcome.answers[slow].keys() & {"closed", 408}, outcome.answers[slow]
