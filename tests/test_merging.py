"""Parts of a run, made apart, are the run: to the byte, and with nothing believed of them."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from conftest import (
    Blind,
    Command,
    Ended,
    Pixels,
    Spoilt,
    Toy,
    fork_server,
    read_report,
    without_timings,
)
from PIL import Image
from torch import Tensor

from ganaudit.config import DiagnoseConfig
from ganaudit.descriptors import DescriptorCard
from ganaudit.errors import ConfigError, GanauditError, SourceError
from ganaudit.generators import Failure
from ganaudit.parts import read_part
from ganaudit.pipeline import Audit, diagnose, make_part, merge
from ganaudit.report import canonical
from ganaudit.slots import Draws, Stream
from ganaudit.store import Store

pytestmark = pytest.mark.usefixtures("undrawn")

Make = Callable[..., DiagnoseConfig]
Run = Callable[..., Ended]
SAMPLES = 1300  # three shards, the last one short; the 64 anchors are one

USER_CODE = """
import torch

open("opened", "w").close()


def faces():
    def render(latents):
        return (128 + 40 * latents).clamp(0, 255).to(torch.uint8)

    render.latent_shape, render.prior = (3, 8, 8), "normal"
    return render
"""


def made(config: Make, count: int, **changes: Any) -> list[Path]:
    """The folders of all parts of a run of toys."""
    source, descriptor = changes.pop("source", None), changes.pop("descriptor", None)
    changes = {"samples": SAMPLES, "seed": 0} | changes
    folders = [Path(f"part-{i}") for i in range(count)]
    for i, folder in enumerate(folders):
        asked = config(shard=f"{i}/{count}", out=folder, **changes)
        make_part(asked, source=source or Toy(), descriptor=descriptor or Pixels())
    return folders


def whole(config: Make, **changes: Any) -> Audit:
    """The same run in one go."""
    source, descriptor = changes.pop("source", None), changes.pop("descriptor", None)
    asked = config(**{"samples": SAMPLES, "out": Path("single")} | changes)
    return diagnose(asked, source=source or Toy(), descriptor=descriptor or Pixels())


def rows_of(folder: Path) -> dict[str, bytes]:
    """Every shard file of a run by its name."""
    files = [path for stream in Stream for path in (folder / stream.name.lower()).glob("*")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def without_gallery(report: dict[str, Any]) -> dict[str, Any]:
    return without_timings(report) | {"gallery": None}


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# -- the same run ---------------------------------------------------------------------------------


def test_three_parts_from_the_command_line_are_the_single_run(ganaudit: Run) -> None:
    Path("user.py").write_text(USER_CODE)
    size = ("--anchors", "700", "--samples", "1700", "--device", "cpu", "-q")
    asked = ("diagnose", "--generator", "python:user.py:faces", "--descriptor", "digits", *size)
    assert ganaudit(*asked, "--out", "single").code == 0
    for i in range(3):
        ended = ganaudit(*asked, "--shard", f"{i}/3", "--out", f"part {i}")
        assert (ended.code, ended.err) == (0, "")
        assert f"part {i} holds part {i}/3 of a run: " in ended.out
        assert "ganaudit merge PART... --out RUN" in ended.out
        assert not list(Path(f"part {i}").glob("re*"))  # neither report.json nor a page

    Path("opened").unlink()
    Path("user.py").rename("elsewhere.py")
    merged = ganaudit("merge", "part 2", "part 0", "part 1", "--out", "run", "--format", "json")
    assert merged.code == 0, merged.err
    assert "--resume --out run adds the pictures" in merged.err
    assert not Path("opened").exists()  # nothing that parts name is opened
    assert without_timings(json.loads(merged.out)) == read_report(Path("run"))
    assert rows_of(Path("run")) == rows_of(Path("single"))
    assert len(rows_of(Path("run"))) == 2 + 4
    assert read_report(Path("run")) == read_report(Path("single")) | {"gallery": None}
    assert Path("run/per_anchor.parquet").read_bytes() == (
        Path("single/per_anchor.parquet").read_bytes()
    )

    Path("elsewhere.py").rename("user.py")
    assert ganaudit(*asked, "--out", "run", "--resume").code == 0
    assert read_report(Path("run")) == read_report(Path("single"))
    assert snapshot_of_gallery("run") == snapshot_of_gallery("single") != {}


def snapshot_of_gallery(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (Path(folder) / "gallery").iterdir()}


def test_a_page_is_drawn_of_a_merged_run(ganaudit: Run) -> None:
    demo = ("diagnose", "--generator", "demo", "--anchors", "32", "--samples", "64", "-q")
    assert ganaudit(*demo, "--shard", "0/1", "--out", "part").code == 0
    ended = ganaudit("merge", "part", "--out", "run", "-q", drawn=True)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[-2:] == ["run/report.html", "run/report.json"]
    assert {"report.html", "figures"} <= {path.name for path in Path("run").iterdir()}


def test_the_resumed_run_renders_its_pictures_and_nothing_else(config: Make) -> None:
    drawn: list[int] = []

    class Watched(Toy):
        def render(self, draws: Draws) -> Tensor:
            drawn.extend(draws.index.tolist())
            return super().render(draws)

    merge(made(config, 3, source=Watched()), Path("run"))
    drawn.clear()
    after = whole(config, out=Path("run"), resume=True, source=Watched())
    pictures = {int(path.name[8:18]) for path in Path("run/gallery").iterdir()}
    assert set(drawn) == set(range(8)) | pictures  # and the look at the first images
    single = whole(config, source=Watched())
    assert without_timings(after.report) == without_timings(single.report)


def test_workers_make_the_rows_of_a_part(config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = fork_server()  # spawn is another test's
    monkeypatch.setattr("multiprocessing.get_context", lambda method: quick)
    asked = config(generator="demo", samples=2600, shard="1/2")
    one, two = replace(asked, out=Path("one")), replace(asked, out=Path("two"), workers=2)
    make_part(one)
    make_part(two)
    assert rows_of(Path("one")).keys() == {
        "samples/0000000512-0000001024.safetensors",
        "samples/0000001536-0000002048.safetensors",
        "samples/0000002560-0000002600.safetensors",
    }
    assert rows_of(Path("one")) == rows_of(Path("two"))


@pytest.mark.parametrize("count", [1, 2, 7])
def test_any_number_of_parts_gives_the_run(config: Make, count: int) -> None:
    """Of seven, four are empty: there are four shards, one of anchors."""
    folders = made(config, count)
    assert sum(len(rows_of(folder)) for folder in folders) == 4
    merged = merge(folders, Path("run")).report
    single = whole(config)
    assert rows_of(Path("run")) == rows_of(single.folder)
    assert without_timings(merged) == without_gallery(single.report)


def test_a_part_says_what_it_holds(config: Make) -> None:
    """Slots 0 to 511 and 1024 to 1299 of the samples, and the anchors: numbers 0 and 2 of 3."""
    part = make_part(
        config(samples=SAMPLES, shard="0/2"), source=Toy(), descriptor=Pixels()
    ).summary()
    assert part["slots"] == {
        "anchors": {"made": 64, "of": 64},
        "samples": {"made": 512 + 276, "of": 1300},
    }
    assert part["shard"] == [0, 2]
    assert rows_of(config().out).keys() == {
        "anchors/0000000000-0000000064.safetensors",
        "samples/0000000000-0000000512.safetensors",
        "samples/0000001024-0000001300.safetensors",
    }


def test_figures_by_label_are_those_of_the_single_run(config: Make) -> None:
    class Classes(Toy):
        num_labels = 3

    Path("labels.txt").write_text("2\n0\n2\n2\n")
    for labels in (None, "1", "labels.txt"):
        changes = {"labels": labels, "anchors": 300, "source": Classes()}
        folders = made(config, 2, **changes)
        Path("labels.txt").rename("elsewhere.txt")
        merged = merge(folders, Path("run")).report
        Path("elsewhere.txt").rename("labels.txt")
        single = whole(config, **changes).report
        assert len(single["labels"]["by_label"]) == {None: 3, "1": 1, "labels.txt": 2}[labels]
        assert without_timings(merged) == without_gallery(single)
        for folder in (*folders, Path("run"), Path("single")):
            shutil.rmtree(folder)


def test_pairs_are_found_as_the_parts_were_asked_to(config: Make) -> None:
    pytest.importorskip("faiss")
    merged = merge(made(config, 2, backend="faiss"), Path("run")).report
    single = whole(config, backend="faiss").report
    assert merged["environment"]["backend"] == single["environment"]["backend"]
    assert merged["environment"]["backend"].startswith("faiss")
    assert without_timings(merged) == without_gallery(single)


def test_a_folder_of_images_is_made_in_parts(config: Make) -> None:
    Path("photos").mkdir()
    rng = np.random.default_rng(0)
    for i in range(620):
        pixels = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(f"photos/{i:03d}.png", compress_level=0)
    asked = config(generator="images:photos", descriptor="digits", samples=550)
    for i in range(2):
        make_part(replace(asked, shard=f"{i}/2", out=Path(f"part-{i}")))
    Path("photos").rename("elsewhere")
    merged = merge([Path("part-0"), Path("part-1")], Path("run")).report
    Path("elsewhere").rename("photos")
    single = diagnose(replace(asked, out=Path("single"))).report
    assert rows_of(Path("run")) == rows_of(Path("single"))
    assert without_timings(merged) == without_gallery(single)
    again = diagnose(replace(asked, out=Path("run"), resume=True)).report
    assert without_timings(again) == without_timings(single)
    assert again["gallery"] is not None


def test_a_file_of_embeddings_is_scored_in_parts(config: Make) -> None:
    table = np.random.default_rng(3).normal(size=(700, 3))
    table[650:] = table[0]  # so that there is something to say of repeats
    np.save("rows.npy", table)
    asked = config(generator="embeddings:rows.npy", theta=0.3, radius=0.2, samples=600)
    for i in range(2):
        make_part(replace(asked, shard=f"{i}/2", out=Path(f"part-{i}")))
    said: list[str] = []
    merged = merge([Path("part-0"), Path("part-1")], Path("run"), notice=said.append).report
    assert without_timings(merged) == without_timings(
        diagnose(replace(asked, out=Path("single"))).report
    )
    assert "embeddings repeat" in merged["screen"]["findings"][0]
    assert said == []  # there are no pictures to be had
    make_part(replace(asked, anchors=65, shard="1/2", out=Path("other")))
    refused([Path("part-0"), Path("other")], "anchors is 65 in the one and 64 in the", out="none")


def test_thumbnails_that_were_kept_are_the_gallery(config: Make) -> None:
    """A service cannot be asked again: its pictures are in the parts."""

    def answer(draws: Draws, images: Tensor) -> Iterator[tuple[int, Tensor | Failure]]:
        for i, image in zip(draws.index.tolist(), images, strict=True):
            yield i, Failure("busy") if i % 100 == 7 else image

    folders = made(config, 3, source=Blind(answer))
    said: list[str] = []
    merged = merge(folders, Path("run"), notice=said.append)
    single = whole(config, source=Blind(answer))
    assert without_timings(merged.report) == without_timings(single.report)
    assert merged.report["gallery"] is not None
    assert snapshot_of_gallery("run") == snapshot_of_gallery("single")
    assert {"reason": "busy", "slots": 14} in merged.report["screen"]["failures"]
    assert said == []


def test_parts_that_grow_are_the_run_that_was_long_from_the_start(config: Make) -> None:
    made(config, 2, samples=300)
    grown = merge(made(config, 2, resume=True), Path("run"))
    assert len(rows_of(Path("run"))) == 5  # of the samples: 0, 300, 512, 1024
    assert without_timings(grown.report) == without_gallery(whole(config).report)
    shorter = merge(made(config, 2, resume=True, samples=600), Path("short"))
    fresh = whole(config, samples=600, out=Path("fresh"))
    assert without_timings(shorter.report) == without_gallery(fresh.report)
    assert len(rows_of(Path("short"))) == 4  # without what begins at 1024


def test_a_merge_that_is_repeated_changes_nothing_and_one_that_died_goes_on(
    config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = made(config, 3)
    before = {str(folder): snapshot(folder) for folder in folders}
    adopt, adopted = Store.adopt, []

    def dying(self: Store, *shard: Any) -> None:
        if len(adopted) == 2:
            raise KeyboardInterrupt
        adopted.append(shard)
        adopt(self, *shard)

    with monkeypatch.context() as patched:
        patched.setattr(Store, "adopt", dying)
        with pytest.raises(KeyboardInterrupt):
            merge(folders, Path("run"))
    assert len(rows_of(Path("run"))) == 2
    first = merge(folders, Path("run")).report
    files = snapshot(Path("run"))
    again = merge(folders, Path("run")).report
    assert without_timings(first) == without_timings(again)
    unlike = {name for name, data in snapshot(Path("run")).items() if files[name] != data}
    assert unlike <= {"run/report.json"}  # but for its timings
    assert {str(folder): snapshot(folder) for folder in folders} == before


def test_a_merge_that_is_repeated_keeps_the_pictures(config: Make) -> None:
    folders = made(config, 2)
    merge(folders, Path("run"))
    resumed = whole(config, out=Path("run"), resume=True).report
    assert resumed["gallery"] is not None
    assert without_timings(merge(folders, Path("run")).report) == without_timings(resumed)


def test_shards_are_linked_and_copied_where_they_cannot_be(
    config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = made(config, 2)
    merge(folders, Path("linked"))
    (shard,) = Path("part-0/anchors").iterdir()
    assert (Path("linked/anchors") / shard.name).samefile(shard)
    merge(folders, Path("linked"))
    assert (Path("linked/anchors") / shard.name).samefile(shard)  # still, and no copy

    def refuse(*paths: object) -> None:
        raise OSError("another file system")

    monkeypatch.setattr(os, "link", refuse)
    merge(folders, Path("copied"))
    assert not (Path("copied/anchors") / shard.name).samefile(shard)
    assert rows_of(Path("copied")) == rows_of(Path("linked"))


def test_parts_on_unlike_machines_are_warned_about(
    config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(config, 2)
    make_part(
        config(samples=SAMPLES, shard="1/2", out=Path("slow"), batch=16),
        source=Toy(),
        descriptor=Pixels(),
    )
    said: list[str] = []
    report = merge([Path("part-0"), Path("slow")], Path("run"), notice=said.append).report
    (warning,) = report["warnings"]
    assert "(batch 64 and 16 -> 64): they may differ in the last bits" in warning
    assert report["environment"]["batch"] == "64"
    assert warning in said
    # The resumed run says so too, whichever shard it is.
    resumed = whole(config, out=Path("run"), resume=True).report
    assert "batch 64 and 16 -> 64" in resumed["warnings"][0]
    versions = canonical.versions()
    monkeypatch.setattr(canonical, "versions", lambda: versions | {"torch": "99"})
    (warning,) = merge([Path("part-0"), Path("part-1")], Path("later")).report["warnings"]
    assert f"(torch {versions['torch']} -> 99)" in warning


def test_warnings_of_parts_are_said_once(config: Make) -> None:
    class Restless(Toy):
        def render(self, draws: Draws) -> Tensor:
            noise = torch.randint(0, 9, (len(draws), 3, 4, 4), dtype=torch.uint8)
            return super().render(draws) // 2 + noise

    report = merge(made(config, 3, source=Restless()), Path("run")).report
    (warning,) = report["warnings"]
    assert warning.startswith("the generator is not deterministic")


def test_zero_scored_samples_never_pass(ganaudit: Run) -> None:
    Path("dying.py").write_text(
        "import torch\n"
        "def make():\n"
        "    calls = []\n"
        "    def render(latents):\n"
        "        calls.append(1)\n"
        "        scale = 40 if len(calls) < 12 else 0\n"  # the first images, and the anchors
        "        return (128 + scale * latents).clamp(0, 255).to(torch.uint8)\n"
        "    render.latent_shape, render.prior = (3, 8, 8), 'normal'\n"
        "    return render\n"
    )
    asked = ("diagnose", "--generator", "python:dying.py:make", "--descriptor", "digits", "-q")
    size = ("--anchors", "8", "--samples", "64", "--batch", "64", "--device", "cpu")
    part = ("--shard", "0/1", "--out", "part", "--max-failure-rate", "1")
    ended = ganaudit(*asked, *size, *part)
    assert ended.code == 0, ended.err
    merged = ganaudit("merge", "part", "--out", "run", "-q")
    assert (merged.code, merged.out) == (3, "")
    assert merged.complaint == "none of the 64 samples can be scored"
    assert not Path("run/report.json").exists()


# -- a part that is interrupted -------------------------------------------------------------------


def test_ctrl_c_of_a_part_says_how_to_go_on(
    ganaudit: Run, start: Callable[..., Command], slow_toy: tuple[str, ...]
) -> None:
    Path("slow").touch()
    asked = (*slow_toy, "--shard", "1/2", "--out", "part-1")
    running = start(*asked)
    while len(list(Path().glob("part-1/samples/*.safetensors"))) < 2:
        assert running.process.is_alive()
        time.sleep(0.02)
    running.interrupt()
    ended = running.wait()
    assert (ended.code, ended.out) == (130, "")
    assert ended.resuming == [*asked, "--resume"]
    Path("slow").unlink()
    assert ganaudit(*slow_toy, "--shard", "0/2", "--out", "part-0", "-q").code == 0

    early = ganaudit("merge", "part-0", "part-1", "--out", "run")
    assert (early.code, early.out) == (2, "")
    assert "part-1 holds no part.json: it is no part, or not a finished one" in early.complaint
    again = ganaudit(*ended.resuming, "--format", "json", "-q")
    assert again.code == 0
    assert json.loads(again.out)["slots"]["samples"] == {"made": 512 * 6 - 512 + 368, "of": 6000}
    assert ganaudit("merge", "part-0", "part-1", "--out", "run", "-q").code == 0
    assert ganaudit(*slow_toy, "--out", "single", "-q").code == 0
    assert rows_of(Path("run")) == rows_of(Path("single"))


def test_a_part_is_no_finished_run(config: Make, ganaudit: Run) -> None:
    made(config, 2)
    ended = ganaudit("report", "part-0")
    assert (ended.code, ended.out) == (2, "")
    assert ended.complaint.endswith("unite all of its parts with ganaudit merge")
    with pytest.raises(ConfigError, match="part-0 is a part of a run and no finished one"):
        canonical.read(Path("part-0"))
    # Made whole where it lies, it is a run, and a part no less.
    whole(config, out=Path("part-0"), resume=True)
    assert canonical.read(Path("part-0"))["counts"]["samples"]["ok"] == SAMPLES
    merge([Path("part-0"), Path("part-1")], Path("run"))


def test_a_resumed_part_keeps_its_batch(config: Make) -> None:
    """Of this one there are samples alone."""
    asked = config(samples=SAMPLES, shard="1/2", out=Path("part"), batch=24)
    make_part(asked, source=Toy(), descriptor=Pixels())
    longer = replace(asked, samples=2000, batch=None, resume=True)
    grown = make_part(longer, source=Toy(), descriptor=Pixels())
    assert grown.about["environment"]["batch"] == "24"
    assert grown.about["warnings"] == []


def test_a_folder_holds_one_part(config: Make) -> None:
    made(config, 2)
    asked = config(samples=SAMPLES, shard="1/2", out=Path("part-0"), resume=True)
    before = rows_of(Path("part-0"))
    with pytest.raises(ConfigError, match="part-0 holds another part than 1/2; name another fold"):
        make_part(asked, source=Toy(), descriptor=Pixels())
    with pytest.raises(ConfigError, match="part-0 already holds a run; continue it with --resume"):
        make_part(replace(asked, resume=False), source=Toy(), descriptor=Pixels())
    assert rows_of(Path("part-0")) == before


def test_a_whole_run_is_no_part_and_a_part_no_whole_run(config: Make) -> None:
    with pytest.raises(ConfigError, match="a part of a run, which has no figures until all"):
        whole(config, shard="0/2")
    with pytest.raises(ConfigError, match="--shard i/N says it"):
        make_part(config(), source=Toy(), descriptor=Pixels())


def test_what_no_part_can_hold_is_refused_before_anything_is_made(config: Make) -> None:
    deep: dict[str, Any] = {}
    for _ in range(40):
        deep = {"in": deep}
    odd = Pixels()
    odd.card = replace(Pixels.card, theta=float("nan"))
    boastful = Toy()
    boastful.identity = deep
    for changes, said in (
        ({"source": boastful}, "is nested more than 24 levels deep"),
        ({"descriptor": odd}, "Out of range float values are not JSON compliant"),
    ):
        with pytest.raises(ConfigError, match=said):
            made(config, 1, theta=0.4, **changes)
        assert rows_of(Path("part-0")) == {}
        shutil.rmtree("part-0")


# -- what is no run -------------------------------------------------------------------------------


def refused(folders: list[Path], said: str, out: str = "run") -> None:
    """One sentence, and nothing is left of the attempt."""
    with pytest.raises(ConfigError) as caught:
        merge(folders, Path(out))
    assert said in str(caught.value)
    assert len(str(caught.value)) < 400
    assert not Path(out).exists()


def test_a_part_that_is_missing_is_named(config: Make) -> None:
    folders = made(config, 3)
    refused([folders[0], folders[2]], "the run is not complete: no part 1/3;")
    refused([folders[1]], "no part 0/3, 2/3;")
    refused([folders[1], folders[1], folders[1]], "no part 0/3, 2/3;")
    refused([], "name the parts of a run, all of them")
    shutil.rmtree("part-0")
    refused(folders, "part-0 holds no part.json")


def test_many_missing_parts_are_counted(config: Make) -> None:
    make_part(config(shard="3/4096"), source=Toy(), descriptor=Pixels())
    refused([config().out], "no part 0/4096, 1/4096, 2/4096, 4/4096", out="merged")
    refused([config().out], "8/4096 and 4087 more; make it", out="merged")


def test_a_part_twice_is_the_part_if_it_is_the_same(config: Make) -> None:
    folders = made(config, 2)
    shutil.copytree("part-0", "copy")
    merged = merge([*folders, Path("copy"), Path("part-1")], Path("run"))
    assert without_timings(merged.report) == without_gallery(whole(config).report)
    (shard,) = Path("copy/anchors").iterdir()
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    refused([*folders, Path("copy")], "differ, and should be the same slots", out="second")


def test_a_part_twice_but_cut_otherwise_is_refused(config: Make) -> None:
    folders = made(config, 2)
    for samples in (300, SAMPLES):
        asked = config(samples=samples, shard="0/2", out=Path("grown"), resume=samples > 300)
        make_part(asked, source=Toy(), descriptor=Pixels())
    refused([*folders, Path("grown")], "have slots in common and were cut differently")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": 1}, "seed is 1 in the one and 0 in the other"),
        ({"samples": 1301}, "samples is 1301 in the one and 1300 in the other"),
        ({"anchors": 65}, "anchors is 65 in the one and 64 in the other"),
        ({"theta": 0.3}, "theta is 0.3 in the one and 0.4 in the other"),
        ({"radius": 0.2}, "radius is 0.2 in the one and 0.3 in the other"),
        ({"shard": "1/3"}, "the number of parts is 3 in the one and 2 in the other"),
    ],
)
def test_parts_of_different_runs_are_refused_and_the_difference_is_named(
    config: Make, changes: dict[str, Any], said: str
) -> None:
    made(config, 2)
    asked = config(**{"samples": SAMPLES, "shard": "1/2", "out": Path("other")} | changes)
    make_part(asked, source=Toy(), descriptor=Pixels())
    refused([Path("part-0"), Path("other")], f"other and part-0 are not parts of one run: {said}")


def test_another_generator_is_refused(config: Make) -> None:
    made(config, 2)
    other = Toy()
    other.identity = {"psi": 0.5}
    asked = config(samples=SAMPLES, shard="1/2", out=Path("other"))
    make_part(asked, source=other, descriptor=Pixels())
    refused([Path("part-0"), Path("other")], "generator.psi is 0.5 in the one and null in the othe")


@pytest.mark.parametrize("lost", ["0000000000-0000000512", "0000001024-0000001300"])
def test_a_truncated_part_never_passes(config: Make, lost: str) -> None:
    folders = made(config, 2)
    Path(f"part-0/samples/{lost}.safetensors").unlink()
    refused(folders, f"part-0 is not complete: it lacks the samples from slot {int(lost[:10])} on")
    refused(folders, "continue it with diagnose --shard 0/2 --resume")
    # Not even where another part has the slots, which it need not have.
    whole(config, out=Path("part-1"), resume=True)
    refused(folders, "part-0 is not complete")


def test_a_finished_run_is_no_part(config: Make) -> None:
    folders = made(config, 2)
    merge(folders, Path("run"))
    refused([*folders, Path("run")], "run is a finished run already", out="second")
    assert read_part(Path("part-0")).name == "0/2"


def test_the_folder_of_the_run_is_new_or_of_the_same_run(config: Make) -> None:
    folders = made(config, 2)
    whole(config, seed=5, out=Path("other"))
    Path("full").mkdir()
    (Path("full") / "thesis.txt").write_text("mine")
    Path("file").write_text("mine")
    before = snapshot(Path())
    for out, said in (
        ("part-1", "part-1 is a part itself; name another folder"),
        ("other", "other holds another run: seed is 5 there and 0 in this request"),
        ("full", "full is not empty and holds no run"),
        ("file", "file is a file; name a folder with --out"),
    ):
        with pytest.raises(ConfigError, match=said):
            merge(folders, Path(out))
    assert snapshot(Path()) == before


def test_a_run_gets_what_it_lacks_from_parts(config: Make) -> None:
    whole(config, samples=512, out=Path("run"))
    grown = merge(made(config, 2), Path("run")).report
    assert without_gallery(grown) == without_gallery(whole(config).report)
    (shard,) = Path("run/anchors").iterdir()
    shard.unlink()
    shard.write_bytes(b"damaged")
    with pytest.raises(ConfigError, match="differ, and should be the same slots of one run"):
        merge([Path("part-0"), Path("part-1")], Path("run"))


# -- what somebody else made ----------------------------------------------------------------------


def shard_with(path: Path, **changes: np.ndarray) -> None:
    """Change arrays of a shard file and nothing else."""
    with safetensors.safe_open(path, framework="np") as file:
        notes = file.metadata()
    safetensors.numpy.save_file(safetensors.numpy.load_file(path) | changes, path, metadata=notes)


def rows(width: int = 16, **where: float) -> np.ndarray:
    made = np.zeros((512, width), dtype=np.float32)
    made[:, 0] = 1
    for place, value in where.items():
        made[int(place[1:]), 0] = value
    return made


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rows": rows(r7=np.nan)}, "a row that counts has not the length 1"),
        ({"rows": rows(r7=np.inf)}, "a row that counts has not the length 1"),
        ({"rows": rows(r0=0.5)}, "a row that counts has not the length 1"),
        ({"rows": rows(17)}, "has 17 columns, others 16"),
        ({"rows": rows(0 + 1).astype(np.float64)}, "its rows are of type float64"),
        ({"rows": rows()[:511]}, "it does not hold 512 rows"),
        ({"status": np.full(512, 4, np.uint8)}, "it has a status that there is not"),
        ({"status": np.zeros(512, np.int64)}, "its status are of type int64"),
        ({"hashes": np.zeros((512, 15), np.uint8)}, "it does not hold 512 rows"),
        ({"more": np.zeros(1)}, "it does not hold 512 rows"),
        (
            {"pictures": np.zeros(9, np.uint8), "picture_ends": np.full(512, 9)},
            "it has a picture that is none",
        ),
        (
            {"pictures": np.zeros(9, np.uint8), "picture_ends": np.full(512, 8)},
            "its pictures do not add up",
        ),
    ],
)
def test_a_shard_that_no_run_stores_is_refused(
    config: Make, changes: dict[str, np.ndarray], said: str
) -> None:
    folders = made(config, 2)
    shard_with(Path("part-1/samples/0000000512-0000001024.safetensors"), **changes)
    refused(folders, said)


@pytest.mark.parametrize("data", [b"", b"\xff" * 4000, b"\x02\0\0\0\0\0\0\0{}", None])
def test_a_damaged_shard_is_refused_and_made_again(config: Make, data: bytes | None) -> None:
    folders = made(config, 2)
    shard = Path("part-1/samples/0000000512-0000001024.safetensors")
    shard.write_bytes(shard.read_bytes()[:1000] if data is None else data)
    refused(folders, f"{shard} is damaged")
    merged = merge(made(config, 2, resume=True), Path("run")).report
    assert without_timings(merged) == without_gallery(whole(config).report)


def test_notes_that_never_end_are_refused(config: Make) -> None:
    folders = made(config, 2)
    path = Path("part-1/samples/0000000512-0000001024.safetensors")
    arrays = safetensors.numpy.load_file(path)
    for notes in ({"torch": "9" * 10**5}, {str(i): "1" for i in range(100)}):
        safetensors.numpy.save_file(arrays, path, metadata=notes)
        refused(folders, "its notes are longer than any run's")


def test_names_of_files_are_numbers_or_not_looked_at(config: Make) -> None:
    folders = made(config, 2)
    shard = Path("part-0/samples/0000000000-0000000512.safetensors")
    for name in ("²-³", "..-..", "0-512", "0000000000-0000000512 ", "-0000000001-0000000000"):
        shutil.copy(shard, shard.with_name(f"{name}.safetensors"))
    merged = merge(folders, Path("run"))
    assert rows_of(merged.folder) == rows_of(whole(config).folder)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("0000000500-0000000600", "have slots in common and were cut differently"),
        ("0000000100-0000000100", "have slots in common and were cut differently"),
        ("0000000000-999999999999999", "have slots in common and were cut differently"),
        ("0000001024-0000000002", "its name promises what no shard holds"),
    ],
)
def test_a_name_that_promises_what_no_shard_holds_is_refused(
    config: Make, name: str, said: str
) -> None:
    folders = made(config, 2)
    shard = Path("part-0/samples/0000000000-0000000512.safetensors")
    shutil.copy(shard, shard.with_name(f"{name}.safetensors"))
    refused(folders, said)


def test_links_are_not_followed(config: Make) -> None:
    folders = made(config, 2)
    shard = Path("part-0/samples/0000000000-0000000512.safetensors").absolute()
    shard.rename("elsewhere")
    shard.symlink_to(Path("elsewhere").absolute())
    refused(folders, f"{shard.relative_to(Path.cwd())} is a link or no file")
    shard.unlink()
    os.mkfifo(shard)
    refused(folders, "is a link or no file")
    shard.unlink()
    Path("elsewhere").rename(shard)
    Path("part-0/samples").rename("samples")
    Path("part-0/samples").symlink_to(Path("samples").absolute())
    refused(folders, "part-0/samples is a link; a part is a folder of plain files")


def edited(name: str, change: Callable[[dict[str, Any]], object]) -> None:
    path = Path("part-0") / name
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.update(kind="report"), "part-0/part.json is no part of a run"),
        (lambda d: d.update(schema_version=2), "has schema version 2, wanted 1"),
        (lambda d: d.update(schema_version="1" * 999), "wanted 1"),
        (lambda d: d.pop("about"), "about must be a table"),
        (lambda d: d.update(about=[]), "about must be a table"),
        (lambda d: d.update(more=1), "has 'more', which no part has"),
        (lambda d: d.update({"x" * 10**5: 1}), "which no part has"),
        (lambda d: d.update(shard=[2, 2]), "shard must be [i, N] with 0 <= i < N"),
        (lambda d: d.update(shard=[0, 10**9]), "shard must be [i, N]"),
        (lambda d: d.update(shard=[0.0, 2]), "shard must be [i, N]"),
        (lambda d: d.update(shard=[False, True]), "shard must be [i, N]"),
        (lambda d: d.update(shard="0/2"), "shard must be [i, N]"),
        (lambda d: d.update(backend="os.system"), "backend must be one of auto, torch, faiss"),
        (lambda d: d.update(backend=["auto"]), "backend must be one of"),
        (lambda d: d.update(law="uniform"), "labels.safetensors is missing"),
        (lambda d: d["about"].update(warnings="all is well"), "warnings must be a list of sent"),
        (lambda d: d["about"].update(warnings=[{}]), "warnings must be a list of sentences"),
        (lambda d: d["about"].update(warnings=[""] * 1001), "warnings must be a list of sent"),
        (lambda d: d["about"].update(environment={"torch": 2}), "environment must be texts by n"),
        (lambda d: d["about"].update(descriptor={"name": 1}), "descriptor must be a card or null"),
        (lambda d: d["about"].update(generator=None), "generator must be a table"),
        (lambda d: d["about"].update(generator={"psi": 1}), "differ in the generator"),
        (lambda d: d["about"].update(descriptor=None), "differ in the descriptor"),
        (lambda d: d["about"]["descriptor"].update(name="vgg"), "differ in the descriptor"),
        (lambda d: d["about"]["request"].update(seed=4), "differ in the seed"),
        (lambda d: d["about"]["request"].update(seed=-1), "seed must be in [0, 2**63)"),
        (lambda d: d["about"]["request"].update(samples=0), "samples must be a count of 1 or mo"),
        (lambda d: d["about"]["request"].update(samples=True), "samples must be a count of 1 or"),
        (lambda d: d["about"]["request"].update(samples=10**13), "samples must be a count"),
        (lambda d: d["about"]["request"].update(reference="x"), "reference must be null"),
        (lambda d: d["about"]["request"].update(set="a=b"), "set must be a list of texts"),
        (lambda d: d["about"]["scale"].update(theta=0), "theta must be in (0, 1]"),
        (lambda d: d["about"]["scale"].update(theta="0.3"), "theta must be in (0, 1]"),
        (lambda d: d["about"]["scale"].update(radius=2), "radius must be in (0, 1]"),
        (lambda d: d["about"]["scale"].pop("radius_origin"), "radius_origin must be a text"),
        (lambda d: d["about"]["generator"].update(x=deep(40)), "is nested more than 24 levels"),
        (lambda d: d["about"]["generator"].update(x=10**4000), "has a number that is too large"),
        (lambda d: d["about"]["generator"].update(x=float("nan")), "cannot be read as JSON"),
        (lambda d: d["about"]["generator"].update(x=float("inf")), "cannot be read as JSON"),
        (lambda d: d["about"]["generator"].update(x="\ud800"), "cannot be read as JSON"),
    ],
)
def test_a_part_json_that_is_none_is_refused(
    config: Make, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    folders = made(config, 1, samples=64)
    edited("part.json", change)
    refused(folders, said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot be read as JSON"),
        ("[]", "is no part of a run"),
        ("null", "is no part of a run"),
        ("[" * 10**5, "cannot be read as JSON"),
        ('{"kind": "part", "x": 1e999}', "cannot be read as JSON"),
        ('{"kind": "part", "x": ' + "1" * 10**4 + "}", "cannot be read as JSON"),
        (" " * 2**23, "is larger than 4 MiB"),
    ],
)
@pytest.mark.parametrize("name", ["part.json", "manifest.json"])
def test_a_json_file_that_would_do_harm_is_refused(
    config: Make, name: str, text: str, said: str
) -> None:
    folders = made(config, 1, samples=64)
    (Path("part-0") / name).write_text(text)
    said = said.replace("no part of a run", "no manifest") if name == "manifest.json" else said
    refused(folders, said)
    (Path("part-0") / name).unlink()
    os.mkfifo(Path("part-0") / name)
    refused(folders, "part-0")  # and nobody waits for what never comes


def test_a_manifest_of_another_version_or_deeper_than_any_is_refused(config: Make) -> None:
    folders = made(config, 1, samples=64)
    edited("manifest.json", lambda d: d.update(more=deep(30)))
    refused(folders, "is nested more than 24 levels deep")
    edited("manifest.json", lambda d: d.update(more=1, schema=2))
    refused(folders, "is no manifest of this version")


def test_sizes_that_nobody_has_are_refused_at_once(config: Make) -> None:
    folders = made(config, 2)
    for folder in folders:
        path = folder / "part.json"
        document = json.loads(path.read_text())
        document["about"]["request"]["samples"] = 10**12
        path.write_text(json.dumps(document))
    begin = time.monotonic()
    refused(folders, "part-0 is not complete: it lacks the samples from slot 1300 on")
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        (np.array([0, 1, 3]), "holds other labels than manifest.json says"),
        (np.array([0, 1]), None),  # of fewer classes: nothing here knows better
        (np.array([0, 1, 2**20]), "holds labels out of range"),
        (np.array([-1, 0, 1]), "holds labels out of range"),
        (np.array([], dtype=np.int64), "holds no labels"),
        (np.arange(3.0), "holds no labels"),
        (np.zeros((3, 1), dtype=np.int64), "holds no labels"),
    ],
)
def test_labels_that_were_not_drawn_from_are_refused(
    config: Make, choices: np.ndarray, said: str | None
) -> None:
    class Classes(Toy):
        num_labels = 3

    folders = made(config, 2, source=Classes())
    safetensors.numpy.save_file({"choices": choices}, "part-0/labels.safetensors")
    refused(folders, said or "part-1 and part-0 are not parts of one run: their labels differ")
    safetensors.numpy.save_file({"other": choices}, "part-0/labels.safetensors")
    refused(folders, "holds no labels")
    Path("part-0/labels.safetensors").write_bytes(b"nothing")
    with pytest.raises(GanauditError, match=r"labels\.safetensors is damaged"):
        merge(folders, Path("run"))


def test_strings_of_a_part_set_no_markup_and_steer_no_terminal(config: Make, ganaudit: Run) -> None:
    folders = made(config, 1, samples=64)
    hostile = "<script>alert(1)</script>\x1b[2J\r\nFAIL "
    for name in ("part.json", "manifest.json"):
        path = folders[0] / name
        document = json.loads(path.read_text())
        about = document.get("about", document)
        about["generator"] = {hostile: hostile}
        if name == "part.json":
            about["warnings"] = about["assumptions"] = [hostile]
            about["request"]["generator"] = hostile
            about["descriptor"]["name"] = hostile
            about["scale"]["theta_origin"] = hostile
        else:
            document["descriptor"]["name"] = hostile
        path.write_text(json.dumps(document))
    ended = ganaudit("merge", folders[0], "--out", "run", drawn=True)
    assert ended.code == 0, ended.err
    assert "\x1b" not in ended.out
    assert "\x1b" not in ended.err
    page = Path("run/report.html").read_text("utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_a_card_that_differs_in_what_decides_nothing_is_the_first_parts(config: Make) -> None:
    """The same weights with another licence on the card: the manifest is the same."""

    class Licensed(Pixels):
        card: DescriptorCard = replace(Pixels.card, licence="MIT")

    made(config, 2)
    asked = config(samples=SAMPLES, shard="1/2", out=Path("licensed"))
    make_part(asked, source=Toy(), descriptor=Licensed())
    report = merge([Path("licensed"), Path("part-0")], Path("run")).report
    assert report["descriptor"]["licence"] is None


def test_failures_of_parts_are_those_of_the_run(config: Make) -> None:
    spoilt = Spoilt({70, 600, 601, 1299}, lambda images, bad: [][0])
    merged = merge(made(config, 2, source=spoilt), Path("run")).report
    assert merged["counts"]["samples"] == {"ok": 1296, "no_face": 0, "failed": 4, "refused": 0}
    (failure,) = merged["screen"]["failures"]
    assert failure == {"reason": "IndexError: list index out of range", "slots": 4}


# -- the command ----------------------------------------------------------------------------------


def test_what_goes_wrong_is_one_sentence_and_a_code(ganaudit: Run) -> None:
    Path("empty").mkdir()
    for arguments, said in (
        (("absent",), "absent holds no part.json"),
        (("empty", "empty"), "empty holds no part.json"),
        (("empty", "--format", "xml"), "--format must be one of rich, json, got 'xml'"),
        (("empty", "--device", "tpu"), "--device must be auto, cpu, cuda or cuda:N, got 'tpu'"),
    ):
        ended = ganaudit("merge", *arguments)
        assert (ended.code, ended.out) == (2, "")
        assert said in ended.complaint
        assert len(ended.err.splitlines()) == 1
    assert ganaudit("merge").code == 2
    assert sorted(Path().iterdir()) == [Path("empty")]


def test_a_merged_run_without_a_name_gets_one(config: Make, ganaudit: Run) -> None:
    folders = made(config, 2)
    for name in ("audit", "audit-2"):
        ended = ganaudit("merge", *folders)
        assert ended.code == 0, ended.err
        assert ended.out.splitlines()[-1] == f"{name}/report.json"


def test_ctrl_c_of_a_merge_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ganaudit.cli.merge import merge as command

    def interrupted(*arguments: object, **more: object) -> None:
        raise KeyboardInterrupt

    def leave(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr("ganaudit.pipeline.merge", interrupted)
    monkeypatch.setattr("ganaudit.cli.running.leave", leave)
    for out, said in ((Path("run"), "the same command goes on"), (None, "go on with --out audit")):
        with pytest.raises(SystemExit) as end:
            command([Path("part")], out=out)
        assert end.value.code == 130
        assert capsys.readouterr() == ("", f"ganaudit: interrupted; {said}\n")


def test_a_dry_run_of_a_part_counts_its_slots(ganaudit: Run) -> None:
    asked = ("--generator", "demo", "--anchors", "600", "--samples", "1300", "--device", "cpu")
    ended = ganaudit("diagnose", *asked, "--shard", "1/2", "--dry-run", "--format", "json")
    assert ended.code == 0, ended.err
    estimate = json.loads(ended.out)["estimate"]
    assert estimate["images"] == 88 + 512  # anchors from 512 on, samples 512 to 1023
    assert estimate["pairs"] == 0  # it is merge that scores


def test_a_source_error_has_its_own_code(config: Make) -> None:
    class Blank(Pixels):
        def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
            rows, valid = super().embed(images)
            return rows, ~valid

    folders = made(config, 1, descriptor=Blank(), max_faceless=1.0)
    with pytest.raises(SourceError, match="none of the 64 anchors can be scored"):
        merge(folders, Path("run"))
    assert not Path("run/report.json").exists()
