import statistics
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import ndtr

from ganaudit import slots
from ganaudit.errors import ConfigError
from ganaudit.slots import (
    Draws,
    Stream,
    check_prior,
    draw,
    group_of,
    permutation,
    philox,
    ranges,
    shard_ranges,
)

WORD = 2**32
FULL = WORD - 1
KNOWN_ANSWERS = [  # of Random123's kat_vectors: counter, key, output
    (
        "00000000 00000000 00000000 00000000",
        "00000000 00000000",
        "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    ),
    (
        "ffffffff ffffffff ffffffff ffffffff",
        "ffffffff ffffffff",
        "408f276d 41c83b0e a20bc7c6 6d5451fd",
    ),
    (
        "243f6a88 85a308d3 13198a2e 03707344",
        "a4093822 299f31d0",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]
PINNED_NORMAL = ["-0x1.05f4a00000000p-2", "0x1.2d769e0000000p+0", "0x1.42a76e0000000p-1"]
PINNED_UNIFORM = ["-0x1.9d81720000000p-3", "0x1.85a7160000000p-1", "0x1.e2bd620000000p-2"]
LATENT, LABEL, NOISE_SEED, PERMUTATION = range(4)


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


def plain_philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x32-10 as the paper writes it, in Python integers."""
    c, k = list(counter), list(key)
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * c[0], WORD)
        high1, low1 = divmod(0xCD9E8D57 * c[2], WORD)
        c = [high1 ^ c[1] ^ k[0], low1, high0 ^ c[3] ^ k[1], low0]
        k = [(k[0] + 0x9E3779B9) % WORD, (k[1] + 0xBB67AE85) % WORD]
    return c


def plain_words(slot: int, count: int, seed: int, stream: int, purpose: int) -> list[int]:
    found: list[int] = []
    for block in range(-(-count // 4)):
        counter = [block, slot % WORD, slot // WORD, 256 * stream + purpose]
        found += plain_philox(counter, [seed % WORD, seed // WORD])
    return found[:count]


def plain_units(slot: int, count: int, seed: int, stream: int, purpose: int) -> list[float]:
    return [(2 * w + 1) / 2**33 for w in plain_words(slot, count, seed, stream, purpose)]


def latents(slots_: np.ndarray, *, shape: tuple[int, ...] = (5,), **options) -> np.ndarray:
    options = {"seed": 0, "stream": Stream.SAMPLES} | options
    found = draw(slots_, latent_shape=shape, **options).latents
    assert found is not None
    return found.numpy()


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_philox_gives_the_known_answers(counter: str, key: str, answer: str) -> None:
    found = philox(np.array(words(counter), dtype=np.uint32), tuple(words(key)))
    assert found.dtype == np.uint32
    assert found.tolist() == words(answer)
    assert plain_philox(words(counter), words(key)) == words(answer)


def test_philox_treats_a_batch_of_any_shape_counter_by_counter() -> None:
    counters = np.arange(2 * 3 * 4, dtype=np.uint32).reshape(2, 3, 4) * np.uint32(0x01234567)
    found = philox(counters, (7, FULL))
    for i in np.ndindex(2, 3):
        assert found[i].tolist() == plain_philox(counters[i].tolist(), [7, FULL])


def test_the_first_latents_of_seed_0_are_pinned() -> None:
    first = np.arange(1)
    normal = latents(first, shape=(3,), stream=Stream.ANCHORS)
    uniform = latents(first, shape=(3,), stream=Stream.ANCHORS, prior="uniform")
    # Slot 0, word block 0, anchors, latents: the counter is all zero, so these are the words
    # 6627e8d5 e169c58d bc57ac4c of the first known answer.
    assert normal.dtype == uniform.dtype == np.float32
    assert [x.hex() for x in normal[0].tolist()] == PINNED_NORMAL
    assert [x.hex() for x in uniform[0].tolist()] == PINNED_UNIFORM
    units = [(2 * word + 1) / 2**33 for word in words(KNOWN_ANSWERS[0][2])[:3]]
    quantile = statistics.NormalDist().inv_cdf
    assert normal[0].tolist() == pytest.approx([quantile(u) for u in units], rel=2**-23)
    assert uniform[0].tolist() == [float(np.float32(2 * u - 1)) for u in units]


@pytest.mark.parametrize("seed", [0, 1, 2**32, 2**63 - 1])
@pytest.mark.parametrize("stream", Stream)
def test_every_draw_follows_from_seed_stream_and_slot_in_plain_integers(
    seed: int, stream: Stream
) -> None:
    numbers = [3, 0, WORD - 1, WORD, 5 * WORD + 17]
    found = draw(
        np.array(numbers), seed=seed, stream=stream, latent_shape=(2, 3), labels=np.arange(10)
    )
    even = latents(np.array(numbers), shape=(6,), prior="uniform", seed=seed, stream=stream)
    assert found.latents is not None and found.labels is not None
    assert found.index.tolist() == numbers
    quantile = statistics.NormalDist().inv_cdf
    for i, slot in enumerate(numbers):
        units = plain_units(slot, 6, seed, stream, LATENT)
        wanted = np.array([quantile(u) for u in units]).reshape(2, 3)
        np.testing.assert_allclose(found.latents[i].numpy(), wanted, rtol=2**-23)
        np.testing.assert_array_equal(even[i], np.float32([2 * u - 1 for u in units]))
        word = plain_words(slot, 1, seed, stream, LABEL)[0]
        assert found.labels[i] == (2 * word + 1) * 10 // 2**33
        high, low = plain_words(slot, 2, seed, stream, NOISE_SEED)
        assert found.seeds[i] == ((high << 31) ^ (low >> 1)) < 2**63


def test_a_draw_does_not_depend_on_its_batch() -> None:
    options = {"seed": 9, "stream": Stream.SAMPLES, "latent_shape": (7,), "labels": np.arange(100)}
    numbers = np.array([40, 2, 2, 700, 41])
    together = draw(numbers, **options)
    for i, slot in enumerate(numbers):
        alone = draw(np.array([slot]), **options)
        for name in ("index", "seeds", "latents", "labels"):
            assert torch.equal(getattr(alone, name)[0], getattr(together, name)[i])


def test_a_larger_latent_begins_with_the_smaller_one() -> None:
    slot = np.array([5])
    np.testing.assert_array_equal(
        latents(slot, shape=(3, 3)).ravel()[:5], latents(slot, shape=(5,))[0]
    )


def test_streams_seeds_purposes_slots_and_word_blocks_never_share_a_counter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[int, ...]] = []

    def spy(counter: np.ndarray, key: tuple[int, int]) -> np.ndarray:
        seen.extend((*row, *key) for row in counter.reshape(-1, 4).tolist())
        return philox(counter, key)

    monkeypatch.setattr(slots, "philox", spy)
    for seed in (0, 1, WORD):
        for stream in Stream:
            draw(
                np.array([0, 1, WORD]),
                seed=seed,
                stream=stream,
                latent_shape=(9,),
                labels=np.arange(3),
            )
        permutation(3, seed=seed)
    assert len(seen) == 3 * (2 * 3 * (3 + 1 + 1) + 3)
    assert len(set(seen)) == len(seen)


def test_anchors_and_samples_share_no_latent_noise_seed_or_label() -> None:
    both = [
        draw(np.arange(500), seed=3, stream=stream, latent_shape=(4,), labels=np.arange(10**6))
        for stream in Stream
    ]
    values = [set(one.latents.flatten().tolist()) for one in both]
    assert len(values[0]) == len(values[1]) == 2000
    assert not values[0] & values[1]
    assert not set(both[0].seeds.tolist()) & set(both[1].seeds.tolist())
    assert int((both[0].labels == both[1].labels).sum()) < 5


@pytest.mark.parametrize(
    ("prior", "variance", "fourth", "law"),
    [
        ("normal", 1, 3, stats.norm()),
        ("uniform", 1 / 3, 1 / 5, stats.uniform(-1, 2)),
    ],
)
def test_priors_have_their_moments_and_their_distribution(
    prior: str, variance: float, fourth: float, law
) -> None:
    values = latents(np.arange(5000), shape=(20,), prior=prior).astype(np.float64)  # 10^5 values
    assert abs(values.mean()) < 5 * np.sqrt(variance / values.size)
    assert values.var() == pytest.approx(variance, rel=0.03)
    assert (values**4).mean() == pytest.approx(fourth, rel=0.05)
    assert abs((values**3).mean()) < 0.1
    assert stats.kstest(values.ravel(), law.cdf).pvalue > 1e-3
    correlation = np.corrcoef(values.T) - np.eye(20)  # between coordinates
    assert np.abs(correlation).max() < 5 / np.sqrt(5000)
    assert np.abs(np.corrcoef(values[:-1].ravel(), values[1:].ravel())[0, 1]) < 5 / np.sqrt(1e5)


@pytest.mark.parametrize("word", [0, FULL])
def test_even_the_extreme_words_give_finite_latents(
    word: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "philox", lambda counter, key: np.full_like(counter, word))
    normal = latents(np.arange(2))
    assert np.all(np.abs(normal) <= 6.34)
    assert abs(normal[0, 0]) == pytest.approx(-statistics.NormalDist().inv_cdf(2**-33), rel=1e-6)
    assert np.all(np.abs(latents(np.arange(2), prior="uniform")) <= 1)
    labels = draw(np.arange(2), seed=0, stream=Stream.SAMPLES, labels=np.arange(10)).labels
    assert labels is not None
    assert set(labels.tolist()) == {0 if word == 0 else 9}


def test_labels_are_uniform_over_the_classes() -> None:
    labels = draw(np.arange(7000), seed=0, stream=Stream.SAMPLES, labels=np.arange(7)).labels
    assert labels is not None and labels.dtype == torch.int64
    counts = np.bincount(labels.numpy(), minlength=7)
    assert len(counts) == 7
    assert stats.chisquare(counts).pvalue > 1e-3


def test_an_unconditional_generator_without_latents_gets_index_and_seeds_only() -> None:
    found = draw(np.array([8, 6]), seed=0, stream=Stream.SAMPLES)
    assert found.latents is None and found.labels is None
    assert found.index.tolist() == [8, 6]
    assert found.seeds.dtype == torch.int64 and int(found.seeds.min()) >= 0
    assert len(found) == 2


def test_no_slots_give_empty_draws() -> None:
    found = draw(
        np.arange(0), seed=0, stream=Stream.SAMPLES, latent_shape=(3, 2), labels=np.arange(4)
    )
    assert len(found) == 0
    assert found.latents is not None and found.latents.shape == (0, 3, 2)


def test_the_slots_that_were_passed_are_not_tied_to_the_draws() -> None:
    numbers = np.arange(3)
    found = draw(numbers, seed=0, stream=Stream.SAMPLES)
    numbers[:] = 9
    assert found.index.tolist() == [0, 1, 2]


def test_a_slice_of_draws_is_the_draws_of_those_slots() -> None:
    options = {"seed": 1, "stream": Stream.ANCHORS, "latent_shape": (3,), "labels": np.arange(5)}
    part = draw(np.arange(10), **options)[4:7]
    wanted = draw(np.arange(4, 7), **options)
    assert len(part) == 3
    for name in ("index", "seeds", "latents", "labels"):
        assert torch.equal(getattr(part, name), getattr(wanted, name))
    bare = draw(np.arange(10), seed=1, stream=Stream.ANCHORS)[4:7]
    assert bare.latents is None and bare.labels is None


def test_draws_move_their_latents_and_labels_while_index_and_seeds_stay() -> None:
    draws = draw(
        np.arange(2), seed=0, stream=Stream.SAMPLES, latent_shape=(3,), labels=np.arange(2)
    )
    moved = draws.to(torch.device("meta"))
    assert moved.latents is not None and moved.labels is not None
    assert moved.latents.device.type == moved.labels.device.type == "meta"
    assert moved.index is draws.index and moved.seeds is draws.seeds
    bare = Draws(index=draws.index, seeds=draws.seeds).to(torch.device("meta"))
    assert bare.latents is None and bare.labels is None


@pytest.mark.parametrize("size", [0, 1, 2, 1000])
def test_a_permutation_has_every_number_once(size: int) -> None:
    order = permutation(size, seed=4)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(size))


def test_a_permutation_sorts_63_bits_of_each_item() -> None:
    keys = []
    for item in range(50):
        high, low = plain_words(item, 2, 11, 1, PERMUTATION)
        keys.append((high << 31) ^ (low >> 1))
    assert permutation(50, seed=11).tolist() == sorted(range(50), key=keys.__getitem__)


def test_permutations_of_different_seeds_differ_and_leave_few_items_in_place() -> None:
    one, other = permutation(1000, seed=0), permutation(1000, seed=1)
    assert int((one == other).sum()) < 10  # one is expected
    assert int((one == np.arange(1000)).sum()) < 10


def test_sixteen_slots_are_a_block_and_blocks_go_round_32_groups() -> None:
    numbers = np.array([0, 15, 16, 31, 32, 511, 512, 527, 528, 10**12])
    assert group_of(numbers).tolist() == [0, 0, 1, 1, 2, 31, 0, 0, 1, 10**12 // 16 % 32]
    assert np.bincount(group_of(np.arange(3 * 512))).tolist() == [48] * 32


@pytest.mark.parametrize(
    ("start", "stop", "step", "wanted"),
    [
        (0, 1024, 512, [(0, 512), (512, 1024)]),
        (0, 1000, 512, [(0, 512), (512, 1000)]),
        (700, 1100, 512, [(700, 1024), (1024, 1100)]),
        (512, 513, 512, [(512, 513)]),
        (5, 5, 512, []),
        (6, 5, 512, []),
    ],
)
def test_ranges_are_cut_at_multiples_of_the_step(
    start: int, stop: int, step: int, wanted: list[tuple[int, int]]
) -> None:
    assert list(ranges(start, stop, step)) == wanted


def test_ranges_cover_every_slot_once() -> None:
    for start, stop in ((0, 77), (3, 50), (10, 20), (19, 21)):
        pieces = list(ranges(start, stop, 10))
        assert pieces[0][0] == start and pieces[-1][1] == stop
        assert all(left[1] == right[0] and right[0] % 10 == 0 for left, right in pairwise(pieces))


@pytest.mark.parametrize("seed", [-1, 2**63, 2**70])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    message = rf"seed must be in \[0, 2\*\*63\), got {seed}"
    with pytest.raises(ConfigError, match=message):
        draw(np.arange(1), seed=seed, stream=Stream.SAMPLES)
    with pytest.raises(ConfigError, match=message):
        permutation(3, seed=seed)


@pytest.mark.parametrize("prior", ["gaussian", "", None, 3, ["normal"]])
def test_an_unknown_prior_is_refused(prior: object) -> None:
    with pytest.raises(
        ConfigError, match=r"^prior must be one of normal, uniform, truncated, spherical, got "
    ):
        check_prior(prior)
    with pytest.raises(ConfigError, match="prior must be one of normal"):
        draw(np.arange(1), seed=0, stream=Stream.SAMPLES, latent_shape=(1,), prior=prior)


def test_a_refused_prior_says_where_it_stood_and_is_cut_short() -> None:
    with pytest.raises(ConfigError) as caught:
        check_prior("x" * 1000, where="model.py: ")
    assert str(caught.value).startswith("model.py: prior must be")
    assert len(str(caught.value)) < 180


@pytest.mark.parametrize("prior", ["normal", "uniform", "truncated", "spherical"])
def test_a_known_prior_passes(prior: str) -> None:
    assert check_prior(prior) == prior


@pytest.mark.parametrize("seed", [0, 7])
def test_the_truncated_prior_is_the_normal_one_inside_two(seed: int) -> None:
    options = {"seed": seed, "stream": Stream.SAMPLES, "latent_shape": (3, 5)}
    cut = draw(np.arange(4000), prior="truncated", **options).latents
    assert cut is not None and float(cut.abs().max()) <= 2
    # Its distribution function is (Phi(z) - Phi(-2)) / (Phi(2) - Phi(-2)); 60,000 values: the
    # Kolmogorov-Smirnov distance is below 2 / sqrt(60,000) with probability .9993.
    values = np.sort(cut.double().numpy().ravel())
    low, high = ndtr(-2.0), ndtr(2.0)
    expected = (ndtr(values) - low) / (high - low)
    assert np.abs(expected - (np.arange(len(values)) + 0.5) / len(values)).max() < 2 / 60000**0.5
    # Monotone in the same bits as the other priors.
    normal = draw(np.arange(4000), prior="normal", **options).latents.ravel().numpy()
    assert (np.diff(cut.ravel().numpy()[np.argsort(normal, kind="stable")]) > -1e-6).all()


def test_the_spherical_prior_is_a_normal_draw_on_its_sphere() -> None:
    options = {"seed": 1, "stream": Stream.ANCHORS, "latent_shape": (2, 9)}
    ball = draw(np.arange(300), prior="spherical", **options).latents.double().flatten(1).numpy()
    normal = draw(np.arange(300), prior="normal", **options).latents.double().flatten(1).numpy()
    lengths = np.linalg.norm(ball, axis=1)
    assert np.abs(lengths - 18**0.5).max() < 1e-5
    directions = normal / np.linalg.norm(normal, axis=1, keepdims=True)
    assert np.abs(ball / lengths[:, None] - directions).max() < 1e-6


@pytest.mark.parametrize("prior", ["normal", "uniform", "truncated", "spherical"])
def test_no_prior_depends_on_the_batch(prior: str) -> None:
    options = {"seed": 3, "stream": Stream.SAMPLES, "latent_shape": (7,), "prior": prior}
    together = draw(np.arange(20), **options).latents
    for i in range(20):
        assert torch.equal(draw(np.array([i]), **options).latents[0], together[i])


def test_parts_take_turns_at_the_shards() -> None:
    assert shard_ranges(1300) == [(0, 512), (512, 1024), (1024, 1300)]
    assert shard_ranges(1300, (0, 2)) == [(0, 512), (1024, 1300)]
    assert shard_ranges(1300, (1, 2)) == [(512, 1024)]
    assert shard_ranges(1300, (5, 7)) == shard_ranges(0) == []


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9])
@pytest.mark.parametrize("stop", [1, 512, 513, 4000])
def test_parts_share_out_every_shard_once(stop: int, count: int) -> None:
    parts = [shard_ranges(stop, (i, count)) for i in range(count)]
    assert sorted(sum(parts, [])) == shard_ranges(stop)
