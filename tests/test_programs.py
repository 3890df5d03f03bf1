import json
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from ganaudit_plugins import programs
from ganaudit_plugins.descriptors.torchscript import open_torchscript as open_descriptor
from ganaudit_plugins.generators.exported import open_exported
from ganaudit_plugins.generators.torchscript import open_torchscript
from torch import Tensor, nn
from torch.export import Dim

from ganaudit import registry
from ganaudit.descriptors import Preprocessing, check_rows
from ganaudit.errors import ConfigError, DescriptorError, UnsafeCheckpoint
from ganaudit.files import sha256_of

CPU = torch.device("cpu")
SAID = {"prior": "normal", "latent_shape": (5,), "range": (-1.0, 1.0)}
STEPS: Mapping[str, Any] = {"size": (4,), "mean": (0.5,), "std": (0.25,)}


# -- networks, and files of them --------------------------------------------------------------


class Net(nn.Module):
    """[N, 5] to [N, 3, 8, 8] in [-1, 1], through a batch norm that has seen something."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.ConvTranspose2d(5, 6, 4)
        self.norm = nn.BatchNorm2d(6)
        self.last = nn.ConvTranspose2d(6, 3, 4, 2, 1)
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, latents: Tensor) -> Tensor:
        hidden = torch.relu(self.norm(self.first(latents[:, :, None, None])))
        return torch.tanh(3 * self.last(hidden))


class Rows(nn.Module):
    """A descriptor: [N, 3, 4, 4] to [N, 6, 1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 6, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images)


