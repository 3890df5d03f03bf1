"""baseline.json: what a run leaves to later ones, and nothing that its reader has to trust."""

import base64
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import literal
import numpy as np
import pytest
import torch
from conftest import Pixels, Toy, paint
from numpy.typing import NDArray
from test_finished import LACKING, failing, kept, mutated, mutations, rewritten
from torch import Tensor

from ganaudit import baselines
from ganaudit.baselines import Baseline, count_again
from ganaudit.config import DiagnoseConfig
from ganaudit.errors import ConfigError, GanauditError
from ganaudit.finished import Finished
from ganaudit.pipeline import diagnose
from ganaudit.ratios import Share
from ganaudit.slots import Draws, Stream
from ganaudit.store import Store

pytestmark = pytest.mark.usefixtures("undrawn")
Make = Callable[..., DiagnoseConfig]
FAILED = {0, 5, 17, 40, 100, 511, 512, 513, 699}
CENTRES = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(0))


class Crowded(Toy):
    """Every third image is one of four, with a little noise; some slots have none."""

    def __init__(self, failed: set[int] = frozenset()) -> None:
        self._failed = failed

    def render(self, draws: Draws) -> Tensor:
        assert draws.latents is not None
        latents = draws.latents.clone()
        dense = latents[:, 1, 0, 0] > 0.43
        latents[dense] = CENTRES[draws.index[dense] % 4] + 0.3 * latents[dense]
        bad = torch.tensor([slot in self._failed for slot in draws.index.tolist()])
        return failing(paint(latents), bad)


def audited(config: DiagnoseConfig, source: object = None) -> Finished:
    diagnose(config, source=source or Crowded(), descriptor=Pixels())
    return Finished.read(config.out)


def stored(store: Store, stream: Stream, stop: int) -> tuple[NDArray, NDArray]:
    """Rows [N, D], and which of them count [N]."""
    pieces = [(one.rows.copy(), one.valid) for one in store.read(stream, stop)]
    rows, valid = (np.concatenate(part) for part in zip(*pieces, strict=True))
    return rows, valid


def near(row: NDArray, rows: NDArray, radius: float) -> NDArray:
    """[N] bool: whether a row lies within the radius, by the plain cosine."""
    cosines = rows.astype(np.float64) @ row.astype(np.float64)
    return np.arccos(np.clip(cosines, -1, 1)) / np.pi <= radius


def again(baseline: Baseline, path: Path = Path("baseline.json")) -> Baseline:
    path.write_text(json.dumps(baseline.document(), allow_nan=False), encoding="utf-8")
    return baselines.read(path)


def assert_same(one: Baseline, other: Baseline) -> None:
    assert replace(one, modes=None) == replace(other, modes=None)
    assert one.document() == other.document()
    if one.modes is None or other.modes is None:
        assert one.modes is other.modes
        return
    assert one.modes.rows.dtype == other.modes.rows.dtype == np.float32
    np.testing.assert_array_equal(one.modes.rows, other.modes.rows)
    assert (one.modes.anchors, one.modes.counts) == (other.modes.anchors, other.modes.counts)


# -- there and back --------------------------------------------------------------------------


@pytest.mark.parametrize("source", [Crowded(), Crowded(FAILED)], ids=["whole", "holed"])
def test_what_was_saved_is_read(config: Make, source: Crowded) -> None:
    run = audited(config(samples=700, seed=2**63 - 1), source)
    made = baselines.save(run.folder, Path("baseline.json"))
    assert made.modes is not None
    found = baselines.read(Path("baseline.json"))
    assert_same(found, made)
    assert_same(again(found), made)
    assert (found.generator, found.seed) == ("toy", 2**63 - 1)
    assert found.identity == run.report["generator"]
    assert (found.basis, found.figures) == (run.basis, run.figures)
    assert found.headline in json.dumps(found.document(), ensure_ascii=False)
    assert found.headline.startswith("One identity makes up ")


def test_names_in_any_script_come_back(config: Make) -> None:
    run = audited(config(generator="Gesichter \u00e4\u2028\U0001f600 v2"))
    baselines.save(run.folder, Path("baseline.json"))
    assert baselines.read(Path("baseline.json")).generator == run.name
    assert run.name == "Gesichter \u00e4\u2028\U0001f600 v2"


