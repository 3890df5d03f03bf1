"""`ganaudit train` from request to result: its folder, going on, and every way it may end."""

import errno
import hashlib
import json
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Command, Ended

from ganaudit.checkpoints.opened import open_network
from ganaudit.cli.running import run_train
from ganaudit.config import TrainConfig
from ganaudit.errors import ConfigError, GanauditError
from ganaudit.training import runs, scribe, states
from ganaudit.training.journal import read_log
from ganaudit.training.runs import train

SMALL = ("generator.width=4", "discriminator.width=4")
FLAGS = ("--batch", "8", "--latent-size", "3", "--set", SMALL[0], "--set", SMALL[1])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    path = tmp_path / "data.npz"
    np.savez(path, images=rng.integers(0, 256, (60, 8, 8), dtype=np.uint8))
    return path


def request(data: Path, out: Path, **changes: Any) -> TrainConfig:
    usual: dict[str, Any] = {
        "data": str(data), "out": out, "steps": 6, "batch": 8, "latent_size": 3, "set": SMALL,
        "snapshot_every": 2, "device": "cpu",
    }  # fmt: skip
    return TrainConfig(**usual | changes)


def hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def timeless(folder: Path) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in line.items() if name != "time_s"}
        for line in read_log(folder)
    ]


class Stop(Exception):
    pass


# -- what it leaves -----------------------------------------------------------------------------


