"""A run read from disk: whole, and fit to be compared with another; or refused in one sentence."""

import copy
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Pixels, Spoilt, Toy, without_timings
from torch import Tensor

from ganaudit.comparable import Comparable
from ganaudit.config import DiagnoseConfig
from ganaudit.errors import ConfigError, GanauditError
from ganaudit.finished import Basis, Finished, check_sizes
from ganaudit.intervals import Estimate
from ganaudit.pipeline import Audit, diagnose
from ganaudit.report import canonical
from ganaudit.slots import Stream
from ganaudit.store import Store

pytestmark = pytest.mark.usefixtures("undrawn")
Make = Callable[..., DiagnoseConfig]
LACKING = object()
VALUES: tuple[Any, ...] = (  # in the place of any other value
    *(LACKING, None, True, "x", [], {}, ["a"], {"a": 1}),
    *(-1, 0, 1, 1.5, 2**62, 10**400, 1e308, 1e-320),
)


class Choosy(Pixels):
    """Finds a face in two of three images."""

    def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
        rows, _ = super().embed(images)
        return rows, rows[:, 0] > -0.1


def failing(images: Tensor, bad: Tensor) -> Tensor:
    """Some images of a batch are none."""
    images = images.clone()
    images[bad] = 7
    return images


def audited(config: DiagnoseConfig, source: object = None, descriptor: object = None) -> Audit:
    return diagnose(config, source=source or Toy(), descriptor=descriptor or Pixels())


def kept(folder: Path, source: object = None, **changes: Any) -> Path:
    """A run that several tests copy, made once; as `undrawn` has it."""
    usual = {"generator": "toy", "anchors": 64, "samples": 700, "device": "cpu", "out": folder}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ganaudit.report.outputs.write_own", lambda report, folder: None)
        patch.setattr(os, "fsync", lambda handle: None)
        return audited(DiagnoseConfig(**(usual | changes)), source).folder


