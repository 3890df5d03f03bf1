"""docs/schemas says of every document what is in it: all that is really written, and no less."""

import copy
import json
import os
import pickle
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import check_example
import numpy as np
import pytest
import report_example
import torch
from conftest import Pixels, Spoilt, Toy
from doc_blocks import blocks, run_page
from jsonschema import Draft202012Validator
from torch import Tensor

from ganaudit import baselines, descriptors, difference, errors, gates
from ganaudit.comparable import SHARES
from ganaudit.config import CheckConfig, DiagnoseConfig, Inconclusive
from ganaudit.pipeline import diagnose, make_part, merge
from ganaudit.release import check
from ganaudit.report import canonical, checked
from ganaudit.settings import resolve
from ganaudit.slots import Draws

Json = Any
Place = tuple[str | int, ...]  # of a value in a document
DOCS = Path(__file__).parents[1] / "docs"
VERSIONS = {
    "report": canonical.SCHEMA_VERSION,
    "check": checked.SCHEMA_VERSION,
    "baseline": baselines.SCHEMA_VERSION,
    "diff": difference.SCHEMA_VERSION,
}
OWN_NAMES = {  # objects whose members somebody else names, as far as they are in a document
    *("generator", "settings", "environment", "timings", "generator_identity"),
    *("options", "files_sha256"),
}
OPTIONAL = {*SHARES, "settings", "plugin", "options", "files_sha256", "plugin_sha256"}
IMPOSSIBLE = {  # examples of a check that none writes
    *("empty", "tampered", "hostile error"),
    "many",  # a largest Vendi score
}
EITHER_SIGN = {"kernel_distance", "difference", "mean"}


def schema_of(kind: str) -> Json:
    path = DOCS / "schemas" / f"{kind}-{VERSIONS[kind]}.schema.json"
    return json.loads(path.read_text("utf-8"))


