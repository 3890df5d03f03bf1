"""`ganaudit inspect` and `convert`, by command line."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pickled
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ganaudit import networks
from ganaudit.checkpoints.allowed import source_hash
from ganaudit.checkpoints.holdings import read
from ganaudit.checkpoints.opened import open_network
from ganaudit.checkpoints.sources import KNOWN
from ganaudit.errors import UnsafeCheckpoint

ARGUMENTS: dict[str, Any] = {
    "z_dim": 6, "c_dim": 0, "w_dim": 8, "img_resolution": 16, "img_channels": 3,
}  # fmt: skip
SYNTHESIS: dict[str, Any] = {"channel_base": 64, "channel_max": 8, "conv_clamp": 256}


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    made = networks.build("stylegan2", ARGUMENTS | SYNTHESIS)
    for name, tensor in made.state_dict().items():
        if "resample_filter" not in name:
            tensor.copy_(torch.randn_like(tensor))
    return made


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A snapshot as NVIDIA's programs write it, with a source text that nobody knows."""
    monkeypatch.chdir(tmp_path)
    kwargs = ARGUMENTS | {"synthesis_kwargs": SYNTHESIS}
    content = {
        "G": pickled.NvidiaNetwork(module=network(1), kwargs=kwargs),
        "G_ema": pickled.NvidiaNetwork(module=network(2), kwargs=kwargs),
        "training_set_kwargs": {"path": "faces.zip"},
        "augment_pipe": None,
    }
    return pickled.write_nvidia_pickle(Path("style.pkl"), content)


def test_a_description_says_what_is_there(ganaudit: Any) -> None:
    ended = ganaudit("inspect", "style.pkl", "--format", "json")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert (found["kind"], found["opens"], found["not_run"]) == ("pickle", "G_ema", [])
    assert found["beside"] == {"training_set_kwargs": "a dict of 1", "augment_pipe": "nothing"}
    generator, average = found["networks"]
    assert (generator["role"], average["role"], average["class"]) == ("G", "G_ema", "Generator")
    assert average["kwargs"] == ARGUMENTS | {"synthesis_kwargs": SYNTHESIS}
    assert average["network"] == "stylegan2" and average["refused"] is None
    state = network(2).state_dict()
    assert {t["name"]: t["shape"] for t in average["tensors"]} == {
        name: list(tensor.shape) for name, tensor in state.items()
    }
    assert average["values"] == sum(tensor.numel() for tensor in state.values())
    assert average["sources"][0]["release"] is None
    assert any("unknown source, standard behaviour assumed" in note for note in average["notes"])


def test_it_reads_on_a_terminal(ganaudit: Any) -> None:
    ended = ganaudit("inspect", "style.pkl", "--tensors")
    assert ended.code == 0, ended.err
    assert "G_ema, class Generator" in ended.out and "is our stylegan2: z_dim=6" in ended.out
    assert "source text, not run: of no release that we know" in ended.out
    assert "synthesis.b4.const" in ended.out and "Opens as G_ema." in ended.out


