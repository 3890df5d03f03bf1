import math
from collections.abc import Callable
from dataclasses import replace
from itertools import product

import literal
import numpy as np
import pytest
from scipy import special, stats
from test_intervals import TALLIES, pairs, tally_of

from ganaudit import power
from ganaudit.comparable import SHARES, Comparable
from ganaudit.diversity import vendi_score
from ganaudit.errors import ConfigError
from ganaudit.extremes import Extreme, Hits, extremes
from ganaudit.gates import (
    FIGURES,
    TOLERANCE,
    Limit,
    exit_code_of,
    found_of,
    judge,
    parse,
    samples_needed,
    verdict_of,
)
from ganaudit.intervals import Estimate, Interval, clopper_pearson, wilson
from ganaudit.ratios import Share

NOTHING = Interval(None, None, None)
ESTIMATED = ("mean-similarity", "mu", "vendi")
KINDS = ("max", "min", "max-increase", "max-decrease")


def limit(name: str, value: float, *, relative: bool = False) -> Limit:
    return Limit(FIGURES[name], FIGURES[name].kinds[relative], value)


def rate_of(apart: int, largest: int, samples: int) -> Extreme:
    found = wilson(apart, samples, z=2.0)
    top = wilson(largest, samples).high
    return Extreme(Hits(apart, 1), Hits(largest, 1), samples, found.low, found.high, top)


BASE = Comparable.of(
    tally_of(pairs(45, 700, 1)),
    vendi=Estimate(3.0, 1e-4, 31, 0.0),
    shares={name: Share(7, 700) for name in SHARES},
)
ATTRIBUTES = {
    "worst-rate": "worst_rate",
    "worst-similarity": "worst_similarity",
    "mean-similarity": "pairs",
    "mu": "mu",
    "vendi": "vendi",
}


def with_figure(name: str, evidence: Extreme | Estimate | Share | None) -> Comparable:
    """The base with one of its figures replaced; None: it was not computed."""
    if name not in SHARES:
        return replace(BASE, **{ATTRIBUTES[name]: evidence})
    kept = {k: share for k, share in BASE.shares.items() if k != name}
    return replace(BASE, shares=kept | ({} if evidence is None else {name: evidence}))


def evidence_of(name: str, scale: float) -> Extreme | Estimate | Share:
    """A figure of about `scale` times that of a base of 10,000 samples."""
    if name == "worst-rate":
        return rate_of(round(200 * scale), round(210 * scale), 10_000)
    if name == "worst-similarity":
        hits = 200 * scale
        low, high = (0.4e-4 * end for end in literal.poisson_ends(hits))
        upper = 0.4e-4 * literal.poisson_ends(1.05 * hits)[1]
        return Extreme(Hits(hits, 0.4), Hits(1.05 * hits, 0.4), 10_000, low, high, upper)
    if name in SHARES:
        return Share(round(200 * scale), 10_000)
    if name == "vendi":
        return Estimate(math.log(20 * scale), 2e-4, 31, 0.0)
    return Estimate(0.02 * scale, (0.001 * scale) ** 2, 40, 0.001)


# -- what may be asked -----------------------------------------------------------------------


def request(kind: str, text: str) -> list[Limit]:
    relative = kind in ("max-increase", "max-decrease")
    return parse(**{kind.replace("-", "_"): [text]}, baseline=relative)


@pytest.mark.parametrize(("name", "kind"), list(product(FIGURES, KINDS)))
def test_a_gate_takes_the_limits_on_the_side_where_more_is_worse(name: str, kind: str) -> None:
    text = "20" if (name, kind) == ("vendi", "min") else "25%"
    allowed = ("min", "max-decrease") if name == "vendi" else ("max", "max-increase")
    if kind in allowed:
        (found,) = request(kind, f"{name}={text}")
        assert (found.figure.name, found.kind) == (name, kind)
        assert found.value == (20 if text == "20" else 0.25)
        assert found.relative == (kind in ("max-increase", "max-decrease"))
    else:
        worse = "less" if name == "vendi" else "more"
        with pytest.raises(ConfigError) as refused:
            request(kind, f"{name}={text}")
        assert str(refused.value) == (
            f"--{kind} {name}: of {name} {worse} is worse; say --{' or --'.join(allowed)}"
        )


def test_the_gates_are_those_that_people_type() -> None:
    assert list(FIGURES) == [
        *("worst-rate", "worst-similarity", "mean-similarity", "mu", "vendi"),
        *("near-copies", "duplicates", "faceless", "failures"),
    ]
    assert [name for name, figure in FIGURES.items() if figure.share] == ["worst-rate", *SHARES]