def strict(schema: Json) -> Json:
    """A copy that refuses every member that it does not describe."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: strict(value) for name, value in schema.items()}
    if "object" in _types(schema) and "properties" in schema:
        made["additionalProperties"] = False
    return made


def _types(schema: Mapping[str, Json]) -> list[str]:
    found = schema.get("type", [])
    return [found] if isinstance(found, str) else found


VALID = {kind: Draft202012Validator(schema_of(kind)) for kind in VERSIONS}
STRICT = {kind: Draft202012Validator(strict(schema_of(kind))) for kind in VERSIONS}


def complaints(validator: Draft202012Validator, document: Json) -> list[str]:
    return [f"{e.json_path}: {e.message:.300}" for e in validator.iter_errors(document)]


def members(schema: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    """Every described member, by its place in the schema."""
    if isinstance(schema, dict):
        if _types(schema):
            yield from ((f"{path}/{k}", v) for k, v in schema.get("properties", {}).items())
        for name, value in schema.items():
            yield from members(value, f"{path}/{name}")
    elif isinstance(schema, list):
        for i, value in enumerate(schema):
            yield from members(value, f"{path}/{i}")


# -- the schemas themselves ------------------------------------------------------------------


@pytest.mark.parametrize("kind", VERSIONS)
def test_a_schema_is_one_and_stands_alone(kind: str) -> None:
    schema = schema_of(kind)
    Draft202012Validator.check_schema(schema)
    text = json.dumps(schema)
    references = set(re.findall(r'"\$ref": "([^"]*)"', text))
    assert references == {f"#/$defs/{name}" for name in schema["$defs"]}
    assert re.findall(r"https?://[^\"]*", text) == [Draft202012Validator.META_SCHEMA["$id"]]
    assert 'additionalProperties": false' not in text
    assert schema["properties"]["schema_version"]["const"] == VERSIONS[kind]


@pytest.mark.parametrize("kind", VERSIONS)
def test_every_member_says_what_it_is_and_every_number_its_range(kind: str) -> None:
    schema = schema_of(kind)
    described, unbounded = list(members(schema)), set()
    assert len(described) > 20
    for place, member in described:
        target = schema["$defs"].get(member.get("$ref", "").rpartition("/")[2], {})
        said = member.get("description", target.get("description", ""))
        assert len(said) >= 5 and said.endswith("."), place
        whole = target | member
        if {"number", "integer"} & set(_types(whole)) and not any("nimum" in key for key in whole):
            unbounded.add(place.rpartition("/")[0])
    assert unbounded <= {"/$defs/signed_interval"}


def test_what_several_documents_share_is_said_alike() -> None:
    known: dict[str, Json] = {}
    for kind in VERSIONS:
        for name, one in schema_of(kind)["$defs"].items():
            assert known.setdefault(name, one) == one, name
    assert {"comparable", "share_interval"} <= set(known)


def test_words_are_those_of_the_code() -> None:
    found = schema_of("check")
    gate, error = (found["$defs"]["gate"]["properties"], found["properties"]["error"]["properties"])
    assert gate["gate"]["enum"] == list(gates.FIGURES)
    assert gate["kind"]["enum"] == list(get_args(gates.Kind))
    assert gate["verdict"]["enum"] == list(get_args(gates.Verdict))
    assert gate["reason"]["enum"] == list(get_args(gates.Reason))
    assert found["properties"]["verdict"]["enum"] == [*get_args(gates.Verdict), "error"]
    assert found["properties"]["inconclusive_as"]["enum"] == list(get_args(Inconclusive))
    assert error["exit_code"]["enum"] == sorted(set(_codes()))
    steps = schema_of("report")["$defs"]["preprocessing"]["properties"]
    assert steps["resize"]["enum"] == list(get_args(descriptors.Resize))
    assert steps["colour"]["enum"] == list(get_args(descriptors.Colour))
    shares = schema_of("baseline")["$defs"]["comparable"]["properties"]["shares"]["properties"]
    assert list(shares) == list(SHARES)


def _codes(kind: type[errors.GanauditError] = errors.GanauditError) -> list[int]:
    return [kind.exit_code, *(code for one in kind.__subclasses__() for code in _codes(one))]


# -- documents that are really written ---------------------------------------------------------


class Classes(Toy):
    """A conditional generator."""

    num_labels = 2


class One(Toy):
    """The same image again and again."""

    warnings = ("There is but one image.",)

    def render(self, draws: Draws) -> Tensor:
        image = torch.arange(48, dtype=torch.uint8).view(1, 3, 4, 4) * 5
        return image.repeat(len(draws.index), 1, 1, 1)


class Choosy(Pixels):
    """Finds a face in most images."""

    def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
        rows, _ = super().embed(images)
        return rows, images[:, 1, 0, 0] > 90


PLUGIN = """
from pathlib import Path

import torch

from ganaudit.descriptors import DescriptorCard, Preprocessing, unit_rows


class Tones:
    def __init__(self, power):
        self.card = DescriptorCard(
            name="tones",
            weights_sha256="none",
            preprocessing=Preprocessing(size=(2, 4), mean=(0.5,), std=(0.5, 0.4, 0.3)),
            settings={"power": power},
        )

    def embed(self, images):
        rows = self.card.preprocessing.apply(images).flatten(1)
        return unit_rows(rows), torch.ones(len(rows), dtype=torch.bool)


def open_tones(target: str, *, weights: Path, power: float = 1.0):
    return Tones(power)


