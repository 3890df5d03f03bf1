import random
import time
from collections.abc import Callable
from pathlib import Path

from conftest import Command, Ended, read_report


def test_a_run_that_is_killed_ten_times_reports_what_an_undisturbed_one_does(
    start: Callable[..., Command], ganaudit: Callable[..., Ended], slow_toy: tuple[str, ...]
) -> None:
    moments = random.Random(20)
    run, slow = Path("run"), Path("slow")
    slow.touch()
    stored: list[int] = []
    for _ in range(10):
        # The first images are ten calls of the generator, a shard is eight.
        calls = slow.stat().st_size + moments.randint(1, 30)
        running = start(*slow_toy, "--out", run, "--resume")
        while slow.stat().st_size < calls:
            assert running.process.is_alive()
            time.sleep(0.002)
        running.process.kill()
        running.process.join()
        assert running.process.exitcode == -9
        stored.append(len(list(run.glob("*/*.safetensors"))))
        assert not (run / "report.json").exists()
    assert stored == sorted(stored)
    assert len(set(stored)) > 3  # it was killed at different stages
    assert stored[-1] < 14  # shards of 512 in 1,000 anchors and 6,000 samples: and not too late

    slow.unlink()
    assert ganaudit(*slow_toy, "--out", run, "--resume", "-q").code == 0
    assert ganaudit(*slow_toy, "--out", "undisturbed", "-q").code == 0
    assert read_report(run) == read_report(Path("undisturbed"))
