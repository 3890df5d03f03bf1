import json
import math
import re
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ganaudit import networks
from ganaudit.checkpoints.native import save_native
from ganaudit.checkpoints.opened import open_network
from ganaudit.errors import ConfigError

ARGUMENTS = {"latent_size": 5, "width": 2, "channels": 1, "size": 8}
FACTS: dict[str, object] = {"prior": "normal", "range": [-1, 1], "note": "fünf", "share": 0.08}


def trained(name: str = "collapsed") -> nn.Module:
    torch.manual_seed(0)
    module = networks.build(name, ARGUMENTS)
    for tensor in module.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape) + 0.1)
        else:
            tensor.fill_(7)
    return module


def header(**changed: object) -> dict[str, object]:
    right = {"format": 1, "network": "collapsed", "arguments": ARGUMENTS, "facts": FACTS}
    return right | changed


def written(
    path: Path, *, metadata: object = None, tensors: dict[str, Tensor] | None = None
) -> Path:
    """A file as an attacker would write it, without `save_native`."""
    text = metadata if isinstance(metadata, str) else json.dumps(metadata or header())
    state = trained().state_dict() if tensors is None else tensors
    save_file({name: tensor.clone() for name, tensor in state.items()}, path, {"ganaudit": text})
    return path


def changed_state(**changed: Tensor) -> dict[str, Tensor]:
    return {**trained().state_dict(), **changed}


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        open_network(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert len(message) < 600 + len(str(path))
    return message


def test_a_round_trip_gives_back_every_bit(tmp_path: Path) -> None:
    module, path = trained(), tmp_path / "a.safetensors"
    save_native(path, module, network="collapsed", arguments=ARGUMENTS, facts=FACTS)
    checkpoint = open_network(path)
    came, wanted = checkpoint.module.state_dict(), module.state_dict()
    assert came.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert came[name].dtype == tensor.dtype
        assert came[name].device.type == "cpu"
        assert came[name].numpy().tobytes() == tensor.numpy().tobytes()
    assert checkpoint.network == "collapsed"
    assert checkpoint.arguments == ARGUMENTS
    assert checkpoint.facts == FACTS


def test_a_loaded_network_is_in_eval_mode_and_renders_the_same_images(tmp_path: Path) -> None:
    module, path = trained("dcgan"), tmp_path / "a.safetensors"
    save_native(path, module, network="dcgan", arguments=ARGUMENTS, facts={})
    loaded = open_network(path).module
    assert not any(part.training for part in loaded.modules())
    latents = torch.randn(9, 5, generator=torch.Generator().manual_seed(1))
    assert torch.equal(loaded(latents), module.eval()(latents))
    assert loaded(latents).std() > 0


def test_equal_networks_make_equal_files(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    save_native(first, trained(), network="collapsed", arguments=ARGUMENTS, facts=FACTS)
    reordered = dict(reversed(FACTS.items()))
    save_native(second, trained(), network="collapsed", arguments=ARGUMENTS, facts=reordered)
    assert first.read_bytes() == second.read_bytes()


def test_a_loaded_network_does_not_change_with_the_file(tmp_path: Path) -> None:
    path = written(tmp_path / "a.safetensors")
    module = open_network(path).module
    with path.open("r+b") as file:  # in place, as a memory map would see it
        file.seek(-64, 2)
        file.write(b"\xff" * 64)
    for name, tensor in trained().state_dict().items():
        assert torch.equal(module.state_dict()[name], tensor)


def test_a_failed_save_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"old")

    def full_disk(source: str, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ganaudit.files.os.replace", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_native(path, trained(), network="collapsed", arguments=ARGUMENTS, facts={})
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]
    assert path.read_bytes() == b"old"


def test_save_refuses_what_load_would_refuse(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(ValueError, match="is missing"):
        save_native(path, trained("dcgan"), network="collapsed", arguments=ARGUMENTS, facts={})
    with pytest.raises(ValueError, match=re.escape("must be float32 [5, 16, 4, 4], got")):
        wider = ARGUMENTS | {"width": 8}  # 8 channels at 8x8, so 16 at 4x4
        save_native(path, trained("dcgan"), network="dcgan", arguments=wider, facts={})
    with pytest.raises(ValueError, match="not JSON compliant"):
        save_native(
            path, trained(), network="collapsed", arguments=ARGUMENTS, facts={"auc": math.nan}
        )
    module = trained()
    module.state_dict()["spread"].fill_(math.inf)
    with pytest.raises(ValueError, match="spread holds 1 values that are NaN or infinite"):
        save_native(path, module, network="collapsed", arguments=ARGUMENTS, facts={})
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "absent.safetensors")
    assert "is a folder" in refusal(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04\x95 a pickle",
        struct.pack("<Q", 2**62) + b"{}",
        struct.pack("<Q", 9) + b"not JSON!",
        struct.pack("<Q", 4) + b"\xff\xfe\xfd\xfc",
    ],
    ids=["empty", "pickle", "endless header", "header not JSON", "header not text"],
)
def test_a_file_that_is_not_safetensors_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    assert "cannot be read as a checkpoint" in refusal(path)