DESCRIPTORS = {"tones": open_tones}
"""


def audited(
    folder: Path,
    *,
    source: Any = None,
    descriptor: Any = None,
    named: str | None = None,
    **more: Any,
) -> Path:
    """A small run in `folder`; a descriptor is `named`, or of an object of ours that one."""
    usual = {"generator": "toy", "anchors": 64, "samples": 600, "device": "cpu"}
    config = DiagnoseConfig(**(usual | {"out": folder / "run", "descriptor": named} | more))
    if source is not None and named is None:
        descriptor = descriptor or Pixels()
    return diagnose(config, source=source, descriptor=descriptor).folder


def rows_in(path: Path, count: int, *, seed: int, collapsed: float) -> str:
    """`embeddings:` of unit rows around 60 directions, a share of them around one."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(11).standard_normal((60, 12))
    rows = centres[rng.integers(0, 60, count)] + 0.3 * rng.standard_normal((count, 12))
    dense = rng.random(count) < collapsed
    rows[dense] = (centres[7] + 0.05 * rng.standard_normal((count, 12)))[dense]
    np.save(path, (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32))
    return f"embeddings:{path}"


def embeddings(folder: Path, *, seed: int = 1, collapsed: float = 0.1, **changes: Any) -> Path:
    name = rows_in(folder / "rows.npy", 664, seed=seed, collapsed=collapsed)
    return audited(folder, generator=name, theta=0.3, radius=0.15, **changes)


def with_reference(folder: Path) -> Path:
    return embeddings(
        folder, reference=rows_in(folder / "real.npy", 664, seed=2, collapsed=0.0), collapsed=0.3
    )


def failing(folder: Path) -> Path:
    """Some images are of a single colour, in others no face is found."""
    bad = Spoilt({3, 70, 71}, lambda images, bad: images * ~bad[:, None, None, None])
    return audited(folder, source=bad, descriptor=Choosy(), max_faceless=0.9)


def of_a_file(folder: Path) -> Path:
    """Under a descriptor with preprocessing and options, from a file."""
    (folder / "tones.py").write_text(PLUGIN)
    (folder / "weights").write_bytes(b"?")
    options = (f"descriptor.weights={folder / 'weights'}", "descriptor.power=2")
    files = (str(folder / "tones.py"),)
    return audited(
        folder, source=Toy(), named="tones", plugin=files, set=options, theta=0.4, radius=0.4
    )


def merged(folder: Path) -> Path:
    usual = {"generator": "demo", "anchors": 64, "samples": 600, "device": "cpu"}
    parts = [folder / "0", folder / "1"]
    for i, part in enumerate(parts):
        make_part(DiagnoseConfig(**usual, out=part, shard=f"{i}/2"))
    return merge(parts, folder / "run", device="cpu").folder


RUNS: dict[str, Callable[[Path], Path]] = {
    "demo": lambda folder: audited(folder, generator="demo"),
    "demo, other seed": lambda folder: audited(folder, generator="demo", seed=1),
    "embeddings": embeddings,
    "embeddings that collapse": lambda folder: embeddings(folder, seed=3, collapsed=0.4),
    "labels": lambda folder: audited(folder, source=Classes(), anchors=160, labels="uniform"),
    "reference": with_reference,
    "failures": failing,
    "few": lambda folder: audited(folder, source=Toy(), anchors=4, samples=6),
    "one anchor": lambda folder: audited(folder, source=Toy(), anchors=1, samples=300),
    "one image": lambda folder: audited(folder, source=One()),
    "nothing near": lambda folder: audited(folder, source=Toy(), theta=0.01, radius=0.001),
    "of a file": of_a_file,
    "merged": merged,
}
EVERY_SHARE = tuple(f"{name}=50%" for name in SHARES)
MEANS = ("worst-rate", "worst-similarity", "mean-similarity", "mu")