@pytest.mark.parametrize("text", ["2%", "0.02", "2e-2", "2.0 %", " .02 ", "+2%"])
def test_a_percentage_is_a_number_over_100(text: str) -> None:
    for name in ("worst-rate", "mu", "faceless"):
        assert request("max", f"{name}={text}")[0].value == pytest.approx(0.02, rel=1e-15)
    assert request("max-increase", f" worst-rate = {text}")[0].value == pytest.approx(0.02)
    assert request("max-decrease", f"vendi={text}")[0].value == pytest.approx(0.02)


@pytest.mark.parametrize(
    "text", ["", "x", "%", "2%%", "nan", "inf", "-inf%", "2,5", "1e999", "0x2"]
)
def test_what_is_no_number_is_refused(text: str) -> None:
    for kind, name in (("max", "mu"), ("min", "vendi"), ("max-increase", "worst-rate")):
        with pytest.raises(ConfigError) as refused:
            request(kind, f"{name}={text}")
        wanted = f"--{kind} {name} wants a number or a percentage (2%), got {text!r}"
        assert str(refused.value) == wanted


def test_a_limit_without_a_value_is_the_default_tolerance_or_refused() -> None:
    assert TOLERANCE == 0.4
    assert request("max-increase", "mu") == [limit("mu", 0.4, relative=True)]
    assert request("max-decrease", "vendi") == [limit("vendi", 0.4, relative=True)]
    for kind, name in (("max", "worst-rate"), ("min", "vendi")):
        with pytest.raises(ConfigError, match=f"^--{kind} wants NAME=LIMIT, got '{name}'$"):
            request(kind, name)


