"""`ganaudit fetch`: from the command line to a plugin's own way to get its weights."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ganaudit import registry
from ganaudit.cli import app
from ganaudit.errors import ConfigError, PluginError

Run = Callable[..., Result]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One fetcher is installed, `toy`; the targets that it was asked for."""
    targets: list[str] = []

    def fetch(target: str) -> Path:
        print("talking")
        if target == "unknown":
            raise ConfigError("there is toy:small, got 'unknown'")
        targets.append(target)
        Path("weights.bin").write_bytes(b"weights")
        return Path("weights.bin")

    def installed(kind: str, files: Any = ()) -> dict[str, registry.Plugin]:
        assert kind == "fetchers"
        return {"toy": registry.Plugin("toy", "toy:fetch", lambda: fetch)}

    monkeypatch.setattr(registry, "installed", installed)
    return targets


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["fetch", *arguments])


@pytest.mark.parametrize(
    ("spec", "target"), [("toy", ""), ("toy:small", "small"), ("toy:a:b", "a:b")]
)
def test_path_and_hash_of_what_was_fetched_are_printed(
    asked: list[str], spec: str, target: str
) -> None:
    result = run(spec)
    assert result.exit_code == 0 and asked == [target]
    sha256 = hashlib.sha256(b"weights").hexdigest()
    assert result.stdout.splitlines() == ["weights.bin", sha256]
    assert f"fetching {spec}" in result.stderr and "talking" in result.stderr


def test_json_is_all_that_is_printed(asked: list[str]) -> None:
    result = run("toy:small", "--format", "json")
    sha256 = hashlib.sha256(b"weights").hexdigest()
    assert json.loads(result.stdout) == {"path": "weights.bin", "sha256": sha256}


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        (("nothing",), PluginError, "no fetcher is called 'nothing'; there are toy"),
        (("toi:small",), PluginError, "no fetcher is called 'toi'; did you mean 'toy'?"),
        (("",), PluginError, "no fetcher is called ''; there are toy"),
        (("toy:unknown",), ConfigError, "there is toy:small, got 'unknown'"),
        (("toy", "--format", "xml"), ConfigError, "--format must be one of rich, json"),
    ],
)
def test_what_cannot_be_fetched_is_one_sentence(
    asked: list[str], arguments: tuple[str, ...], kind: type, said: str
) -> None:
    result = run(*arguments)
    assert type(result.exception) is kind and said in str(result.exception)
    assert not asked and not result.stdout


def test_these_can_be_fetched() -> None:
    assert set(registry.installed("fetchers")) == {"facenet", "timm"}
    with pytest.raises(ConfigError, match="there is facenet:vggface2 and"):
        registry.load("fetchers", "facenet")("nobody")
