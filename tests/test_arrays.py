import gzip
import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ganaudit import arrays
from ganaudit.arrays import StoredRows, idx_rows, npz_members, spare_bytes, whole
from ganaudit.errors import ConfigError, SourceError

PLENTY = 2**30


def some_bytes(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def idx_file(path: Path, values: np.ndarray, *, kind: int = 8, dims: tuple[int, ...] = ()) -> Path:
    """As Yann LeCun's page on MNIST says it: magic, sides as big-endian words, values."""
    dims = dims or values.shape
    data = bytes([0, 0, kind, len(dims)]) + struct.pack(f">{len(dims)}I", *dims) + values.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


# -- idx --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a-idx3-ubyte", "a-idx3-ubyte.gz"])
def test_idx_gives_the_values_that_were_written(name: str) -> None:
    values = some_bytes(5, 3, 4)
    rows = idx_rows(idx_file(Path(name), values), dimensions=3, most_bytes=PLENTY)
    assert rows.shape == (5, 3, 4) and len(rows) == 5
    np.testing.assert_array_equal(whole(rows), values)
    for number in (4, 0, 2):
        np.testing.assert_array_equal(rows[number], values[number])


def test_plain_idx_takes_no_memory_and_packed_is_bounded() -> None:
    values = some_bytes(5, 3, 4)  # 60 bytes
    assert idx_rows(idx_file(Path("a"), values), dimensions=3, most_bytes=0).shape == (5, 3, 4)
    packed = idx_file(Path("a.gz"), values)
    assert idx_rows(packed, dimensions=3, most_bytes=60).shape == (5, 3, 4)
    with pytest.raises(ConfigError, match="may be used; unpack it .gunzip"):
        idx_rows(packed, dimensions=3, most_bytes=59)


def test_a_bomb_of_zeros_is_refused_by_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    path = idx_file(Path("a.gz"), np.zeros(2**20, np.uint8), dims=(2**32 - 1,) * 3)
    monkeypatch.setattr(arrays, "_read_into", lambda *_: pytest.fail("it was unpacked"))
    with pytest.raises(ConfigError, match=r"a.gz takes .* GiB of memory"):
        idx_rows(path, dimensions=3, most_bytes=2**40)


@pytest.mark.parametrize("name", ["a", "a.gz"])
@pytest.mark.parametrize(
    ("dims", "message"),
    [((5, 3, 5), "is damaged, or no idx file"), ((5, 3, 3), "is damaged, or no idx file")],
)
def test_a_length_other_than_the_headers_is_refused(
    name: str, dims: tuple[int, ...], message: str
) -> None:
    path = idx_file(Path(name), some_bytes(5, 3, 4), dims=dims)
    with pytest.raises(ConfigError, match=f"{name} {message}.*; fetch it again"):
        idx_rows(path, dimensions=3, most_bytes=PLENTY)


@pytest.mark.parametrize("cut", [1, 3, 4, 11, 40])
def test_a_packed_file_cut_anywhere_is_refused(cut: int) -> None:
    path = idx_file(Path("a.gz"), some_bytes(5, 3, 4))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ConfigError, match="a.gz"):
        idx_rows(path, dimensions=3, most_bytes=PLENTY)


def test_a_wrong_checksum_is_damage() -> None:
    path = idx_file(Path("a.gz"), some_bytes(5, 3, 4))
    data = bytearray(path.read_bytes())
    data[-5] ^= 1  # the last eight bytes are CRC and length
    path.write_bytes(bytes(data))
    with pytest.raises(ConfigError, match="is damaged, or no idx file: BadGzipFile: CRC"):
        idx_rows(path, dimensions=3, most_bytes=PLENTY)


def test_other_types_and_ranks_are_refused_by_name() -> None:
    path = idx_file(Path("a"), some_bytes(6), kind=13)
    with pytest.raises(ConfigError, match="must hold unsigned bytes .idx type 8., got type 13"):
        idx_rows(path, dimensions=1, most_bytes=PLENTY)
    path = idx_file(Path("a"), some_bytes(6))
    with pytest.raises(ConfigError, match=r"idx file of images \[N, H, W\], got 1 dimensions"):
        idx_rows(path, dimensions=3, most_bytes=PLENTY)
    Path("tar.gz").write_bytes(gzip.compress(b"./folder" + bytes(500)))
    with pytest.raises(ConfigError, match="is no idx file: .* unpack it into a folder"):
        idx_rows(Path("tar.gz"), dimensions=3, most_bytes=PLENTY)