def test_strict_source_refuses_a_text_that_nobody_knows(
    ganaudit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in (
        ("inspect", "style.pkl"),
        ("convert", "style.pkl", "s.safetensors"),
        ("diagnose", "--generator", "style.pkl", "--descriptor", "digits"),
    ):
        ended = ganaudit(*command, "--strict-source")
        assert ended.code == 2
        assert "carries a source text of no release that we know" in ended.complaint
    (source,) = read(Path("style.pkl")).networks["G_ema"].sources
    monkeypatch.setattr("ganaudit.checkpoints.sources.KNOWN", {**KNOWN, source: "a release"})
    assert open_network(Path("style.pkl"), strict_source=True).notes == ()


@pytest.mark.parametrize(("role", "seed"), [(None, 2), ("G", 1)])
def test_conversion_keeps_every_bit(ganaudit: Any, role: str | None, seed: int) -> None:
    which = () if role is None else ("--role", role)
    ended = ganaudit("convert", "style.pkl", "style.safetensors", *which)
    assert ended.code == 0, ended.err
    wanted = network(seed).state_dict()
    found = load_file("style.safetensors")
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    first = open_network(Path("style.pkl"), role=role)
    again = open_network(Path("style.safetensors"))
    assert (again.network, again.arguments) == (first.network, first.arguments)
    assert again.facts["from"] == {"sha256": first.sha256, "role": first.role}
    latents = torch.randn(2, 6)
    assert torch.equal(first.module(latents), again.module(latents))
    assert ganaudit("inspect", "style.safetensors").code == 0


def test_conversion_loses_nothing(ganaudit: Any) -> None:
    Path("there.safetensors").write_text("mine")
    for out, said in (
        ("there.safetensors", "there.safetensors exists"),
        ("s.pt", "what is written is safetensors"),
        ("nowhere/s.safetensors", "there is no folder nowhere"),
    ):
        ended = ganaudit("convert", "style.pkl", out)
        assert (ended.code, ended.out) == (2, "") and said in ended.complaint
    assert Path("there.safetensors").read_text() == "mine"


def test_what_a_file_asks_for_in_vain_is_listed_and_is_exit_5(ganaudit: Any) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (Path("ran"),)

    torch.save({"G_ema": network(1).state_dict(), "x": Evil()}, "evil.pt")
    ended = ganaudit("inspect", "evil.pt")
    assert ended.code == 5
    assert "getattr" in ended.out and "Does not open." in ended.out
    assert "G_ema: " in ended.out  # what it holds beside
    assert "nothing of it was run" in ended.complaint
    with pytest.raises(UnsafeCheckpoint):
        open_network(Path("evil.pt"))
    assert not Path("ran").exists()


def test_a_class_that_we_do_not_have_is_refused_by_name(ganaudit: Any) -> None:
    kwargs = {"neural_rendering_resolution": 64}
    names = pickled.STYLEGAN2_CLASSES | {"StyleGAN2Generator": "TriPlaneGenerator"}
    strange = pickled.NvidiaNetwork(module=network(1), kwargs=kwargs, class_names=names)
    content = {"G_ema": strange}
    pickled.write_nvidia_pickle(Path("eg3d.pkl"), content)
    ended = ganaudit("inspect", "eg3d.pkl")
    assert ended.code == 2
    assert "class TriPlaneGenerator, which ganaudit does not implement" in ended.complaint


def test_an_audit_of_a_pickle_from_request_to_report(ganaudit: Any) -> None:
    size = ("--anchors", "64", "--samples", "128", "--batch", "32", "--set", "psi=0.7")
    ended = ganaudit(
        "diagnose", "--generator", "style.pkl", "--descriptor", "digits", *size,
        "--format", "json", "-q",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    report = json.loads(ended.out)
    generator = report["generator"]
    assert (generator["network"], generator["role"], generator["psi"]) == (
        "stylegan2",
        "G_ema",
        0.7,
    )
    assert any("unknown source" in sentence for sentence in report["assumptions"])
    prior = "Latents are drawn from the normal prior, as the architecture says."
    assert prior in report["assumptions"]


@pytest.mark.parametrize("said", ["\ud800", "\u009b31m"])
def test_facts_that_cannot_be_shown_are_refused(ganaudit: Any, said: str) -> None:
    header = {
        "format": 1,
        "network": "stylegan2",
        "arguments": ARGUMENTS | SYNTHESIS,
        "facts": {"note": said},
    }
    save_file(network(1).state_dict(), "s.safetensors", {"ganaudit": json.dumps(header)})
    for command in (("inspect", "s.safetensors"), ("inspect", "s.safetensors", "--format", "json")):
        ended = ganaudit(*command)
        assert ended.code == 2
        assert "the facts of checkpoint s.safetensors must be plain values" in ended.complaint


def test_what_was_assumed_of_a_file_is_still_said_of_its_conversion(ganaudit: Any) -> None:
    assert ganaudit("convert", "style.pkl", "style.safetensors").code == 0
    notes = open_network(Path("style.safetensors")).notes
    assert notes == open_network(Path("style.pkl")).notes
    assert "unknown source, standard behaviour assumed" in notes[0]


def test_networks_with_confusing_names_are_told_apart(ganaudit: Any) -> None:
    torch.save({"network": network(1).state_dict(), "state_dict": network(2).state_dict()}, "n.pt")
    found = json.loads(ganaudit("inspect", "n.pt", "--format", "json").out)
    assert [each["role"] for each in found["networks"]] == ["network", "state_dict"]


def test_names_of_a_file_are_shown_as_they_are(ganaudit: Any) -> None:
    torch.save({":smile:": {"[bold]w[/bold]": torch.ones(2)}}, "n.pt")
    shown = ganaudit("inspect", "n.pt", "--tensors").out
    assert ":smile:: 1 tensors" in shown and "[bold]w[/bold]" in shown


def test_a_file_that_cannot_be_described_is_not_sent_to_inspect(ganaudit: Any) -> None:
    Path("cut.pkl").write_bytes(b"cos\nsystem\n(")
    ended = ganaudit("inspect", "cut.pkl")
    assert ended.code == 5
    assert ended.complaint.endswith("nothing of it was run")


@pytest.mark.parametrize("kind", ["_forward_hooks", "_forward_pre_hooks"])
def test_code_attached_to_the_forward_pass_is_refused(ganaudit: Any, kind: str) -> None:
    content = {
        "G_ema": pickled.NvidiaNetwork(
            module=network(1),
            kwargs=ARGUMENTS | {"synthesis_kwargs": SYNTHESIS},
            state={kind: {0: "whatever a hook is"}},
        )
    }
    pickled.write_nvidia_pickle(Path("hooked.pkl"), content)
    ended = ganaudit("inspect", "hooked.pkl")
    assert ended.code == 2
    assert "has code attached to the network that would run with every image" in ended.complaint


def test_a_source_is_known_whatever_its_line_ends_and_byte_order_mark() -> None:
    text = "def f():\n    return 1\n"
    wanted = hashlib.sha256(text.encode()).hexdigest()
    for written in (text, "\ufeff" + text, text.replace("\n", "\r\n"), text.replace("\n", "\r")):
        assert source_hash(written) == wanted
