"""How often images are changed: a probability that follows the signs of real logits."""

import pytest
import torch
from torch import Tensor

from ganaudit.errors import ConfigError
from ganaudit.regularizers import parse
from ganaudit.regularizers.apa import PseudoAugment
from ganaudit.regularizers.strength import Numbers, Strength


def moved(
    strength: Strength, numbers: Numbers, sure: float, *, taken: int, shown: int = 8
) -> float:
    """The probability after a step whose real logits had this mean sign."""
    if "signs" in numbers:
        numbers["signs"] += sure * shown
        numbers["judged"] += shown
    strength.adapt(numbers, taken, shown=shown, summed=lambda value: value)
    return float(numbers["strength"])


def test_it_rises_above_the_target_and_falls_below_it() -> None:
    strength = Strength(target=0.5, interval=2, kimg=0.1)
    numbers = strength.numbers()
    change = 8 * 2 / 100  # images between two changes, of those from 0 to 1
    found = [moved(strength, numbers, 0.6, taken=taken) for taken in range(1, 7)]
    assert found == pytest.approx([0, change, change, 2 * change, 2 * change, 3 * change])
    assert moved(strength, numbers, 0.5, taken=8) == pytest.approx(3 * change)  # at it
    assert moved(strength, numbers, 0.4, taken=10) == pytest.approx(2 * change)


def test_it_is_a_probability() -> None:
    strength = Strength(interval=1, kimg=0.02)
    numbers = strength.numbers()
    assert moved(strength, numbers, -1, taken=1) == 0
    found = [moved(strength, numbers, 1, taken=taken) for taken in range(2, 6)]
    assert found == pytest.approx([0.4, 0.8, 1, 1])


def test_signs_are_those_since_the_last_change() -> None:
    strength = Strength(target=0, interval=2, kimg=1)
    numbers = strength.numbers()
    for taken, sure in enumerate((1.0, -0.5), start=1):
        moved(strength, numbers, sure, taken=taken)
    assert float(numbers["strength"]) > 0 and float(numbers["judged"]) == 0  # 0.25 on average
    for taken, sure in enumerate((0.5, -1.0), start=3):
        moved(strength, numbers, sure, taken=taken)
    assert float(numbers["strength"]) == 0


def test_without_a_judged_image_nothing_is_sure() -> None:
    strength = Strength(interval=1, target=0)
    numbers = strength.numbers()
    strength.adapt(numbers, 1, shown=8, summed=lambda value: value)
    assert float(numbers["strength"]) == 0


def test_the_mean_is_over_all_devices() -> None:
    """Here the sign is 1, and on the other device, with three times as many images, -1."""
    asked: list[float] = []

    def summed(value: Tensor) -> Tensor:
        asked.append(float(value))
        return torch.tensor({0: 8.0 - 24.0, 1: 8.0 + 24.0}[len(asked) - 1])

    strength = Strength(target=-0.6, interval=1, kimg=1)
    numbers = strength.numbers()
    numbers["signs"] += 8
    numbers["judged"] += 8
    told = strength.adapt(numbers, 1, shown=32, summed=summed)
    assert asked == [8, 8]
    assert float(told["real_sign"]) == -0.5
    assert float(told["augment_p"]) == pytest.approx(32 / 1000)


def test_a_fixed_one_stays_and_counts_nothing() -> None:
    strength = Strength(p=0.3, interval=1)
    numbers = strength.numbers()
    assert numbers.keys() == {"strength"}
    assert moved(strength, numbers, 1, taken=1) == 0.3
    told = strength.adapt(numbers, 2, shown=8, summed=lambda value: value)
    assert told.keys() == {"augment_p"} and float(told["augment_p"]) == pytest.approx(0.3)


def test_apa_replaces_as_many_as_it_says() -> None:
    rng = torch.Generator().manual_seed(0)
    chosen = PseudoAugment().chosen(10_000, rng, 0.3)
    assert float(chosen.double().mean()) == pytest.approx(0.3, abs=5 * (0.3 * 0.7 / 10_000) ** 0.5)
    assert bool(PseudoAugment().chosen(50, rng, 1).all())
    assert not bool(PseudoAugment().chosen(50, rng, 0).any())


def test_ada_and_apa_have_one_strength_and_others_none() -> None:
    options = {"augment": {"p": "0.2"}}
    both, changes, none = (
        parse(names, options) for names in (("ada", "apa"), ("apa",), ("diffaugment",))
    )
    assert both.strength == changes.strength == Strength(p=0.2) and none.strength is None
    assert both.by_name().keys() == {"ada", "apa"} and none.by_name().keys() == {"diffaugment"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"p": "1.1"}, r"augment.p must be in \[0, 1\], got 1.1"),
        ({"p": "often"}, "p must be a finite number, got 'often'"),
        ({"target": "-1.1"}, r"augment.target must be in \[-1, 1\], got -1.1"),
        ({"interval": "0"}, r"augment.interval must be in \[1, 1000\], got 0"),
        ({"interval": "2.5"}, "interval must be a whole number"),
        ({"kimg": "0"}, r"augment.kimg must be in \[0.001, 1e\+06\], got 0"),
        ({"kimgs": "1"}, "--augment ada or apa has no option 'kimgs'; did you mean 'kimg'"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(("ada",), {"augment": options})


def test_apa_has_no_settings_of_its_own() -> None:
    with pytest.raises(ConfigError, match="--augment apa has no option 'p'"):
        parse(("apa",), {"apa": {"p": "0.5"}})
