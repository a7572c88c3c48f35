"""The alarm's rule: p-values against closed forms and enumeration, false alarms and misses by simulation."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from rewardbench.align.monitors import (
    MOTION_TRADED,
    AlarmRule,
    Paired,
    Reading,
    fallen,
    findings,
    movement,
    p_of_rise,
    read_alarm,
    standardised_change,
    watch_rows,
)

ONE_LOOK = AlarmRule(in_a_row=1)
ANY_FALL = AlarmRule(in_a_row=1, smallest_fall=0.0)


def moved(rng: np.random.Generator, change: float, prompts: int, *, spread: float = 0.7) -> Paired:
    """Base scores of standard deviation 1 between prompts, and a policy's; differences vary by ``spread``."""
    base = rng.normal(size=prompts)
    return base, base + change + spread * rng.normal(size=prompts)


def alarm_rate(make: Callable[[np.random.Generator], list[Reading]], rule: AlarmRule, runs: int, seed: int) -> float:
    rng = np.random.default_rng(seed)
    return float(np.mean([read_alarm(make(rng), rule) is not None for _ in range(runs)]))


def most(level: float, runs: int) -> float:
    """A rate that a process of this level exceeds once in 1000 times."""
    return float(stats.binom.isf(0.001, runs, level)) / runs


# --- p-values -------------------------------------------------------------------------------------------------------


def test_p_of_two_prompts_is_the_closed_form_of_students_t_with_one_degree() -> None:
    gain = np.array([0.3, 1.1])
    t = 0.7 / (abs(0.3 - 1.1) / 2)  # mean over the standard error of two values
    assert p_of_rise(gain) == pytest.approx(0.5 - math.atan(t) / math.pi, rel=1e-12)


def test_p_of_three_prompts_is_the_closed_form_of_students_t_with_two_degrees() -> None:
    gain = np.array([1.0, -2.0, 0.25])
    t = gain.mean() / math.sqrt(((gain - gain.mean()) ** 2).sum() / 2 / 3)
    assert p_of_rise(gain) == pytest.approx(0.5 * (1 - t / math.sqrt(2 + t * t)), rel=1e-12)


@pytest.mark.parametrize("shift", [0.0, 0.4, 0.8])
def test_p_agrees_with_flipping_all_signs(shift: float) -> None:
    gain = np.random.default_rng(3).normal(shift, 1.0, 12)
    flips = np.array(list(itertools.product((1.0, -1.0), repeat=12)))
    exact = float((flips @ gain >= gain.sum() - 1e-12).mean())
    assert p_of_rise(gain) == pytest.approx(exact, abs=0.012)


def test_p_is_scipys_paired_test() -> None:
    rng = np.random.default_rng(0)
    base, policy = moved(rng, 0.2, 40)
    assert p_of_rise(policy - base) == pytest.approx(stats.ttest_rel(policy, base, alternative="greater").pvalue)


@pytest.mark.parametrize(
    ("gain", "p"), [([], 1.0), ([5.0], 1.0), ([0.0, 0.0], 1.0), ([1.0, 1.0], 0.0), ([-1.0, -1.0], 1.0)]
)
def test_p_where_nothing_varies(gain: list[float], p: float) -> None:
    assert p_of_rise(np.array(gain)) == p


# --- false alarms ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("optimised", "held_out"), [(0.0, 0.0), (1.0, 0.0), (1.0, 0.3)], ids=["none", "edge", "rising"]
)
def test_unharmed_judges_raise_no_more_alarms_at_one_look_than_stated(optimised: float, held_out: float) -> None:
    def look(rng: np.random.Generator) -> list[Reading]:
        judges = {f"judge:{i}": moved(rng, held_out, 16) for i in range(4)}
        return [Reading(10, moved(rng, optimised, 16), judges)]

    rate = alarm_rate(look, ANY_FALL, 4000, seed=5)
    assert rate <= most(ANY_FALL.alpha, 4000)
    if (optimised, held_out) == (1.0, 0.0):  # the level is used up, not merely kept: a rule that never fires is useless
        assert rate >= 0.005


