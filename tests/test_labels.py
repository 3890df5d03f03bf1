from pathlib import Path

import numpy as np
import pytest

from ganaudit.errors import ConfigError
from ganaudit.labels import law_of
from ganaudit.slots import Stream, labels_of


def test_nobody_asked_means_uniform_and_the_sentence_says_so() -> None:
    law = law_of(None, 7)
    assert law.choices.tolist() == list(range(7))
    assert law.sentence == "Labels are drawn uniformly from 7 classes, which nobody asked for."
    asked = law_of("uniform", 7)
    assert asked.identity == law.identity == {"labels": "uniform"}
    assert "as requested" in asked.sentence


def test_a_number_is_the_label_of_every_image() -> None:
    law = law_of("3", 4)
    assert set(labels_of(np.arange(50), law.choices, seed=1, stream=Stream.SAMPLES)) == {3}
    assert law.identity == {"labels": 3}


@pytest.mark.parametrize("name", ["labels.txt", "labels.npy"])
def test_a_file_gives_the_frequencies(tmp_path: Path, name: str) -> None:
    entries = [5] * 6 + [0] * 3 + [2]
    if name.endswith("npy"):
        np.save(name, np.array(entries, dtype=np.uint8))
    else:
        Path(name).write_text("\n".join(map(str, entries)) + "\n")
    law = law_of(name, 6)
    drawn = labels_of(np.arange(8000), law.choices, seed=0, stream=Stream.ANCHORS)
    shares = np.bincount(drawn, minlength=6) / 8000
    # five standard deviations of a share are at most 5 sqrt(.25 / 8000) = .028
    assert np.abs(shares - [0.3, 0, 0.1, 0, 0, 0.6]).max() < 0.028
    assert drawn.dtype == np.int64
    Path(name).with_name("again" + Path(name).suffix).write_bytes(Path(name).read_bytes())
    assert law_of("again" + Path(name).suffix, 6).identity == law.identity


def test_an_unconditional_generator_has_no_law_and_takes_no_labels() -> None:
    assert law_of(None, 0) is None
    with pytest.raises(ConfigError, match="takes no labels; .* num_labels=10"):
        law_of("uniform", 0)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("4", "labels of this generator are 0 to 3, got 4"),
        ("-1", "labels of this generator are 0 to 3, got -1"),
        ("many.txt", "many.txt: labels of this generator are 0 to 3, got 9"),
        ("words.txt", "must hold a class number a line, got 'cat'"),
        ("empty.txt", "empty.txt holds no labels"),
        ("absent.txt", "wants uniform, a class number or a file; got absent.txt"),
        (".", "wants uniform, a class number or a file"),
        ("float.npy", r"must hold a vector of whole numbers, got float64 \[3\]"),
        ("matrix.npy", r"must hold a vector of whole numbers, got int64 \[2, 2\]"),
        ("pickled.npy", "cannot be read"),
        ("cut.npy", "cannot be read"),
        ("binary.txt", "cannot be read"),
        ("--5", "wants uniform, a class number or a file"),
        ("=3", "wants uniform, a class number or a file"),
        ("9" * 500, "wants uniform, a class number or a file|cannot be read"),
        ("long.txt", "must hold a class number a line, got '99999999999999999999'"),
        ("zeros.txt", "must hold a class number a line, got '000000"),
        ("under.txt", "must hold a class number a line, got '1_0'"),
        ("zip.npy", "cannot be read"),
        ("huge.npy", "cannot be read"),
    ],
)
def test_labels_that_cannot_be_are_refused_in_one_sentence(wanted: str, message: str) -> None:
    Path("many.txt").write_text("1 9 2")
    Path("words.txt").write_text("1\ncat\n")
    Path("empty.txt").write_text("\n")
    Path("binary.txt").write_bytes(b"\xff\xfe\x00")
    np.save("float.npy", np.zeros(3))
    np.save("matrix.npy", np.zeros((2, 2), dtype=np.int64))
    np.save("pickled.npy", np.array([{}], dtype=object), allow_pickle=True)
    Path("long.txt").write_text("9" * 20)
    Path("zeros.txt").write_text("0" * 50 + "3")
    Path("under.txt").write_text("1_0")
    np.savez("zip.npz", np.arange(3))
    Path("zip.npz").rename("zip.npy")
    header = {"descr": "<i8", "fortran_order": False, "shape": (10**15,)}
    with Path("huge.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
    Path("cut.npy").write_bytes(Path("matrix.npy").read_bytes()[:-8])
    with pytest.raises(ConfigError, match=message) as caught:
        law_of(wanted, 4)
    assert "\n" not in str(caught.value)


def test_a_generator_may_not_claim_any_number_of_classes() -> None:
    with pytest.raises(ConfigError, match="num_labels must be in"):
        law_of(None, 2**40)