@pytest.mark.parametrize("kept", [4, 100, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, kept: int) -> None:
    path = written(tmp_path / "a.safetensors")
    path.write_bytes(path.read_bytes()[:kept])
    assert "cannot be read as a checkpoint" in refusal(path)


def test_tensors_that_overlap_are_refused(tmp_path: Path) -> None:
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    text = json.dumps({"a": entry, "b": entry}).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(4))
    assert "cannot be read as a checkpoint" in refusal(path)


def test_a_refusal_carries_no_control_characters_of_the_file(tmp_path: Path) -> None:
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}  # 8 bytes promised, 4 there
    text = json.dumps({"\x1b[2J\nall is well": entry}).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(4))
    assert refusal(path).isprintable()
    path = written(tmp_path / "b.safetensors", metadata=header(network="\x1b[2J\n"))
    assert refusal(path).isprintable()


def test_a_safetensors_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"weight": torch.zeros(2)}, path)
    assert "no architecture that ganaudit knows by its names" in refusal(path)


@pytest.mark.parametrize(
    ("metadata", "complaint"),
    [
        ("", "must have JSON in its metadata"),
        ("{'format': 1}", "must have JSON in its metadata"),
        ('{"format": NaN}', "'NaN' is not a finite number"),
        ('{"format": 1, "facts": {"auc": 1e999}}', "'1e999' is not a finite number"),
        ('{"format": ' + "9" * 5000 + "}", "must have JSON in its metadata"),
        ("[" * 100_000, "must have JSON in its metadata"),
        ("[1]", 'must have a JSON object in "ganaudit", got a list'),
        (header(format=2), "must have format 1, got 2; update ganaudit"),
        (header(format=True), "must have format 1, got True"),
        (header(format="1"), "must have format 1, got '1'"),
        (header(network=["dcgan"]), "must name its network as text, got a list"),
        (header(network=None), "must name its network as text, got nothing"),
        (header(arguments=[5, 2]), "must hold its arguments as a JSON object, got a list"),
        (header(facts="none"), "must hold its facts as a JSON object, got a str"),
        (header(network="torch.hub"), "network must be one of acgan"),
        (header(network="x" * 10**6), "network must be one of acgan"),
        (header(arguments={}), "required: latent_size, width"),
        (header(arguments=ARGUMENTS | {"self": 1}), "got 'channels, latent_size, self"),
        (header(arguments=ARGUMENTS | {"width": 10**9}), "width must be an integer in [1, 512]"),
        (header(arguments=ARGUMENTS | {"width": 10**3000}), "got an integer of 9966 bits"),
        (header(arguments=ARGUMENTS | {"width": -1}), "width must be an integer in [1, 512]"),
        (header(arguments=ARGUMENTS | {"width": 2.0}), "got 2.0"),
        (header(arguments=ARGUMENTS | {"width": [[2]]}), "got [[2]]"),
        (header(arguments=ARGUMENTS | {"size": 12}), "size must be 48 or a power of two"),
    ],
)
def test_a_hostile_header_is_refused(tmp_path: Path, metadata: object, complaint: str) -> None:
    assert complaint in refusal(written(tmp_path / "a.safetensors", metadata=metadata))


def test_missing_and_foreign_tensors_are_refused(tmp_path: Path) -> None:
    state = trained().state_dict()
    del state["centre"]
    path = written(tmp_path / "a.safetensors", tensors=state)
    assert "centre is missing" in refusal(path)
    path = written(tmp_path / "b.safetensors", tensors=changed_state(extra=torch.zeros(1)))
    assert "extra does not belong to it" in refusal(path)


@pytest.mark.parametrize(
    ("tensor", "came"),
    [
        (torch.ones(6), "float32 [6]"),
        (torch.ones(1, 5), "float32 [1, 5]"),
        (torch.ones(5, dtype=torch.float64), "float64 [5]"),
        (torch.ones(5, dtype=torch.int32), "int32 [5]"),
        (torch.ones(5, dtype=torch.int16), "int16 [5]"),
    ],
)
def test_a_tensor_of_another_shape_or_dtype_is_refused(
    tmp_path: Path, tensor: Tensor, came: str
) -> None:
    path = written(tmp_path / "a.safetensors", tensors=changed_state(centre=tensor))
    assert f"centre must be float32 [5], got {came}" in refusal(path)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_refused(tmp_path: Path, value: float) -> None:
    centre = torch.tensor([1.0, value, 0, value, 0])
    path = written(tmp_path / "a.safetensors", tensors=changed_state(centre=centre))
    assert "centre holds 2 values that are NaN or infinite" in refusal(path)


def test_tensors_are_checked_before_anything_large_is_allocated(tmp_path: Path) -> None:
    largest = {"latent_size": 4096, "width": 512, "channels": 3, "size": 256}
    with torch.device("meta"):
        module = networks.build("dcgan", largest)
    size_gb = sum(value.numel() * 4 for value in module.state_dict().values()) / 1e9
    assert size_gb > 40  # allocating it would end the test
    path = written(tmp_path / "a", metadata=header(network="dcgan", arguments=largest))
    assert "must hold the weights of dcgan" in refusal(path)