def test_judges_that_share_their_noise_keep_the_level() -> None:
    def look(rng: np.random.Generator) -> list[Reading]:
        same = moved(rng, 0.0, 16)
        return [Reading(10, moved(rng, 1.0, 16), {f"judge:{i}": same for i in range(4)})]

    assert alarm_rate(look, ANY_FALL, 3000, seed=6) <= most(ANY_FALL.alpha, 3000)


def test_a_whole_run_of_looks_at_unharmed_judges_keeps_the_stated_bound() -> None:
    """Five looks whose noise is nearly the same, as of one policy that hardly moves."""
    rule = AlarmRule(smallest_fall=0.0)

    def run(rng: np.random.Generator) -> list[Reading]:
        base, policy = moved(rng, 0.0, 16)
        looks = [policy + 0.05 * rng.normal(size=16) for _ in range(5)]
        return [Reading(s, moved(rng, 1.0, 16), {"judge:a": (base, look)}) for s, look in enumerate(looks)]

    assert alarm_rate(run, rule, 2500, seed=7) <= most((5 - 2 + 1) * rule.alpha, 2500)


def test_a_real_fall_below_the_smallest_that_matters_is_no_alarm() -> None:
    def look(rng: np.random.Generator) -> list[Reading]:
        return [Reading(1, moved(rng, 1.0, 400), {"judge:a": moved(rng, -0.1, 400, spread=0.2)})]

    assert alarm_rate(look, ONE_LOOK, 300, seed=8) == 0.0
    assert alarm_rate(look, ANY_FALL, 300, seed=8) > 0.95  # it is real


def test_a_fall_without_a_rise_of_the_optimised_reward_is_no_alarm() -> None:
    def look(rng: np.random.Generator) -> list[Reading]:
        return [Reading(1, moved(rng, 0.0, 64), {"judge:a": moved(rng, -1.0, 64)})]

    assert alarm_rate(look, ONE_LOOK, 2000, seed=9) <= most(ONE_LOOK.alpha, 2000)


# --- hacking is found -----------------------------------------------------------------------------------------------


def hacked(rng: np.random.Generator, step: int, *, prompts: int = 64) -> Reading:
    unharmed = {f"judge:{i}": moved(rng, 0.0, prompts) for i in range(3)}
    return Reading(step, moved(rng, 0.5, prompts), {**unharmed, "judge:victim": moved(rng, -0.5, prompts)})


def test_hacking_by_half_a_standard_deviation_is_found_on_64_prompts() -> None:
    assert alarm_rate(lambda rng: [hacked(rng, 100), hacked(rng, 200)], AlarmRule(), 2000, seed=10) >= 0.95


def test_the_alarm_is_the_first_of_its_kind_and_names_the_victim_only() -> None:
    rng = np.random.default_rng(11)
    fine = Reading(50, moved(rng, 0.5, 64), {"judge:victim": moved(rng, 0.2, 64)})
    alarm = read_alarm([hacked(rng, 300), fine, hacked(rng, 100), hacked(rng, 200)], AlarmRule())
    assert alarm is not None
    assert (alarm.step, alarm.steps) == (200, (100, 200))
    assert [f.name for f in alarm.fallen] == ["judge:victim"]


def test_falls_of_different_judges_in_a_row_are_not_the_same_fall() -> None:
    rng = np.random.default_rng(12)
    up, down, level = (moved(rng, change, 64, spread=0.3) for change in (1.0, -1.0, 0.0))
    first = Reading(1, up, {"judge:a": down, "judge:b": level})
    second = Reading(2, up, {"judge:a": level, "judge:b": down})
    assert read_alarm([first, second], AlarmRule()) is None
    assert read_alarm([first, second], ONE_LOOK) is not None


def test_two_readings_of_one_step_are_one_checkpoint() -> None:
    rng = np.random.default_rng(13)
    assert read_alarm([hacked(rng, 200), hacked(rng, 200)], AlarmRule()) is None
    assert read_alarm([], AlarmRule()) is None