# -- npz --------------------------------------------------------------------------------------


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", ["u1", "<f4", ">i8", "?"])
def test_npz_gives_the_arrays_that_were_written(save, dtype: str) -> None:
    first = some_bytes(7, 3, 2).astype(dtype)
    save("a.npz", first=first, second=np.arange(3))
    members = npz_members(Path("a.npz"))
    assert set(members) == {"first", "second"}
    assert (members["first"].shape, members["first"].dtype) == ((7, 3, 2), np.dtype(dtype))
    rows = members["first"].rows(most_bytes=PLENTY)
    np.testing.assert_array_equal(whole(rows), first)
    np.testing.assert_array_equal(rows[6], first[6])
    assert isinstance(rows, StoredRows) == (save is np.savez)


def test_stored_arrays_take_no_memory_and_packed_ones_are_bounded() -> None:
    np.savez("stored.npz", a=some_bytes(10, 10))
    np.savez_compressed("packed.npz", a=some_bytes(10, 10))
    assert len(npz_members(Path("stored.npz"))["a"].rows(most_bytes=0)) == 10
    packed = npz_members(Path("packed.npz"))["a"]
    assert len(packed.rows(most_bytes=100)) == 10
    with pytest.raises(ConfigError, match="'a' takes 0.0 MiB, and 0.0 MiB may be used; .*np.savez"):
        packed.rows(most_bytes=99)


def write_npz(path: Path, header: dict[str, object], content: bytes, **how: int) -> Path:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, header)
    with zipfile.ZipFile(path, "w", **how) as archive:
        archive.writestr("a.npy", buffer.getvalue() + content)
    return path


@pytest.mark.parametrize(
    ("shape", "content"),
    [((2**20, 2**20), b"x" * 9), ((10,), b"x" * 9), ((8,), b"x" * 9), ((), b"")],
)
def test_a_shape_that_lies_is_refused_before_anything_is_unpacked(
    shape: tuple[int, ...], content: bytes
) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    path = write_npz(Path("a.npz"), header, content, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ConfigError, match="a.npz is damaged: the array 'a' is not as long as"):
        npz_members(path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"descr": "|O", "fortran_order": False, "shape": (1,)}, "holds Python objects"),
        ({"descr": [("x", "|O")], "fortran_order": False, "shape": (1,)}, "holds Python objects"),
        ({"descr": "|u1", "fortran_order": True, "shape": (3, 3)}, "is in Fortran order; save"),
        ({"descr": "|u1", "fortran_order": False, "shape": (-9, -1)}, "cannot be read"),
    ],
)
def test_arrays_of_other_kinds_are_refused(header: dict[str, object], message: str) -> None:
    path = write_npz(Path("a.npz"), header, bytes(9))
    with pytest.raises(ConfigError, match=f"a.npz: the array 'a' {message}"):
        npz_members(path)


@pytest.mark.parametrize(
    "content", [b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00\xff\xff{", b"\x93NUMPY\x09\x00", b"x" * 99]
)
def test_members_that_are_no_arrays_are_refused(content: bytes) -> None:
    with zipfile.ZipFile("a.npz", "w") as archive:
        archive.writestr("a.npy", content)
    with pytest.raises(ConfigError, match="the array 'a' cannot be read"):
        npz_members(Path("a.npz"))


def test_an_entry_that_unpacks_to_other_bytes_than_it_says_is_damage() -> None:
    np.savez_compressed("a.npz", a=some_bytes(100, 100))
    data = bytearray(Path("a.npz").read_bytes())
    central = data.index(b"PK\x01\x02")
    data[central + 16] ^= 1  # its CRC-32
    Path("a.npz").write_bytes(bytes(data))
    member = npz_members(Path("a.npz"))["a"]
    with pytest.raises(ConfigError, match="a.npz is damaged: the array 'a' cannot be unpacked"):
        member.rows(most_bytes=PLENTY)


def test_rows_of_a_file_that_shrank_are_the_sources_fault() -> None:
    np.savez("a.npz", a=some_bytes(10, 10))
    rows = npz_members(Path("a.npz"))["a"].rows(most_bytes=PLENTY)
    assert isinstance(rows, StoredRows)
    Path("a.npz").write_bytes(Path("a.npz").read_bytes()[:150])
    with pytest.raises(SourceError, match="a.npz cannot be read: .* bytes are missing"):
        rows[9]
    for number in (-1, 10):
        with pytest.raises(IndexError, match="there are rows 0 to 9"):
            rows[number]


def test_half_of_the_memory_is_more_than_nothing() -> None:
    assert 2**20 < spare_bytes() < 2**50