def test_it_is_small_and_has_no_picture_and_no_place_of_the_machine(config: Make) -> None:
    run = audited(config(samples=700))
    text = json.dumps(baselines.of_run(run).document())
    assert len(text) < 10_000
    assert "gallery" not in text and ".png" not in text and str(Path.cwd()) not in text


def test_the_same_run_makes_the_same_bytes(config: Make) -> None:
    run = audited(config())
    for name in ("one.json", "other.json"):
        baselines.save(run.folder, Path(name))
    assert Path("one.json").read_bytes() == Path("other.json").read_bytes()


# -- modes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "failed", [set(), FAILED, set(range(100, 420))], ids=["none", "some", "half"]
)
def test_modes_are_counted_in_the_half_that_did_not_choose_them(
    config: Make, failed: set[int]
) -> None:
    """Groups with samples, in order: the first half of them chose, the others count."""
    asked = config(anchors=600, samples=700, max_failure_rate=1.0)
    run = audited(asked, Crowded(failed))
    modes = baselines.of_run(run).modes
    assert modes is not None
    anchors, scored = stored(run.store, Stream.ANCHORS, 600)
    samples, valid = stored(run.store, Stream.SAMPLES, 700)
    group = np.arange(700) // 16 % 32
    full = [g for g in range(32) if valid[group == g].any()]
    counting = valid & np.isin(group, full[len(full) // 2 :])
    assert 0 < counting.sum() < valid.sum()
    found = run.report["figures"]["dense_modes"]
    assert modes.anchors == [mode["anchor"] for mode in found][:24]
    for row, anchor, share in zip(modes.rows, modes.anchors, modes.counts, strict=True):
        np.testing.assert_array_equal(row, anchors[anchor])
        assert scored[anchor]
        assert share == Share(int(near(row, samples[counting], 0.3).sum()), int(counting.sum()))
    for i, row in enumerate(modes.rows):  # no two are one
        assert not near(row, modes.rows[:i], 0.3).any()
    counts = [share.count for share in modes.counts]
    assert max(counts) > 10 and counts[0] > np.median(counts)


def test_the_rates_of_modes_are_those_of_the_report(config: Make) -> None:
    run = audited(config(samples=700))
    modes = baselines.of_run(run).modes
    assert modes is not None
    for share, mode in zip(modes.counts, run.report["figures"]["dense_modes"], strict=False):
        assert share.rate == pytest.approx(mode["rate"]["estimate"], rel=1e-12)


@pytest.mark.parametrize("failed", [set(), FAILED])
def test_counting_again_is_a_plain_count(config: Make, failed: set[int]) -> None:
    modes = baselines.of_run(audited(config(samples=700))).modes
    assert modes is not None
    other = audited(config(samples=1300, seed=1, out=Path("other")), Crowded(failed))
    for stop in (1300, 600, 512, 7):
        samples, valid = stored(other.store, Stream.SAMPLES, stop)
        found = count_again(modes, other.store, other.scale, samples=stop)
        wanted = [int((near(row, samples, 0.3) & valid).sum()) for row in modes.rows]
        assert found == [Share(count, int(valid.sum())) for count in wanted]


def test_embeddings_of_another_width_are_not_counted(config: Make) -> None:
    run = audited(config())
    modes = baselines.of_run(run).modes
    assert modes is not None
    narrow = replace(modes, rows=modes.rows[:, :15])
    with pytest.raises(ConfigError, match="embeddings have 15 columns, the release's 16: they are"):
        count_again(narrow, run.store, run.scale, samples=256)


def test_few_samples_and_samples_apart_leave_no_modes(config: Make) -> None:
    few = audited(config(samples=16))  # one group
    assert few.figures.worst_rate is None
    apart = audited(config(radius=1e-6, out=Path("apart")), Toy())
    for run in (few, apart):
        made = baselines.save(run.folder, Path("baseline.json"))
        assert made.modes is None and made.document()["modes"] == []
        assert_same(baselines.read(Path("baseline.json")), made)


def test_at_most_24_modes_are_kept_in_their_order(config: Make) -> None:
    run = audited(config(anchors=600, samples=1300, radius=0.25))
    made = baselines.of_run(run)
    assert made.modes is not None and len(made.modes.anchors) == 24
    assert_same(again(made), made)


def test_embeddings_without_a_descriptor_have_a_baseline(config: Make) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(400, 5)) + 3 * np.eye(5)[np.arange(400) % 5]
    np.save("rows.npy", rows)
    asked = config(generator="embeddings:rows.npy", theta=0.4, radius=0.1)
    diagnose(asked)
    made = baselines.save(asked.out, Path("baseline.json"))
    assert made.basis.descriptor is None and made.modes is not None
    assert_same(baselines.read(Path("baseline.json")), made)
    assert made.modes.rows.shape[1] == 5


# -- where it is written ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "older",
    [
        {"kind": "baseline"},
        {"kind": "baseline", "schema_version": 0, "theta": 7},
        {"kind": "baseline", "schema_version": 2},
    ],
)
def test_an_older_or_damaged_baseline_is_replaced_as_its_message_says(
    config: Make, older: dict[str, Any]
) -> None:
    run = audited(config())
    path = Path("baseline.json")
    path.write_text(json.dumps(older))
    with pytest.raises(ConfigError, match="save the baseline again"):
        baselines.read(path)
    made = baselines.save(run.folder, path)
    assert_same(baselines.read(path), made)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"kind": "check"}', "<<<<<<< HEAD"])