def test_watched_dimensions_raise_nothing() -> None:
    rng = np.random.default_rng(14)
    reading = Reading(1, moved(rng, 1.0, 64), {}, {"judge:sharpness": moved(rng, -2.0, 64)})
    assert read_alarm([reading], ONE_LOOK) is None
    assert fallen(reading.watched, ONE_LOOK) == ["judge:sharpness"]


def test_too_few_prompts_decide_nothing() -> None:
    up, down = (np.zeros(7), np.linspace(5, 6, 7)), (np.arange(7.0), np.arange(7.0) - np.linspace(50, 60, 7))
    reading = Reading(1, up, {"judge:a": down})
    assert read_alarm([reading], ONE_LOOK) is None
    assert read_alarm([reading], AlarmRule(in_a_row=1, fewest=7)) is not None


# --- abstentions ----------------------------------------------------------------------------------------------------


def test_prompts_where_either_side_abstains_are_left_out_of_that_comparison_only() -> None:
    rng = np.random.default_rng(15)
    reading = hacked(rng, 1)
    base, policy = (side.copy() for side in reading.held_out["judge:victim"])
    base[[0, 5]], policy[[5, 9]] = np.nan, np.nan
    kept = np.setdiff1d(np.arange(64), [0, 5, 9])
    dropped = Reading(1, reading.optimised, {**reading.held_out, "judge:victim": (base, policy)})
    found = read_alarm([dropped], ONE_LOOK)
    assert found is not None
    (victim,) = found.fallen
    assert (victim.n, victim.abstained) == (61, 3)
    assert victim.change == pytest.approx((policy - base)[kept].mean())
    assert (found.optimised.n, found.optimised.abstained) == (64, 0)
    assert "over 61 prompts, 3 left out" in found.sentence


def test_a_judge_that_always_abstains_costs_the_others_nothing() -> None:
    rng = np.random.default_rng(16)
    base, gain = 1e-3 * rng.normal(size=20), rng.normal(size=20)
    gain -= gain.mean() + stats.t.isf(0.006, 19) * gain.std(ddof=1) / math.sqrt(20)  # p between alpha / 2 and alpha
    judge = {"judge:a": (base, base + gain)}
    silent, level = (np.full(20, np.nan), np.full(20, np.nan)), (base, base + rng.normal(size=20))
    assert fallen({**judge, "judge:silent": silent}, ONE_LOOK) == ["judge:a"]
    assert fallen({**judge, "judge:level": level}, ONE_LOOK) == []  # Holm's correction for two


def test_sides_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="scored on the same prompts"):
        read_alarm([Reading(1, (np.zeros(9), np.ones(9)), {"judge:a": (np.zeros(9), np.zeros(8))})], ONE_LOOK)


# --- sizes and words ------------------------------------------------------------------------------------------------


def test_the_standardised_change_is_in_the_bases_standard_deviations() -> None:
    base = np.array([1.0, 3.0, 5.0, np.nan])  # standard deviation 2
    assert standardised_change(base, np.array([0.0, 2.0, 4.0, 9.0])) == pytest.approx(-0.5)
    assert standardised_change(np.ones(3), np.ones(3)) == 0.0
    assert standardised_change(np.ones(3), np.zeros(3)) == -math.inf
    assert math.isnan(standardised_change([1.0, math.nan], [2.0, 3.0]))


def test_the_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(17)
    hits = 0
    for _ in range(2000):
        m = movement("a", moved(rng, 0.3, 10), 0.05)
        hits += m.low <= 0.3 <= m.high
    assert abs(hits / 2000 - 0.90) < 3.3 * math.sqrt(0.9 * 0.1 / 2000)


def test_the_interval_lies_on_one_side_of_zero_exactly_where_the_test_rejects() -> None:
    rng = np.random.default_rng(18)
    for change in np.linspace(0.0, 0.5, 40):
        pair = moved(rng, float(change), 20)
        assert (movement("a", pair, 0.01).low > 0) == (p_of_rise(pair[1] - pair[0]) < 0.01)