class Made:
    """Documents by name, each made once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runs: dict[str, Path] = {}
        self._checks: dict[str, Json] = {}
        self._numbers = iter(range(1000))

    def free(self) -> Path:
        path = self._folder / str(next(self._numbers))
        path.mkdir()
        return path

    def run(self, name: str) -> Path:
        if name not in self._runs:
            self._runs[name] = RUNS[name](self.free())
        return self._runs[name]

    def report(self, name: str) -> Json:
        return read(self.run(name) / canonical.NAME)

    def baseline(self, name: str) -> Path:
        path = self.free() / "baseline.json"
        baselines.save(self.run(name), path)
        return path

    def check(self, name: str) -> Json:
        if name not in self._checks:
            self._checks[name] = CHECKS[name][1](self)
        return copy.deepcopy(self._checks[name])

    def checked(self, run: str, **limits: Any) -> Json:
        """A check of a finished run, as it was written into its folder."""
        found = check(CheckConfig(run=self.run(run), **limits))
        return read(found.folder / checked.NAME)

    def broken(self, request: DiagnoseConfig, **how: Any) -> Json:
        """What a check leaves behind that ends with an error."""
        path = self.free() / "check.json"
        with pytest.raises(errors.GanauditError):
            check(CheckConfig(max=("worst-rate=2%",), output=(f"json:{path}",)), request, **how)
        return read(path)


def read(path: Path) -> Json:
    """JSON, strictly: NaN and Infinity are none."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(path.read_text("utf-8"), parse_constant=refuse)


def unsafe(made: Made) -> Json:
    """A checkpoint that is a pickle."""
    path = made.free() / "model.pkl"
    path.write_bytes(pickle.dumps(print))
    return made.broken(DiagnoseConfig(generator=str(path), descriptor="digits", device="cpu"))


def raising(made: Made) -> Json:
    class Raising(Toy):
        def render(self, draws: Draws) -> Tensor:
            raise RuntimeError("out of \x1b[31m paint")

    request = DiagnoseConfig(generator="toy", anchors=8, samples=8, device="cpu", out=made.free())
    return made.broken(request, source=Raising(), descriptor=Pixels())


def straddling(made: Made) -> Json:
    """A limit in the middle of the interval."""
    mu = made.report("embeddings")["figures"]["mccs"]["mu"]["estimate"]
    return made.checked("embeddings", max=(f"mu={mu}", "faceless=5%"), inconclusive="fail")


def of_settings(made: Made) -> Json:
    """Limits that stand in a file."""
    folder = made.free()
    (folder / "ganaudit.toml").write_text('[check]\nmax = ["worst-rate=90%"]')
    found = check(resolve(CheckConfig, {"run": made.run("demo")}, folder=folder))
    return read(found.folder / checked.NAME)


