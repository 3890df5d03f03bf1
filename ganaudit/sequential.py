"""Verdicts while samples are still being made: a gate may be looked at after every shard.

Evidence is a capital that starts at 1 and bets against a claim on the worst anchor's rate or mean
similarity. While the claim holds, no bet is expected to gain; so by Ville's inequality the capital
ever reaches 1 / ALPHA with a chance of at most ALPHA, however often one looks and whenever one
stops. A capital is a function of the sums so far and of nothing else: the order of the samples and
the looks before this one do not change it.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from ganaudit.intervals import Interval
from ganaudit.tally import Tally

SEQUENTIAL = ("worst-rate", "worst-similarity", "mean-similarity")
ALPHA = 0.05  # of each side: chance that a gate at its limit ever fails; that it ever passes

Side = Literal["fail", "pass"]

_RATIOS = {"fail": (1.2, 1.5, 2, 3, 5, 10, 30), "pass": (0.8, 0.65, 0.5, 0.3, 0.1, 0.01)}
_MOST = 0.999  # the largest rate that is bet on
_STAKES = np.ldexp(0.25, np.arange(60))  # of which those of at most .95 / c are used
_ROUNDED = 2.0**-31  # a tally's squares are each this much off at most
_STEP, _REACH = 0.2, 7.0  # log odds between the places of a search; how far it leaves the limit
_FAR = 20.0  # log odds of a limit that no run will decide on
_HALVINGS = 40  # of a step: to 2e-13 of the odds


def log_e_rate(
    counts: NDArray[np.int64], n: int, limit: float, *, side: Side
) -> NDArray[np.float64]:
    """Evidence of each anchor's count against a rate of at most (fail), at least (pass) `limit`.

    E is the mean over a fixed grid of rates p of the likelihood ratio
    (p / limit)^k ((1 - p) / (1 - limit))^(n - k). On the fail side every p is above the limit: at
    a true rate of `limit` E is expected to stay 1, and to fall at any below. Likewise on the pass
    side, the other way round.

    Args:
      counts: [m] int64 samples within the radius of each anchor, 0 <= count <= n.
      n: samples, valid ones; 0: no evidence, log E = 0.
      limit: the rate that is bet against, 0 < limit < 1.
      side: "fail" bets on limit x {1.2, 1.5, 2, 3, 5, 10, 30}, at most .999 and at least the limit
        (a bet on the limit itself neither gains nor loses); "pass" on limit x {.8, .65, .5, .3,
        .1, .01}.

    Returns:
      [m] float64 log E, of each anchor alone. Rising in the count (fail), falling (pass).

    Raises:
      ValueError: limit or side out of range, a count below 0 or above n.

    References:
      Robbins, Statistical methods related to the law of the iterated logarithm, 1970 (mixtures);
      Ville, Étude critique de la notion de collectif, 1939.
    """
    _check(limit, side)
    if counts.size and not (counts.min() >= 0 and counts.max() <= n):
        raise ValueError(
            f"counts of {n} samples are 0 to {n}, got {counts.min()} to {counts.max()}"
        )
    ratios = np.array(_RATIOS[side])[:, None]  # [R, 1]
    rates = ratios * limit
    gain = np.log(ratios)  # of a hit; not from `rates`, which vanish where the limit nearly does
    if side == "fail":
        rates = np.clip(rates, None, max(_MOST, limit))
        gain = np.minimum(gain, max(0.0, np.log(_MOST) - np.log(limit)))
    loss = np.log1p(-rates) - np.log1p(-limit)  # of a miss
    return _log_mean(counts * gain + (n - counts) * loss)


def log_e_similarity(
    sums: NDArray[np.float64],
    squares: NDArray[np.float64],
    n: int,
    limit: float,
    *,
    side: Side,
) -> NDArray[np.float64]:
    """Evidence of each anchor's sums against a mean of at most (fail), at least (pass) `limit`.

    With T = `sums`, Q = `squares`, g = `limit` and V = Q - 2 g T + n g^2, E is the mean over stakes
    lam = .25 x 2^j <= .95 / c of exp[+-lam (T - n g) + V (ln(1 - lam c) + lam c) / c^2]; fail: +,
    c = g; pass: -, c = 1 - g. It is a supermartingale, because x = +-(s - g) of any value s is at
    least -c, so that exp[lam x + x^2 (ln(1 - lam c) + lam c) / c^2] <= 1 + lam x, which is expected
    to be at most 1 as long as the mean is at most (pass: at least) g.

    Args:
      sums: [m] float64 of n values in [0, 1].
      squares: [m] float64, sums of the squared values.
      n: samples, valid ones; 0: no evidence, log E = 0.
      limit: the mean that is bet against, 0 < limit < 1.
      side: "fail" or "pass".

    Returns:
      [m] float64 log E, of each anchor alone.

    Raises:
      ValueError: limit or side out of range, shapes that differ, a sum that is negative or NaN.

    References:
      Fan, Grama, Liu, Exponential inequalities for martingales with applications, Electronic
      Journal of Probability 20, 2015 (the inequality). Stakes beyond 2^57, for limits below 7e-18,
      are left out.
    """
    _check(limit, side)
    if sums.shape != squares.shape or not ((sums >= 0).all() and (squares >= 0).all()):
        raise ValueError("sums and squares are equally many and none is below 0")
    c = limit if side == "fail" else 1 - limit
    stakes = _STAKES[_STAKES * c <= 0.95][:, None]  # [J, 1]
    # (ln(1 - x) + x) / x^2 = -F(1, 2; 3; x) / 2, without the cancellation at small x
    price = -special.hyp2f1(1, 2, 3, stakes * c) / 2
    excess = sums - n * limit
    # The second is what the first cannot fall below but by rounding, which must lend no capital.
    spread = np.maximum(squares - 2 * limit * sums + n * limit**2, excess**2 / max(n, 1))
    gain = stakes * (excess if side == "fail" else -excess)
    return _log_mean(gain + spread * stakes**2 * price)


def decide(gate: str, tally: Tally, limit: float) -> Literal["pass", "fail"] | None:
    """What may be said at this look; None: go on.

    Fail: the mean of the anchors' fail capitals is at least 1 / ALPHA. Every one of them bets
    against "at most the limit", so their mean does, without a correction for their number. Pass:
    every anchor's pass capital is at least 1 / ALPHA. If the limit is exceeded, the worst anchor's
    is so with a chance of at most ALPHA.

    Args:
      gate: of `SEQUENTIAL`. "worst-rate": share of samples within the radius of the worst of these
        anchors; "worst-similarity": its mean similarity; "mean-similarity": the mean over these
        anchors, which counts as one.
      tally: of at least one anchor; every sample independent of the anchors.
      limit: largest wanted figure, 0 < limit < 1.

    Raises:
      ValueError: another gate, limit out of range.
    """
    capitals = _capitals(gate, tally)
    # Both never hold at one look, so their order is free: to fail, some anchor's capital has to be
    # above 1, hence its own rate or mean above the limit, where its pass capital is below 1.
    if _evidence(capitals, limit, "fail") >= -np.log(ALPHA):
        return "fail"
    if _evidence(capitals, limit, "pass") >= -np.log(ALPHA):
        return "pass"
    return None


def interval_after(gate: str, tally: Tally, limit: float) -> Interval:
    """The gate's figure with a 95 % interval that holds whenever one stopped; ALPHA / 2 a side.

    The estimate is the largest rate (or mean) at hand, which flatters the collapse. An end is where
    the evidence of `decide`, against that value instead of the limit, falls below 2 / ALPHA: what
    lies beyond is excluded. The upper end of a rate is the largest of the anchors' own, each by the
    likelihood ratio of a Beta(1/2, 1/(2 limit) - 1/2) mixture, whose mean is the limit.

    A verdict needs 1 / ALPHA, one side's error; so the interval may hold the limit after one. If
    its lower end is above the limit, `decide` says fail; if its upper end is below and the gate is
    one of similarity, it says pass.

    Args:
      gate: of `SEQUENTIAL`.
      tally: of at least one anchor.
      limit: 0 < limit < 1, the one that was looked at. It fixes, before any sample, where ends are
        searched: from a thousandth of its odds or of evens, whichever is less, to a thousand times
        the larger. The search goes inwards and stops at the first value that is not excluded, so
        an end is valid also where evidence is not monotone in the value it is held against.

    Returns:
      0 <= low <= estimate <= high <= 1; low is 0, high 1, where nothing can be excluded. Without
      any sample: None three times.

    Raises:
      ValueError: another gate, limit out of range.
    """
    _check(limit, "fail")
    n = int(tally.n.sum())
    capitals = _capitals(gate, tally)
    if n == 0:
        return Interval(None, None, None)
    threshold = np.log(2 / ALPHA)
    places = _places(limit)
    low = _edge(lambda value: _evidence(capitals, value, "fail") >= threshold, places)
    high: float | None
    if gate == "worst-rate":
        counts = np.unique(tally.within.sum(axis=1))
        estimate, high = float(counts[-1]) / n, float(_upper_rates(counts, n, limit).max())
    else:
        estimate = float(_sums(gate, tally)[0].max()) / n
        high = _edge(lambda value: _evidence(capitals, value, "pass") >= threshold, places[::-1])
    return Interval(estimate, 0.0 if low is None else low, 1.0 if high is None else high)


def _check(limit: float, side: str) -> None:
    if not 0 < limit < 1:
        raise ValueError(f"limit must be between 0 and 1, got {limit}")
    if side not in _RATIOS:
        raise ValueError(f'side is "fail" or "pass", got {side!r}')


def _log_mean(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the first axis."""
    return np.asarray(np.logaddexp.reduce(logs, axis=0) - np.log(len(logs)))


