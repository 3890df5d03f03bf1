"""Slow and plain: each kernel as its formula reads. What the fast ones are measured against."""

import math
import statistics
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def distance(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Angle between two rows as a fraction of pi, by the form that is stable everywhere."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    return 2 / math.pi * math.atan2(np.linalg.norm(x - y), np.linalg.norm(x + y))


def similarity(d: float, theta: float) -> float:
    """Eq. 3 of the paper."""
    return (math.exp(max(0.0, theta - d)) - 1) / (math.exp(theta) - 1)


def tally(
    anchors: NDArray[np.float32],
    samples: NDArray[np.float32],
    theta: float,
    radius: float,
    valid: NDArray[np.bool_] | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Every sum of the tally, pair by pair."""
    m = len(anchors)
    out = {
        "n": np.zeros(32),
        "similarity": np.zeros((m, 32)),
        "within": np.zeros((m, 32)),
        "squares": np.zeros(m),
        "within_half": np.zeros(m),
        "coherence": np.zeros(32),
    }
    for i, sample in enumerate(samples):
        if valid is not None and not valid[i]:
            continue
        group = i // 16 % 32
        out["n"][group] += 1
        total = 0.0
        for a, anchor in enumerate(anchors):
            s = similarity(distance(anchor, sample), theta)
            dot = float(anchor.astype(np.float64) @ sample.astype(np.float64))
            angle = math.acos(min(1.0, max(-1.0, dot))) / math.pi
            out["similarity"][a, group] += s
            out["squares"][a] += s * s
            out["within"][a, group] += angle <= radius
            out["within_half"][a] += angle <= radius / 2
            total += s
        out["coherence"][group] += (total / m) ** 2
    return out


def mccs(mean_similarity: float) -> float:
    """Eq. 7 of the paper, with its limit at 0."""
    return 1 / (1 - math.log(mean_similarity)) if mean_similarity > 0 else 0.0


def tally_by_anchor(
    anchors: NDArray[np.float32], samples: NDArray[np.float32], theta: float, radius: float
) -> dict[str, NDArray[np.float64]]:
    """`tally` for many pairs: the same formulas, all samples of one anchor at a time."""
    m, n = len(anchors), len(samples)
    group = np.eye(32)[np.arange(n) // 16 % 32]  # [n, 32] one 1 a row
    closeness = np.empty((m, n))
    within = np.empty((m, n))
    within_half = np.empty((m, n))
    y = samples.astype(np.float64)
    for a, x in enumerate(anchors.astype(np.float64)):
        apart, joined = np.linalg.norm(y - x, axis=1), np.linalg.norm(y + x, axis=1)
        d = 2 / np.pi * np.arctan2(apart, joined)
        closeness[a] = (np.exp(np.maximum(0, theta - d)) - 1) / (np.exp(theta) - 1)
        angle = np.arccos(np.clip((y * x).sum(axis=1), -1, 1)) / np.pi
        within[a], within_half[a] = angle <= radius, angle <= radius / 2
    return {
        "n": group.sum(axis=0),
        "similarity": closeness @ group,
        "within": within @ group,
        "squares": (closeness**2).sum(axis=1),
        "within_half": within_half.sum(axis=1),
        "coherence": closeness.mean(axis=0) ** 2 @ group,
    }


def copies(hashes: list[bytes | None]) -> dict[bytes, int]:
    """How often each hash stands in a row of slots; None where a slot has no image."""
    found: dict[bytes, int] = {}
    for mark in hashes:
        if mark is not None:
            found[mark] = found.get(mark, 0) + 1
    return found


def period(hashes: list[bytes | None]) -> int | None:
    """The distance at which images return, slot by slot, from its definition."""
    last: dict[bytes, int] = {}
    repeats: list[tuple[int, int]] = []  # slot, slots since the same image
    for slot, mark in enumerate(hashes):
        if mark is not None and mark in last:
            repeats.append((slot, slot - last[mark]))
        if mark is not None:
            last[mark] = slot
    images = sum(mark is not None for mark in hashes)
    if not repeats or len(repeats) < images / 2:
        return None
    gaps = sorted({gap for _, gap in repeats})
    best = max(gaps, key=lambda g: sum(gap == g for _, gap in repeats))  # the smallest of equals
    if best == 1 and len(last) > 1:
        return None
    known = [
        gap for slot, gap in repeats if slot < best or hashes[slot - best] is not None
    ]  # elsewhere the image may have returned unseen
    return best if sum(gap == best for gap in known) >= 0.9 * len(known) else None


# -- intervals -------------------------------------------------------------------------------


def mean_over_pairs(
    sums: NDArray[np.float64], squares: NDArray[np.float64], n: NDArray[np.int64]
) -> tuple[float, float, float]:
    """The mean over all pairs, its variance, and degrees of freedom (Welch-Satterthwaite)."""
    m, total = len(sums), sum(n)
    groups = [g for g in range(len(n)) if n[g] > 0]
    x = [sum(row) / total for row in sums]
    mean = sum(x) / m
    of_anchors = statistics.variance(x) / m
    of_groups = 0.0
    for g in groups:
        x_g = sum(sums[a][g] for a in range(m)) / (m * n[g])
        of_groups += (n[g] / total) ** 2 * (x_g - mean) ** 2
    of_groups *= len(groups) / (len(groups) - 1)
    of_pairs = sum(squares[a] / total - x[a] ** 2 for a in range(m)) / m / (total * m)
    variance = max(of_anchors + of_groups - of_pairs, of_anchors, of_groups)
    spread = of_anchors**2 / (m - 1) + of_groups**2 / (len(groups) - 1)
    return mean, variance, (of_anchors + of_groups) ** 2 / spread


def jackknife(values: list[float]) -> float:
    """(G - 1) / G times the sum of squares about the mean of values that leave one out each."""
    mean = sum(values) / len(values)
    return (len(values) - 1) / len(values) * sum((v - mean) ** 2 for v in values)


def left_out(
    similarity: NDArray[np.float64], n: NDArray[np.int64], added: float = 0.0
) -> list[list[float]]:
    """[G][m] MCCS of x + `added` of each anchor without one of the groups that have samples."""
    table = []
    for g in [g for g in range(len(n)) if n[g] > 0]:
        rest = [h for h in range(len(n)) if h != g]
        left = sum(n[h] for h in rest)
        table.append([mccs(sum(row[h] for h in rest) / left + added) for row in similarity])
    return table


def mu(
    similarity: NDArray[np.float64], n: NDArray[np.int64], added: float = 0.0
) -> tuple[float, float, float]:
    """Mean MCCS over anchors at n, its variance, and degrees of freedom."""
    m, total = len(similarity), sum(n)
    f = [mccs(sum(row) / total + added) for row in similarity]
    without = left_out(similarity, n, added)
    of_anchors = statistics.variance(f) / m
    common = jackknife([sum(scores) / m for scores in without])
    noise = sum(jackknife([scores[a] for scores in without]) for a in range(m)) / m / m
    of_samples = max(0.0, common - noise)
    spread = of_anchors**2 / (m - 1) + of_samples**2 / (len(without) - 1)
    return sum(f) / m, of_anchors + of_samples, (of_anchors + of_samples) ** 2 / spread


def sigma(similarity: NDArray[np.float64], n: NDArray[np.int64]) -> tuple[float, float]:
    """Standard deviation of MCCS over anchors at n, and its conservative variance."""
    m = len(similarity)
    f = [mccs(sum(row) / sum(n)) for row in similarity]
    sd, mean = statistics.stdev(f), sum(f) / m
    fourth = sum((v - mean) ** 4 for v in f) / m
    of_anchors = max(0.0, fourth / sd**4 - 1) * sd**2 / (4 * m)
    return sd, of_anchors + jackknife([statistics.stdev(v) for v in left_out(similarity, n)])


def quantile(values: list[float], probability: float) -> float:
    """Linear between the order statistics."""
    ordered, place = sorted(values), probability * (len(values) - 1)
    low = math.floor(place)
    high = min(low + 1, len(values) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def quantile_interval(
    similarity: NDArray[np.float64],
    n: NDArray[np.int64],
    probability: float,
    splits: list[tuple[list[int], list[int]]],
) -> tuple[float, float, float]:
    """A quantile of MCCS over anchors at n and its ends, from order statistics and `splits`."""

    def scores(groups: list[int]) -> list[float]:
        samples = sum(n[g] for g in groups)
        return [mccs(sum(row[g] for g in groups) / samples) for row in similarity]

    ordered, m = sorted(scores(list(range(len(n))))), len(similarity)
    below = [math.comb(m, k) * probability**k * (1 - probability) ** (m - k) for k in range(m + 1)]
    # X_(j) .. X_(k), counted from 1, holds the quantile if j <= anchors below it <= k - 1.
    j = next(k for k in range(m + 1) if sum(below[: k + 1]) >= 0.025)
    k = next(k for k in range(m + 1) if sum(below[: k + 1]) >= 0.975) + 1
    q = quantile(ordered, probability)
    v = 0.0
    for one, other in splits:
        gap = quantile(scores(one), probability) - quantile(scores(other), probability)
        v += gap**2 / 4 / len(splits)
    low, high = ordered[max(j, 1) - 1], ordered[min(k, m) - 1]
    return (
        q,
        max(0.0, q - math.sqrt((q - low) ** 2 + 1.96**2 * v)),
        min(1.0, q + math.sqrt((high - q) ** 2 + 1.96**2 * v)),
    )


def densest(similarity: NDArray[np.float64], within: NDArray[np.int64], groups: list[int]) -> int:
    """The anchor with most neighbours in `groups`; ties: larger sum, then lower number."""
    return min(
        range(len(within)),
        key=lambda a: (
            -sum(within[a][g] for g in groups),
            -sum(similarity[a][g] for g in groups),
            a,
        ),
    )


def wilson(count: int, n: int, z: float) -> tuple[float, float]:
    """The rates p from which the count is no more than z standard errors away, by bisection."""

    def outside(p: float) -> bool:
        return abs(count / n - p) > z * math.sqrt(p * (1 - p) / n)

    def edge(far: float, near: float) -> float:
        for _ in range(200):
            middle = (far + near) / 2
            far, near = (middle, near) if outside(middle) else (far, middle)
        return near

    return edge(0.0, count / n), edge(1.0, count / n)


def poisson_ends(y: float) -> tuple[float, float]:
    """Half the chi-square quantiles .025 of 2 y and .975 of 2 y + 2 degrees of freedom."""
    from scipy import special

    low = special.gammaincinv(y, 0.025) if y else 0.0
    return float(low), float(special.gammaincinv(y + 1, 0.975))


def log_vendi(rows: NDArray[np.float32]) -> list[float]:
    """Entropies of orders 1, 2 and infinity of the eigenvalues of the n x n kernel over n."""
    x = rows.astype(np.float64)
    shares = [float(v) for v in np.linalg.eigvalsh(x @ x.T / len(x)) if v > 1e-12]
    return [
        -sum(v * math.log(v) for v in shares),
        -math.log(sum(v * v for v in shares)),
        -math.log(max(shares)),
    ]


def binomial_tail(least: int, trials: int, chance: float) -> float:
    """Probability of `least` or more successes."""
    return sum(
        math.comb(trials, k) * chance**k * (1 - chance) ** (trials - k)
        for k in range(least, trials + 1)
    )


def rank_correlation(x: list[float], y: list[float]) -> float:
    """Pearson's correlation of ranks; those who tie share the mean of theirs."""

    def ranks(values: list[float]) -> list[float]:
        return [sum(v < u for v in values) + sum(v == u for v in values) / 2 for u in values]

    a, b = ranks(x), ranks(y)
    middle = len(x) / 2
    joint = sum((p - middle) * (q - middle) for p, q in zip(a, b, strict=True))
    spread = sum((p - middle) ** 2 for p in a) * sum((q - middle) ** 2 for q in b)
    return joint / math.sqrt(spread)


# -- modes, and fewer samples ----------------------------------------------------------------


def dense_modes(
    similarity: NDArray[np.float64],
    within: NDArray[np.int64],
    n: NDArray[np.int64],
    rows: NDArray[np.float32],
    radius: float,
    most: int,
) -> list[tuple[int, int, int, int, float | None]]:
    """(anchor, its count, its count in the scoring half, samples there, distance to a denser)."""
    groups = [g for g in range(len(n)) if n[g] > 0]
    first, second = groups[: len(groups) // 2], groups[len(groups) // 2 :]

    def angle(a: int, b: int) -> float:
        dot = sum(float(x) * float(y) for x, y in zip(rows[a], rows[b], strict=True))
        return math.acos(min(1.0, max(-1.0, dot))) / math.pi

    modes: list[tuple[int, int, int, int, float | None]] = []
    left = set(range(len(within)))
    while left and len(modes) < most:
        anchor = min(
            left,
            key=lambda a: (
                -sum(within[a][g] for g in first),
                -sum(similarity[a][g] for g in first),
                a,
            ),
        )
        left.remove(anchor)
        near = [angle(anchor, denser) for denser, *_ in modes]
        if sum(within[anchor][g] for g in first) == 0 or any(d <= radius for d in near):
            continue
        scored = sum(int(within[anchor][g]) for g in second)
        samples = sum(int(n[g]) for g in second)
        modes.append(
            (anchor, sum(map(int, within[anchor])), scored, samples, min(near) if near else None)
        )
    return modes


def nearest_slots(
    query: NDArray[np.float32], rows: NDArray[np.float32], valid: NDArray[np.bool_], k: int
) -> list[tuple[int, float]]:
    """(slot, distance) of the k nearest valid rows; of equals, the lower slot first."""
    found = [(distance(query, row), slot) for slot, row in enumerate(rows) if valid[slot]]
    return [(slot, d) for d, slot in sorted(found)[:k]]


def box(
    similarity: NDArray[np.float64], n: NDArray[np.int64], groups: list[int]
) -> tuple[int, list[float]]:
    """Samples in `groups`, and the .05, .25, .5, .75, .95 quantiles and the largest MCCS."""
    samples = int(sum(n[g] for g in groups))
    scores = [mccs(sum(float(row[g]) for g in groups) / samples) for row in similarity]
    return samples, [quantile(scores, p) for p in (0.05, 0.25, 0.5, 0.75, 0.95)] + [max(scores)]


# -- fidelity --------------------------------------------------------------------------------


def moments(rows: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean [D] and covariance [D, D], ddof = 1, number by number."""
    n, d = rows.shape
    x = [[float(v) for v in row] for row in rows]
    mean = [math.fsum(row[i] for row in x) / n for i in range(d)]
    covariance = [
        [math.fsum((r[i] - mean[i]) * (r[j] - mean[j]) for r in x) / (n - 1) for j in range(d)]
        for i in range(d)
    ]
    return np.array(mean), np.array(covariance)


def frechet_distance(real: NDArray[np.float32], generated: NDArray[np.float32]) -> float:
    """As the formula reads, by the root of the unsymmetric product: for full rank only."""
    from scipy import linalg

    (mean, s1), (other, s2) = moments(real), moments(generated)
    return float(((mean - other) ** 2).sum() + np.trace(s1 + s2 - 2 * linalg.sqrtm(s1 @ s2).real))


def kernel_distance(real: NDArray[np.float32], generated: NDArray[np.float32]) -> float:
    """The unbiased squared discrepancy of two sets of equal size, pair by pair."""

    def kernel(x: NDArray[np.float32], y: NDArray[np.float32]) -> float:
        return (math.fsum(float(a) * float(b) for a, b in zip(x, y, strict=True)) / len(x) + 1) ** 3

    n = len(real)
    among = sum(
        kernel(side[i], side[j])
        for side in (real, generated)
        for i in range(n)
        for j in range(n)
        if i != j
    )
    between = sum(kernel(x, y) for x in real for y in generated)
    return among / (n * (n - 1)) - 2 * between / n**2


def density_and_coverage(
    real: NDArray[np.float32], generated: NDArray[np.float32], k: int
) -> tuple[float, float]:
    """Every distance from its definition."""

    def squared(x: NDArray[np.float32], y: NDArray[np.float32]) -> float:
        return math.fsum((float(a) - float(b)) ** 2 for a, b in zip(x, y, strict=True))

    pairs = covered = 0
    for i, row in enumerate(real):
        radius = sorted(squared(row, other) for j, other in enumerate(real) if j != i)[k - 1]
        inside = sum(squared(row, other) < radius for other in generated)
        pairs += inside
        covered += inside > 0
    return pairs / (k * len(generated)), covered / len(real)


# -- verification ----------------------------------------------------------------------------


def pairs(
    rows: NDArray[np.float32], labels: NDArray[np.int64], copies: dict[int, int] | None = None
) -> tuple[list[float], list[float]]:
    """Distances of same and of different pairs, to 2^-31; `copies`: how often each identity is."""
    same, different = [], []
    for i in range(len(rows)):
        for j in range(i + 1, len(rows)):
            a, b = (1, 1) if copies is None else (copies[int(labels[i])], copies[int(labels[j])])
            d = [round(distance(rows[i], rows[j]) * 2**31) / 2**31]
            if labels[i] == labels[j]:
                same += d * a
            else:
                different += d * (a * b)
    return same, different


def auc(same: list[float], different: list[float]) -> float:
    """Pair of pairs by pair of pairs."""
    wins = sum((s < d) + (s == d) / 2 for s in same for d in different)
    return wins / (len(same) * len(different))


def false_matches(different: list[float], threshold: float) -> float:
    """FMR."""
    return sum(d <= threshold for d in different) / len(different)


def false_non_matches(same: list[float], threshold: float) -> float:
    """FNMR."""
    return sum(d > threshold for d in same) / len(same)


def equal_error(same: list[float], different: list[float]) -> tuple[float, float]:
    """Rate and threshold where the two errors cross, between the distances that occur."""
    thresholds = sorted(set(same + different))
    before, fmr_before, fnmr_before = 0.0, 0.0, 1.0
    for place, t in enumerate(thresholds):
        fmr, fnmr = false_matches(different, t), false_non_matches(same, t)
        if fmr == fnmr:
            return fmr, (t + thresholds[place + 1]) / 2
        if fmr > fnmr:
            # fmr_before + x (fmr - fmr_before) = fnmr_before + x (fnmr - fnmr_before)
            x = (fnmr_before - fmr_before) / ((fmr - fmr_before) - (fnmr - fnmr_before))
            return fmr_before + x * (fmr - fmr_before), before + x * (t - before)
        before, fmr_before, fnmr_before = t, fmr, fnmr
    raise AssertionError("at the largest distance nothing is rejected")


def radius(different: list[float], fmr: float) -> float | None:
    """The largest distance of a different pair at which FMR <= `fmr`."""
    allowed = [d for d in set(different) if d > 0 and false_matches(different, d) <= fmr]
    return max(allowed) if allowed else None


# -- sequential ------------------------------------------------------------------------------


def log_mean(logs: list[float]) -> float:
    """Logarithm of the mean of what these are the logarithms of."""
    largest = max(logs)
    return largest + math.log(sum(math.exp(v - largest) for v in logs) / len(logs))


def log_e_rate(count: int, n: int, limit: float, side: str) -> float:
    """Hit by hit and miss by miss."""
    ratios = [1.2, 1.5, 2, 3, 5, 10, 30] if side == "fail" else [0.8, 0.65, 0.5, 0.3, 0.1, 0.01]
    logs = []
    for ratio in ratios:
        p = min(ratio * limit, 0.999)
        hit, miss = p / limit, (1 - p) / (1 - limit)
        logs.append(sum(math.log(hit if i < count else miss) for i in range(n)))
    return log_mean(logs)


def log_e_similarity(values: list[float], limit: float, side: str) -> float:
    """Value by value."""
    sign, c = (1, limit) if side == "fail" else (-1, 1 - limit)
    logs, stake = [], 0.25
    while stake <= 0.95 / c:
        gain = sum(sign * stake * (s - limit) for s in values)
        spread = sum((s - limit) ** 2 for s in values)
        logs.append(gain + spread * (math.log(1 - stake * c) + stake * c) / c**2)
        stake *= 2
    return log_mean(logs)


def upper_rate(count: int, n: int, prior: float, ratio: float) -> float:
    """The largest p that a beta mixture of mean `prior` is less than `ratio` times as likely as."""
    a, b = 0.5, 1 / (2 * prior) - 0.5

    def log_beta(x: float, y: float) -> float:
        return math.lgamma(x) + math.lgamma(y) - math.lgamma(x + y)

    def inside(p: float) -> bool:
        mixed = log_beta(a + count, b + n - count) - log_beta(a, b)
        single = sum(math.log(p if i < count else 1 - p) for i in range(n))
        return mixed - single < math.log(ratio)

    low, high = count / n, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if inside(middle) else (low, middle)
    return low


# -- gates -----------------------------------------------------------------------------------


def worst_modes(
    similarity: NDArray[np.float64],
    within: NDArray[np.int64],
    squares: NDArray[np.float64],
    n: NDArray[np.int64],
) -> dict[str, dict[str, float]]:
    """Rate and mean similarity of the worst mode: chosen apart, the largest, and their ends."""
    total, anchors = int(sum(n)), range(len(within))
    full = [g for g in range(len(n)) if n[g] > 0]
    a, b = full[: len(full) // 2], full[len(full) // 2 :]
    b1, b2 = densest(similarity, within, a), densest(similarity, within, b)

    def apart(table: NDArray[np.float64] | NDArray[np.int64]) -> float:
        return float(sum(table[b1][g] for g in b) + sum(table[b2][g] for g in a))

    counts = [sum(map(int, row)) for row in within]
    sums = [math.fsum(row) for row in similarity]
    rate = {
        "apart": apart(within),
        "largest": max(counts),
        "low": wilson(int(apart(within)), total, 2.0)[0],
        "high": wilson(int(apart(within)), total, 2.0)[1],
        "upper": max(wilson(k, total, 1.96)[1] for k in counts),
    }
    squares_over_sums = math.fsum(squares) / math.fsum(sums) if math.fsum(squares) else 1.0

    def unit(q: float, t: float) -> float:
        return (q + squares_over_sums**2) / (t + squares_over_sums)

    units = [unit(squares[i], sums[i]) for i in anchors]
    chosen = unit(squares[b1] + squares[b2], sums[b1] + sums[b2])
    low, high = poisson_ends(apart(similarity) / chosen)
    top = max(anchors, key=lambda i: (sums[i], -i))
    return {
        "rate": rate,
        "similarity": {
            "apart": apart(similarity) / chosen,
            "unit": chosen,
            "largest": sums[top] / units[top],
            "largest_unit": units[top],
            "low": min(1.0, chosen / total * low),
            "high": min(1.0, chosen / total * high),
            "upper": min(
                1.0, max(units[i] / total * poisson_ends(sums[i] / units[i])[1] for i in anchors)
            ),
        },
    }


def worst_rate_ends(
    after: tuple[int, int, int], before: tuple[int, int, int], z: float
) -> tuple[float, float]:
    """Ends of ln ratio of two worst rates; (chosen apart, largest, n) of each."""
    (swap_b, naive_b, n_b), (swap_a, naive_a, n_a) = after, before

    def lr(b: int, a: int) -> float:
        return math.log((b + 0.5) / n_b) - math.log((a + 0.5) / n_a)

    def v(k: int, n: int) -> float:
        return max(0, 1 / (k + 0.5) - 1 / n)

    low = lr(swap_b, naive_a) - z * math.sqrt(1.12**2 * v(swap_b, n_b) + v(naive_a, n_a))
    high = lr(naive_b, swap_a) + z * math.sqrt(v(naive_b, n_b) + 1.12**2 * v(swap_a, n_a))
    return low, high


def keeps_rate(count: int, n: int, limit: float) -> bool:
    """A score test at z = 1.96 rejects that the rate is `limit`, or the count is just at its edge.

    Not by an interval: by how far the count lies below what the limit would give.
    """
    return limit * n - count >= 1.96 * math.sqrt(n * limit * (1 - limit))


def breaks_rate(count: int, n: int, limit: float, z: float) -> bool:
    """Likewise, above."""
    return count - limit * n > z * math.sqrt(n * limit * (1 - limit))


def hits_wanted(tolerance: float) -> tuple[float, float]:
    """Hits in the worst mode of each release: 90 % pass unchanged, 95 % fail doubled."""
    passes = 2.2544 * ((1.645 + 1.2816) / math.log(1 + tolerance)) ** 2
    return passes, 1.6272 * (3.29 / math.log(2 / (1 + tolerance))) ** 2


def smallest_increase(tolerance: float, hits: float) -> float:
    """Smallest y with ln((1+y)/(1+x)) >= 3.29 sqrt(1/k + 1.2544/((1+y)k)), by bisection."""

    def found(y: float) -> bool:
        error = math.sqrt(1 / hits + 1.2544 / ((1 + y) * hits))
        return math.log((1 + y) / (1 + tolerance)) >= 3.29 * error

    low, high = tolerance, 1e12
    for _ in range(400):
        middle = math.sqrt((1 + low) * (1 + high)) - 1
        low, high = (low, middle) if found(middle) else (middle, high)
    return high


def holm(p: list[float]) -> list[float]:
    """Each p times the number of those not smaller, but never below that of a smaller one."""
    return [
        min(1.0, max(q * sum(other >= q for other in p) for q in p if q <= value)) for value in p
    ]


# -- training --------------------------------------------------------------------------------


def shrinkage(
    features: NDArray[np.float64],
    mixed: NDArray[np.float64],
    pairs: list[tuple[int, int, float]],
    noise: NDArray[np.float64],
    parts: tuple[int, ...],
    *,
    distance: str,
    sigma: float,
    relative: bool,
) -> float:
    """AdaptiveMix's loss, pair by pair: of each source the mean, of these the sum."""
    costs = []
    for k, (a, b, share) in enumerate(pairs):
        target = [
            share * x + (1 - share) * y for x, y in zip(features[a], features[b], strict=True)
        ]
        unit = math.sqrt(statistics.fmean(t * t for t in target)) if relative else 1.0
        target = [t + sigma * unit * e for t, e in zip(target, noise[k], strict=True)]
        row = [float(value) for value in mixed[k]]
        if distance == "cosine":
            dot = sum(x * t for x, t in zip(row, target, strict=True))
            costs.append(-dot / math.hypot(*row) / math.hypot(*target))
        elif distance == "l1":
            costs.append(statistics.fmean(abs(x - t) for x, t in zip(row, target, strict=True)))
        else:
            costs.append(statistics.fmean((x - t) ** 2 for x, t in zip(row, target, strict=True)))
    total, start = 0.0, 0
    for count in parts:
        total += statistics.fmean(costs[start : start + count])
        start += count
    return total


def climbed(
    start: NDArray[np.float64],
    slope: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    *,
    step: float,
    steps: int,
    radius: float,
) -> NDArray[np.float64]:
    """Sign steps up a known slope, a coordinate at a time, none further than `radius` away."""
    here = start.copy()
    for _ in range(steps):
        slopes = slope(here)
        for place in np.ndindex(start.shape):
            sign = int(slopes[place] > 0) - int(slopes[place] < 0)
            moved = here[place] + step * sign
            here[place] = min(max(moved, start[place] - radius), start[place] + radius)
    return here


def recoloured(
    image: NDArray[np.float64], brightness: float, saturation: float, contrast: float
) -> NDArray[np.float64]:
    """An image [C, H, W] after DiffAugment's three changes of colour; each is drawn in [0, 1)."""
    out = image + brightness - 0.5
    for row, column in np.ndindex(image.shape[1:]):
        grey = statistics.fmean(out[:, row, column])
        for c in range(len(image)):
            out[c, row, column] = grey + 2 * saturation * (out[c, row, column] - grey)
    mean = statistics.fmean(out.ravel())
    return mean + (contrast + 0.5) * (out - mean)


def translated(image: NDArray[np.float64], down: int, right: int) -> NDArray[np.float64]:
    """Pixel (i, j) is that of (i + down, j + right) of the image [C, H, W]; outside it 0."""
    out = np.zeros_like(image)
    for i, j in np.ndindex(image.shape[1:]):
        if 0 <= i + down < image.shape[1] and 0 <= j + right < image.shape[2]:
            out[:, i, j] = image[:, i + down, j + right]
    return out


def cut_out(image: NDArray[np.float64], middle: tuple[int, int]) -> NDArray[np.float64]:
    """An image [C, H, W] with a rectangle of half its sides, rounded half up, set to 0."""
    out = image.copy()
    height, width = (math.floor(side / 2 + 0.5) for side in image.shape[1:])
    for i in range(middle[0] - height // 2, middle[0] - height // 2 + height):
        for j in range(middle[1] - width // 2, middle[1] - width // 2 + width):
            if 0 <= i < image.shape[1] and 0 <= j < image.shape[2]:
                out[:, i, j] = 0
    return out