def test_what_is_no_baseline_is_left_alone(config: Make, text: str) -> None:
    run = audited(config())
    Path("mine").write_text(text)
    with pytest.raises(ConfigError, match="mine exists and is no baseline; name another file"):
        baselines.save(run.folder, Path("mine"))
    assert Path("mine").read_text() == text


def test_a_folder_and_a_link_are_left_alone(config: Make) -> None:
    run = audited(config())
    Path("folder").mkdir()
    Path("link").symlink_to("absent")
    for name in ("folder", "link"):
        with pytest.raises(ConfigError, match=f"{name} exists and is no baseline"):
            baselines.save(run.folder, Path(name))
    assert Path("link").is_symlink() and not Path("absent").exists()


def test_nothing_is_written_of_what_is_no_run(config: Make) -> None:
    with pytest.raises(ConfigError, match="absent holds no report.json"):
        baselines.save(Path("absent"), Path("baseline.json"))
    assert not Path("baseline.json").exists()


def test_a_place_that_cannot_be_is_one_sentence(config: Make) -> None:
    run = audited(config())
    Path("file").touch()
    for place in ("x" * 300, "file/baseline.json"):
        with pytest.raises(GanauditError, match="cannot be written: ") as error:
            baselines.save(run.folder, Path(place))
        assert not isinstance(error.value, ConfigError)
    folders = Path("new/folders/baseline.json")
    baselines.save(run.folder, folders)
    assert folders.is_file()


# -- what somebody else wrote ----------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> str:
    run = kept(tmp_path_factory.mktemp("runs") / "run", Crowded(), samples=256)
    return json.dumps(baselines.of_run(Finished.read(run)).document())


@pytest.fixture
def document(made: str) -> dict[str, Any]:
    """Of a run of 64 anchors and 256 samples."""
    found = json.loads(made)
    assert found["modes"]
    return found


def test_anything_in_any_place_is_read_or_refused_in_a_sentence(document: dict[str, Any]) -> None:
    path = Path("baseline.json")
    refused, read = set(), set()
    for place, changed in mutations(document, every=1):
        path.write_text(json.dumps(changed))
        try:
            found = baselines.read(path)
        except ConfigError as error:
            assert re.match("baseline.json (is|has) ", str(error)), place
            assert len(str(error)) < 400 and "\n" not in str(error), place
            refused.add(place)
            continue
        read.add(place)
        assert isinstance(found.generator, str) and isinstance(found.headline, str)
        assert 0 <= found.seed < 2**63 and found.basis.samples < 2**40
        assert found.basis.descriptor is None or isinstance(found.basis.descriptor["name"], str)
        if found.modes is not None:
            assert all(0 <= slot < found.basis.anchors for slot in found.modes.anchors)
            assert all(0 <= s.count <= s.of <= found.basis.samples for s in found.modes.counts)
    never = {("kind",), ("comparable",), ("comparable", "pairs"), ("modes", 0, "embedding")}
    assert never <= refused - read
    assert {("environment",), ("generator_identity",)} <= read - refused