def made(kind: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return kind().eval().requires_grad_(False)


@contextmanager
def quiet() -> Iterator[None]:
    """TorchScript says that it is deprecated whenever a test makes some."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, message=r"`torch\.jit\.")
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        yield


def script(path: Path, net: nn.Module, said: object = None) -> Path:
    with quiet():
        torch.jit.script(net).save(path, _extra_files=extra(said))
    return path


def trace(path: Path, net: nn.Module, *inputs: Tensor, said: object = None) -> Path:
    with quiet():
        torch.jit.trace(net, inputs, check_trace=False).save(path, _extra_files=extra(said))
    return path


def export(
    path: Path,
    net: nn.Module,
    *inputs: Tensor,
    batch: object = None,
    named: Mapping[str, Any] | None = None,
    said: object = None,
) -> Path:
    """`batch`: of every tensor; None: fixed by the inputs."""
    given = [*inputs, *(named or {}).values()]
    shapes = [{0: batch} if batch and isinstance(value, Tensor) else None for value in given]
    names = ["latents", "labels", "gain"][: len(shapes)]
    program = torch.export.export(
        net, inputs, dict(named or {}), dynamic_shapes=dict(zip(names, shapes, strict=True))
    )
    torch.export.save(program, path, extra_files=extra(said))
    return path


def extra(said: object) -> dict[str, str]:
    if said is None:
        return {}
    return {"ganaudit.json": said if isinstance(said, str) else json.dumps(said)}


def repacked(source: Path, path: Path, replace: Mapping[str, bytes | None]) -> Path:
    """A copy of an archive with other entries, or (None) without them; names below the folder."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.infolist():
            data = replace.get(entry.filename.partition("/")[2], old.read(entry))
            if data is not None:
                new.writestr(entry.filename, data)
    return path


def latents(count: int, *shape: int, seed: int = 1) -> Tensor:
    return torch.randn(count, *(shape or (5,)), generator=torch.Generator().manual_seed(seed))


def programs_of(folder: Path) -> dict[str, Path]:
    """The network as every kind of program."""
    net = made(Net)
    return {
        "scripted": script(folder / "scripted.pt", net),
        "traced": trace(folder / "traced.pt", net, latents(2)),
        "any batch": export(folder / "any.pt2", net, latents(2), batch=Dim("n")),
        "batches of 4": export(folder / "four.pt2", net, latents(4)),
        "batches of 3 to 4": export(
            folder / "few.pt2", net, latents(4), batch=Dim("n", min=3, max=4)
        ),
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return programs_of(tmp_path_factory.mktemp("programs"))


def opened(path: Path, **said: Any) -> Any:
    open_it = open_exported if path.suffix == ".pt2" else open_torchscript
    return open_it(str(path), device=CPU, trust=True, **(SAID | said))


PROGRAMS = ["scripted", "traced", "any batch", "batches of 4", "batches of 3 to 4"]
OPENERS = [
    (open_torchscript, "scripted", SAID),
    (open_exported, "any batch", SAID),
    (open_descriptor, "scripted", STEPS),
]


@pytest.fixture
def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever loads a program fails."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a program was loaded")

    monkeypatch.setattr(torch.jit, "load", refuse)
    monkeypatch.setattr(torch.export, "load", refuse)
    monkeypatch.setattr(torch, "load", refuse)


# -- trust ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_torch")
@pytest.mark.parametrize(("open_it", "name", "options"), OPENERS)
def test_without_trust_nothing_is_loaded(
    open_it: Callable[..., object], name: str, options: Any, files: dict[str, Path]
) -> None:
    with pytest.raises(
        UnsafeCheckpoint, match="is a .* program: .* nothing of it was run.*--trust"
    ):
        open_it(str(files[name]), device=CPU, trust=False, **options)


def test_trust_is_not_an_option_that_a_user_can_set() -> None:
    for open_it, _, _ in OPENERS:
        with pytest.raises(ConfigError, match="has no option 'trust'"):
            registry.bind(open_it, {"trust": "true"}, what="it", device=CPU, trust=False)


@pytest.mark.parametrize("name", ["scripted", "any batch"])
def test_the_users_trust_reaches_the_plugin(name: str, files: dict[str, Path]) -> None:
    said = {"prior": "normal", "latent_shape": "5"}
    with pytest.raises(UnsafeCheckpoint):
        registry.open_plugin("generators", str(files[name]), said, device=CPU, trust=False)
    generator, _, _ = registry.open_plugin(
        "generators", str(files[name]), said, device=CPU, trust=True
    )
    assert generator.latent_shape == (5,)


def state_dict(path: Path) -> Path:
    torch.save(made(Net).state_dict(), path)
    return path


def pickled_module(path: Path) -> Path:
    torch.save(made(Rows), path)
    return path


def codeless(path: Path) -> Path:
    """What a script and a file of weights have in common."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("data.pkl", "constants.pkl", "version"):
            archive.writestr(f"a/{name}", b"")
    return path


def bomb(path: Path) -> Path:
    """Some hundred bytes that claim to unpack to 300 MB."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"")
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\x01\x02")
    data[at + 24 : at + 28] = (300 * 2**20).to_bytes(4, "little")
    path.write_bytes(data)
    return path


def endless(path: Path) -> Path:
    """An archive whose end promises a table of contents of 16 MiB."""
    table = 2**24
    end = bytearray(b"PK\x05\x06" + bytes(18))
    end[12:16] = table.to_bytes(4, "little")
    path.write_bytes(b"PK\x03\x04" + bytes(table - 4) + end)
    return path


def text(path: Path) -> Path:
    path.write_text("a generator")
    return path


@pytest.mark.usefixtures("no_torch")
@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize(("open_it", "name", "options"), OPENERS)
@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (state_dict, "is no .* file: weights without a program"),
        (pickled_module, "is no .* file: weights without a program"),
        (text, "cannot be read as a zip archive: BadZipFile: File is not a zip file"),
        (endless, "cannot be read as a zip archive: .* table of contents has 16777216 bytes"),
        (codeless, "is no .* file: weights without a program"),
        (bomb, "bytes and claims to unpack to 314572800"),
        (lambda path: path, "no such file"),
    ],
)
def test_what_is_no_program_is_refused_before_torch_sees_it(
    make: Callable[[Path], Path],
    complaint: str,
    open_it: Callable[..., object],
    name: str,
    options: Any,
    trust: bool,
) -> None:
    path = make(Path("it.pt"))
    with pytest.raises(ConfigError, match=complaint):
        open_it(str(path), device=CPU, trust=trust, **options)


