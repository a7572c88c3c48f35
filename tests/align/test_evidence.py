"""What the report says of a run's looks and changes: no more than their numbers of prompts and intervals bear."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from rewardbench.align.comparison import Change
from rewardbench.align.evidence import Row, distances_of, findings_of, looks_of
from rewardbench.align.monitors import MOTION_TRADED, AlarmRule, Reading, findings, watch_rows

BASE = np.arange(10.0)
DEVIATION = math.sqrt(55 / 6)
"""Standard deviation (n - 1) of 0, 1, …, 9."""


def result_of(*readings: Reading, **entries: Any) -> dict[str, Any]:
    """The entries of result.json that looks are read from, as they are in a file."""
    rows, rule = watch_rows(readings, AlarmRule()), AlarmRule()
    found = sorted({name for reading in readings for name in findings(reading, rule)})
    result = {"optimised": "stars:overall", "changes": {}, "watched": rows, "findings": found} | entries
    return dict(json.loads(json.dumps(result)))


def told(*readings: Reading, **entries: Any) -> tuple[str, ...]:
    result = result_of(*readings, **entries)
    return findings_of(result, looks_of(result))


@pytest.mark.parametrize(
    ("ci", "n", "moved", "few"),
    [
        ((0.1, 0.5), 8, "up", False),
        ((-0.5, -0.1), 8, "down", False),
        ((0.0, 0.5), 64, "level", False),
        ((0.1, 0.5), 7, "level", True),
        ((-0.5, -0.1), 1, "level", True),
        ((math.nan, math.nan), 64, "level", False),
    ],
)
def test_only_enough_prompts_and_a_whole_interval_make_a_rise_or_a_fall(ci, n: int, moved: str, few: bool) -> None:
    row = Row("x:y", "held-out", "held out", Change(0.0, 0.3, 0.3, ci, 0.1, 0.5, (0.4, 0.6), n, 0), 4)
    assert (row.moved, row.few) == (moved, few)
    assert not Row("x:y", "held-out", "held out", None, 4).few


def test_looks_are_in_the_order_of_steps_and_name_the_optimised_reward() -> None:
    later, sooner = (Reading(step, (BASE, BASE + 1), {"rules:sharp": (BASE, BASE)}) for step in (40, 20))
    looks = looks_of(result_of(later, sooner))
    assert [(k.step, k.role, k.name) for k in looks] == [
        (20, "optimised", "stars:overall"),
        (20, "held_out", "rules:sharp"),
        (40, "optimised", "stars:overall"),
        (40, "held_out", "rules:sharp"),
    ]
    assert looks[0].standardised == pytest.approx(1 / DEVIATION)
    assert (looks[0].change, looks[0].n, looks[0].moved) == (1.0, 10, "up")
    assert looks_of({"optimised": "stars:overall", "changes": {}}) == []


def test_of_two_looks_at_one_step_the_last_counts() -> None:
    first, second = (Reading(20, (BASE, BASE + gain), training={"latent_error": gain}) for gain in (1.0, 2.0))
    result = result_of(first, second)
    assert [k.change for k in looks_of(result)] == [2.0]
    assert distances_of(result) == [(20.0, 2.0)]


def test_what_is_null_in_the_file_is_undefined_and_level() -> None:
    nothing = np.full(10, np.nan)
    (look,) = looks_of(result_of(Reading(20, (BASE, nothing))))
    assert [math.isnan(v) for v in (look.change, look.low, look.high, look.standardised)] == [True] * 4
    assert (look.n, look.abstained, look.moved, look.difference(look.change)) == (0, 10, "level", "–")


def test_a_look_rounds_as_the_table_of_changes_does() -> None:
    whole = {"base": 0.0123456, "aligned": 0.0111111}  # below 0.1: four significant digits
    result = result_of(Reading(20, (BASE, BASE), {"rules:sharp": (BASE, BASE + 1)}), changes={"rules:sharp": whole})
    assert [k.difference(k.change) for k in looks_of(result)] == ["0.0000", "+1.00000"]


def test_motion_traded_names_what_fell_and_by_how_much() -> None:
    looks = [
        Reading(
            step,
            (BASE, BASE + gain * DEVIATION),
            {"rules:flow_amplitude": (BASE, BASE - 2 * gain * DEVIATION), "rules:sharp": (BASE, BASE - DEVIATION)},
            {"stars:Dynamic Degree": (BASE, BASE - 0.1 * DEVIATION)},  # less than 0.2 standard deviations
        )
        for step, gain in ((20, 0.5), (40, 0.25))
    ]
    assert told(*looks) == (
        "Motion traded for quality: at step 40 the optimised reward rose by 0.25 standard deviations, while "
        "rules:flow_amplitude fell by 0.50 standard deviations.",
    )
    assert told(looks[0], Reading(60, (BASE, BASE)))[0].startswith("Motion traded for quality: at step 20 ")


def test_motion_that_did_not_vary_in_base_falls_by_no_number() -> None:
    still = np.ones(10)
    (said,) = told(Reading(20, (BASE, BASE + DEVIATION), {}, {"stars:motion": (still, still - 1)}))
    assert said.endswith("the optimised reward rose by 1.00 standard deviations, while stars:motion fell.")


def test_findings_of_other_versions_are_only_repeated() -> None:
    assert told(findings=["colours faded.", MOTION_TRADED]) == ("Colours faded.", "Motion traded for quality.")
    assert findings_of({}, []) == ()


def test_every_motion_finding_of_the_monitor_is_traced_to_a_dimension() -> None:
    rng = np.random.default_rng(8)
    found = 0
    for _ in range(200):
        n = int(rng.integers(5, 20))
        base = rng.normal(size=(4, n))
        after = base + rng.normal([[0.6], [-0.6], [-0.4], [-0.6]], 0.6, (4, n))
        pairs = list(zip(base, after, strict=True))
        watched = {"a:motion": pairs[1], "a:dynamic_degree": pairs[2]}
        reading = Reading(1, pairs[0], {"b:sharpness": pairs[3]}, watched)
        said = told(reading)
        assert bool(said) == bool(findings(reading, AlarmRule()))
        found += len(said)
        assert all("a:motion fell by" in s or "a:dynamic_degree fell by" in s for s in said)
        assert not any("sharpness" in s for s in said)
    assert 20 < found < 180