@pytest.mark.parametrize("zero", ["0", "0%", "0.0", "-0", "0e9%"])
@pytest.mark.parametrize(("kind", "name"), [("max-increase", "mu"), ("max-decrease", "vendi")])
def test_no_tolerance_at_all_is_refused_with_the_reason(kind: str, name: str, zero: str) -> None:
    with pytest.raises(ConfigError) as refused:
        request(kind, f"{name}={zero}")
    assert str(refused.value) == (
        f"--{kind} {name}=0 would fail unchanged releases: drawing other anchors from the same "
        "generator makes the worst mode look denser in 5 to 28 % of comparisons; allow at "
        "least a few percent (the default is 40%)"
    )


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("max-increase", "mu=0.09%", "mu must be a change from 0.1% to below 100000%, got '0.09%'"),
        ("max-increase", "mu=-5%", "mu must be a change from 0.1% to below 100000%, got '-5%'"),
        ("max-increase", "mu=1000", "mu must be a change from 0.1% to below 100000%, got '1000'"),
        (
            "max-decrease",
            "vendi=100%",
            "vendi must be a change from 0.1% to below 100%, got '100%'",
        ),
        ("max-decrease", "vendi=2", "vendi must be a change from 0.1% to below 100%, got '2'"),
        ("min", "vendi=1", "vendi must be a number above 1 and below 1e+09, got '1'"),
        ("min", "vendi=50%", "vendi must be a number above 1 and below 1e+09, got '50%'"),
        ("min", "vendi=500%", "vendi must be a number above 1 and below 1e+09, got '500%'"),
        ("min", "vendi=1e300", "vendi must be a number above 1 and below 1e+09, got '1e300'"),
        ("max", "mu=0", "mu must be from 1e-09 to below 1 (100%), got '0'"),
        ("max", "worst-rate=0%", "worst-rate must be from 1e-09 to below 1 (100%), got '0%'"),
        ("max", "worst-rate=100%", "worst-rate must be from 1e-09 to below 1 (100%), got '100%'"),
        ("max", "worst-rate=2", "worst-rate must be from 1e-09 to below 1 (100%), got '2'"),
        ("max", "mu=1e-300", "mu must be from 1e-09 to below 1 (100%), got '1e-300'"),
        ("max", "faceless=1", "faceless must be from 0, or 1e-09 to below 1 (100%), got '1'"),
        ("max", "faceless=-1%", "faceless must be from 0, or 1e-09 to below 1 (100%), got '-1%'"),
        (
            "max",
            "faceless=1e-12",
            "faceless must be from 0, or 1e-09 to below 1 (100%), got '1e-12'",
        ),
    ],
)
def test_a_value_that_says_nothing_is_refused(kind: str, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        request(kind, text)
    assert str(refused.value) == f"--{kind} {message}"


def test_values_at_the_ends_are_taken() -> None:
    assert request("max-increase", "mu=0.1%")[0].value == 0.001
    assert request("max-increase", "mu=99999%")[0].value == 999.99
    assert request("max-decrease", "vendi=99.9%")[0].value == pytest.approx(0.999)
    assert request("max", "worst-rate=1e-9")[0].value == 1e-9
    assert request("max", "worst-rate=99.9%")[0].value == pytest.approx(0.999)
    for name in SHARES:
        assert request("max", f"{name}=0")[0].value == 0


@pytest.mark.parametrize("name", ["", "worst", "Worst-Rate", "worst_rate", "2%", "mu " * 40])
def test_an_unknown_gate_is_refused_with_those_that_there_are(name: str) -> None:
    with pytest.raises(ConfigError) as refused:
        request("max", f"{name}=2%")
    said = str(refused.value)
    assert said.startswith(f"--max {f'{name}=2%'!r:.60}: there is no gate ")
    assert said.endswith(f"; there are {', '.join(FIGURES)}")
    assert len(said) < 300


def test_a_relative_limit_needs_a_baseline() -> None:
    for kind, name in (("max_increase", "mu"), ("max_decrease", "vendi")):
        wanted = f"^--{kind.replace('_', '-')} needs a --baseline to compare with$"
        with pytest.raises(ConfigError, match=wanted):
            parse(**{kind: [name]})
        with pytest.raises(ConfigError, match=wanted):
            parse(max=["mu=2%"], **{kind: [name]})


def test_a_baseline_alone_holds_the_worst_rate_to_the_default() -> None:
    usual = limit("worst-rate", 0.4, relative=True)
    assert parse(baseline=True) == [usual]
    assert parse(baseline=True, max=["mu=.2"]) == [limit("mu", 0.2), usual]
    assert parse(baseline=True, max_decrease=["vendi"]) == [limit("vendi", 0.4, relative=True)]


def test_no_limit_at_all_is_refused() -> None:
    with pytest.raises(ConfigError, match="^there is no limit to check: say --max worst-rate=2%"):
        parse()


@pytest.mark.parametrize(
    "given",
    [
        {"max": ["mu=2%", "mu=3%"]},
        {"max": ["mu=2%", "faceless=0", "mu=2%"]},
        {"max_increase": ["mu", "mu=2%"]},
        {"min": ["vendi=20", "vendi=20"]},
    ],
)
def test_a_limit_that_is_given_twice_is_refused(given) -> None:
    with pytest.raises(ConfigError, match="^a limit is given twice: name each gate once"):
        parse(**given, baseline=True)


def test_limits_come_in_one_order_absolute_ones_first() -> None:
    found = parse(
        max=["failures=1%", "worst-rate=2%", "mu=.3"],
        min=["vendi=20"],
        max_increase=["mu=10%", "worst-rate"],
        max_decrease=["vendi=20%"],
        baseline=True,
    )
    assert found == [
        limit("worst-rate", 0.02),
        limit("mu", 0.3),
        limit("vendi", 20),
        limit("failures", 0.01),
        limit("worst-rate", 0.4, relative=True),
        limit("mu", 0.1, relative=True),
        limit("vendi", 0.2, relative=True),
    ]


# -- absolute verdicts -----------------------------------------------------------------------


def around(*edges: float) -> list[float]:
    """Limits from far below to far above, and on both sides of each edge."""
    near = [edge * factor for edge in edges for factor in (0.97, 1 - 1e-6, 1 + 1e-6, 1.03)]
    return [value for value in (1e-6, 0.01, 0.1, *near, 0.5, 0.999) if 0 < value < 1]


@pytest.mark.parametrize(
    ("apart", "largest", "n"),
    [(90, 101, 9_700), (0, 0, 600), (0, 3, 4_000), (9, 9, 9), (40, 60, 80), (79, 80, 80)],
)
def test_a_worst_rate_is_held_to_its_limit_by_score_tests(apart: int, largest: int, n: int) -> None:
    """Pass: the largest count rejects the limit; fail: the one chosen apart does, at z = 2."""
    figures = with_figure("worst-rate", rate_of(apart, largest, n))
    ends = literal.wilson(apart, n, 2.0)[0], literal.wilson(largest, n, 1.96)[1]
    seen = set()
    for g in around(*ends):
        keeps, breaks = literal.keeps_rate(largest, n, g), literal.breaks_rate(apart, n, g, 2.0)
        wanted = "fail" if breaks else "pass" if keeps else "inconclusive"
        found = judge(limit("worst-rate", g), figures)
        assert found.verdict == wanted, g
        assert found.reason == ("straddles" if wanted == "inconclusive" else "clear")
        seen.add(wanted)
    assert len(seen) >= 2


@pytest.mark.parametrize("make", TALLIES.values(), ids=TALLIES.keys())
def test_a_worst_rate_passes_where_every_anchor_does(make: Callable) -> None:
    tally = make()
    figures, n = Comparable.of(tally), int(tally.n.sum())
    counts = tally.within.sum(axis=1).tolist()
    for g in np.geomspace(1e-3, 0.9, 60).tolist():
        passes = judge(limit("worst-rate", g), figures).verdict == "pass"
        assert passes == all(literal.keeps_rate(k, n, g) for k in counts)


@pytest.mark.parametrize("make", TALLIES.values(), ids=TALLIES.keys())
def test_a_worst_similarity_is_held_to_its_limit_by_poisson_tests(make: Callable) -> None:
    tally = make()
    figures, n = Comparable.of(tally), int(tally.n.sum())
    worst = extremes(tally)
    assert worst is not None
    sums = tally.similarity.sum(axis=1)
    kappa = tally.squares.sum() / sums.sum()
    units = (tally.squares + kappa**2) / (sums + kappa)
    apart = worst[1].apart
    seen = set()
    for g in np.geomspace(1e-4, 0.9, 80).tolist():
        passes = all(
            special.gammainc(t / u + 1, g * n / u) >= 0.975
            for t, u in zip(sums, units, strict=True)
        )
        fails = apart.hits > 0 and special.gammainc(apart.hits, g * n / apart.unit) < 0.025
        wanted = "fail" if fails else "pass" if passes else "inconclusive"
        assert judge(limit("worst-similarity", g), figures).verdict == wanted, g
        seen.add(wanted)
    assert {"pass", "fail"} <= seen


def t_below(x: float, degrees: float) -> float:
    """Student's distribution function, by an incomplete beta."""
    tail = special.betainc(degrees / 2, 0.5, degrees / (degrees + x * x)) / 2
    return float(tail if x < 0 else 1 - tail)


@pytest.mark.parametrize("name", ["mean-similarity", "mu"])
@pytest.mark.parametrize("degrees", [3.2, 31, 900])
def test_a_mean_is_held_to_its_limit_by_students_test(name: str, degrees: float) -> None:
    figures = with_figure(name, Estimate(0.02, 1e-6, degrees, 0.5))
    seen = set()
    for g in np.linspace(0.015, 0.025, 101).tolist():
        below = t_below((g - 0.02) / 1e-3, degrees)
        wanted = "pass" if below >= 0.975 else "fail" if below < 0.025 else "inconclusive"
        assert judge(limit(name, g), figures).verdict == wanted, g
        seen.add(wanted)
    assert len(seen) == 3


def test_a_vendi_score_is_held_to_its_limit_from_below() -> None:
    figures = with_figure("vendi", Estimate(math.log(20), 4e-4, 31, 0.0))
    seen = set()
    for g in np.linspace(18, 22, 101).tolist():
        below = t_below(math.log(g / 20) / 0.02, 31)
        wanted = "fail" if below > 0.975 else "pass" if below <= 0.025 else "inconclusive"
        assert judge(limit("vendi", g), figures).verdict == wanted, g
        seen.add(wanted)
    assert len(seen) == 3
    assert judge(limit("vendi", 2), figures).verdict == "pass"
    assert judge(limit("vendi", 200), figures).verdict == "fail"


@pytest.mark.parametrize("name", SHARES)
@pytest.mark.parametrize(("count", "of"), [(0, 300), (7, 700), (700, 700), (1, 1), (690, 700)])
def test_a_share_is_held_to_its_limit_by_exact_tests(name: str, count: int, of: int) -> None:
    figures = with_figure(name, Share(count, of))
    found = clopper_pearson(count, of)
    for g in around(found.low, found.high):
        breaks = stats.binom.sf(count - 1, of, g) < 0.025
        keeps = stats.binom.cdf(count, of, g) <= 0.025
        wanted = "fail" if breaks else "pass" if keeps else "inconclusive"
        assert judge(limit(name, g), figures).verdict == wanted, g


@pytest.mark.parametrize("name", SHARES)
def test_a_limit_of_none_is_a_count(name: str) -> None:
    none = limit(name, 0.0)
    kept = judge(none, with_figure(name, Share(0, 10_000)))
    assert (kept.verdict, kept.reason) == ("pass", "counted")
    assert (1 - kept.detectable) ** 10_000 == pytest.approx(0.05)
    one = judge(none, with_figure(name, Share(1, 10_000)))
    assert (one.verdict, one.reason) == ("fail", "counted")
    assert one.found == clopper_pearson(1, 10_000)
    assert judge(none, with_figure(name, Share(0, 1))).verdict == "pass"
    assert judge(none, with_figure(name, Share(0, 0))).verdict == "inconclusive"


def test_an_interval_that_just_touches_the_limit_keeps_it() -> None:
    share = Share(7, 700)
    found = clopper_pearson(7, 700)
    figures = with_figure("faceless", share)
    assert judge(limit("faceless", found.high), figures).verdict == "pass"
    assert judge(limit("faceless", np.nextafter(found.high, 0)), figures).verdict == "inconclusive"
    assert judge(limit("faceless", found.low), figures).verdict == "inconclusive"
    assert judge(limit("faceless", np.nextafter(found.low, 0)), figures).verdict == "fail"
    score = vendi_score(BASE.vendi)
    assert judge(limit("vendi", score.low), BASE).verdict == "pass"
    assert judge(limit("vendi", np.nextafter(score.low, 99)), BASE).verdict == "inconclusive"
    assert judge(limit("vendi", score.high), BASE).verdict == "inconclusive"
    assert judge(limit("vendi", np.nextafter(score.high, 99)), BASE).verdict == "fail"


def test_ends_that_cross_are_a_failure() -> None:
    """Where two anchors share the similarity, what was chosen apart may exceed the largest."""
    crossed = Extreme(Hits(100, 1), Hits(10, 1), 1000, low=0.08, high=0.12, upper=0.03)
    figures = with_figure("worst-similarity", crossed)
    assert judge(limit("worst-similarity", 0.05), figures).verdict == "fail"


# -- against a baseline ----------------------------------------------------------------------


PAIRS = [
    ((90, 101, 9_700), (40, 47, 10_000)),
    ((40, 47, 10_000), (90, 101, 9_700)),
    ((200, 208, 10_000), (100, 104, 10_000)),
    ((600, 600, 10_000), (590, 610, 10_000)),
    ((0, 3, 4_000), (5, 5, 4_100)),
    ((0, 0, 600), (0, 0, 600)),
    ((4_000, 4_000, 4_000), (900, 950, 4_000)),
]


@pytest.mark.parametrize(("after", "before"), PAIRS)
def test_worst_rates_are_compared_by_their_formula(after, before) -> None:
    low, high = literal.worst_rate_ends(after, before, 1.645)
    seen = set()
    for x in (0.001, 0.1, 0.2, 0.4, 0.6, 0.9, 1.5, 4, 60, 900):
        bound = math.log(1 + x)
        wanted = "fail" if low > bound else "pass" if high < bound else "inconclusive"
        gate = judge(
            limit("worst-rate", x, relative=True),
            with_figure("worst-rate", rate_of(*after)),
            with_figure("worst-rate", rate_of(*before)),
        )
        assert gate.verdict == wanted, x
        assert math.log1p(gate.change.low) == pytest.approx(low)
        assert math.log1p(gate.change.high) == pytest.approx(high)
        seen.add(wanted)
    assert seen


def test_the_tables_of_the_plan_hold_for_counts_as_planned() -> None:
    """581 hits at +20 %: an unchanged one passes, a doubled one fails; a twentieth tells not."""
    gate = limit("worst-rate", 0.2, relative=True)

    def verdict(now: int, then: int, n: int) -> str:
        figures = [with_figure("worst-rate", rate_of(k, k, n)) for k in (now, then)]
        return judge(gate, *figures).verdict

    assert verdict(581, 581, 60_000) == "pass"
    assert verdict(1162, 581, 60_000) == "fail"
    assert verdict(29, 29, 3_000) == "inconclusive"


@pytest.mark.parametrize("name", ESTIMATED)
def test_means_are_compared_by_the_variance_of_their_logarithms(name: str) -> None:
    """And of Vendi scores, which are logarithms already, the other way round."""
    then = evidence_of(name, 1.0)
    seen = set()
    for scale in np.geomspace(0.4, 2.5, 41).tolist():
        now = evidence_of(name, scale)
        if name == "vendi":
            variance, bound, sign = now.variance + then.variance, math.log(0.75), -1
        else:
            variance = now.variance / now.value**2 + then.variance / then.value**2
            bound, sign = math.log(1.25), 1
        away = sign * (math.log(scale) - bound) / math.sqrt(variance)
        wanted = "fail" if away > 1.645 else "pass" if away < -1.645 else "inconclusive"
        gate = judge(
            limit(name, 0.25, relative=True), with_figure(name, now), with_figure(name, then)
        )
        assert gate.verdict == wanted, scale
        assert gate.change.estimate == pytest.approx(scale - 1)
        reach = math.exp(1.645 * math.sqrt(variance))
        assert 1 + gate.change.low == pytest.approx(scale / reach)
        assert 1 + gate.change.high == pytest.approx(scale * reach)
        seen.add(wanted)
    assert len(seen) == 3


@pytest.mark.parametrize("name", SHARES)
def test_shares_are_compared_with_half_a_count_more(name: str) -> None:
    seen = set()
    for now in (*range(0, 300, 9), 10_000):
        ratio = math.log((now + 0.5) / 10_000) - math.log(100.5 / 10_000)
        spread = math.sqrt(max(0, 1 / (now + 0.5) - 1e-4) + 1 / 100.5 - 1e-4)
        away = (ratio - math.log(1.4)) / spread
        wanted = "fail" if away > 1.645 else "pass" if away < -1.645 else "inconclusive"
        gate = judge(
            limit(name, 0.4, relative=True),
            with_figure(name, Share(now, 10_000)),
            with_figure(name, Share(100, 10_000)),
        )
        assert gate.verdict == wanted, now
        seen.add(wanted)
    assert len(seen) == 3


def test_what_neither_side_has_is_not_told() -> None:
    none = with_figure("faceless", Share(0, 700))
    gate = judge(limit("faceless", 0.4, relative=True), none, none)
    assert (gate.verdict, gate.reason) == ("inconclusive", "never seen")
    assert gate.change == NOTHING
    assert gate.detectable is None
    assert gate.found == gate.baseline == clopper_pearson(0, 700)
    one = with_figure("faceless", Share(1, 700))
    assert judge(limit("faceless", 0.4, relative=True), one, none).reason == "straddles"


@pytest.mark.parametrize("name", FIGURES)
def test_a_release_and_its_baseline_changed_over_change_the_sign_of_the_change(name: str) -> None:
    one, other = (with_figure(name, evidence_of(name, scale)) for scale in (1.0, 1.9))
    gate = limit(name, 0.2, relative=True)
    there, back = judge(gate, other, one), judge(gate, one, other)
    assert there.found == back.baseline
    assert there.baseline == back.found
    assert 1 + there.change.low == pytest.approx(1 / (1 + back.change.high))
    assert 1 + there.change.high == pytest.approx(1 / (1 + back.change.low))
    verdicts = (there.verdict, back.verdict)
    assert verdicts == (("pass", "fail") if name == "vendi" else ("fail", "pass"))


@pytest.mark.parametrize("name", FIGURES)
def test_an_unchanged_release_never_fails(name: str) -> None:
    for scale in (0.01, 0.3, 1.0, 3.0):
        figures = with_figure(
            name, evidence_of(name, scale if name != "vendi" else max(scale, 0.3))
        )
        for x in (0.001, 0.2, 0.4, 0.9):
            assert judge(limit(name, x, relative=True), figures, figures).verdict != "fail"


# -- what holds for every gate ---------------------------------------------------------------

RANKS = {"fail": 0, "inconclusive": 1, "pass": 2}


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("relative", [False, True])
def test_a_looser_limit_never_turns_a_pass_into_a_fail(name: str, relative: bool) -> None:
    release, baseline = (with_figure(name, evidence_of(name, scale)) for scale in (1.3, 1.0))
    values = np.geomspace(0.001, 0.999, 200)
    if name == "vendi" and not relative:
        values = np.geomspace(10, 60, 200)[::-1]  # the smaller, the looser
    if name == "vendi":
        release, baseline = baseline, release
    gates = [
        judge(limit(name, value, relative=relative), release, baseline if relative else None)
        for value in values.tolist()
    ]
    ranks = [RANKS[gate.verdict] for gate in gates]
    assert ranks == sorted(ranks)
    assert set(ranks) == {0, 1, 2}
    looser = [gate.detectable for gate in gates if gate.detectable is not None]
    wanted = sorted(looser, reverse=name == "vendi" and not relative)
    assert looser == wanted and len(set(looser)) > 20


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("relative", [False, True])
def test_a_worse_release_never_turns_a_fail_into_a_pass(name: str, relative: bool) -> None:
    value = 0.4 if relative else 20.0 if name == "vendi" else 0.012
    if name == "worst-rate" and not relative:
        value = 0.025
    baseline = with_figure(name, evidence_of(name, 1.0))
    scales = np.geomspace(0.3, 4, 60)
    ranks = [
        RANKS[
            judge(
                limit(name, value, relative=relative),
                with_figure(name, evidence_of(name, scale)),
                baseline if relative else None,
            ).verdict
        ]
        for scale in (scales if name == "vendi" else scales[::-1]).tolist()
    ]
    assert ranks == sorted(ranks)
    assert set(ranks) == {0, 1, 2}


@pytest.mark.parametrize("name", FIGURES)
def test_what_was_not_computed_never_passes(name: str) -> None:
    absent = with_figure(name, None)
    values = (2.0, 1e8) if name == "vendi" else (1e-9, 0.999)
    for value in (*values, *([0.0] if name in SHARES else [])):
        if name in ("mean-similarity", "mu"):
            continue  # there always are
        gate = judge(limit(name, value), absent)
        assert (gate.verdict, gate.reason) == ("inconclusive", "not computed")
        assert (gate.found, gate.baseline, gate.change) == (NOTHING, None, None)
        assert found_of(name, absent) is None
    if name in ("mean-similarity", "mu"):
        return
    for release, baseline in ((absent, BASE), (BASE, absent), (absent, absent)):
        gate = judge(limit(name, 0.999, relative=True), release, baseline)
        assert (gate.verdict, gate.reason) == ("inconclusive", "not computed")
        assert gate.found == (NOTHING if release is absent else found_of(name, BASE))
        assert gate.baseline == (NOTHING if baseline is absent else found_of(name, BASE))
        assert gate.change is None


@pytest.mark.parametrize("name", ESTIMATED)
def test_what_has_no_interval_never_passes(name: str) -> None:
    unsure = with_figure(name, Estimate(0.5, None, 0, 0.1))
    for value in (1.01, 1e8) if name == "vendi" else (1e-9, 0.999):
        gate = judge(limit(name, value), unsure)
        assert (gate.verdict, gate.reason) == ("inconclusive", "no interval")
        assert gate.found.estimate == (pytest.approx(math.exp(0.5)) if name == "vendi" else 0.5)
        assert gate.detectable is None
    for release, baseline in ((unsure, BASE), (BASE, unsure), (unsure, unsure)):
        gate = judge(limit(name, 0.999, relative=True), release, baseline)
        assert (gate.verdict, gate.reason) == ("inconclusive", "no interval")
        assert gate.detectable is None


@pytest.mark.parametrize("name", ["mean-similarity", "mu"])
def test_a_release_without_any_hit_passes_by_the_rule_of_three_alone(name: str) -> None:
    none = with_figure(name, Estimate(0.0, 0.0, 31, 0.003))
    assert judge(limit(name, 0.003), none).verdict == "pass"
    assert judge(limit(name, 0.0029), none).verdict == "inconclusive"
    for release, baseline in ((none, BASE), (BASE, none), (none, none)):
        gate = judge(limit(name, 0.4, relative=True), release, baseline)
        assert (gate.verdict, gate.reason) == ("inconclusive", "no interval")
    assert judge(limit(name, 0.4, relative=True), none, BASE).change == Interval(-1, None, None)


def test_few_samples_never_pass() -> None:
    few = Comparable.of(tally_of(pairs(6, 112, 8)))
    for name in ("worst-rate", "worst-similarity", "mean-similarity", "mu"):
        assert judge(limit(name, 0.999), few).verdict == "inconclusive"
        for release, baseline in ((few, BASE), (BASE, few)):
            gate = judge(limit(name, 900.0, relative=True), release, baseline)
            assert gate.verdict == "inconclusive"


def test_found_figures_have_their_own_intervals() -> None:
    rate = rate_of(90, 101, 9_700)
    assert found_of("worst-rate", with_figure("worst-rate", rate)) == Interval(
        101 / 9_700, wilson(90, 9_700, z=2.0).low, wilson(101, 9_700).high
    )
    assert found_of("mean-similarity", BASE) == BASE.pairs.interval()
    assert found_of("mu", BASE) == BASE.mu.interval()
    assert found_of("vendi", BASE) == vendi_score(BASE.vendi)
    assert found_of("faceless", BASE) == clopper_pearson(7, 700)
    assert found_of("faceless", with_figure("faceless", Share(0, 0))) is None


VERDICTS = ("pass", "fail", "inconclusive")


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_one_failure_fails_all_and_all_must_pass(count: int) -> None:
    for verdicts in product(VERDICTS, repeat=count):
        found = verdict_of(verdicts)
        assert (found == "fail") == ("fail" in verdicts)
        assert (found == "pass") == (set(verdicts) == {"pass"})
    assert verdict_of([]) == "inconclusive"


@pytest.mark.parametrize(
    ("verdict", "codes"), [("pass", (0, 0, 0)), ("fail", (1, 1, 1)), ("inconclusive", (4, 0, 1))]
)
def test_exit_codes_are_an_interface(verdict, codes: tuple[int, int, int]) -> None:
    policies = ("report", "pass", "fail")
    assert tuple(exit_code_of(verdict, inconclusive=policy) for policy in policies) == codes


# -- what could have been seen, and what it takes --------------------------------------------


def test_the_smallest_value_that_fails_is_that_of_the_figure() -> None:
    rate = judge(limit("worst-rate", 0.01), with_figure("worst-rate", rate_of(90, 101, 9_700)))
    assert rate.detectable == power.rate_that_fails(0.01, 9_700, z=2.0)
    share = judge(limit("faceless", 0.01), BASE)
    assert share.detectable == power.rate_that_fails(0.01, 700, z=1.96)
    assert share.detectable < power.rate_that_fails(0.01, 700, z=2.0)
    alike = evidence_of("worst-similarity", 1.0)
    found = judge(limit("worst-similarity", 0.01), with_figure("worst-similarity", alike))
    assert found.detectable == power.similarity_that_fails(0.01, 10_000, 0.4)
    mean = judge(limit("mean-similarity", 0.01), BASE)
    assert mean.detectable == power.value_that_fails(0.01, BASE.pairs)
    vendi = judge(limit("vendi", 20), BASE)
    assert vendi.detectable == power.value_that_fails(20, BASE.vendi, logarithm=True)
    assert vendi.detectable < 20


@pytest.mark.parametrize("name", FIGURES)
def test_a_release_seen_just_at_the_smallest_value_that_fails_does(name: str) -> None:
    """And one that is seen at the limit is inconclusive."""
    value = {"vendi": 20.0, "worst-similarity": 0.008}.get(name, 0.02)
    gate = limit(name, value)
    at_limit = judge(gate, with_figure(name, evidence_of(name, 1.0)))
    assert at_limit.verdict == "inconclusive"
    edge = at_limit.detectable
    assert edge is not None
    assert (edge < value) == (name == "vendi")
    there = judge(gate, with_figure(name, evidence_of(name, edge / value)))
    assert there.verdict == "fail"
    between = 1 + 0.3 * (edge / value - 1)
    assert judge(gate, with_figure(name, evidence_of(name, between))).verdict == "inconclusive"


@pytest.mark.parametrize("name", FIGURES)
def test_a_release_with_the_smallest_change_that_fails_mostly_does(name: str) -> None:
    base = with_figure(name, evidence_of(name, 1.0))
    gate = judge(limit(name, 0.4, relative=True), base, base)
    assert gate.detectable is not None and gate.detectable > 0.4
    scale = 1 - gate.detectable if name == "vendi" else 1 + gate.detectable
    now = with_figure(name, evidence_of(name, scale))
    assert judge(limit(name, 0.4, relative=True), now, base).verdict == "fail"


def test_the_smallest_change_that_fails_is_that_of_the_baseline() -> None:
    base = with_figure("worst-rate", rate_of(90, 101, 9_700))
    gate = judge(limit("worst-rate", 0.4, relative=True), BASE, base)
    assert gate.detectable == pytest.approx(literal.smallest_increase(0.4, 101), rel=1e-6)
    shares = judge(limit("faceless", 0.4, relative=True), BASE, BASE)
    assert shares.detectable == power.increase_that_fails(0.4, 7, wider=1.0)
    none = with_figure("worst-rate", rate_of(0, 0, 9_700))
    assert judge(limit("worst-rate", 0.4, relative=True), BASE, none).detectable is None


def test_samples_that_are_needed_pass_half_of_a_limit_and_fail_double() -> None:
    for name in ("worst-rate", "duplicates", "faceless", "failures"):
        assert samples_needed(limit(name, 0.02), None) == power.samples_for_rate(0.02)
    for name in ("worst-similarity", "mean-similarity", "mu"):
        assert samples_needed(limit(name, 0.02), BASE) is None
    assert samples_needed(limit("vendi", 20), BASE) is None
    assert samples_needed(limit("faceless", 0.0), None) is None
    assert samples_needed(limit("worst-rate", 1e-9), None) == power.samples_for_rate(1e-9)


def test_near_copies_are_counted_over_anchors_and_need_no_samples() -> None:
    assert samples_needed(limit("near-copies", 0.02), None) is None
    assert samples_needed(limit("near-copies", 0.4, relative=True), BASE) is None


def test_samples_for_a_change_are_as_many_more_as_the_plan_wants() -> None:
    """A mode of 1 %: 60,000 samples at +20 %, 17,000 at +40 %."""
    base = with_figure("worst-rate", rate_of(98, 100, 10_000))
    found = samples_needed(limit("worst-rate", 0.2, relative=True), base)
    assert found == pytest.approx(58_100, abs=100)
    found = samples_needed(limit("worst-rate", 0.4, relative=True), base)
    assert found == pytest.approx(17_100, abs=100)
    base = with_figure("worst-similarity", evidence_of("worst-similarity", 1.0))
    assert samples_needed(limit("worst-similarity", 0.4, relative=True), base) is None
    found = samples_needed(limit("faceless", 0.4, relative=True), BASE)
    assert found == math.ceil(100 * power.hits_for_increase(0.4, wider=1.0))


@pytest.mark.parametrize("name", ESTIMATED)
def test_samples_for_a_mean_shrink_its_variance(name: str) -> None:
    base = with_figure(name, evidence_of(name, 1.0))
    relative = 2e-4 if name == "vendi" else 0.05**2
    allowed = -math.log(0.75) if name == "vendi" else math.log(1.25)
    wanted = 700 * 2 * relative * ((1.645 + 1.2816) / allowed) ** 2
    found = samples_needed(limit(name, 0.25, relative=True), base)
    assert found == max(512, math.ceil(wanted * (1 - 1e-9)))
    close = samples_needed(limit(name, 0.002, relative=True), base)
    allowed = -math.log(0.998) if name == "vendi" else math.log(1.002)
    assert close == math.ceil(700 * 2 * relative * ((1.645 + 1.2816) / allowed) ** 2 * (1 - 1e-9))
    assert close > 512


def test_samples_that_nobody_can_know_are_none() -> None:
    assert samples_needed(limit("mu", 0.4, relative=True), None) is None
    for name in FIGURES:
        absent = Comparable(
            10, 100, Estimate(0.0, 0.0, 9, 0.3), Estimate(0.1, None, 0, 0.3), None, None
        )
        assert samples_needed(limit(name, 0.4, relative=True), absent) is None
    none = with_figure("faceless", Share(0, 700))
    assert samples_needed(limit("faceless", 0.4, relative=True), none) is None
    rare = with_figure("worst-similarity", Extreme(Hits(0, 1), Hits(1e-9, 1e-9), 700, 0, 0.1, 0.1))
    assert samples_needed(limit("worst-similarity", 0.001, relative=True), rare) is None