def test_the_sentence_says_what_rose_and_fell_by_how_much_and_when() -> None:
    wave, sd = np.tile([1.0, -1.0], 8), math.sqrt(16 / 15)  # 16 prompts
    up, down = (wave, wave + 0.5 + 0.1 * np.roll(wave, 1)), (wave, wave - 0.25 + 0.1 * np.roll(wave, 1))
    reach = float(stats.t.isf(0.01, 15)) * 0.1 * sd / 4
    looks = [Reading(step, up, {"rules:flow_amplitude": down}) for step in (100, 250)]
    alarm = read_alarm(looks, AlarmRule())
    assert alarm is not None
    assert alarm.sentence == (
        f"At step 250 the optimised reward rose by 0.5 ({0.5 - reach:.3g} to {0.5 + reach:.3g}; "
        f"{0.5 / sd:.2f} standard deviations) over 16 prompts, while rules:flow_amplitude fell by 0.25 "
        f"({0.25 - reach:.3g} to {0.25 + reach:.3g}; {0.25 / sd:.2f} standard deviations) over 16 prompts "
        f"(98 % intervals), as at step 100 before: motion traded for quality"
    )
    told = json.loads(json.dumps(alarm.as_dict(), allow_nan=False))
    assert told["sentence"] == alarm.sentence
    assert told["steps"] == [100, 250]
    assert told["fallen"][0]["change"] == pytest.approx(-0.25)


def test_motion_traded_for_quality_is_stated_of_motion_that_falls_while_the_reward_rises() -> None:
    rng = np.random.default_rng(19)
    up, level, down = (moved(rng, change, 64, spread=0.3) for change in (1.0, 0.0, -1.0))
    assert findings(Reading(1, up, {}, {"animereward:motion": down}), ONE_LOOK) == [MOTION_TRADED]
    assert findings(Reading(1, up, {"vbench:Dynamic Degree": down}), ONE_LOOK) == [MOTION_TRADED]
    assert findings(Reading(1, level, {}, {"animereward:motion": down}), ONE_LOOK) == []
    assert findings(Reading(1, up, {}, {"animereward:motion": up}), ONE_LOOK) == []
    assert findings(Reading(1, up, {"videoreward:MQ": down, "rules:sharpness": down}), ONE_LOOK) == []


def test_a_fall_from_a_base_that_does_not_vary_raises_an_alarm_and_can_be_written() -> None:
    rng = np.random.default_rng(20)
    reading = Reading(1, moved(rng, 1.0, 64), {"rules:sharpness": (np.ones(64), 1 - 0.1 * rng.random(64))})
    alarm = read_alarm([reading], ONE_LOOK)
    assert alarm is not None
    assert alarm.as_dict()["fallen"][0]["standardised"] is None
    json.dumps(alarm.as_dict(), allow_nan=False)


def test_everything_is_recorded_in_the_order_of_steps() -> None:
    rng = np.random.default_rng(21)
    later, sooner = (
        Reading(
            step,
            moved(rng, 0.1, 8),
            {"rules:flicker": moved(rng, 0.0, 8)},
            {"rules:sharpness": (np.full(8, np.nan), np.ones(8))},
            {"margin": 0.25 * step, "clip_fraction": math.nan},
        )
        for step in (2, 1)
    )
    rows = watch_rows([later, sooner], AlarmRule())
    assert [(r["step"], r["role"], r["name"]) for r in rows[:5]] == [
        (1, "optimised", "optimised"),
        (1, "held_out", "rules:flicker"),
        (1, "watched", "rules:sharpness"),
        (1, "training", "margin"),
        (1, "training", "clip_fraction"),
    ]
    assert (rows[2]["n"], rows[2]["abstained"], rows[2]["change"]) == (0, 8, None)
    assert [rows[3]["value"], rows[4]["value"], rows[8]["value"]] == [0.25, None, 0.5]
    json.dumps(rows, allow_nan=False)


@pytest.mark.parametrize(
    "wrong", [{"alpha": 0.0}, {"alpha": 0.5}, {"smallest_fall": -1.0}, {"in_a_row": 0}, {"fewest": 1}]
)
def test_rules_without_meaning_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="an alarm rule needs"):
        AlarmRule(**wrong)  # type: ignore[arg-type]
