"""OUT/config.json: what is taken from it, what is refused, and what two of them may differ in."""

import json
from pathlib import Path
from typing import Any

import pytest

from ganaudit.cli.request_options import resolve_train
from ganaudit.config import TrainConfig
from ganaudit.errors import ConfigError
from ganaudit.training.stored import CONFIG, check_same, lines_of, read_config, stored_request

Json = Any
REQUEST = TrainConfig(
    data="faces", arch="sngan", reg=("adaptivemix", "diffaugment"), out=Path("elsewhere"),
    steps=70, size=32, labels="folders", mirror=True, precision="bf16", seed=3, theta=0.25,
    set=("optim.lr=0.1",), origins={"data": "flag"},
)  # fmt: skip


def written(request: Json = None, **other: Json) -> Path:
    content = {"request": REQUEST.shown(), "recipe": {}, "data": {}} | other
    content["request"] |= request or {}
    Path("out").mkdir(exist_ok=True)
    Path("out", CONFIG).write_text(json.dumps(content))
    return Path("out")


def test_what_was_asked_for_comes_back() -> None:
    found = stored_request(written())
    assert TrainConfig(**found) == REQUEST
    assert isinstance(found["out"], Path) and isinstance(found["reg"], tuple)
    unsaid = {name for name, value in REQUEST.shown().items() if value is None}
    assert unsaid and not unsaid & set(found)


def test_flags_stand_over_what_was_asked_for() -> None:
    config = resolve_train({"out": written(), "resume": True, "seed": 4, "arch": None, "reg": ()})
    assert (config.seed, config.arch, config.theta) == (4, "sngan", 0.25)
    assert config.reg == ("adaptivemix", "diffaugment")
    assert (config.out, config.resume) == (Path("out"), True)


@pytest.mark.parametrize("flag", [{"steps": 90}, {"kimg": 5.0}])
def test_a_length_takes_the_place_of_the_other_kind(flag: dict[str, Any]) -> None:
    for stored in ({"steps": 70, "kimg": None}, {"steps": None, "kimg": 4.0}):
        config = resolve_train({"out": written(stored), "resume": True, **flag})
        assert {"steps": config.steps, "kimg": config.kimg} == {"steps": None, "kimg": None} | flag


def test_a_stored_request_decides_neither_code_nor_machine() -> None:
    stored = {
        "plugin": ["evil.py"], "trust": True, "device": "cuda", "devices": 8, "out": "/etc",
        "dry_run": True, "format": "json",
    }  # fmt: skip
    config, usual = resolve_train({"out": written(stored), "resume": True}), TrainConfig(data="x")
    assert config.out == Path("out")
    for name in set(stored) - {"out"}:
        assert getattr(config, name) == getattr(usual, name), name


@pytest.mark.parametrize(
    "request_",
    [
        {"data": ["a"]}, {"data": 3}, {"steps": True}, {"steps": "70"}, {"steps": 7.5},
        {"theta": "0.2"}, {"theta": True}, {"mirror": 1}, {"mirror": "yes"}, {"set": "a=b"},
        {"set": [["a"]]}, {"reg": [1]}, {"fit": 3}, {"precision": 32}, {"labels": {"a": 1}},
        {"out": 3}, {"origins": {"data": "flag"}}, {"strange\x1b[2J": 1},
    ],
)  # fmt: skip
def test_a_setting_that_cannot_be_is_refused_by_name(request_: Json) -> None:
    ((name, _),) = request_.items()
    with pytest.raises(ConfigError) as caught:
        stored_request(written(request_))
    assert name.split("\x1b")[0] in str(caught.value) and "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "[1]", '{"request": {}}', '{"request": {}, "recipe": 1, "data": {}}', "{" * 9999]
)
def test_a_file_that_is_none_of_ours_is_refused(text: str) -> None:
    written()
    Path("out", CONFIG).write_text(text)
    with pytest.raises(ConfigError, match="none of ours|cannot be read as JSON"):
        read_config(Path("out"))


def test_a_folder_without_one_holds_no_training() -> None:
    for place in ("nowhere", "."):
        with pytest.raises(ConfigError, match="holds no training to resume"):
            stored_request(Path(place))


# -- two of them ---------------------------------------------------------------------------------

ONE: Json = {
    "recipe": {"steps": 5, "optim": {"decay": "none", "lr": 0.1}, "regularizers": {}},
    "data": {"sha256": "ab", "count": 9},
}


def changed(part: str, **to: Json) -> Json:
    return ONE | {part: ONE[part] | to}


def test_equal_ones_go_on_and_steps_may_differ() -> None:
    check_same(Path("out"), ONE, ONE)
    check_same(Path("out"), ONE, changed("recipe", steps=9))
    check_same(Path("out"), ONE | {"notes": ["x"], "environment": {}}, ONE)


@pytest.mark.parametrize(
    ("new", "said"),
    [
        (changed("recipe", optim={"decay": "none", "lr": 0.2}), "optim.lr 0.1, .* has 0.2"),
        (changed("recipe", optim={"decay": "linear", "lr": 0.1}), "optim.decay 'none'"),
        (changed("recipe", regularizers={"x": {"weight": 1}}), "x.weight absent, .* has 1"),
        (changed("recipe", regularizers={"x": {}}, steps=4) | {"data": {}}, "data.sha256 'ab'"),
        (changed("data", count=8), "data.count 9, this request has 8"),
        (changed("data", labels={"sha256": "c"}), "data.labels.sha256 absent"),
    ],
)
def test_other_ones_are_refused_where_they_differ(new: Json, said: str) -> None:
    for old in (ONE, json.loads(json.dumps(ONE))):
        with pytest.raises(ConfigError, match=f"begun with .*{said}"):
            check_same(Path("out"), old, new)


def test_steps_decide_a_rate_that_falls() -> None:
    old = changed("recipe", optim={"decay": "linear", "lr": 0.1})
    new = old | {"recipe": old["recipe"] | {"steps": 9}}
    check_same(Path("out"), old, old)
    with pytest.raises(ConfigError, match="begun with steps 5, this request has 9"):
        check_same(Path("out"), old, new)


def test_a_regulariser_without_settings_is_told_from_none() -> None:
    old = changed("recipe", regularizers={"ada": {"pipe": "bgc"}, "apa": {}})
    new = changed("recipe", regularizers={"ada": {"pipe": "bgc"}})
    with pytest.raises(ConfigError, match="begun with regularizers.apa 'yes', .* has absent"):
        check_same(Path("out"), old, new)


def test_a_configuration_has_a_setting_a_line() -> None:
    found = lines_of(ONE | {"parameters": {"generator": 7}, "request": {"seed": 1}})
    assert [line.split() for line in found] == [
        ["data.sha256", "ab"], ["data.count", "9"], ["steps", "5"], ["optim.decay", "none"],
        ["optim.lr", "0.1"], ["parameters.generator", "7"],
    ]  # fmt: skip
    assert len({line.index(line.split()[1], 14) for line in found}) == 1