def _sums(gate: str, tally: Tally) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """T and Q of every anchor, or of the mean of all."""
    if gate == "worst-similarity":
        return tally.similarity.sum(axis=1), tally.squares
    return tally.similarity.mean(axis=0).sum(keepdims=True), tally.coherence.sum(keepdims=True)


def _capitals(gate: str, tally: Tally) -> Callable[..., NDArray[np.float64]]:
    """[m] log capitals, or [1] of the mean over anchors, by limit and side."""
    if gate not in SEQUENTIAL:
        raise ValueError(f"gate must be one of {', '.join(SEQUENTIAL)}, got {gate!r}")
    n = int(tally.n.sum())
    if gate == "worst-rate":
        return partial(log_e_rate, tally.within.sum(axis=1), n)
    sums, squares = _sums(gate, tally)
    return partial(log_e_similarity, sums, squares + n * _ROUNDED, n)


def _evidence(capitals: Callable[..., NDArray[np.float64]], limit: float, side: Side) -> float:
    """Log capital of all anchors together: their mean to fail, the least to pass."""
    logs = capitals(limit, side=side)
    return float(_log_mean(logs)) if side == "fail" else float(logs.min())


def _places(limit: float) -> NDArray[np.float64]:
    """Log odds of the values that a search visits, rising; the limit is one of them."""
    middle = float(special.logit(limit))
    low, high = np.clip(middle, -_FAR, 0) - _REACH, np.clip(middle, 0, _FAR) + _REACH
    first, last = np.ceil((low - middle) / _STEP), np.floor((high - middle) / _STEP)
    return np.asarray(middle + _STEP * np.arange(first, last + 1))


def _edge(excluded: Callable[[float], bool], places: NDArray[np.float64]) -> float | None:
    """The last value before the first that is not excluded; None: the first place is not."""

    def out(place: float) -> bool:
        return excluded(float(special.expit(place)))

    stop = next((i for i, place in enumerate(places) if not out(place)), len(places))
    if stop == 0:
        return None
    last, beyond = places[stop - 1], places[min(stop, len(places) - 1)]
    for _ in range(_HALVINGS):
        middle = (last + beyond) / 2
        last, beyond = (middle, beyond) if out(middle) else (last, middle)
    return float(special.expit(last))


def _upper_rates(counts: NDArray[np.int64], n: int, limit: float) -> NDArray[np.float64]:
    """[m] the rates above count / n from which on the mixture is 2 / ALPHA times as likely."""
    a, b = 0.5, min(1 / (2 * limit) - 0.5, 1e300)
    mixed = special.betaln(a + counts, b + n - counts) - special.betaln(a, b)
    low, high = counts / n, np.ones(len(counts))
    for _ in range(100):
        middle = (low + high) / 2
        single = special.xlogy(counts, middle) + special.xlog1py(n - counts, -middle)
        inside = mixed - single < np.log(2 / ALPHA)
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return np.asarray(high)