CHECKS: dict[str, tuple[str, Callable[[Made], Json]]] = {  # the verdict, and how it is had
    "all absolute": (
        "fail",
        lambda made: made.checked(
            "demo", max=(*EVERY_SHARE, *(f"{name}=99%" for name in MEANS)), min=("vendi=5000",)
        ),
    ),
    "none at all": ("pass", lambda made: made.checked("demo", max=("failures=0", "duplicates=0"))),
    "failed": ("fail", lambda made: made.checked("one image", max=("worst-rate=1%",))),
    "not computed": (
        "inconclusive",
        lambda made: made.checked("few", max=("worst-rate=1%", "mu=5%"), inconclusive="pass"),
    ),
    "straddles": ("inconclusive", straddling),
    "against itself": (
        "inconclusive",
        lambda made: made.checked(
            "demo, other seed",
            baseline=made.baseline("demo"),
            max_increase=(*MEANS, *SHARES),
            max_decrease=("vendi",),
        ),
    ),
    "grown": (
        "fail",
        lambda made: made.checked(
            "embeddings that collapse", baseline=made.baseline("embeddings"), max=("mu=90%",)
        ),
    ),
    "decided": (
        "pass",
        lambda made: made.checked(
            "demo", max=tuple(f"{name}=80%" for name in MEANS[:3]), until_decided=True
        ),
    ),
    "undecided": (
        "inconclusive",
        lambda made: made.checked("few", max=("worst-rate=30%",), until_decided=True),
    ),
    "of a file": ("pass", of_settings),
    "unsafe": ("error", unsafe),
    "raising": ("error", raising),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ganaudit.report.outputs.write_own", lambda report, folder: None)
        patch.setattr(os, "fsync", lambda handle: None)
        yield Made(tmp_path_factory.mktemp("made"))


def assert_described(kind: str, document: Json) -> None:
    assert complaints(VALID[kind], document) == []
    assert complaints(STRICT[kind], document) == []


@pytest.mark.parametrize("name", RUNS)
def test_a_report_is_what_its_schema_says(name: str, made: Made) -> None:
    assert_described("report", made.report(name))


@pytest.mark.parametrize("kind", VERSIONS)
def test_every_member_that_is_described_is_written_somewhere(kind: str, made: Made) -> None:
    """What is null in all of them is described by nobody's example."""
    documents = {
        "report": lambda: [made.report(name) for name in RUNS],
        "check": lambda: [made.check(name) for name in CHECKS],
        "baseline": lambda: [read(made.baseline(name)) for name in ("demo", "of a file")],
        "diff": lambda: [DOCUMENTS["diff"][1](made)],
    }[kind]()
    schema = schema_of(kind)
    alone = {"distance", "within"}  # of pictures that stand beside no other
    wanted = {
        place
        for place in leaves(schema, schema["$defs"])
        if not (place[-1] in alone and "neighbors" not in place)
    }
    assert wanted - {place for document in documents for place in known(document)} == set()


def leaves(schema: Json, defs: Json, path: Place = ()) -> Iterator[Place]:
    """Places of what is neither object nor list; all elements of a list have one place."""
    schema = defs.get(schema.get("$ref", "").rpartition("/")[2], schema)
    below = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
    if below:
        yield from leaves(below[0], defs, path)
    elif "properties" in schema:
        for name, member in schema["properties"].items():
            yield from leaves(member, defs, (*path, name))
    elif "items" in schema:
        yield from leaves(schema["items"], defs, (*path, 0))
    elif path[-1] not in OWN_NAMES:
        yield path


def known(value: Json, path: Place = ()) -> Iterator[Place]:
    """Places of values that are not null, likewise."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from known(inner, (*path, name))
    elif isinstance(value, list):
        for inner in value:
            yield from known(inner, (*path, 0))
    elif value is not None:
        yield path


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_is_what_its_schema_says(name: str, made: Made) -> None:
    document = made.check(name)
    assert document["verdict"] == CHECKS[name][0]
    assert_described("check", document)


def test_the_checks_have_every_reason_and_every_part(made: Made) -> None:
    found = [made.check(name) for name in CHECKS]
    reasons = {gate["reason"] for document in found for gate in document["gates"]}
    assert reasons == set(get_args(gates.Reason))
    for part in ("error", "gates", "same_place", "sequential", "run", "baseline", "files"):
        assert any(document[part] for document in found), part
    assert any((document["same_place"] or {"grown": []})["grown"] for document in found)


@pytest.mark.parametrize("name", ["demo", "embeddings", "few", "of a file"])
def test_a_baseline_is_what_its_schema_says(name: str, made: Made) -> None:
    document = read(made.baseline(name))
    assert_described("baseline", document)
    assert bool(document["modes"]) == (name != "few")
    if name == "of a file":
        assert OPTIONAL - set(SHARES) <= set(document["descriptor"])


@pytest.mark.parametrize("rarefy", [False, True])
def test_a_difference_is_what_its_schema_says(rarefy: bool, made: Made) -> None:
    pair = made.run("demo"), made.run("demo, other seed")
    assert_described("diff", json.loads(json.dumps(difference.diff(*pair, rarefy=rarefy))))


# -- documents that are rendered in tests ------------------------------------------------------


@pytest.mark.parametrize("name", sorted(set(report_example.VARIANTS) - {"hostile"}))
def test_the_example_reports_are_such_as_are_written(name: str, made: Made) -> None:
    """They are abridged where nothing is rendered of it."""
    report, real = report_example.VARIANTS[name](), made.report("demo")
    report |= {part: real[part] for part in ("schema_version", "comparable")}
    report["request"] = {"labels": None} | report["request"]
    report["descriptor"] = report["descriptor"] and real["descriptor"] | {"name": "mobilefacenet"}
    assert_described("report", report)


@pytest.mark.parametrize("name", sorted(set(check_example.VARIANTS) - IMPOSSIBLE))
def test_the_example_checks_are_such_as_are_written(name: str) -> None:
    """They are abridged where nothing is rendered of it."""
    document = check_example.VARIANTS[name]()
    document["gates"] = [{"reason": "clear", "samples_needed": None} | g for g in document["gates"]]
    assert_described("check", document)


def test_a_pass_without_a_gate_is_no_check() -> None:
    assert complaints(VALID["check"], check_example.empty())


# -- what they refuse --------------------------------------------------------------------------


def places(value: Json, path: Place = ()) -> Iterator[tuple[Place, Json]]:
    """Every value below `value`, without what others name."""
    below: Any = value.items() if isinstance(value, dict) else ()
    for name, inner in enumerate(value) if isinstance(value, list) else below:
        yield (*path, name), inner
        if not (name in OWN_NAMES and isinstance(inner, dict)):
            yield from places(inner, (*path, name))


def changed(document: Json, path: Place, value: Json) -> Json:
    """A copy with another value at `path`; Ellipsis: without it."""
    key, *rest = path
    other = dict(document) if isinstance(document, dict) else list(document)
    if rest:
        other[key] = changed(document[key], tuple(rest), value)
    elif value is ...:
        del other[key]
    else:
        other[key] = value
    return other


DOCUMENTS: dict[str, tuple[str, Callable[[Made], Json]]] = {
    "report": (
        "report",
        lambda made: made.report("labels") | {"reference": made.report("reference")["reference"]},
    ),
    "grown": ("check", lambda made: made.check("grown")),
    "decided": ("check", lambda made: made.check("decided")),
    "unsafe": ("check", lambda made: made.check("unsafe")),
    "baseline": ("baseline", lambda made: read(made.baseline("of a file"))),
    "diff": ("diff", lambda made: difference.diff(made.run("demo"), made.run("demo, other seed"))),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_member_may_be_missing_or_of_another_kind(name: str, made: Made) -> None:
    kind, make = DOCUMENTS[name]
    document = small(make(made))
    assert complaints(VALID[kind], document) == []
    taken = []
    for path, value in places(document):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        wrong: list[Json] = ["1"] if number else [1] if isinstance(value, str | bool) else [[]]
        if isinstance(value, list):
            wrong = [{}]
        if number and not set(path) & EITHER_SIGN:
            wrong.append(-2)
        if isinstance(path[-1], str) and path[-1] not in OPTIONAL:
            wrong.append(...)
        if path[-1] == "generator_identity":  # of whatever kind
            wrong = [...]
        taken += [
            (path, other) for other in wrong if VALID[kind].is_valid(changed(document, path, other))
        ]
    assert taken == []


def small(value: Json) -> Json:
    """Of long lists of objects the first and the last, so that a look at it takes less time."""
    if isinstance(value, dict):
        return {name: small(inner) for name, inner in value.items()}
    if not isinstance(value, list):
        return value
    some = value[:1] + value[-1:] if len(value) > 2 and isinstance(value[0], dict) else value
    return [small(one) for one in some]


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("report", ("schema_version",), 2),
        ("report", ("figures", "median_rate"), 2),
        ("report", ("figures", "worst_mode", "rate", "high"), 1.2),
        ("report", ("figures", "effective_modes", "low"), 0.5),
        ("report", ("figures", "samples"), 0),
        ("report", ("figures", "anchors"), 160.5),
        ("report", ("scale", "theta"), 0),
        ("report", ("request", "seed"), 2**63),
        ("report", ("comparable", "shares", "duplicates", "count"), None),
        ("report", ("comparable", "vendi", "value"), 65),
        ("report", ("gallery", "worst", "anchor", "file"), "../../secret.png"),
        ("grown", ("verdict",), "passed"),
        ("grown", ("verdict",), "pass"),
        ("grown", ("exit_code",), 0),
        ("grown", ("exit_code",), 7),
        ("grown", ("gates",), []),
        ("grown", ("gates", 0, "verdict"), "error"),
        ("grown", ("gates", 0, "found", "estimate"), 2),
        ("grown", ("gates", 0, "limit"), 2),
        ("grown", ("gates", 0, "baseline"), {"estimate": 0.1, "low": None, "high": None}),
        ("grown", ("gates", 1, "baseline"), None),
        ("grown", ("gates", 1, "change", "low"), -1.5),
        ("grown", ("same_place", "grown", 0, "rank"), 25),
        ("unsafe", ("exit_code",), 0),
        ("unsafe", ("error",), None),
        ("unsafe", ("verdict",), "pass"),
        ("baseline", ("kind",), "check"),
        ("baseline", ("modes", 0, "embedding"), "<b>"),
        ("diff", ("figures", 0, "a", "estimate"), 2),
    ],
)
def test_what_cannot_be_is_refused(name: str, path: Place, value: Json, made: Made) -> None:
    kind, make = DOCUMENTS[name]
    document = make(made)
    assert VALID[kind].is_valid(document)
    assert not VALID[kind].is_valid(changed(document, path, value))


def test_a_crash_is_no_pass_under_any_policy(made: Made) -> None:
    """An exit code of 0 wants a verdict that allows it; an error allows none but its own."""
    allowed = {
        (verdict, policy, code)
        for verdict in (*get_args(gates.Verdict), "error")
        for policy in get_args(Inconclusive)
        for code in range(8)
        if VALID["check"].is_valid(
            made.check("unsafe" if verdict == "error" else "none at all")
            | {"verdict": verdict, "inconclusive_as": policy, "exit_code": code}
        )
    }
    broken = set(_codes())
    assert allowed == {
        (verdict, policy, code)
        for policy in get_args(Inconclusive)
        for verdict, codes in (
            *(
                (one, {gates.exit_code_of(one, inconclusive=policy)})
                for one in get_args(gates.Verdict)
            ),
            ("error", broken),
        )
        for code in codes
    }


@pytest.mark.parametrize("name", DOCUMENTS)
def test_members_may_be_added_within_a_version(name: str, made: Made) -> None:
    """By the published form, everywhere; the strict one is what tells us to describe them."""
    kind, make = DOCUMENTS[name]
    document = small(make(made))
    objects = [()] + [path for path, value in places(document) if isinstance(value, dict)]
    for path in objects:
        if path and path[-1] in OWN_NAMES:
            continue
        more = changed(document, (*path, "added later"), 1)
        assert VALID[kind].is_valid(more), path
        assert not STRICT[kind].is_valid(more), path


# -- docs/json.md ------------------------------------------------------------------------------

PAGE = (DOCS / "json.md").read_text("utf-8")


def test_the_page_names_every_schema_and_no_other() -> None:
    there = {path.name for path in (DOCS / "schemas").iterdir()}
    assert set(re.findall(r"[a-z]+-[0-9]+\.schema\.json", PAGE)) == there
    assert there >= {f"{kind}-{version}.schema.json" for kind, version in VERSIONS.items()}


def test_the_page_has_every_exit_code() -> None:
    table = dict(re.findall(r"^\| ([0-9]+) \| (.+) \|$", PAGE, re.MULTILINE))
    assert set(map(int, table)) == {0, 1, 4, 130, *_codes()}


def test_what_the_page_shows_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    Path("docs").symlink_to(DOCS)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    shown = [block for block in blocks(PAGE) if block.language == "console"]
    commands = [command for block in shown for command, _ in block.commands()]
    assert run_page(DOCS / "json.md", tmp_path_factory.mktemp("page"), monkeypatch) == len(commands)
    checked_by = {re.search(r"schemas/(\w+)-", c)[1] for c in commands if "schemafile" in c}  # type: ignore[index]
    assert checked_by == set(VERSIONS)
