import errno
import json
import os
from pathlib import Path

import pytest

from ganaudit.errors import ConfigError, GanauditError
from ganaudit.files import is_file, read_json, shown_path, write_output


def written(folder: Path, data: bytes) -> Path:
    path = folder / "some.json"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "value", [None, 3, -2.5e300, "ü \u2028 \U0001f600", [], {}, {"a": [1, {"b": None}], "": True}]
)
def test_json_comes_back_as_it_was_written(tmp_path: Path, value) -> None:
    for ascii_only in (True, False):
        path = written(tmp_path, json.dumps(value, ensure_ascii=ascii_only).encode())
        assert read_json(path, most_bytes=1000) == value


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"{'a': 1}",
        b"[1,]",
        b"1 2",
        b"NaN",
        b'{"a": Infinity}',
        b"[-Infinity]",
        b"1e999",  # a float that is none
        b"1" * 5000,  # more digits than Python reads
        b'"\\ud800"',  # half a character
        b'{"\\udfff": 1}',
        b'"\xff"',
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        b"[" * 900_000,
        b"[" * 5000 + b"]" * 5000,
    ],
)
def test_what_is_no_json_that_could_be_written_again_is_refused(
    tmp_path: Path, data: bytes
) -> None:
    path = written(tmp_path, data)
    with pytest.raises(ConfigError, match="cannot be read as JSON: .") as refused:
        read_json(path, most_bytes=10**6)
    assert str(refused.value).startswith(f"{path} ")
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("opens", ["[", '{"a":'])
def test_what_is_nested_too_deep_to_be_shown_is_refused(tmp_path: Path, opens: str) -> None:
    """A document of 990 lists can be read, and fails where a message shows it."""
    closes = "]" if opens == "[" else "}"

    def nested(depth: int) -> Path:
        return written(tmp_path, (opens * depth + "1" + closes * depth).encode())

    found = read_json(nested(99), most_bytes=10**4)
    assert repr(found)
    for depth in (100, 101, 400, 900):
        with pytest.raises(ConfigError, match="is nested more than 100 deep: it is none of ours"):
            read_json(nested(depth), most_bytes=10**4)


def test_a_file_of_just_the_size_is_read_and_no_larger_one(tmp_path: Path) -> None:
    size = 2**20
    path = written(tmp_path, b'"' + b"x" * (size - 2) + b'"')
    assert len(read_json(path, most_bytes=size)) == size - 2
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ConfigError, match="is larger than 1 MiB: it is none of ours"):
        read_json(path, most_bytes=size)


def test_no_more_is_read_than_may_be() -> None:
    """A file without an end."""
    endless = Path("/dev/zero")
    if not endless.exists():
        pytest.skip("there is no file without an end")
    with pytest.raises(ConfigError, match="/dev/zero is larger than 4 MiB"):
        read_json(endless, most_bytes=2**22)


def test_what_is_absent_or_a_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.json", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read as JSON: ") as refused:
            read_json(path, most_bytes=1000)
        assert isinstance(refused.value.__cause__, OSError)


# -- files that a user names -----------------------------------------------------------------


def test_an_output_is_whole_and_its_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folders" / "out.xml"
    write_output(path, b"one")
    write_output(path, b"other")
    assert path.read_bytes() == b"other"
    assert list(path.parent.iterdir()) == [path]


def test_an_output_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    (tmp_path / "loop").symlink_to("loop")
    for name, reason in (
        ("", "it is no plain file"),
        ("pipe", "it is no plain file"),
        ("null", "it is no plain file"),
        ("file/out", "File exists"),
        ("x" * 300, "File name too long"),
    ):
        path = tmp_path / name
        with pytest.raises(GanauditError, match=f"cannot be written: {reason}$") as refused:
            write_output(path, b"data")
        assert str(refused.value).startswith(f"{path} ")
        assert not isinstance(refused.value, ConfigError)
    assert (tmp_path / "pipe").is_fifo() and Path("/dev/null").is_char_device()
    write_output(tmp_path / "loop", b"data")  # a link is replaced, wherever it leads
    assert (tmp_path / "loop").read_bytes() == b"data"


def test_what_was_there_stays_if_it_cannot_be_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "out").write_bytes(b"before")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(GanauditError, match="out cannot be written: the disk is full"):
        write_output(tmp_path / "out", b"after")
    assert [one.read_bytes() for one in tmp_path.iterdir()] == [b"before"]


def test_a_name_that_no_file_can_have_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    names = ("file", "link", "loop", "pipe", "", "absent", "file/file", "x" * 300, "a\0b")
    assert [name for name in names if is_file(tmp_path / name)] == ["file", "link"]


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("audit", "audit"),
        ("./audit/../runs/one", "runs/one"),
        (".", "."),
        ("..", ".."),
        ("../elsewhere/run", "run"),
        ("/somewhere/secret/run", "run"),
        ("inside", "inside"),
        ("outside", "outside"),
        ("loop", "loop"),
        ("a\0b", "a\0b"),
    ],
)
def test_a_report_names_no_folder_above_the_working_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, shown: str
) -> None:
    here = tmp_path / "work"
    here.mkdir()
    monkeypatch.chdir(here)
    Path("outside").symlink_to("/etc")
    Path("loop").symlink_to("loop")
    assert shown_path(Path(path)) == shown
    if not path.startswith((".", "/")):
        wanted = "outside" if path == "outside" else shown
        assert shown_path(here / path) == wanted
