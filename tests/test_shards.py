import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from ganaudit import shards
from ganaudit.errors import GanauditError

ARRAYS = {
    "rows": np.eye(3, 5, dtype=np.float32),
    "status": np.zeros(3, dtype=np.uint8),
    "hashes": np.arange(48, dtype=np.uint8).reshape(3, 16),
}
NOTES = {f"key {i}": str(i) for i in range(12)} | {"ümlaut": 'a "quoted" \n line'}
PNG, JPEG = b"\x89PNG\r\n\x1a\n....", b"\xff\xd8\xff...."


def pictures(*each: bytes) -> dict[str, np.ndarray]:
    return {
        "pictures": np.frombuffer(b"".join(each), dtype=np.uint8),
        "picture_ends": np.cumsum([len(one) for one in each]),
    }


def written(folder: Path, begin: int = 512, end: int = 515, **changes: np.ndarray) -> Path:
    path = folder / shards.name_of(begin, end)
    path.write_bytes(shards.encode(ARRAYS | changes, NOTES))
    return path


# -- writing --------------------------------------------------------------------------------------


def test_the_same_rows_are_the_same_bytes() -> None:
    """The library shuffles what is written beside the rows, differently in every process."""
    data = shards.encode(ARRAYS, NOTES)
    assert {shards.encode(ARRAYS, NOTES) for _ in range(8)} == {data}
    assert shards.encode(ARRAYS, dict(reversed(NOTES.items()))) == data
    program = (
        "import sys\nfrom ganaudit import shards\nfrom test_shards import ARRAYS, NOTES\n"
        "sys.stdout.buffer.write(shards.encode(ARRAYS, NOTES))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parent, capture_output=True, check=True
    )
    assert done.stdout == data


def test_other_readers_of_the_format_read_it(tmp_path: Path) -> None:
    path = written(tmp_path, **pictures(PNG, b"", JPEG))
    loaded = safetensors.numpy.load_file(path)
    for name, array in (ARRAYS | pictures(PNG, b"", JPEG)).items():
        assert loaded[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded[name], array)
    with safetensors.safe_open(path, framework="np") as file:
        assert file.metadata() == NOTES
    data = path.read_bytes()
    assert int.from_bytes(data[:8], "little") % 8 == 0  # so that arrays are aligned


def test_arrays_and_notes_come_back(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert shards.notes(path) == NOTES
    assert shards.arrays(path).keys() == ARRAYS.keys()
    rows, hashes = shards.read(path, 512, 515, "rows", "hashes")
    np.testing.assert_array_equal(rows, ARRAYS["rows"])
    np.testing.assert_array_equal(hashes, ARRAYS["hashes"])
    assert shards.read(path, 512, 515, "pictures") == []
    path.write_bytes(shards.encode(ARRAYS, {}))
    assert shards.notes(path) == {}


# -- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("begin", "end"), [(0, 512), (512, 600), (10**11, 10**11 + 1)])
def test_a_name_says_which_slots(begin: int, end: int) -> None:
    assert shards.range_of(shards.name_of(begin, end)) == (begin, end)


@pytest.mark.parametrize(
    "name",
    [
        "0-512.safetensors",
        "0000000000-0000000512.npy",
        "0000000000-0000000512xsafetensors",
        "0000000000_0000000512.safetensors",
        ".0000000000-0000000512.safetensors.7.tmp",
        "000000000²-000000051².safetensors",
        "٠٠٠٠٠٠٠٠٠٠-٠٠٠٠٠٠٠٥١٢.safetensors",
        "0000000000-0000000512.safetensors\n",
        "../0000000000-0000000512.safetensors",
        "0" * 4000 + "1-0000000512.safetensors",
    ],
)
def test_other_names_are_none(name: str) -> None:
    assert shards.range_of(name) is None


# -- what somebody else made ----------------------------------------------------------------------


def test_what_a_run_stores_passes(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        status=np.array([0, 1, 3], dtype=np.uint8),
        rows=np.array([[0.6, 0.8], [0, 0], [np.nan, 7]], dtype=np.float32),  # one of them counts
        **pictures(PNG, b"", JPEG),
    )
    assert shards.check(path, 512, 515) == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rows": 1.01 * ARRAYS["rows"]}, "has not the length 1"),
        ({"rows": np.full((3, 1), np.nan, dtype=np.float32)}, "has not the length 1"),
        ({"rows": np.zeros((3, 0), dtype=np.float32)}, "has not the length 1"),
        ({"rows": ARRAYS["rows"].astype(np.float16)}, "its rows are of type float16"),
        ({"status": np.array([0, 0, 4], dtype=np.uint8)}, "a status that there is not"),
        ({"status": np.zeros(3, dtype=np.int8)}, "its status are of type int8"),
        ({"hashes": np.zeros((3, 16), dtype=np.int8)}, "its hashes are of type int8"),
        (pictures(PNG, b"GIF89a", b""), "a picture that is none"),
        (pictures(PNG, b"", b"") | {"picture_ends": np.array([9, 4, 12])}, "do not add up"),
        (pictures(PNG, b"", b"") | {"picture_ends": np.array([1.0, 4, 12])}, "of type float64"),
    ],
)
def test_what_no_run_stores_is_refused(
    changes: dict[str, np.ndarray], said: str, tmp_path: Path
) -> None:
    path = written(tmp_path, **changes)
    with pytest.raises(GanauditError, match=f"{path.name} is damaged: .*{said}"):
        shards.check(path, 512, 515)


@pytest.mark.parametrize(("begin", "end"), [(510, 513), (512, 512), (515, 512), (0, 513)])
def test_a_shard_lies_within_one_range_of_512(begin: int, end: int, tmp_path: Path) -> None:
    with pytest.raises(GanauditError, match="its name promises what no shard holds"):
        shards.check(written(tmp_path), begin, end)


@pytest.mark.parametrize(("name", "columns"), [("BF16", 10), ("F8_E4M3", 20), ("F8_E8M0", 20)])
def test_types_that_arrays_do_not_have_are_damage(name: str, columns: int, tmp_path: Path) -> None:
    """Types of the format that NumPy has none of, unless another package brings them."""
    data = written(tmp_path).read_bytes()
    size = int.from_bytes(data[:8], "little")
    odd = f'"{name}","shape":[3,{columns}]'.encode()
    header = data[8 : 8 + size].replace(b'"F32","shape":[3,5]', odd)
    assert len(header) != size
    path = tmp_path / "odd.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + size :])
    with pytest.raises(GanauditError, match="is damaged"):
        shards.check(path, 512, 515)


def test_a_file_that_is_too_large_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path)
    monkeypatch.setattr(shards, "_MOST_BYTES", path.stat().st_size)
    assert shards.check(path, 512, 515) == 5
    monkeypatch.setattr(shards, "_MOST_BYTES", path.stat().st_size - 1)
    with pytest.raises(GanauditError, match="larger than any shard"):
        shards.check(path, 512, 515)