def test_the_folder_has_all_of_it(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    made = train(request(data, out, reg=("adaptivemix",)))
    assert made.folder == out and made.exit_code == 0
    assert {path.name for path in out.iterdir()} >= {
        "config.json", "log.jsonl", "states", "samples", "generator.safetensors",
        "discriminator.safetensors", "training.json", "training.html", "tensorboard",
    }  # fmt: skip
    assert sorted(path.name for path in (out / "states").iterdir()) == [
        "step-00000004", "step-00000006",
    ]  # fmt: skip
    assert len(list((out / "samples").glob("*.png"))) == 4
    document = json.loads((out / "training.json").read_text())
    assert document == made.document
    assert (document["status"], document["steps"]) == ("finished", 6)
    assert document["kimg"] == pytest.approx(6 * 8 / 1000)
    assert document["recipe"]["regularizers"]["adaptivemix"]["weight"] == 1


def test_the_generators_file_says_how_to_use_it(data: Path, tmp_path: Path) -> None:
    train(request(data, tmp_path / "out", prior="uniform"))
    opened = open_network(tmp_path / "out" / "generator.safetensors")
    assert opened.network == "dcgan" and opened.facts["prior"] == "uniform"
    assert opened.facts["latent_shape"] == [3] and "step 6 of 6" in opened.facts["training"]


def test_the_result_goes_straight_into_sample(
    data: Path, tmp_path: Path, ganaudit: Callable[..., Ended]
) -> None:
    train(request(data, tmp_path / "out"))
    file = tmp_path / "out" / "generator.safetensors"
    found = ganaudit("sample", "--generator", file, "-n", "4", "--out", tmp_path / "s.png")
    assert found.code == 0, found.err


def test_equal_requests_give_equal_networks_and_another_seed_others(
    data: Path, tmp_path: Path
) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(request(data, tmp_path / name, seed=seed))
    files = [hashes(tmp_path / name)["generator.safetensors"] for name in "abc"]
    assert files[0] == files[1] != files[2]


def test_what_has_no_effect_is_said(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = np.load(data)["images"]
    np.savez(tmp_path / "labelled.npz", images=images, labels=np.arange(60) % 3)
    told: list[str] = []
    made = train(request(tmp_path / "labelled.npz", tmp_path / "a", steps=1), notice=told.append)
    unused = ["The labels are not used: --arch dcgan takes none; cdcgan, acgan and cstylegan2 do."]
    assert made.document["notes"] == [note for note in told if "not used" in note] == unused
    toy = {"data": "toy:ring", "descriptor": "digits", "device": "cpu", "dry_run": True}
    assert run_train(toy, quiet=False, verbose=False) == 0
    unused = ["note: --descriptor is not used: points are counted, and not embedded."]
    assert capsys.readouterr().err.splitlines() == unused
    used = {"arch": "cdcgan", "set": SMALL}
    assert runs.outlook(request(tmp_path / "labelled.npz", tmp_path / "b", **used))["notes"] == []


def test_names_of_classes_are_text_whatever_their_folders_are_called(tmp_path: Path) -> None:
    from PIL import Image

    for number, name in enumerate((b"a", b"\x1b[2Jb", b"c\xff")):
        folder = os.path.join(os.fsencode(tmp_path / "classes"), name)
        os.makedirs(folder)
        for i in range(3):
            Image.new("L", (8, 8), 60 * number + i).save(os.path.join(folder, b"%d.png" % i))
    made = train(
        request(
            tmp_path / "classes", tmp_path / "out", labels="folders", arch="cdcgan", steps=1
        )
    )  # fmt: skip
    names = made.document["data"]["labels"]["names"]
    assert sorted(names) == ["a", "c\ufffd", "\ufffd[2Jb"]


# -- going on --------------------------------------------------------------------------------------


def broken_off(config: TrainConfig, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that a power cut ends after so many steps."""
    after = scribe.Scribe.after_step

    def cut(self: Any, taken: int, values: Any) -> None:
        after(self, taken, values)
        if taken == step:
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(scribe.Scribe, "after_step", cut)
        with pytest.raises(Stop):
            train(config)


@pytest.mark.parametrize("reg", [(), ("adaptivemix,advlatgan-qua,advlatgan-div",)])
def test_a_resumed_training_is_the_uninterrupted_one(
    reg: tuple[str, ...], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(request(data, whole, reg=reg))
    broken_off(request(data, cut, reg=reg), 5, monkeypatch)
    made = train(request(data, cut, reg=reg, resume=True))
    assert made.document["status"] == "finished"
    one, other = hashes(whole), hashes(cut)
    for name in one:
        if name.endswith((".safetensors", ".png")):
            assert one[name] == other[name], name
    assert timeless(whole) == timeless(cut)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_training_that_was_told_to_stop_goes_on_as_if_it_was_not(
    number: signal.Signals, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(request(data, whole))
    with monkeypatch.context() as patch:
        signalled(patch, 3, number)
        made = train(request(data, cut))
    assert (made.exit_code, made.document["status"], made.document["steps"]) == (
        130, "interrupted", 3
    )  # fmt: skip
    assert [sample["step"] for sample in made.document["samples"]] == [0, 2, 3]
    train(request(data, cut, resume=True))
    ends = [states.last_state(folder) for folder in (whole, cut)]
    assert ends[0] is not None and ends[1] is not None
    assert all(torch.equal(value, ends[1][1][name]) for name, value in ends[0][1].items())
    assert hashes(whole)["generator.safetensors"] == hashes(cut)["generator.safetensors"]


def test_a_second_ctrl_c_stops_it_at_once(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        signalled(patch, 4, signal.SIGINT, signal.SIGTERM, signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            train(request(data, out))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    last = states.last_state(out)
    assert last is not None and last[0]["step"] == 2
    assert train(request(data, out, resume=True)).document["status"] == "finished"


def signalled(patch: pytest.MonkeyPatch, step: int, *numbers: signal.Signals) -> None:
    """Signals come in the middle of a step."""
    after = scribe.Scribe.after_step

    def told(self: Any, taken: int, values: Any) -> None:
        after(self, taken, values)
        for number in numbers if taken == step - 1 else ():
            signal.raise_signal(number)

    patch.setattr(scribe.Scribe, "after_step", told)


def test_more_steps_may_be_asked_for(data: Path, tmp_path: Path) -> None:
    whole, grown = tmp_path / "whole", tmp_path / "grown"
    train(request(data, whole, steps=8))
    train(request(data, grown, steps=4))
    train(request(data, grown, steps=8, resume=True))
    files = [states.last_state(folder) for folder in (whole, grown)]
    assert files[0] is not None and files[1] is not None
    assert all(torch.equal(value, files[1][1][name]) for name, value in files[0][1].items())


def test_a_finished_training_that_is_resumed_is_told_again(data: Path, tmp_path: Path) -> None:
    made = train(request(data, tmp_path / "out"))
    again = train(request(data, tmp_path / "out", resume=True))
    assert again.document["steps"] == made.document["steps"] == 6
    assert again.document["files"] == made.document["files"]


CHANGED: dict[str, tuple[dict[str, Any], str]] = {
    "a rate": ({"set": (*SMALL, "optim.lr=0.1")}, "begun with optim.lr 0.0002, this .* has 0.1"),
    "an architecture": ({"arch": "mlp", "set": ()}, "begun with arch 'dcgan'"),
    "a width": ({"set": ("generator.width=6", SMALL[1])}, "generator.arguments.width 4"),
    "a regulariser": ({"reg": ("adaptivemix",)}, "adaptivemix.distance absent"),
    "a seed": ({"seed": 5}, "begun with seed 0, this request has 5"),
    "a batch": ({"batch": 4}, "begun with batch 8"),
    "fewer steps": ({"steps": 3}, "at step 6, beyond the 3 steps asked for: raise --steps"),
}


@pytest.mark.parametrize("what", CHANGED)
def test_another_configuration_is_refused_and_nothing_is_lost(
    what: str, data: Path, tmp_path: Path
) -> None:
    changes, sentence = CHANGED[what]
    out = tmp_path / "out"
    train(request(data, out))
    before = hashes(out)
    with pytest.raises(ConfigError, match=sentence):
        train(request(data, out, **{"resume": True} | changes))
    assert hashes(out) == before


def test_other_data_are_refused(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    train(request(data, out))
    before = hashes(out)
    np.savez(
        data,
        images=np.zeros((60, 8, 8), dtype=np.uint8) + np.arange(60, dtype=np.uint8)[:, None, None],
    )
    with pytest.raises(ConfigError, match="begun with data.sha256"):
        train(request(data, out, resume=True))
    assert hashes(out) == before


def test_steps_may_not_grow_where_the_rate_depends_on_them(data: Path, tmp_path: Path) -> None:
    linear = (*SMALL, "optim.decay=linear")
    train(request(data, tmp_path / "out", set=linear))
    with pytest.raises(ConfigError, match="begun with steps 6, this request has 8"):
        train(request(data, tmp_path / "out", set=linear, steps=8, resume=True))


def test_a_folder_that_is_taken_is_left_alone(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    train(request(data, out))
    with pytest.raises(ConfigError, match="already holds a training; continue it with --resume"):
        train(request(data, out))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty and holds no training"):
        train(request(data, tmp_path / "mine"))
    with pytest.raises(ConfigError, match="holds no training to resume"):
        train(request(data, tmp_path / "new", resume=True))
    assert not (tmp_path / "new").exists()


def test_a_checkpoint_of_other_networks_is_refused_and_nothing_is_lost(
    data: Path, tmp_path: Path
) -> None:
    """A folder that was put together by hand, since the recipe would say so first."""
    out = tmp_path / "out"
    train(request(data, out))
    train(request(data, tmp_path / "wide", set=("generator.width=6", SMALL[1])))
    for file in ("state.safetensors", "state.json"):
        place = Path("states", "step-00000006", file)
        (out / place).write_bytes((tmp_path / "wide" / place).read_bytes())
    before = hashes(out)
    with pytest.raises(ConfigError, match="another architecture: its generator does not fit"):
        train(request(data, out, resume=True))
    assert hashes(out) == before


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_serves(
    data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    train(request(data, out))
    last = out / "states" / "step-00000006"
    (last / "state.safetensors").write_bytes(b"damaged")
    with pytest.raises(ConfigError, match="step-00000006 is damaged"):
        train(request(data, out, resume=True))
    for file in last.iterdir():
        file.unlink()
    last.rmdir()
    assert train(request(data, out, resume=True)).document["status"] == "finished"


# -- what goes wrong ----------------------------------------------------------------------------


def test_a_batch_that_there_are_no_images_for_leaves_no_folder(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--batch 64 wants more than the 60 items"):
        train(request(data, tmp_path / "out", batch=64))
    assert not (tmp_path / "out").exists()


def test_an_audit_that_cannot_be_leaves_no_folder(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        train(request(data, tmp_path / "out", descriptor="nowhere.onnx"))
    with pytest.raises(ConfigError, match="the audits cannot be made: .* at least 64 are needed"):
        train(request(data, tmp_path / "out", descriptor="digits", audit_samples=64))
    assert not (tmp_path / "out").exists()


def test_audits_of_images_need_a_descriptor_and_those_of_points_none(
    data: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="--audit-every needs the --descriptor"):
        train(request(data, tmp_path / "out", audit_every=3))
    toy = TrainConfig(
        data="toy:ring", out=tmp_path / "toy", steps=4, audit_every=2, batch=16, device="cpu"
    )
    assert [audit["step"] for audit in train(toy).document["audits"]] == [0, 2, 4]


def test_an_audit_that_a_power_cut_took_is_made_on_resume(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = TrainConfig(data="toy:ring", out=tmp_path / "toy", steps=4, batch=16, device="cpu")

    def cut(self: Any, generator: Any, step: int) -> None:
        if step == 4:
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(scribe.Scribe, "_audit", cut)
        with pytest.raises(Stop):
            train(toy)
    found = train(replace(toy, resume=True)).document
    assert [audit["step"] for audit in found["audits"]] == [4]


FULL = {  # the file that finds no room, and the step that there is a checkpoint of then
    "config.json": None,
    "log.jsonl": None,
    "states/.step-00000004.tmp/state.safetensors": 2,
    "states/.step-00000004.tmp/state.json": 2,
    "samples/.step-00000004.png": 4,
    "generator.safetensors": 0,
    "discriminator.safetensors": 0,
    "training.json": 6,
    "training.html": 6,
}


@pytest.mark.parametrize("name", FULL)
def test_a_full_disk_keeps_the_last_checkpoint(
    name: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    train(request(data, whole))
    usual, place = Path.open, str(out / name).replace("/.", "/")

    def full(path: Path, mode: str = "r", *given: Any, **more: Any) -> Any:
        if mode[0] in "wa" and str(path).replace("/.", "/").startswith(place):
            raise OSError(errno.ENOSPC, "No space left on device")
        return usual(path, mode, *given, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        with pytest.raises(GanauditError, match="cannot be written: the disk is full") as caught:
            train(request(data, out))
    assert caught.value.exit_code == 6
    last = states.last_state(out) if out.exists() else None
    assert (None if last is None else last[0]["step"]) == FULL[name]
    assert not list(out.rglob("*.tmp"))
    made = train(request(data, out, resume=(out / "config.json").exists()))
    assert made.document["status"] == "finished"
    assert timeless(out) == timeless(whole)
    assert hashes(out)["generator.safetensors"] == hashes(whole)["generator.safetensors"]


def test_a_full_device_is_one_sentence(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: Any, **more: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    monkeypatch.setattr(runs.loop, "train", full)
    with pytest.raises(GanauditError, match="memory of the device is full: take a smaller --batch"):
        train(request(data, tmp_path / "out"))


def test_a_training_that_diverges_keeps_its_last_checkpoint(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, after = tmp_path / "out", scribe.Scribe.after_step

    def poisoned(self: Any, step: int, values: Any) -> None:
        after(self, step, values)
        if step == 3:
            with torch.no_grad():
                next(self._state.generator.parameters()).fill_(float("nan"))

    with monkeypatch.context() as patch:
        patch.setattr(scribe.Scribe, "after_step", poisoned)
        made = train(request(data, out))
    assert made.exit_code == 3 and made.document["status"] == "diverged"
    assert "at step 4 " in made.document["message"]
    last = states.last_state(out)
    assert last is not None and last[0]["step"] == 2
    assert train(request(data, out, resume=True)).document["status"] == "finished"


# -- the command ----------------------------------------------------------------------------------


def test_the_command_prints_the_configuration_and_the_result(
    data: Path, tmp_path: Path, ganaudit: Callable[..., Ended]
) -> None:
    out = tmp_path / "out"
    found = ganaudit("train", "--data", data, "--steps", "3", "--out", out, *FLAGS)
    assert found.code == 0, found.err
    assert "optim.lr" in found.err and "Trained for 3 steps." in found.out
    assert str(out / "training.html") in found.out.replace("\n", "")


def test_json_is_the_document(data: Path, tmp_path: Path, ganaudit: Callable[..., Ended]) -> None:
    out = tmp_path / "out"
    found = ganaudit(
        "train", "--data", data, "--steps", "3", "--out", out, "--format", "json", *FLAGS
    )
    assert json.loads(found.out) == json.loads((out / "training.json").read_text())


def test_a_dry_run_prints_what_was_resolved(
    data: Path, tmp_path: Path, ganaudit: Callable[..., Ended]
) -> None:
    asked = ("train", "--data", data, "--out", tmp_path / "out", *FLAGS, "--dry-run")
    found, as_json = ganaudit(*asked), ganaudit(*asked, "--format", "json")
    rows = dict(line.split(maxsplit=1) for line in found.out.splitlines())
    document = json.loads(as_json.out)
    assert found.code == as_json.code == 0
    assert rows["generator.arguments.width"] == "4" and rows["steps"] == "10000"
    assert rows["parameters.generator"] == str(document["parameters"]["generator"])
    assert not (tmp_path / "out").exists()


def test_a_training_that_diverged_is_exit_code_3(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = runs.loop.Ending("diverged", 3, "at step 3 loss_generator was no longer finite")
    monkeypatch.setattr(runs.loop, "train", lambda *given, **more: ended)
    flags = {"data": str(data), "out": tmp_path / "out", "batch": 8, "format": "json"}
    assert run_train(flags, quiet=True, verbose=False) == 3
    said = capsys.readouterr()
    assert json.loads(said.out)["status"] == "diverged"
    assert said.err == "ganaudit: at step 3 loss_generator was no longer finite\n"


def test_a_disk_that_fills_up_is_exit_code_6_and_the_way_on(
    data: Path, tmp_path: Path, ganaudit: Callable[..., Ended]
) -> None:
    out = tmp_path / "out"
    # Room for all but the state of trained networks, whose optimizers remember something.
    asked = ("train", "--data", data, "--steps", "2", "--out", out, *FLAGS)
    found = ganaudit(*asked, fsize=22_000)
    assert found.code == 6
    assert "states/step-00000001 cannot be written: File too large" in found.complaint
    last = states.last_state(out)
    assert last is not None and last[0]["step"] == 0
    assert ganaudit(*found.resuming).code == 0


def test_another_request_is_exit_code_2(
    data: Path, tmp_path: Path, ganaudit: Callable[..., Ended]
) -> None:
    out = tmp_path / "out"
    train(request(data, out))
    before = hashes(out)
    for asked, said in (
        (("--out", out, "--resume", "--seed", "5"), "was begun with seed 0, this request has 5"),
        (("--data", data, "--out", out, *FLAGS), "already holds a training; continue it with"),
        (("--data", data, "--out", out, *FLAGS, "--dry-run"), "already holds a training"),
        (("--resume",), "--resume needs --out"),
        (("--data", data, "--out", "x\x1b[2J", *FLAGS), "--out must be printable UTF-8 text"),
        (("--data", data, "--out", "x\udcff", *FLAGS), "--out must be printable UTF-8 text"),
    ):
        found = ganaudit("train", *asked)
        assert found.code == 2 and said in found.complaint
    assert hashes(out) == before


def test_bad_data_is_one_sentence(tmp_path: Path, ganaudit: Callable[..., Ended]) -> None:
    (tmp_path / "empty").mkdir()
    found = ganaudit("train", "--data", tmp_path / "empty", "--out", tmp_path / "out", *FLAGS)
    assert found.code == 2 and "empty" in found.complaint
    assert not (tmp_path / "out").exists()


def waited(command: Command, file: Path) -> None:
    for _ in range(600):
        if file.exists() or command.process.exitcode is not None:
            return
        time.sleep(0.05)


def test_ctrl_c_keeps_what_was_learned_and_says_how_to_go_on(
    data: Path, tmp_path: Path, start: Callable[..., Command], ganaudit: Callable[..., Ended]
) -> None:
    out = tmp_path / "out"
    command = start(
        "train", "--data", data, "--steps", "100000", "--snapshot-every", "20", "--out", out, *FLAGS
    )
    waited(command, out / "states" / "step-00000020" / "state.json")
    command.interrupt()
    ended = command.wait()
    assert ended.code == 130, ended.err
    assert "Interrupted after" in ended.out
    last = states.last_state(out)
    assert last is not None
    taken = json.loads((out / "training.json").read_text())["steps"]
    assert last[0]["step"] == taken >= 20
    resuming = ended.resuming
    resuming[resuming.index("100000")] = str(taken + 2)
    assert ganaudit(*resuming).code == 0
    found = ganaudit("train", "--out", out, "--resume", "--steps", str(taken + 3))
    assert found.code == 0, found.err
    assert f"Trained for {taken + 3:,} steps." in found.out


def test_a_stored_request_cannot_bring_code(data: Path, tmp_path: Path) -> None:
    from ganaudit.cli.request_options import resolve_train

    out = tmp_path / "out"
    train(request(data, out))
    stored = json.loads((out / "config.json").read_text())
    stored["request"] |= {"plugin": ["evil.py"], "trust": True}
    (out / "config.json").write_text(json.dumps(stored))
    config = resolve_train({"out": out, "resume": True})
    assert config.plugin == () and config.trust is False
    assert config.steps == 6 and config.set == SMALL


def test_an_unwritable_folder_is_one_sentence(
    data: Path, tmp_path: Path, ganaudit: Callable[..., Ended]
) -> None:
    (tmp_path / "file").write_text("no folder")
    found = ganaudit("train", "--data", data, "--out", tmp_path / "file" / "out", *FLAGS)
    assert found.code in (2, 6) and "out" in found.complaint


def test_two_devices_train_to_the_end(data: Path, tmp_path: Path) -> None:
    """In processes of their own, as nothing else here is."""
    out = tmp_path / "out"
    made = train(request(data, out, steps=3, devices=2, reg=("adaptivemix",)))
    assert (made.exit_code, made.document["steps"]) == (0, 3)
    means = [line["step"] for line in read_log(out) if "loss_generator" in line]
    ratios = [line["step"] for line in read_log(out) if "lipschitz_real" in line]
    assert (means, ratios) == ([1, 2, 3], [0, 2, 3])
    assert [sample["step"] for sample in made.document["samples"]] == [0, 2, 3]
    more = train(request(data, out, steps=4, resume=True, reg=("adaptivemix",)))
    assert more.document["steps"] == 4


@pytest.mark.parametrize(("devices", "drawn"), [(1, True), (2, False)])
def test_progress_goes_into_other_processes(
    devices: int, drawn: bool, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bar cannot, so that there is one in this process alone."""
    told: list[Any] = []

    def begin(config: TrainConfig, **tellers: Any) -> Any:
        told.append(tellers["progress"].__self__._bar is not None)
        if not drawn:
            pickle.dumps(tellers)
        raise Stop

    monkeypatch.setattr(runs, "train", begin)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with pytest.raises(Stop):
        run_train({"data": str(data), "devices": devices}, quiet=False, verbose=False)
    assert told == [drawn]


def test_a_device_that_is_not_there_is_refused(data: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(ConfigError, match="this machine has 0 CUDA devices"):
        train(request(data, tmp_path / "out", device="cuda"))
    with pytest.raises(ConfigError, match="--precision 16 needs a GPU"):
        train(request(data, tmp_path / "out", precision="16"))
    with pytest.raises(ConfigError, match="--batch 8 must be a multiple of --devices 3"):
        train(request(data, tmp_path / "out", devices=3))
    assert not (tmp_path / "out").exists()


def test_mixed_precision_trains_on_the_cpu(data: Path, tmp_path: Path) -> None:
    made = train(request(data, tmp_path / "out", precision="bf16", reg=("adaptivemix",), steps=2))
    assert made.document["status"] == "finished"
    opened = open_network(tmp_path / "out" / "generator.safetensors")
    assert all(value.dtype == torch.float32 for value in opened.module.parameters())


def test_a_dry_run_writes_nothing(data: Path, tmp_path: Path) -> None:
    found = runs.outlook(request(data, tmp_path / "out"))
    assert found["parameters"]["generator"] > 0 and found["recipe"]["steps"] == 6
    assert not (tmp_path / "out").exists() and os.listdir(tmp_path) == ["data.npz"]