@pytest.mark.usefixtures("no_torch")
@pytest.mark.parametrize(("open_it", "name", "options"), OPENERS)
def test_every_cut_of_a_file_is_refused(
    open_it: Callable[..., object], name: str, options: Any, files: dict[str, Path]
) -> None:
    whole = files[name].read_bytes()
    for length in range(0, len(whole), len(whole) // 23):
        Path("cut.pt").write_bytes(whole[:length])
        with pytest.raises(ConfigError, match="cut.pt (cannot be read as a zip archive|is no)"):
            open_it("cut.pt", device=CPU, trust=True, **options)


@pytest.mark.usefixtures("no_torch")
def test_another_kind_of_program_is_named(files: dict[str, Path]) -> None:
    for name, open_it, other in (
        ("any batch", open_torchscript, "is no TorchScript file: it is a torch.export one, .* exp"),
        ("traced", open_exported, "is no torch.export file: it is a TorchScript one, .* torchscr"),
    ):
        with pytest.raises(ConfigError, match=other):
            open_it(str(files[name]), device=CPU, trust=True)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_path_is_told_apart_by_its_content(name: str, files: dict[str, Path]) -> None:
    kind = "exported" if files[name].suffix == ".pt2" else "torchscript"
    Path("anything").write_bytes(files[name].read_bytes())
    assert registry.resolve("generators", "anything") == (kind, "anything")
    if kind == "torchscript":
        assert registry.resolve("descriptors", "anything") == (kind, "anything")


@pytest.mark.parametrize("make", [state_dict, pickled_module])
def test_a_file_of_weights_is_taken_for_no_program(make: Callable[[Path], Path]) -> None:
    path = str(make(Path("weights.pt")))
    assert registry.resolve("generators", path) == ("checkpoint", path)
    with pytest.raises(UnsafeCheckpoint, match="a pickle or a zip of pickles"):
        registry.resolve("descriptors", path)


# -- loading ----------------------------------------------------------------------------------


def test_only_the_known_deprecation_is_silent(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """This suite makes an error of every warning."""

    def load(*_: object, **__: object) -> nn.Module:
        warnings.warn("`torch.jit.load` found something odd", FutureWarning, stacklevel=1)
        return made(Net)

    programs.load_script(files["scripted"], CPU)
    monkeypatch.setattr(torch.jit, "load", load)
    with pytest.raises(ConfigError, match="found something odd"):
        programs.load_script(files["scripted"], CPU)


@pytest.mark.parametrize(
    ("name", "replace", "reason"),
    [
        ("scripted", {"data.pkl": b"\x80\x02."}, "as TorchScript: Unpickler"),
        ("scripted", {"data/0": None}, "as TorchScript: PytorchStreamReader failed .* data/0"),
        ("any batch", {"models/model.json": b"{}"}, "by torch.export .*: TypeError: "),
        ("any batch", {"data/weights/weight_0": None}, "by torch.export .*: RuntimeError: .*_0"),
        ("any batch", {"archive_version": b"99"}, "by torch.export .*: ValueError: .*version 99"),
    ],
)
def test_a_damaged_program_is_one_sentence(
    name: str,
    replace: dict[str, bytes | None],
    reason: str,
    files: dict[str, Path],
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = repacked(files[name], Path(f"it{files[name].suffix}"), replace)
    with pytest.raises(ConfigError, match=f"{path} cannot be loaded {reason}") as raised:
        opened(path)
    assert "\n" not in str(raised.value)
    assert capfd.readouterr().err == ""  # torch logs what it drops


def test_the_claims_of_a_file_are_checked_for_damage(files: dict[str, Path]) -> None:
    path = script(Path("it.pt"), made(Net), {"prior": "normal"})
    whole = path.read_bytes()
    at = whole.index(b'"normal"')
    path.write_bytes(whole[:at] + b'"NORMAL"' + whole[at + 8 :])
    with pytest.raises(ConfigError, match="cannot be read as a zip archive: .* CRC"):
        programs.claims_of(path)


# -- descriptors ------------------------------------------------------------------------------


def describe(path: Path, **options: Any) -> Any:
    return open_descriptor(str(path), device=CPU, trust=True, **(STEPS | options))


def pictures(count: int, *size: int) -> Tensor:
    shape = (count, 3, *size)
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(2)).to(torch.uint8)


@pytest.mark.parametrize("colour", ["rgb", "bgr"])
@pytest.mark.parametrize("how", ["scripted", "traced"])
def test_rows_are_those_of_the_network(how: str, colour: str) -> None:
    net, images = made(Rows), pictures(5, 9, 6)
    path = (
        script(Path("rows.pt"), net)
        if how == "scripted"
        else trace(Path("rows.pt"), net, torch.rand(2, 3, 4, 4))
    )
    descriptor = describe(path, colour=colour, resize="bilinear")
    rows, valid = descriptor.embed(images)
    check_rows(rows, valid, 5)
    assert bool(valid.all())
    steps = Preprocessing(size=(4, 4), mean=(0.5,), std=(0.25,), resize="bilinear", colour=colour)
    wanted = net(steps.apply(images)).reshape(5, 6)
    torch.testing.assert_close(rows, wanted / wanted.norm(dim=1, keepdim=True))
    alone = torch.cat([descriptor.embed(images[i : i + 1])[0] for i in range(5)])
    torch.testing.assert_close(rows, alone)


def test_a_card_says_what_was_opened() -> None:
    path = script(Path("rows.pt"), made(Rows))
    card = describe(path, size=(4, 5), mean=(0.1, 0.2, 0.3)).card
    assert (card.name, card.weights_sha256) == ("torchscript:rows.pt", sha256_of(path))
    assert card.preprocessing == Preprocessing(size=(4, 5), mean=(0.1, 0.2, 0.3), std=(0.25,))
    assert (card.theta, card.radius, card.licence) == (None, None, None)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"size": None}, "needs its size: .*; say --set descriptor.size"),
        ({"mean": None, "std": None}, "needs its mean, std: a wrong normalisation"),
        ({"size": (4, 4, 4)}, "descriptor.size wants one or two numbers, got 3"),
        ({"std": (0.0,)}, "descriptor.std must be positive"),
    ],
)
def test_preprocessing_is_declared(
    options: dict[str, Any], complaint: str, files: dict[str, Path]
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        describe(files["scripted"], **options)


class Pair(Rows):
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images, images


class Sum(Rows):
    def forward(self, images: Tensor) -> Tensor:
        return images.sum()


class Joined(Rows):
    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images).reshape(1, -1)


