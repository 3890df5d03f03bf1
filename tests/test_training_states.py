"""A training on disk."""

import errno
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from ganaudit.errors import ConfigError, GanauditError
from ganaudit.training import states
from ganaudit.training.states import State, last_state, save_state


def state(*, width: int = 3, trained: bool = True, seed: int = 0) -> State:
    torch.manual_seed(seed)
    generator, discriminator = (
        nn.Linear(2, width),
        nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 1)),
    )
    optimizers = (
        torch.optim.Adam(generator.parameters()),
        torch.optim.Adam(discriminator.parameters()),
    )
    if trained:
        for network, optimizer, width_in in zip(
            (generator, discriminator), optimizers, (2, 3), strict=True
        ):
            network(torch.randn(5, width_in)).square().sum().backward()
            optimizer.step()
    average = nn.Linear(2, width)
    return State(generator, discriminator, average, optimizers)


def test_what_is_saved_comes_back_bit_for_bit(tmp_path: Path) -> None:
    made, other = state(), state(trained=False, seed=1)
    save_state(tmp_path, made, step=7, about={"of": "a test"})
    found = last_state(tmp_path)
    assert found is not None
    about, tensors = found
    assert about["step"] == 7 and about["of"] == "a test"
    other.load(tensors)
    wanted, got = made.tensors(), other.tensors()
    assert wanted.keys() == got.keys()
    assert {"generator_optimizer.0.exp_avg", "discriminator.0.running_var"} <= wanted.keys()
    assert all(torch.equal(wanted[name], got[name]) for name in wanted)
    assert all(wanted[name].dtype == got[name].dtype for name in wanted)


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    for step in (1, 20, 3):
        save_state(tmp_path, state(), step=step, about={})
    assert sorted(p.name for p in (tmp_path / "states").iterdir()) == [
        "step-00000003",
        "step-00000020",
    ]


def test_of_no_folder_there_is_no_checkpoint(tmp_path: Path) -> None:
    assert last_state(tmp_path) is None


def test_one_that_was_not_finished_is_none(tmp_path: Path) -> None:
    save_state(tmp_path, state(), step=1, about={})
    (tmp_path / "states" / ".step-00000002.tmp").mkdir()
    (tmp_path / "states" / "step-00000003").mkdir()
    found = last_state(tmp_path)
    assert found is not None and found[0]["step"] == 1


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path: Path) -> None:
    save_state(tmp_path, state(width=4), step=1, about={})
    found = last_state(tmp_path)
    assert found is not None
    with pytest.raises(ConfigError, match="another architecture: its generator does not fit"):
        state().load(found[1])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("generator_optimizer.0.exp_avg", None),
        ("generator_optimizer.0.exp_avg", torch.zeros(2)),
        ("generator_optimizer.0.step", torch.zeros(2)),
        ("discriminator_optimizer.x.exp_avg", torch.zeros(1)),
        ("discriminator_optimizer.99.step", torch.zeros(())),
        ("discriminator_optimizer.0.max_exp_avg_sq", torch.zeros(3)),
    ],
)
def test_what_an_optimizer_cannot_remember_is_refused(
    name: str, value: torch.Tensor | None
) -> None:
    tensors = state().tensors()
    tensors = {key: old for key, old in tensors.items() if key != name}
    if value is not None:
        tensors[name] = value
    optimizer = name.partition(".")[0]
    with pytest.raises(ConfigError, match=f"another architecture: its {optimizer} does not fit"):
        state(trained=False).load(tensors)


def test_a_checkpoint_before_the_first_step_has_nothing_to_remember(tmp_path: Path) -> None:
    save_state(tmp_path, state(trained=False, seed=4), step=0, about={})
    found, other = last_state(tmp_path), state(trained=False)
    assert found is not None
    other.load(found[1])
    assert all(torch.equal(value, found[1][name]) for name, value in other.tensors().items())


@pytest.mark.parametrize("step", [2, -1, "1", True, None])
def test_a_checkpoint_of_another_step_than_its_folder_is_refused(
    tmp_path: Path, step: object
) -> None:
    folder = save_state(tmp_path, state(), step=1, about={})
    about = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps(about | {"step": step}))
    with pytest.raises(ConfigError, match="of another step than its folder"):
        last_state(tmp_path)


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    folder = save_state(tmp_path, state(), step=1, about={})
    data = bytearray((folder / "state.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "state.safetensors").write_bytes(data)
    with pytest.raises(ConfigError, match="step-00000001 is damaged .* goes on from the"):
        last_state(tmp_path)


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    folder = save_state(tmp_path, state(), step=1, about={})
    about = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps(about | {"format": 2}))
    with pytest.raises(ConfigError, match="newer ganaudit"):
        last_state(tmp_path)


def test_a_full_disk_leaves_the_checkpoint_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_state(tmp_path, state(), step=1, about={})

    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(states, "_write", full)
    with pytest.raises(GanauditError, match="step-00000002 cannot be written: the disk is full"):
        save_state(tmp_path, state(), step=2, about={})
    found = last_state(tmp_path)
    assert found is not None and found[0]["step"] == 1
    assert [p.name for p in (tmp_path / "states").iterdir()] == ["step-00000001"]


def test_a_weight_that_is_not_finite_is_seen() -> None:
    made = state()
    assert made.is_finite()
    with torch.no_grad():
        made.average.weight[0, 0] = float("nan")
    assert not made.is_finite()