def packed(row: list[float], kind: str = "<f4") -> str:
    return base64.b64encode(np.array(row, dtype=kind).tobytes()).decode()


UNIT = [1.0] + 15 * [0.0]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("embedding", packed([1.0] * 16), "must have rows of length 1"),
        ("embedding", packed([float("nan")] * 16), "must be finite"),
        ("embedding", packed([float("inf"), *UNIT[1:]]), "must be finite"),
        ("embedding", packed(UNIT[:15]), "must have one length"),
        ("embedding", packed([1.0] + 2**16 * [0.0]), "must have one length"),
        ("embedding", packed(UNIT, "<f8"), "must have one length"),
        ("embedding", packed(UNIT)[:-4], "is damaged"),
        ("embedding", "", "is damaged"),
        ("embedding", "####", "is damaged"),
        ("embedding", "\u00e4" * 4, "is damaged"),
        ("anchor", -1, "a mode must be an anchor of the run"),
        ("anchor", 64, "a mode must be an anchor of the run"),
        ("anchor", 10**300, "a mode must be an anchor of the run"),
        ("anchor", True, "a mode must count samples"),
        ("count", -1, "a mode must count samples"),
        ("count", 10**300, "a mode must count samples"),
        ("of", 257, "a mode must count samples"),
        ("of", 0, "a size must be a whole number above 0"),
        ("of", LACKING, "'of'"),
    ],
)
def test_a_mode_that_is_none_is_refused(
    document: dict[str, Any], name: str, value: object, said: str
) -> None:
    document["modes"] = [document["modes"][0], dict(document["modes"][0])]
    changed = mutated(document, ("modes", 1, name), value)
    Path("baseline.json").write_text(json.dumps(changed))
    with pytest.raises(ConfigError, match=said) as error:
        baselines.read(Path("baseline.json"))
    assert str(error.value).endswith("; save the baseline again")


def test_more_than_24_modes_are_none_of_ours(document: dict[str, Any]) -> None:
    document["modes"] = 25 * document["modes"][:1]
    Path("baseline.json").write_text(json.dumps(document))
    with pytest.raises(ConfigError, match="modes must be a list of at most 24"):
        baselines.read(Path("baseline.json"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot be read as JSON"),
        ("NaN", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ("[]", "is no baseline; ganaudit baseline save RUN --out FILE makes one"),
        ('{"kind": "report", "schema_version": 3}', "is no baseline"),
        ('{"kind": "baseline", "schema_version": 2}', "has schema version 2, wanted 1"),
        ('{"kind": "baseline"}', "has schema version None, wanted 1"),
        ('{"kind": "baseline", "schema_version": 1}', "is damaged \\('descriptor'\\)"),
    ],
)
def test_what_is_no_baseline_is_said(text: str, said: str) -> None:
    Path("none.json").write_text(text)
    with pytest.raises(ConfigError, match=said):
        baselines.read(Path("none.json"))


def test_a_large_file_is_not_read(document: dict[str, Any]) -> None:
    document["generator_identity"] = "x" * 2**24
    Path("baseline.json").write_text(json.dumps(document))
    with pytest.raises(ConfigError, match="baseline.json is larger than 16 MiB"):
        baselines.read(Path("baseline.json"))


@pytest.mark.parametrize("anchor", [64, -1, 3, 10**30, "x", None, 1e308])
def test_a_report_of_modes_that_are_no_anchors_makes_no_baseline(
    config: Make, anchor: object
) -> None:
    """Slot 3 has no image."""
    run = audited(config(), Crowded({3}))
    assert run.figures.anchors == 63
    rewritten(run.folder, lambda report: report["figures"]["dense_modes"][0].update(anchor=anchor))
    with pytest.raises(ConfigError, match="the report of .*run is not complete"):
        baselines.save(run.folder, Path("baseline.json"))
    assert not Path("baseline.json").exists()


def test_literal_distances_agree_on_who_is_near(config: Make) -> None:
    """The plain cosine of these tests is the angle of the definition."""
    run = audited(config())
    samples, _ = stored(run.store, Stream.SAMPLES, 40)
    wanted = [literal.distance(samples[0], row) <= 0.3 for row in samples]
    assert near(samples[0], samples, 0.3).tolist() == wanted
    assert 0 < sum(wanted) < 40