class Raising(Rows):
    def forward(self, images: Tensor) -> Tensor:
        raise ValueError("no faces today")


@pytest.mark.parametrize(
    ("kind", "came"),
    [(Pair, "tuple"), (Sum, r"\[\]"), (Joined, r"\[1, 12\]; a trace may have fixed its batch")],
)
def test_a_descriptor_must_return_a_row_for_each_image(
    kind: Callable[[], nn.Module], came: str
) -> None:
    descriptor = describe(script(Path("it.pt"), made(kind)))
    with pytest.raises(DescriptorError, match=rf"a tensor \[2, ...\] for 2 images, got {came}"):
        descriptor.embed(pictures(2, 4, 4))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Raising, "builtins.ValueError: no faces today"),
        (Net, "Expected 3D .* input to conv_transpose2d"),
    ],
)
def test_what_a_descriptor_raises_is_its_reason_alone(
    kind: Callable[[], nn.Module], reason: str
) -> None:
    descriptor = describe(script(Path("it.pt"), made(kind)))
    with pytest.raises(RuntimeError, match=f"^({reason})") as raised:
        descriptor.embed(pictures(2, 4, 4))
    assert "Traceback" not in str(raised.value)


class Mixed(Rows):
    def forward(self, images: Tensor, weights: Tensor) -> Tensor:
        return self.layer(images) * weights


def test_a_descriptor_takes_images_alone() -> None:
    with pytest.raises(ConfigError, match="must take images alone, and needs images, weights"):
        describe(script(Path("it.pt"), made(Mixed)))