def rewritten(folder: Path, change: Callable[[dict[str, Any]], None], name: str = "report") -> None:
    """A run's document after somebody else had it."""
    path = folder / f"{name}.json"
    found = json.loads(path.read_text("utf-8"))
    change(found)
    path.write_text(json.dumps(found), encoding="utf-8")


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Of every value in a document; of the items of a list the first stands for all."""
    if place:
        yield place
    keys: list[Any] = []
    if isinstance(value, dict | list):
        keys = [*value] if isinstance(value, dict) else [*range(len(value))][:1]
    for key in keys:
        yield from places(value[key], (*place, key))


def mutated(document: Any, place: tuple[Any, ...], value: Any) -> Any:
    """A copy with another value in one place."""
    made = inner = copy.deepcopy(document)
    for key in place[:-1]:
        inner = inner[key]
    if value is LACKING:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return made


def mutations(document: Any, *, every: int) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """(place, document): every value once in `every` places, each place with some values."""
    for number, place in enumerate(places(document)):
        for value in VALUES[number % every :: every]:
            yield place, mutated(document, place, value)


# -- what is read ----------------------------------------------------------------------------


def test_a_run_is_what_its_report_and_its_manifest_say(config: Make) -> None:
    asked = config(anchors=60, samples=700, theta=0.35, radius=0.25)
    report = audited(asked).report
    found = Finished.read(asked.out)
    assert without_timings(found.report) == without_timings(report)
    assert (found.folder, found.name) == (asked.out, "toy")
    card = {"name": "pixels", "sha256": "0" * 64, "preprocessing": None}
    assert found.basis == Basis(card, theta=0.35, radius=0.25, anchors=60, samples=700)
    assert found.basis.size == (60, 700)
    assert found.figures == Comparable.read(report["comparable"])
    assert (found.scale.theta, found.scale.radius) == (0.35, 0.25)
    assert found.store.missing(Stream.SAMPLES, 700) == []
    assert found.manifest["generator"] == report["generator"]


def test_rows_beyond_those_of_the_report_do_no_harm(config: Make) -> None:
    """A run that was made longer and ended before it was scored."""
    asked = config()
    audited(asked)
    before = Finished.read(asked.out)
    other = audited(config(samples=700, out=Path("long"))).folder
    for path in (other / "samples").iterdir():
        shutil.copy(path, asked.out / "samples")
    again = Finished.read(asked.out)
    assert again.figures == before.figures
    assert again.rarefied(anchors=64, samples=256).figures == before.figures


@pytest.mark.parametrize("stream", ["anchors", "samples"])
def test_a_run_without_some_of_its_rows_is_truncated(config: Make, stream: str) -> None:
    asked = config(anchors=600, samples=700)
    audited(asked)
    max((asked.out / stream).iterdir()).unlink()
    with pytest.raises(ConfigError, match=f"run is a truncated run: it lacks {stream} that"):
        Finished.read(asked.out)


def test_a_report_that_claims_more_slots_than_anybody_has_is_refused_at_once(config: Make) -> None:
    """The ranges of 2^39 slots would not fit into memory."""
    asked = config()
    audited(asked)
    for stream in ("anchors", "samples"):
        before = (asked.out / "report.json").read_text()
        rewritten(
            asked.out, lambda report, stream=stream: report["request"].update({stream: 2**39})
        )
        with pytest.raises(ConfigError, match=f"truncated run: it lacks {stream}"):
            Finished.read(asked.out)
        (asked.out / "report.json").write_text(before)


@pytest.mark.parametrize("stream", ["anchors", "samples"])
def test_a_report_of_other_rows_is_refused(config: Make, stream: str) -> None:
    asked = config()
    audited(asked)
    rewritten(asked.out, lambda report: report["counts"][stream].update(ok=1))
    with pytest.raises(ConfigError, match=f"the report does not fit the stored {stream}; score"):
        Finished.read(asked.out)


# -- what somebody else wrote ----------------------------------------------------------------


def test_a_report_with_anything_in_any_place_is_read_or_refused_in_a_sentence(
    config: Make,
) -> None:
    asked = config()
    audited(asked)
    path = asked.out / canonical.NAME
    whole = json.loads(path.read_text("utf-8"))
    for part in ("timings", "gallery", "assumptions", "environment"):  # nobody compares them
        whole[part] = {}
    refused, read = set(), set()
    for place, document in mutations(whole, every=4):
        path.write_text(json.dumps(document))
        try:
            found = Finished.read(asked.out)
            read.add(place)
        except ConfigError as error:
            assert len(str(error)) < 400 and "\n" not in str(error), place
            refused.add(place)
            continue
        assert isinstance(found.name, str)
        assert 0 <= found.report["request"]["seed"] < 2**63
        assert all(isinstance(text, str) for text in found.report["warnings"])
    needed = {("comparable",), ("request", "seed"), ("request", "generator"), ("warnings",)}
    assert needed <= refused
    assert ("figures", "boxes") in read - refused


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("scale", "theta"), 10**400),
        (("scale", "radius"), 0),
        (("request", "seed"), 2**63),
        (("request", "generator"), None),
        (("descriptor",), {}),
        (("descriptor", "name"), 5),
        (("warnings",), "no list"),
        (("warnings",), [5]),
        (("screen", "findings"), [{}]),
        (("figures", "samples"), 255),
        (("figures", "anchors"), 1e308),
        (("figures", "worst_mode", "count"), "1"),
        (("figures", "effective_modes"), None),
    ],
)
def test_what_a_verdict_repeats_is_of_its_kind(
    config: Make, place: tuple[str, ...], value: object
) -> None:
    asked = config()
    audited(asked)
    path = asked.out / canonical.NAME
    path.write_text(json.dumps(mutated(json.loads(path.read_text()), place, value)))
    with pytest.raises(ConfigError, match="the report of .*run is not complete .*; score the run"):
        Finished.read(asked.out)


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ("[]", "is not complete"),
        ("null", "is not complete"),
        ('"descriptor"', "is not complete"),
        ("{}", "is not complete"),
        ("{", "cannot be read as JSON"),
        ('{"descriptor": "' + "x" * 2**22 + '"}', "manifest.json is larger than 4 MiB"),
    ],
)
def test_a_manifest_that_is_none_is_refused(config: Make, manifest: str, said: str) -> None:
    asked = config()
    audited(asked)
    (asked.out / "manifest.json").write_text(manifest)
    with pytest.raises(ConfigError, match=said) as error:
        Finished.read(asked.out)
    assert len(str(error.value)) < 400


def test_links_in_a_folder_lead_to_rows_or_to_a_refusal(config: Make) -> None:
    asked = config()
    audited(asked)
    Path("link").symlink_to(asked.out)
    assert Finished.read(Path("link")).figures == Finished.read(asked.out).figures
    (shard,) = (asked.out / "samples").iterdir()
    shutil.move(shard, "rows")
    shard.symlink_to(Path("rows").resolve())
    assert Finished.read(asked.out).figures.samples == 256
    for target in ("absent", ".", "manifest.json", shard.name):
        shard.unlink()
        shard.symlink_to(asked.out / target if target == "manifest.json" else target)
        with pytest.raises(GanauditError, match="is damaged") as error:
            Finished.read(asked.out)
        assert not isinstance(error.value, ConfigError)
    shutil.rmtree(asked.out / "samples")
    (asked.out / "samples").symlink_to(asked.out)  # without an end
    with pytest.raises(ConfigError, match="truncated"):
        Finished.read(asked.out)


# -- what two runs must have in common -------------------------------------------------------

CARD = {"name": "pixels", "sha256": "ab", "preprocessing": {"size": 4, "mean": [0.5, 0.5, 0.5]}}
BASIS = Basis(CARD, theta=0.4, radius=0.3, anchors=64, samples=256)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"theta": 0.2}, "the theta is 0.4 in the one and 0.2 in the other"),
        ({"radius": 0.25}, "the radius is 0.3 in the one and 0.25 in the other"),
        ({"descriptor": None}, "the descriptor is {"),
        ({"descriptor": CARD | {"sha256": "cd"}}, 'descriptor sha256 is "ab" in the one and "cd"'),
        ({"descriptor": CARD | {"options": {"a": "b"}}}, "the descriptor options is null in"),
        (
            {"descriptor": CARD | {"preprocessing": {"size": 8, "mean": [0.5, 0.5, 0.5]}}},
            "the descriptor preprocessing size is 4 in the one and 8 in the other",
        ),
        ({"descriptor": ["pixels"]}, 'and \\["pixels"\\] in the other'),
    ],
)
def test_another_descriptor_or_reach_is_refused_by_name(changes: dict[str, Any], said: str) -> None:
    for one, other in ((BASIS, replace(BASIS, **changes)), (replace(BASIS, **changes), BASIS)):
        with pytest.raises(ConfigError, match="mine and theirs cannot be compared: the ") as error:
            one.check(other, here="mine", there="theirs")
        assert str(error.value).endswith("; audit both under the same")
    with pytest.raises(ConfigError, match=said.replace("{", "\\{")):
        BASIS.check(replace(BASIS, **changes), here="mine", there="theirs")


def test_sizes_and_what_is_not_declared_are_no_difference() -> None:
    BASIS.check(replace(BASIS, anchors=1, samples=10**6), here="a", there="b")
    nothing = replace(BASIS, descriptor=CARD | {"settings": None})
    nothing.check(BASIS, here="a", there="b")
    BASIS.check(nothing, here="a", there="b")


def test_a_difference_is_told_in_bounded_words() -> None:
    strange = replace(BASIS, descriptor=CARD | {"k" * 10**6: ["v" * 10**6]})
    with pytest.raises(ConfigError) as error:
        BASIS.check(strange, here="a", there="b")
    assert len(str(error.value)) < 500


def test_the_basis_of_a_run_to_be_is_that_of_the_run(config: Make) -> None:
    from ganaudit.opening import open_request

    asked = config()
    request = open_request(asked, source=Toy(), descriptor=Pixels())
    audited(asked)
    assert Basis.of(request.manifest(), request.scale(), asked) == Finished.read(asked.out).basis


def figures(anchors: int, samples: int) -> Comparable:
    nothing = Estimate(0.0, None, 0.0, 0.0)
    return Comparable(anchors, samples, nothing, nothing, None, None)


@pytest.mark.parametrize(
    ("here", "there", "fits"),
    [
        ((100, 1000), (100, 1000), True),
        ((95, 1000), (100, 1000), True),
        ((94, 1000), (100, 1000), False),
        ((100, 1000), (100, 950), True),
        ((100, 1000), (100, 949), False),
        ((1, 20), (1, 19), True),
        ((1, 1), (2, 1), False),
        ((20 * 7919, 1), (19 * 7919, 1), True),
    ],
)
def test_sizes_within_five_percent_are_alike(
    here: tuple[int, int], there: tuple[int, int], fits: bool
) -> None:
    for one, other in ((figures(*here), figures(*there)), (figures(*there), figures(*here))):
        if fits:
            check_sizes(one, other, remedy="do something")
            continue
        name = "anchors" if here[0] != there[0] else "samples"
        with pytest.raises(ConfigError, match=f"equal numbers of {name} only: .*; do something$"):
            check_sizes(one, other, remedy="do something")


# -- a run as if it had been smaller ---------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "descriptor"),
    [
        (Toy(), Pixels()),
        (Spoilt({0, 3, 31, 40, 41, 255, 256, 300, 511, 512, 640}, failing), Pixels()),
        (Spoilt({2, 5, 39, 299, 300, 301, 302}, failing), Choosy()),
    ],
    ids=["whole", "failed", "faceless"],
)
@pytest.mark.parametrize(("anchors", "samples"), [(30, 200), (20, 400), (1, 7)])
def test_rarefied_is_a_run_that_really_was_that_small(
    config: Make, source: object, descriptor: Pixels, anchors: int, samples: int
) -> None:
    asked = config(anchors=80, samples=750)
    audited(asked, source, descriptor)
    whole = Finished.read(asked.out)
    cut = whole.rarefied(anchors=anchors, samples=samples)
    assert (cut.figures.anchors, cut.figures.samples) == (anchors, samples)
    anchors, samples = cut.basis.size
    short = config(anchors=anchors, samples=samples, max_failure_rate=1.0, out=Path("short"))
    audited(short, source, descriptor)
    small = Finished.read(short.out)
    assert cut.basis == small.basis
    assert cut.figures == small.figures
    for name in ("figures", "comparable", "counts"):
        assert without_timings(cut.report)[name] == small.report[name], name
    last = [Store(short.out).marks(stream, stop)[0][-1] for stream, stop in zip(
        Stream, cut.basis.size, strict=True
    )]  # fmt: skip
    assert last == [0, 0]  # it ends with a slot that counts
    for name in ("warnings", "screen", "request", "generator"):
        assert cut.report[name] == whole.report[name]


def test_rarefying_leaves_what_there_is_no_more_of(config: Make) -> None:
    spoilt = Spoilt({61, 62, 63, 250, 255}, failing)
    asked = config()
    audited(asked, spoilt)
    run = Finished.read(asked.out)
    assert (run.figures.anchors, run.figures.samples) == (61, 251)
    for anchors, samples in ((61, 251), (64, 256), (10**12, 2**53)):
        same = run.rarefied(anchors=anchors, samples=samples)
        assert same.basis == run.basis
        assert same.figures == run.figures
        assert without_timings(same.report)["figures"] == run.report["figures"]
    half = run.rarefied(anchors=61, samples=250)  # the last slot that counts is 254
    assert half.basis.size == (64, 254)


def test_rarefied_embeddings_are_measured_as_such(config: Make) -> None:
    rows = np.random.default_rng(0).normal(size=(500, 6))
    np.save("rows.npy", np.repeat(rows, 2, axis=0))
    asked = config(generator="embeddings:rows.npy", theta=0.4, radius=0.3, samples=700)
    diagnose(asked)
    run = Finished.read(asked.out)
    assert run.basis.descriptor is None
    cut = run.rarefied(anchors=64, samples=300)
    duplicates = cut.figures.shares["duplicates"]
    assert (duplicates.of, cut.figures.samples) == (364, 300)
    assert 0 < duplicates.count < run.figures.shares["duplicates"].count
