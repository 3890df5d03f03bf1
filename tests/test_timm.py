"""Networks of timm as descriptors: their weights, their preprocessing, and no network traffic."""

import builtins
import hashlib
import json
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from ganaudit_plugins.descriptors.timm import fetch, open_timm
from torch import Tensor

from ganaudit.descriptors import Descriptor, Preprocessing, check_rows
from ganaudit.errors import ConfigError, UnsafeCheckpoint

timm = pytest.importorskip("timm")

CPU = torch.device("cpu")
NAME = "test_resnet"  # a tiny one that timm tests itself with
FULL = "test_resnet.r160_in1k"


def made(name: str = NAME, **options: Any) -> torch.nn.Module:
    """A network with weights that nobody trained, whose batch norms are not the identity."""
    torch.manual_seed(0)
    network: torch.nn.Module = timm.create_model(name, **options)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return network.eval()


def noise(*shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """As on the hub: with the classifier of 1000 classes."""
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(made().state_dict(), path)
    return path


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the Hugging Face hub."""
    folder = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    return folder


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was touched")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def into_cache(hub: Path, data: bytes, name: str = "model.safetensors") -> Path:
    repository = hub / f"models--timm--{FULL}"
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    (repository / "refs" / "main").write_text("abc")
    path = repository / "snapshots" / "abc" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_a_row_is_the_pooled_features_of_the_network(file: Path) -> None:
    descriptor = open_timm(NAME, device=CPU, weights=file)
    assert isinstance(descriptor, Descriptor)
    images = noise(5, 3, 20, 30)
    before = images.clone()
    rows, valid = descriptor.embed(images)
    assert torch.equal(images, before) and not rows.requires_grad
    check_rows(rows, valid, 5)
    assert valid.all()
    whole = made()
    steps = Preprocessing(size=(160, 160), mean=(0.5,) * 3, std=(0.5,) * 3, resize="bilinear")
    with torch.no_grad():
        ready = steps.apply(images)
        wanted = whole.forward_head(whole.forward_features(ready), pre_logits=True)  # type: ignore[operator]
    wanted = wanted / wanted.norm(dim=1, keepdim=True)
    np.testing.assert_allclose(rows.numpy(), wanted.numpy(), atol=1e-5)


def test_an_image_does_not_depend_on_its_batch(file: Path) -> None:
    """In training mode batch normalisation would mix them."""
    descriptor = open_timm(NAME, device=CPU, weights=file)
    images = noise(4, 3, 40, 40)
    images[1] = images[1] // 4
    rows, _ = descriptor.embed(images)
    assert float((rows[0] - rows[1]).norm()) > 0.01
    for i in range(4):
        alone, _ = descriptor.embed(images[i : i + 1])
        angle = 2 * torch.arcsin((alone[0].double() - rows[i].double()).norm() / 2) / torch.pi
        assert float(angle) < 1e-3


def test_no_images_give_no_rows(file: Path) -> None:
    rows, valid = open_timm(NAME, device=CPU, weights=file).embed(noise(0, 3, 9, 9))
    check_rows(rows, valid, 0)
    assert rows.shape[1] > 1


def test_the_card_says_what_decides_a_row(file: Path) -> None:
    card = open_timm(NAME, device=CPU, weights=file).card
    assert card.name == f"timm:{NAME}" and card.licence is None  # of this file nobody knows it
    assert card.weights_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (card.theta, card.radius, card.origin) == (None, None, None)
    said = json.loads(json.dumps(card.identity()))
    assert "crop_pct is not used" in said["settings"]["resizing"]
    facts = timm.models.get_pretrained_cfg(NAME)
    assert said["preprocessing"] == {
        "size": list(facts.input_size[1:]),
        "mean": list(facts.mean),
        "std": list(facts.std),
        "resize": facts.interpolation,
        "colour": "rgb",
    }


def test_every_step_of_the_preprocessing_can_be_overridden(file: Path) -> None:
    steps = open_timm(
        NAME,
        device=CPU,
        weights=file,
        size=(48, 64),
        mean=(0.1, 0.2, 0.3),
        std=(0.4,),
        resize="nearest",
        colour="bgr",
    ).card.preprocessing
    assert steps == Preprocessing(
        size=(48, 64), mean=(0.1, 0.2, 0.3), std=(0.4,), resize="nearest", colour="bgr"
    )
    square = open_timm(NAME, device=CPU, weights=file, size=(64,)).card.preprocessing
    assert square is not None and square.size == (64, 64)


def test_a_network_of_grey_images(tmp_path: Path) -> None:
    path = tmp_path / "grey.pt"
    torch.save(made(in_chans=1, num_classes=7).state_dict(), path)
    options: dict[str, Any] = {"weights": path, "mean": (0.5,), "std": (0.5,), "colour": "grey"}
    rows, valid = open_timm(NAME, device=CPU, **options).embed(noise(2, 3, 30, 30))
    check_rows(rows, valid, 2)


@pytest.mark.parametrize("target", [NAME, FULL])
def test_weights_come_from_the_cache_of_the_hub(hub: Path, file: Path, target: str) -> None:
    into_cache(hub, file.read_bytes())
    card = open_timm(target, device=CPU).card
    assert (card.name, card.licence) == (f"timm:{FULL}", "apache-2.0")
    assert card.weights_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_pickled_state_dict_in_the_cache_is_read_too(hub: Path, tmp_path: Path) -> None:
    torch.save(made().state_dict(), tmp_path / "x.bin")
    into_cache(hub, (tmp_path / "x.bin").read_bytes(), "pytorch_model.bin")
    assert open_timm(NAME, device=CPU).card.name == f"timm:{FULL}"


def test_random_weights_are_never_used(hub: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        open_timm(NAME, device=CPU)
    said = str(caught.value)
    assert "--set descriptor.weights=FILE" in said and str(hub) in said
    assert f"timm/{FULL}" in said and said.endswith(f"ganaudit fetch timm:{NAME}")


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("ran"),))


def test_a_pickle_that_asks_for_more_is_refused(tmp_path: Path) -> None:
    torch.save({"conv1.weight": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(UnsafeCheckpoint, match="nothing of it was run"):
        open_timm(NAME, device=CPU, weights=tmp_path / "evil.pt")
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    ("target", "options", "said"),
    [
        ("", {}, "timm knows no network ''"),
        ("test_resnt", {}, "timm knows no network 'test_resnt'; did you mean test_resnet"),
        (f"{NAME}.nonsense", {}, "timm knows no network 'test_resnet.nonsense'; did you mean"),
        ("hf-hub:timm/test_resnet", {}, "timm knows no network 'hf-hub:timm/test_resnet'"),
        ("local-dir:/tmp", {}, "timm knows no network 'local-dir:/tmp'"),
        ("test_coatnet", {"weights": None}, "timm knows no weights for test_coatnet on the Hugg"),
        (NAME, {"size": (1, 2, 3)}, "descriptor.size wants one or two numbers, got 3"),
        (NAME, {"size": (0,)}, "descriptor.size must be 1 to 8192 pixels"),
        (NAME, {"weights": Path("absent")}, "no such file: absent"),
        ("test_vit", {}, r"must hold the weights of timm:test_vit: cls_token is missing"),
        (NAME, {"colour": "grey", "mean": (0.5,), "std": (0.5,)}, r"must be float32 \[\d+, 1, 3"),
    ],
)
def test_what_cannot_be_opened_is_one_sentence(
    file: Path, target: str, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        open_timm(target, device=CPU, **({"weights": file} | options))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 350


def test_a_tensor_beside_network_and_classifier_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "more.safetensors"
    state = made().state_dict()
    safetensors.torch.save_file(state | {"fc.more": torch.ones(1)}, path)
    with pytest.raises(ConfigError, match=r"fc.more does not belong to it"):
        open_timm(NAME, device=CPU, weights=path)
    without = {k: v for k, v in state.items() if not k.startswith("fc.")}
    safetensors.torch.save_file(without, path)
    open_timm(NAME, device=CPU, weights=path)


def test_a_size_that_the_network_cannot_take_is_refused_when_opened(tmp_path: Path) -> None:
    path = tmp_path / "vit.safetensors"
    safetensors.torch.save_file(made("test_vit3").state_dict(), path)
    assert open_timm("test_vit3", device=CPU, weights=path).card.preprocessing is not None
    with pytest.raises(ConfigError, match="cannot take images of 96 x 96 pixels .*; leave desc"):
        open_timm("test_vit3", device=CPU, weights=path, size=(96,))


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: Any) -> Any:
        if name == "timm":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    for action in (lambda: open_timm(NAME, device=CPU), lambda: fetch(NAME)):
        with pytest.raises(ConfigError, match=r"pip install 'ganaudit\[timm\]'"):
            action()


# -- fetching ---------------------------------------------------------------------------------


def answering(
    monkeypatch: pytest.MonkeyPatch, answer: dict[str, Path | Exception]
) -> list[tuple[str, str]]:
    """In place of the hub: the file or the error for each name; what was asked for."""
    asked: list[tuple[str, str]] = []

    def download(repository: str, name: str, *, revision: str | None) -> str:
        asked.append((repository, name))
        found = answer[name]
        if isinstance(found, Exception):
            raise found
        return str(found)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    return asked


def no_such_file() -> Exception:
    """What the hub's client raises when a repository lacks a file."""
    from huggingface_hub.errors import EntryNotFoundError

    return EntryNotFoundError("404")


def test_weights_are_fetched_from_where_timm_says(
    monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    asked = answering(monkeypatch, {"model.safetensors": file})
    assert fetch(NAME) == file
    assert asked == [(f"timm/{FULL}", "model.safetensors")]


def test_the_second_file_is_tried_when_there_is_no_first(
    monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    answer = {"model.safetensors": no_such_file(), "pytorch_model.bin": file}
    asked = answering(monkeypatch, answer)
    assert fetch(FULL) == file and len(asked) == 2
    answering(monkeypatch, {name: no_such_file() for name in answer})
    with pytest.raises(ConfigError, match="holds none of model.safetensors, pytorch_model.bin"):
        fetch(FULL)


def test_a_failed_download_is_one_sentence_with_the_way_by_hand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from huggingface_hub.errors import LocalEntryNotFoundError

    for error in (LocalEntryNotFoundError("no\nnetwork"), OSError("full")):
        asked = answering(monkeypatch, {"model.safetensors": error})
        with pytest.raises(ConfigError) as caught:
            fetch(NAME)
        said = str(caught.value)
        assert said.startswith(f"model.safetensors of timm/{FULL} could not be fetched")
        assert f"from https://huggingface.co/timm/{FULL} and say --set descriptor.weights" in said
        assert "\n" not in said and len(asked) == 1


def test_fetched_weights_must_fit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    safetensors.torch.save_file({"a": torch.ones(1)}, tmp_path / "x")
    answering(monkeypatch, {"model.safetensors": tmp_path / "x"})
    with pytest.raises(ConfigError, match="must hold the weights of timm:test_resnet: "):
        fetch(NAME)
    with pytest.raises(ConfigError, match="timm knows no network 'test_resnt'; did you mean"):
        fetch("test_resnt")
