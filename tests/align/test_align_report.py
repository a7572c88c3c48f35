"""The page and the card of an alignment: exactly the run's numbers, no foreign markup, nothing invented."""

from __future__ import annotations

import base64
import json
import math
import random
import re
import runpy
import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from rewardbench.align import curves, evidence, report
from rewardbench.align.adapters import POLICY, adapter_parameters, attach
from rewardbench.align.families import load_family
from rewardbench.align.model_card import base_model
from rewardbench.align.monitors import MOTION_TRADED, AlarmRule, Reading, watch_rows
from rewardbench.align.presets import PRESETS, recipe_for, unstated
from rewardbench.align.recipe import Recipe
from rewardbench.align.report import write_report
from rewardbench.align.sources import settings_by_subject, without_effect
from rewardbench.errors import InputError
from rewardbench.report.figures import BOTTOM, HEIGHT, RIGHT, TOP, WIDTH
from rewardbench.video import write_video

HERE = Path(__file__).parent
browser = runpy.run_path(str(HERE.parent / "report" / "conftest.py"))["browser"]
TINY = runpy.run_path(str(HERE / "families" / "tiny.py"))

HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)>{{ 7*7 }}'
OPTIMISED = "stars:3*overall+1*blur"
# Raw scores of three prompts. Of blur, lower is better, so the reward is (3·overall - blur)/4:
# base -.05, .1, .25 (mean .1), aligned .275, .1, .525 (mean .3); gains .325, 0, .275.
SCORES = {
    "base": [(0.2, 0.8), (0.4, 0.8), (0.6, 0.8)],
    "aligned": [(0.5, 0.4), (0.4, 0.8), (0.9, 0.6)],
}


def change(base: float, aligned: float, ci: tuple[float, float], won: tuple[float, float, float], n: int, out: int):
    return {
        "base": base,
        "aligned": aligned,
        "difference": aligned - base,
        "difference_ci95": list(ci),
        "standardised": float("nan"),
        "win_rate": won[0],
        "win_rate_ci95": list(won[1:]),
        "n": n,
        "abstained": out,
    }


CHANGES = {
    OPTIMISED: change(0.1, 0.3, (0.01234567, 0.35), (5 / 6, 0.5, 1.0), 3, 1),
    "stars:overall": change(0.4, 0.6, (-0.00001, 0.3), (5 / 6, 0.5, 1.0), 3, 1),
    "stars:blur": change(-0.8, -0.6, (0.0, 0.4), (5 / 6, 0.5, 1.0), 3, 1),
    "stars:colour": change(55.55556, 44.44444, (-22.0, -1.0), (0.0, 0.0, 0.0), 3, 0),
    "rules:sharp": change(0.0123456, 0.0111111, (-0.003, 0.0006), (1 / 3, 0.0, 2 / 3), 3, 0),
    "rules:motion": None,
}


def counted(n: int) -> dict[str, Any]:
    """The changes, over so many prompts."""
    return {name: None if c is None else c | {"n": n} for name, c in CHANGES.items()}


def facts(source: str, *said: str) -> dict:
    return {"prompts": 4, "clips": 1234, "source": source, "said": list(said)}


LOG = [
    {
        "step": step,
        "loss": 0.7 - 0.01 * step,
        "accuracy": 0.5 + 0.01 * step,
        "margin": 0.02 * step,
        "error_win": 0.3,
        "error_win_reference": 0.31,
        "error_lose": 0.42,
        "error_lose_reference": 0.4,
        "gradient_norm": 1.25,
        "clipped": 0.75,
        "seconds": {"forward": 0.5, "backward": 1.5, "data": 0.25},
        "arithmetic_share": 0.4321,
    }
    for step in (10, 20)
]


def settings(**changes: Any) -> dict[str, Any]:
    return replace(Recipe(), **({"algorithm": "dpo", "steps": 40, "rounds": 2} | changes)).as_dict()


def write_scores(out: Path, side: str, scores: list[tuple[float, float]], ids: list[str]) -> None:
    lines = [f"{i}-0,{a!r},{b!r}," for i, (a, b) in zip(ids, scores, strict=True)]
    (out / "evaluate" / f"{side}-scores.csv").write_text("\n".join(["clip_id,overall,blur,error", *lines]) + "\n")


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Writes a run's folder by hand: ``make_run(prompts=…, videos=True, alarm=…)``; entries of result.json by name.

    Clips are left out unless ``videos``: without them no process has to decode any.
    """
    from PIL import Image

    clip = tmp_path / "clip.mp4"
    frames = np.zeros((8, 16, 16, 3), np.uint8)
    frames[:, 4:12, 4:12] = (np.arange(8) * 30)[:, None, None, None]
    write_video(clip, frames, 8)

    def make(
        name: str = "run",
        *,
        prompts: tuple[str, ...] = ("a girl waves", HOSTILE, "雨"),
        scores=SCORES,
        videos=False,
        steps=(20,),
        **entries,
    ):
        out = tmp_path / name
        (out / "prompts").mkdir(parents=True)
        ids = [f"p{i}" for i in range(len(prompts))]
        for side in ("base", "aligned"):
            (out / "evaluate" / side / "videos").mkdir(parents=True)
            for i in ids if videos else ():
                shutil.copyfile(clip, out / "evaluate" / side / "videos" / f"{i}-0.mp4")
            if scores is not None:
                write_scores(out, side, scores[side], ids)
        for table in ("base", "aligned", *(f"step-{step:08d}" for step in steps)):
            (out / "evaluate" / f"{table}.csv").write_text("clip_id\n")
        (out / "evaluate" / "step-00000020-scores.csv").write_text("clip_id\n")
        Image.new("RGB", (16, 16), (200, 30, 30)).save(out / "prompts" / "0.png")
        judge = {"plugin": "stars", "mix": {"overall": 3.0, "blur": 1.0}, "options": {}}
        (out / "align.json").write_text(json.dumps({"judge": judge}))
        result = {
            "schema": "rewardbench.align/1",
            "algorithm": "dpo",
            "preset": None,
            "recipe": settings(),
            "effective_beta": {"per_sample": 2500.0, "per_element": 2500 / 4096, "elements": 4096},
            "generator": {"model": "wan:Wan-AI/Wan2.1-T2V-1.3B-Diffusers", "family": "wan", "needs_image": False},
            "optimised": OPTIMISED,
            "held_out": ["rules"],
            "prompts": {"learned_on": 1234, "compared_on": 4},
            "judges": [
                {"label": "judge", "version": "1.5", "fingerprint": "0123abcd"},
                {"label": "rules", "version": "2", "fingerprint": "4567"},
            ],
            "pairs": [
                {"n": 5, "gaps": [0.5, 0.125, 0.25, 2.0]} | facts("judge:overall", "all clips scored equal for 3 of 9"),
                {"n": None, "gaps": []} | facts("real clips"),
            ],
            "training": [LOG, LOG],
            "changes": CHANGES,
            "alarm": None,
            "clips": [
                {
                    "prompt_id": i,
                    "prompt": text,
                    "image": "prompts/0.png" if i == "p0" else None,
                    "base": f"evaluate/base/videos/{i}-0.mp4",
                    "aligned": f"evaluate/aligned/videos/{i}-0.mp4",
                }
                for i, text in zip(ids, prompts, strict=True)
            ],
            "provenance": {"rewardbench": "0.1.0", "python": "3.11.9", "torch": None, "command": "rewardbench align x"},
        }
        (out / "result.json").write_text(json.dumps(result | entries))
        return out

    return make


class Page(HTMLParser):
    """A page's tags, its text, the cells of its tables by row, and the text of each element of a class."""

    VOID = frozenset({"meta", "link", "img", "br", "hr", "input", "path", "line", "circle", "rect", "wbr"})

    def __init__(self, out: Path) -> None:
        super().__init__()
        write_report(out)
        self.source = (out / "report.html").read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self._text: list[str] = []
        self._open: list[str] = []
        self._cell = False
        self.feed(self.source)
        assert self._open == []
        self.text = " ".join("".join(self._text).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._cell = True

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self._open.pop() == tag
        if tag in ("td", "th"):
            self._cell = False
            self.rows[-1][-1] = " ".join(self.rows[-1][-1].split())

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("script", "style"):
            self._text.append(data)
            if self._cell and "svg" not in self._open:
                self.rows[-1][-1] += data

    def attributes(self, tag: str, name: str) -> list[str]:
        return [a[name] or "" for t, a in self.tags if t == tag and name in a]

    def shown(self) -> list[str]:
        """Ids of the prompts whose clips are shown, in order."""
        return [label.removeprefix("prompt ") for label in self.attributes("article", "aria-label")]


def card_of(out: Path) -> tuple[dict[str, Any], str]:
    """Front matter and text of a written card."""
    _, front, text = re.split(
        r"^---\n", (out / "README.md").read_text(encoding="utf-8"), maxsplit=2, flags=re.MULTILINE
    )
    return yaml.safe_load(front), text


def code_of(card: str) -> str:
    found = re.search(r"```python\n(.*?)\n```", card, re.DOTALL)
    assert found is not None
    return found[1]


# ---------------------------------------------------------------------- numbers


def test_every_change_stands_in_the_table_rounded_as_stated(make_run: Callable[..., Path]) -> None:
    rows = Page(make_run(changes=counted(64))).rows
    cells = [[*row[:5], *row[6:]] for row in rows[1:]]
    assert cells == [
        [f"{OPTIMISED}optimised", "0.1000", "0.3000", "+0.2000▲ [+0.0123, +0.3500]", "0.833 [0.500, 1.000]", "64", "1"],
        [
            "stars:overallin the reward, weight 3 of 4",
            *("0.4000", "0.6000", "+0.2000 [0.0000, +0.3000]", "0.833 [0.500, 1.000]", "64", "1"),
        ],
        [
            "stars:blurin the reward, weight 1 of 4",
            *("−0.8000", "−0.6000", "+0.2000 [0.0000, +0.4000]", "0.833 [0.500, 1.000]", "64", "1"),
        ],
        [
            "stars:coloursame model, not optimised by itself",
            *("55.5556", "44.4444", "−11.1111▼ [−22.0000, −1.0000]", "0.000 [0.000, 0.000]", "64", "0"),
        ],
        [
            "rules:sharpheld out",
            *("0.01235", "0.01111", "−0.00123 [−0.00300, +0.00060]", "0.333 [0.000, 0.667]", "64", "0"),
        ],
        ["rules:motionheld out", "–", "–", "–", "–", "0", "–"],
    ]


def test_headline_holds_reward_win_rate_and_number_of_prompts(make_run: Callable[..., Path]) -> None:
    out = make_run(changes=counted(64))
    text = Page(out).text
    assert "optimised reward, base → aligned0.1000 → 0.3000" in text
    assert "difference, 95 % interval+0.2000 [+0.0123, +0.3500]" in text
    assert "win rate of aligned, 95 % interval0.833 [0.500, 1.000]" in text
    assert "prompts compared64" in text
    assert "The optimised reward rose: the whole interval of its difference lies above 0." in text
    assert "went from 0.1000 to 0.3000 (+0.2000, 95 % interval [+0.0123, +0.3500])" in card_of(out)[1]
    assert "a share of 0.833 [0.500, 1.000] of 64 prompts" in card_of(out)[1]


@pytest.mark.parametrize(
    ("ci", "sentence"),
    [
        ((-0.1, 0.5), "Whether the optimised reward changed is open: the interval of its difference includes 0."),
        ((-0.5, -0.1), "The optimised reward fell: the whole interval of its difference lies below 0."),
    ],
)
def test_headline_claims_no_more_than_the_interval_shows(make_run: Callable[..., Path], ci, sentence: str) -> None:
    found = CHANGES | {OPTIMISED: counted(64)[OPTIMISED] | {"difference_ci95": ci}}
    text = Page(make_run(changes=found)).text
    assert sentence in text
    assert "reward rose" not in text


def test_a_change_over_too_few_prompts_is_no_rise_and_no_fall(make_run: Callable[..., Path]) -> None:
    out = make_run(changes=counted(7))
    page = Page(out)
    assert page.rows[1][3:6] == ["+0.2000 [+0.0123, +0.3500]", "0.833 [0.500, 1.000]", ""]
    assert [row[6] for row in page.rows[1:]] == ["7 (too few)"] * 5 + ["0"]
    assert not re.search("[▲▼]", "".join(cell for row in page.rows for cell in row))
    assert "changed is open: fewer than 8 prompts are too few to say." in page.text
    assert "of 7 prompts. These are too few to say whether it changed." in card_of(out)[1]
    assert card_of(out)[1].count("| 7 (too few) |") == 5


def test_nothing_is_claimed_where_no_prompt_has_both_scores(make_run: Callable[..., Path]) -> None:
    out = make_run(changes=dict.fromkeys(CHANGES), scores=None)
    page = Page(out)
    assert f"{OPTIMISED} has no score of both base and aligned on any prompt" in page.text
    assert all(row[1:5] == ["–"] * 4 for row in page.rows[1:])
    assert "nothing can be said of it" in card_of(out)[1]
    assert "gains and losses are not shown" in page.text


def test_card_has_the_same_table_as_the_page(make_run: Callable[..., Path]) -> None:
    out = make_run()
    rows = Page(out).rows[1:]
    lines = [line for line in card_of(out)[1].splitlines() if re.match(r"\| (stars|rules)\\?:", line)]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    written = [[re.sub(r"\\(.)", r"\1", c[0]) + c[1], *c[2:]] for c in cells]
    assert written == [[re.sub("[▲▼]", "", cell) for cell in (*row[:5], *row[6:])] for row in rows]


@pytest.mark.parametrize(
    ("value", "decimals", "signed", "text"),
    [
        (0.51234, 4, False, "0.5123"),
        (-0.00004, 4, True, "0.0000"),
        (0.00005001, 4, True, "+0.0001"),
        (-1.5, 2, True, "−1.50"),
        (math.nan, 4, False, "–"),
        (None, 4, True, "–"),
    ],
)
def test_numbers_are_written_with_a_true_minus_and_no_sign_at_zero(value, decimals, signed, text) -> None:
    assert evidence.fixed(value, decimals, signed=signed) == text


@pytest.mark.parametrize(
    ("values", "decimals"), [((123.4, 0.0), 4), ((0.1, 0.05), 4), ((0.0999,), 5), ((0.002, None), 6)]
)
def test_small_rows_get_four_significant_digits(values, decimals: int) -> None:
    assert evidence.decimals_of(*values) == decimals


# ---------------------------------------------------------------------- alarm


def test_alarm_stands_in_red_on_the_page_and_first_in_the_card(make_run: Callable[..., Path]) -> None:
    out = make_run(alarm={"sentence": "the reward rose and rules:sharp fell <b>", "step": 20})
    page = Page(out)
    assert ("section", {"class": "note alarm", "aria-labelledby": "alarm"}) in page.tags
    assert "Alarm the reward rose and rules:sharp fell <b>" in page.text
    card = card_of(out)[1]
    assert card.index("> **Alarm.** the reward rose and rules:sharp fell \\<b\\>") < card.index("## What changed")


def test_without_alarm_the_watched_judges_are_named(make_run: Callable[..., Path]) -> None:
    out = make_run(changes=counted(64))
    page = Page(out)
    sentence = "No alarm was raised. Held-out judges: rules."
    assert f"No alarm {sentence} An alarm is raised where, at 2 looks" in page.text
    assert ("section", {"class": "note calm", "aria-labelledby": "alarm"}) in page.tags
    assert f"> {sentence}\n" in card_of(out)[1]


def test_without_held_out_judges_it_is_said_that_nobody_watched(make_run: Callable[..., Path]) -> None:
    found = {name: c for name, c in counted(64).items() if name.startswith("stars")}
    out = make_run(held_out=[], changes=found)
    page = Page(out)
    assert "Reward hacking was not watched: no judge was held out" in page.text
    assert ("section", {"class": "note blind", "aria-labelledby": "alarm"}) in page.tags
    assert "Reward hacking was not watched: no judge was held out" in card_of(out)[1]
    assert [row[0] for row in page.rows[1:]][-1].startswith("stars:colour")


@pytest.mark.parametrize(
    ("entries", "steps", "sentence"),
    [
        ({}, (), "The run has 1 look at the policy, and an alarm takes 2 running."),
        ({"n": 7}, (20,), "Fewer than 8 prompts have both optimised rewards: too few to raise one."),
        ({"silent": True}, (20,), "Fewer than 8 prompts have both scores of rules: too few to raise one."),
    ],
)
def test_a_run_that_could_not_raise_an_alarm_is_not_called_calm(make_run, entries, steps, sentence: str) -> None:
    changes = counted(entries.get("n", 64))
    if entries.get("silent"):
        changes["rules:sharp"] = None
    out = make_run(changes=changes, steps=steps)
    page = Page(out)
    assert "No alarm was possible No alarm was raised. Held-out judges: rules." in page.text
    assert sentence in page.text
    assert "Nothing in this run could have shown that the reward was hacked." in card_of(out)[1]


def test_findings_stand_beside_the_verdict_and_in_the_card_with_or_without_alarm(make_run) -> None:
    for number, alarm in enumerate((None, {"sentence": "the reward rose"})):
        out = make_run(f"run-{number}", alarm=alarm, findings=[MOTION_TRADED, "a <b>b</b> | c"], changes=counted(64))
        verdict = Page(out).text.partition("How the judges moved")[0]
        assert "Found: Motion traded for quality. Found: A <b>b</b> | c." in verdict
        card = card_of(out)[1]
        assert card.index("\n**Found.** Motion traded for quality.\n") < card.index("## What changed")
        assert "\n**Found.** A \\<b\\>b\\</b\\> \\| c.\n" in card
    quiet = make_run("quiet", findings=[])
    assert "Found" not in Page(quiet).text + card_of(quiet)[1]


# ---------------------------------------------------------------------- judges over steps


def up_to(step: int, share: float) -> Reading:
    """A look with known movements: base is 0, 1, …, 9, and every prompt gains that share of its standard deviation.

    The optimised reward gains it once, ``rules:flow_amplitude`` loses it twice, and ``stars:colour`` stays.
    """
    base = np.arange(10.0)
    deviation = math.sqrt(55 / 6)
    return Reading(
        step,
        (base, base + share * deviation),
        {"rules:flow_amplitude": (base, base - 2 * share * deviation), "rules:sharp": (base[:5], base[:5] + 1)},
        {"stars:colour": (base, base), "stars:still": (np.ones(10), np.ones(10) + 1)},
        {"latent_error": share / 10, "margin": 3.0},
    )


def watched(*looks: Reading) -> list[dict[str, Any]]:
    """The entry of result.json, as it is read from a file."""
    found: list[dict[str, Any]] = json.loads(json.dumps(watch_rows(looks, AlarmRule())))
    return found


class Drawing:
    """A chart of the page: its curves by class, in the values of its axis (from the lines at 0 and at -0.2)."""

    def __init__(self, svg: str) -> None:
        self.curves = {
            css: [tuple(map(float, point.split())) for point in d[1:].split("L")]
            for css, d in re.findall(r'<path class="curve ([^"]*)" d="([^"]*)"', svg)
        }
        self.dots = [(css, float(y)) for css, y in re.findall(r'<circle class="point ([^"]*)"[^>]* cy="([^"]*)"', svg)]
        levels = dict(re.findall(r'<line class="floor (\w+)"[^>]* y1="([^"]*)"', svg))
        self.zero = float(levels.get("dashed", "nan"))
        self.unit = (float(levels.get("alarm", "nan")) - self.zero) / 0.2

    def steps(self, css: str, last: float) -> list[float]:
        return [(x - curves.LEFT) / (WIDTH - RIGHT - curves.LEFT) * last for x, _ in self.curves[css]]

    def heights(self, css: str, unit: float | None = None) -> list[float]:
        return [(self.zero - y) / (unit or self.unit) for _, y in self.curves[css]]


def movements(out: Path) -> dict[str, Drawing]:
    """The drawings of the section by their names."""
    section = Page(out).source.partition('id="movements"')[2].partition("</section>")[0]
    figures = re.findall(r"<figcaption>([^<]*)</figcaption>.*?(<svg.*?</svg>)", section, re.DOTALL)
    return {name: Drawing(svg) for name, svg in figures}


def test_judges_are_drawn_from_base_in_standard_deviations_on_one_axis(make_run: Callable[..., Path]) -> None:
    drawn = movements(make_run(watched=watched(up_to(10, 0.1), up_to(20, 0.3), up_to(40, 0.2))))
    assert list(drawn) == ["rules, held out", "stars, dimensions of the same model", "Distance from the reference"]
    held_out, own, distance = drawn.values()
    assert held_out.steps("optimised", 40) == pytest.approx([0, 10, 20, 40], abs=0.02)
    assert held_out.heights("optimised") == pytest.approx([0, 0.1, 0.3, 0.2], abs=0.004)
    assert held_out.heights("judge-0 motion") == pytest.approx([0, -0.2, -0.6, -0.4], abs=0.004)
    assert own.heights("optimised", held_out.unit) == held_out.heights("optimised")
    assert own.heights("judge-0", held_out.unit) == [0, 0, 0, 0]
    assert math.isnan(own.unit)  # what is no held-out judge raises no alarm
    heights = [y for _, y in distance.curves["distance"]]
    rise = [(heights[0] - y) / (heights[0] - heights[2]) for y in heights]
    assert rise == pytest.approx([0, 1 / 3, 1, 2 / 3], abs=0.002)


def test_one_look_is_drawn_as_base_and_end(make_run: Callable[..., Path]) -> None:
    out = make_run(watched=watched(up_to(40, 0.3)))
    held_out, *_ = movements(out).values()
    assert held_out.steps("optimised", 40) == pytest.approx([0, 40])
    assert held_out.heights("judge-0 motion") == pytest.approx([0, -0.6], abs=0.004)
    text = Page(out).text
    assert "Dots: the looks at the policy (step 40), hollow where fewer than 8 prompts were compared;" in text
    # the legend goes from the highest to the lowest at the end; 5 prompts of 0 … 4 deviate by √2.5, and gain 1
    assert "+0.30 optimised reward +0.63 sharp −0.60 flow_amplitude" in text


def test_looks_over_too_few_prompts_have_hollow_dots(make_run: Callable[..., Path]) -> None:
    held_out, *_ = movements(make_run(watched=watched(up_to(20, 0.1), up_to(40, 0.2)))).values()
    hollow = [(css, y) for css, y in held_out.dots if css.endswith("hollow")]
    assert [css for css, _ in hollow] == ["judge-1 hollow"] * 2
    assert [(held_out.zero - y) / held_out.unit for _, y in hollow] == pytest.approx(
        [1 / math.sqrt(2.5)] * 2, abs=0.004
    )
    assert len(held_out.dots) == 3 * 3  # base and two looks of three judges


def test_what_has_no_standardised_change_is_named_and_not_drawn(make_run: Callable[..., Path]) -> None:
    out = make_run(watched=watched(up_to(20, 0.1), up_to(40, 0.2)))
    assert "judge-1" not in movements(out)["stars, dimensions of the same model"].curves
    assert "Not drawn, because undefined: still." in Page(out).text
    rows = watched(up_to(20, 0.1), up_to(30, 0.2), up_to(40, 0.2))
    for row in rows:
        if row["step"] == 20 and row["role"] == "optimised":
            row.update(dict.fromkeys(("change", "low", "high", "standardised")), n=0)
    held_out, *_ = movements(make_run("gap", watched=rows)).values()
    assert held_out.steps("optimised", 40) == pytest.approx([30, 40], abs=0.02)
    assert [css for css, _ in held_out.dots].count("optimised") == 3


def test_many_dimensions_are_split_into_drawings_of_six(make_run: Callable[..., Path]) -> None:
    base = np.arange(10.0)
    many = {f"rules:d{i}": (base, base + i) for i in range(13)}
    drawn = movements(make_run(watched=watched(Reading(40, (base, base), many))))
    assert list(drawn) == [f"rules, held out ({i} of 3)" for i in (1, 2, 3)]
    found = [len(d.curves) for d in drawn.values()]
    assert found == [7, 7, 2]  # with the optimised reward in each
    tops = [d.heights(f"judge-{i}")[-1] for d in drawn.values() for i in range(len(d.curves) - 1)]
    assert tops == pytest.approx([i / math.sqrt(55 / 6) for i in range(13)], abs=0.02)


def test_every_look_stands_in_numbers_with_its_interval(make_run: Callable[..., Path]) -> None:
    # gains -1, 1, …: mean 0 and deviation √(8/7); with 7 degrees of freedom t(.99) is 2.998 by the usual tables
    base = np.arange(8.0)
    gains = np.array([-1.0, 1.0] * 4)
    look = Reading(
        20, (base, base + gains), {"rules:sharp": (base, base + 2 + gains), "rules:few": (base[:7], base[:7] + 1)}
    )
    reach = 2.998 * math.sqrt(8 / 7) / math.sqrt(8)
    found = {row[0]: row[1:] for row in Page(make_run(watched=watched(look), changes={OPTIMISED: None})).rows}
    assert found[OPTIMISED] == ["20", f"0.0000 [−{reach:.4f}, +{reach:.4f}]", "0.00", "8", "0"]
    sharp = f"+2.0000▲ [+{2 - reach:.4f}, +{2 + reach:.4f}]"
    assert found["rules:sharp"] == ["20", sharp, f"+{2 / math.sqrt(6):.2f}", "8", "0"]
    few = f"+{1 / math.sqrt(28 / 6):.2f}"
    assert found["rules:few"] == ["20", "+1.0000 [+1.0000, +1.0000]", few, "7 (too few)", "0"]


def test_results_without_looks_say_what_is_missing(make_run: Callable[..., Path]) -> None:
    out = make_run()
    assert movements(out) == {}
    assert "No curves: result.json records no look at the policy whose judges’ changes are defined." in Page(out).text
    alone = movements(make_run("alone", watched=watched(Reading(40, (np.arange(9.0), np.arange(9.0) + 1)))))
    assert [(name, list(d.curves)) for name, d in alone.items()] == [("Optimised reward", ["optimised"])]


# ---------------------------------------------------------------------- clips


def test_clips_show_their_reward_with_the_direction_of_each_dimension(make_run: Callable[..., Path]) -> None:
    page = Page(make_run())
    assert page.shown() == ["p0", "p1", "p2"]
    assert "reward −0.0500 → 0.2750 gain +0.3250 largest gain p0" in page.text
    assert "reward 0.1000 → 0.1000 gain 0.0000 p1" in page.text
    assert "reward 0.2500 → 0.5250 gain +0.2750 2nd largest gain p2" in page.text


def test_first_eight_then_largest_gains_then_largest_losses_are_shown_once_each(make_run: Callable[..., Path]) -> None:
    rng = random.Random(4)
    n = 40
    gains = [0.01 * k for k in rng.sample(range(-25, 30), n)]
    base = [rng.random() for _ in range(n)]
    scores = {
        "base": [(b, 0.5) for b in base],
        "aligned": [(b + 4 / 3 * g, 0.5) for b, g in zip(base, gains, strict=True)],
    }
    reward = {side: [(3 * o - b) / 4 for o, b in scores[side]] for side in scores}
    actual = [a - b for a, b in zip(reward["aligned"], reward["base"], strict=True)]
    means = {side: statistics.fmean(values) for side, values in reward.items()}
    found = CHANGES | {
        OPTIMISED: change(means["base"], means["aligned"], (0, 1), (0.5, 0, 1), n, 0),
        "stars:overall": change(
            *(statistics.fmean(o for o, _ in scores[s]) for s in scores), (0, 1), (0.5, 0, 1), n, 0
        ),
        "stars:blur": change(-0.5, -0.5, (0, 0), (0.5, 0, 1), n, 0),
    }
    page = Page(make_run(prompts=("x",) * n, scores=scores, changes=found))
    ranking = sorted(range(n), key=lambda i: actual[i])
    best = [i for i in reversed(ranking) if actual[i] > 0][:8]
    worst = [i for i in ranking if actual[i] < 0][:8]
    shown = [int(i[1:]) for i in page.shown()]
    assert shown[:8] == list(range(8))
    assert len(shown) == len(set(shown)) <= 24
    assert shown[8:] == [i for i in (*best, *worst) if i >= 8]
    assert f"largest gain p{best[0]}" in page.text
    assert f"8th largest loss p{worst[7]}" in page.text


def test_no_gains_are_shown_where_the_tables_do_not_give_the_means(make_run: Callable[..., Path]) -> None:
    scores = SCORES | {"aligned": [(0.5, 0.4), (0.4, 0.8), (0.8, 0.6)]}
    page = Page(make_run(scores=scores))
    assert page.shown() == ["p0", "p1", "p2"]
    assert "gains and losses are not shown" in page.text
    assert "largest gain" not in page.text


def test_an_unscored_clip_says_so_and_is_not_ranked(make_run: Callable[..., Path]) -> None:
    scores = {side: [*SCORES[side], (float("nan"), 0.1)] for side in SCORES}
    out = make_run(prompts=("a", "b", "c", "d"), scores=scores)
    for side in ("base", "aligned"):
        path = out / "evaluate" / f"{side}-scores.csv"
        path.write_text(path.read_text().replace("nan", ""))
    page = Page(out)
    assert "one of the clips has no score p3" in page.text
    assert "reward −0.0500 → 0.2750" in page.text


def test_clips_stand_in_the_page_byte_for_byte(make_run: Callable[..., Path]) -> None:
    out = make_run(videos=True)
    sources = Page(out).attributes("video", "src")
    expected = [out / "evaluate" / side / "videos" / f"p{i}-0.mp4" for i in range(3) for side in ("base", "aligned")]
    assert all(s.startswith("data:video/mp4;base64,") for s in sources)
    assert [base64.b64decode(s.partition(",")[2]) for s in sources] == [path.read_bytes() for path in expected]


def test_large_clips_are_linked_and_the_page_says_so(make_run: Callable[..., Path], monkeypatch) -> None:
    out = make_run(videos=True)
    size = sum(path.stat().st_size for path in out.glob("evaluate/*/videos/*.mp4"))
    monkeypatch.setattr(report, "MOST_EMBEDDED_BYTES", size)
    page = Page(out)
    sources = page.attributes("video", "src")
    assert len(sources) == 6
    assert all((out / s).is_file() for s in sources)
    assert "too large for a page: it links to the files beside it" in page.text
    monkeypatch.setattr(report, "MOST_EMBEDDED_BYTES", size + 1)
    assert "stand in this page itself" in Page(out).text


def test_files_outside_the_folder_are_not_taken_into_the_page(make_run: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "secret.mp4").write_bytes(b"a secret")
    clip = {"prompt_id": "p", "prompt": "", "image": "../secret.mp4", "base": "../secret.mp4", "aligned": "none.mp4"}
    page = Page(make_run(clips=[clip]))
    assert page.attributes("video", "src") == []
    assert page.text.count("Not shown: the clip is not in the run's folder.") == 2
    assert base64.b64encode(b"a secret").decode() not in page.source


def test_an_image_is_shown_only_for_prompts_that_have_one(make_run: Callable[..., Path]) -> None:
    page = Page(make_run())
    assert [src[:23] for src in page.attributes("img", "src")] == ["data:image/jpeg;base64,"]


# ---------------------------------------------------------------------- foreign text


def test_foreign_text_becomes_no_markup_and_the_page_asks_for_nothing(make_run: Callable[..., Path]) -> None:
    generator = {"model": HOSTILE, "family": HOSTILE}
    base = np.arange(10.0)
    rows = watched(Reading(40, (base, base + 1), {f"{HOSTILE}:{HOSTILE}": (base, base)}))
    facts = {"rewardbench": "0.1.0", "command": f"rewardbench {HOSTILE} ``` x", "device": HOSTILE}
    out = make_run(
        generator=generator,
        provenance=facts,
        alarm={"sentence": HOSTILE},
        held_out=[HOSTILE],
        videos=True,
        watched=rows,
        findings=[HOSTILE],
    )
    page = Page(out)
    assert page.text.count(HOSTILE) >= 5
    assert len([tag for tag, _ in page.tags if tag == "script"]) == 1
    assert not [attrs for _, attrs in page.tags if any(name.startswith("on") for name in attrs)]
    links = [
        v
        for name in ("src", "href", "poster")
        for tag in ("img", "video", "a", "link")
        for v in page.attributes(tag, name)
    ]
    assert links
    assert all(link.startswith(("data:", "#")) for link in links)
    front, card = card_of(out)
    assert front["library_name"] == "diffusers"
    outside = re.sub(r"(`{3,})\w+\n.*?\n\1", "", card, flags=re.DOTALL)
    assert not re.search(r"(?<!\\)<", re.sub(r"`[^`\n]*`", "", outside))
    assert "````sh\n" in card


def test_two_runs_of_the_report_give_the_same_bytes(make_run: Callable[..., Path]) -> None:
    out = make_run(videos=True)
    written = []
    for _ in range(2):
        write_report(out)
        written.append([(out / name).read_bytes() for name in ("report.html", "README.md")])
    assert written[0] == written[1]
    assert not list(out.glob("*.partial"))


# ---------------------------------------------------------------------- curves


def test_panels_say_first_and_last_values_of_both_rounds(make_run: Callable[..., Path]) -> None:
    text = Page(make_run()).text
    assert "First 0.6, last 0.5. Dashed: ln 2" in text
    assert "Winner first −0.01, last −0.01; loser first 0.02, last 0.02." in text
    assert "First 1.25, last 1.25. Clipped at 1 (dashed)." in text
    assert "Data first 0.25, last 0.25; forward first 0.5, last 0.5; backward first 1.5, last 1.5." in text
    assert "First 0.4321, last 0.4321. Time that a step's arithmetic" in text
    assert "Dotted uprights are the ends of rounds" in text


def test_ln_2_is_drawn_only_where_the_loss_starts_there(make_run: Callable[..., Path]) -> None:
    weighted = settings(algorithm="gapo", pair_weight="gap")
    assert "ln 2" not in Page(make_run(recipe=weighted, algorithm="gapo")).text


def test_steps_of_rounds_are_counted_through() -> None:
    assert evidence.points_of([LOG, LOG], 20, "margin") == [(10, 0.2), (20, 0.4), (30, 0.2), (40, 0.4)]
    assert evidence.points_of([LOG], 20, "seconds/backward") == [(10, 1.5), (20, 1.5)]
    assert evidence.points_of([[{"step": 1}]], 20, "margin") == []


def test_page_names_judges_with_their_versions_and_what_each_round_learned_from(make_run: Callable[..., Path]) -> None:
    page = Page(make_run())
    assert "version 1.5, fingerprint 0123abcd" in page.text
    assert "version 2, fingerprint 4567" in page.text
    first = "Round 1: 1,234 clips of 4 prompts, decided by judge:overall. All clips scored equal for 3 of 9."
    assert first in page.text
    assert "Round 2: 1,234 clips of 4 prompts, decided by real clips." in page.text


def test_page_without_logs_pairs_and_clips_says_what_it_lacks(make_run: Callable[..., Path]) -> None:
    sft = settings(algorithm="sft")
    page = Page(
        make_run(
            training=[[], []],
            pairs=[{"n": None, "gaps": []} | facts("real clips")],
            clips=[],
            recipe=sft,
            algorithm="sft",
            effective_beta=None,
        )
    )
    assert "No curves: the run has no training log of the generator." in page.text
    assert "No histogram: the run has no pairs whose two rewards are known." in page.text
    assert "result.json names no clips." in page.text
    assert "Effective beta: none; sft compares with no reference." in page.text
    assert [tag for tag, attrs in page.tags if tag == "svg" and attrs.get("class") == "chart"] == []


def test_log_of_a_run_without_reference_shows_only_what_it_has(make_run: Callable[..., Path]) -> None:
    lines = [
        {"step": 10, "loss": 0.25, "error_win": 0.25, "gradient_norm": float("nan"), "clipped": 0.0, "seconds": {}}
    ]
    recipe, pairs = (
        settings(algorithm="sft", rounds=1),
        [{"n": 5, "gaps": [0.5, 0.125, 0.25, 2.0]} | facts("judge:overall")],
    )
    page = Page(make_run(training=[lines], recipe=recipe, pairs=pairs, algorithm="sft"))
    charts = [attrs["aria-label"] for tag, attrs in page.tags if tag == "svg" and attrs.get("class") == "chart"]
    assert charts == [
        "Loss: loss 0.25.",
        "Squared errors: winner 0.25.",
        "Clipped steps: clipped 0.",
        "Reward gaps: 4 pairs; smallest 0.125, median (dotted) 0.375, largest 2.",
    ]


def test_curve_runs_from_corner_to_corner_of_its_axes() -> None:
    line = curves.Line("x", "main", [(0.0, 0.0), (5.0, math.nan), (10.0, 1.0), (20.0, 0.5)])
    drawn = str(curves.line_chart([line], "share", "title", share=True))
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    middle_x, middle_y = (curves.LEFT + right) / 2, (TOP + bottom) / 2
    assert f'cx="{curves.LEFT:.1f}" cy="{bottom:.1f}"' in drawn  # alone before the gap
    assert f'd="M{middle_x:.1f} {TOP:.1f}L{right:.1f} {middle_y:.1f}"' in drawn
    assert curves.line_chart([curves.Line("x", "main", [(1.0, math.nan)])], "y", "title") is None


def test_phases_are_stacked_by_their_seconds() -> None:
    drawn = str(curves.stacked_seconds([("data", [(1, 1.0), (2, 1.0)]), ("backward", [(1, 3.0), (2, 1.0)])], "t"))
    areas = [
        [float(y) for y in re.findall(r" ([\d.]+)", d)] for d in re.findall(r'class="area[^"]*" d="M([^Z]*)Z', drawn)
    ]
    bottom = HEIGHT - BOTTOM
    unit = bottom - areas[0][0]
    assert [bottom - y for y in areas[0]] == pytest.approx([unit, unit, 0, 0])
    assert [bottom - y for y in areas[1]] == pytest.approx([4 * unit, 2 * unit, unit, unit], abs=0.2)


def test_bars_of_the_histogram_are_as_high_as_their_counts() -> None:
    drawn = str(curves.gap_histogram([0.05] * 10 + [0.95] * 2, "t"))
    heights = [float(h) for h in re.findall(r'<rect [^>]*height="([\d.]+)"', drawn)]
    assert np.array(heights) / heights[0] == pytest.approx([1, 0, 0, 0, 0, 0.2], abs=0.01)
    assert curves.gap_histogram([], "t") is None


def test_thinning_keeps_the_mean_and_the_last_step() -> None:
    points = [(float(i), float(i % 7)) for i in range(1200)]
    kept = curves.thinned(points)
    assert len(kept) == 600
    assert kept[-1][0] == 1199.0
    assert statistics.fmean(y for _, y in kept) == pytest.approx(statistics.fmean(y for _, y in points))


# ---------------------------------------------------------------------- recipe


@pytest.mark.parametrize("preset", PRESETS)
def test_only_what_a_source_states_is_marked_as_its_own(preset: str) -> None:
    recipe = recipe_for(None, preset, {}).as_dict()
    groups = settings_by_subject(recipe, preset)
    marked = {s.name: s.origin for group in groups.values() for s in group}
    assert marked.keys() == recipe.keys()
    assert {name for name, origin in marked.items() if origin != "source"} == unstated(preset, {}).keys()


def test_the_commands_changes_are_told_from_the_sources_settings(make_run: Callable[..., Path]) -> None:
    recipe = recipe_for(None, "gapo_paper", {"learning_rate": 1e-5, "steps": 77}).as_dict()
    out = make_run(recipe=recipe, preset="gapo_paper", algorithm="gapo", training=[LOG])
    text = Page(out).text
    assert "learning_rate1e-05 changed: the source has 5e-06" in text
    assert "steps77 not stated: the command's choice" in text
    assert "alpha2 stated by the source" in text
    assert "scale0.5 not stated: our choice" in text
    assert PRESETS["gapo_paper"].source in text
    assert PRESETS["gapo_paper"].notes in text
    card = card_of(out)[1]
    assert "| `learning_rate` | 1e-05 | changed: the source has 5e-06 |" in card
    assert "2500 per sample (of the mean squared error), 0.61 per element (4,096 elements a clip)" in card


def test_unknown_settings_and_presets_of_other_versions_are_shown_unmarked(make_run: Callable[..., Path]) -> None:
    page = Page(make_run(recipe=settings() | {"new_thing": 3}, preset="next_paper"))
    assert "new_thing3" in page.text
    assert "which this version of rewardbench does not know" in page.text


@pytest.mark.parametrize(
    ("changes", "idle", "busy"),
    [
        ({"algorithm": "sft"}, {"beta", "reference", "share_time", "temperature", "alpha"}, {"time_low", "lora_rank"}),
        ({"algorithm": "dpo"}, {"ema_decay", "alpha", "temperature", "time_std"}, {"beta", "reference", "losers"}),
        ({"algorithm": "dpo", "reference": "ema"}, set(), {"ema_decay", "ema_every"}),
        ({"algorithm": "gapo", "pair_weight": "gap"}, {"temperature"}, {"alpha", "gap_range", "gap_normalize"}),
        ({"algorithm": "flow-rwr"}, {"beta"}, {"temperature", "weight_clip", "weight_normalize"}),
        ({"algorithm": "flow-nrg"}, {"beta", "lora_rank"}, {"guidance_scale", "learning_rate"}),
        ({"tuning": "full"}, {"lora_rank", "lora_alpha"}, set()),
        ({"time_law": "logit_normal"}, set(), {"time_mean", "time_std"}),
    ],
)
def test_settings_without_effect_are_those_of_other_recipes(changes, idle: set[str], busy: set[str]) -> None:
    found = without_effect(settings(**changes))
    assert idle <= found
    assert not busy & found


def test_guidance_is_shown_where_the_run_has_one(make_run: Callable[..., Path]) -> None:
    guidance = {
        "scale": 100.0,
        "clamp": None,
        "weights": {"overall": 0.5},
        "latent_reward": "latent-reward.safetensors",
    }
    recipe = settings(algorithm="flow-nrg")
    out = make_run(guidance=guidance, algorithm="flow-nrg", recipe=recipe, effective_beta=None, training=[[], []])
    text = Page(out).text
    assert "The generator itself was not trained." in text
    assert "scale 100 clamp none weights overall=0.5 latent_reward latent-reward.safetensors" in re.sub(
        "(scale|clamp|weights|latent_reward)(?=[^-_])", r" \1 ", text[text.index("changes its velocity.") :]
    ).replace("  ", " ")
    front, card = card_of(out)
    assert "reward-guidance" in front["tags"]
    assert "--latent-reward weights/latent-reward.safetensors" in card
    assert "load_lora_weights" not in card


# ---------------------------------------------------------------------- card


def test_front_matter_names_base_library_and_task(make_run: Callable[..., Path]) -> None:
    out = make_run()
    write_report(out)
    front, card = card_of(out)
    assert front == {
        "base_model": "Wan-AI/Wan2.1-T2V-1.3B-Diffusers",
        "base_model_relation": "adapter",
        "library_name": "diffusers",
        "pipeline_tag": "text-to-video",
        "tags": ["text-to-video", "lora", "peft", "preference-alignment", "dpo", "rewardbench"],
    }
    assert 'pipe.load_lora_weights("weights")' in card
    assert "from_pretrained('Wan-AI/Wan2.1-T2V-1.3B-Diffusers'" in card
    assert "Judge: stars:3\\*overall+1\\*blur (weighted mean of overall × 3, blur × 1)" in card
    assert "```sh\nrewardbench align x\n```" in card


@pytest.mark.parametrize(
    ("model", "family", "base"),
    [
        ("toy", "toy", "toy"),
        ("toy:v", "toy", "toy"),
        ("wan:Wan-AI/Wan2.1-T2V-1.3B-Diffusers", "wan", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"),
        ("/home/someone/models/My Wan", "wan", "My-Wan"),
        ("wan:/home/someone/models/wan", "wan", "wan"),
        ("cogvideox-5b-i2v", "cogvideox", "cogvideox-5b-i2v"),
    ],
)
def test_base_is_named_as_the_hub_does_and_without_places_on_this_machine(model: str, family: str, base: str) -> None:
    assert base_model({"model": model, "family": family}) == base


def _trained(model: Path, recipe: Recipe, weights: Path) -> Any:
    """A family whose network was changed, saved as a run saves it."""
    family = load_family(str(model))
    attach(family, recipe)
    with torch.no_grad():
        for parameter in family.transformer.parameters():
            if parameter.requires_grad:
                parameter.add_(0.25)
    if recipe.tuning == "lora":
        family.save_adapter(weights)
    else:
        family.save_full(weights / "transformer")
    return family


def _run_code(card: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    names: dict[str, Any] = {}
    monkeypatch.chdir(folder)
    exec(compile(code_of(card), "card", "exec"), names)
    return names


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_the_cards_code_loads_the_aligned_toy(make_run, tiny_toy: Path, monkeypatch, tuning: str) -> None:
    out = make_run(generator={"model": str(tiny_toy), "family": "toy"}, recipe=settings(tuning=tuning))
    mine = _trained(tiny_toy, Recipe(tuning=tuning, lora_rank=4, lora_alpha=8), out / "weights")
    write_report(out)
    family = _run_code(card_of(out)[1], out, monkeypatch)["family"]
    latents = torch.randn(1, *mine.latent_shape, generator=torch.Generator().manual_seed(0))
    condition = mine.encode_text(["a girl waves"]) | mine.encode_image(
        torch.zeros(1, 32, 32, 3), 1, torch.Generator().manual_seed(0)
    )
    at = mine.schedule.at(torch.tensor([0.5]))
    with torch.no_grad():
        expected, found = (f.predict(f.transformer, latents, at, condition) for f in (mine, family))
        untouched = load_family(str(tiny_toy))
        before = untouched.predict(untouched.transformer, latents, at, condition)
    scale = float(expected.abs().max())  # 1e-5 of it: products may be summed in another order where a file is mapped
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * scale)
    assert float((before - expected).abs().max()) > 1e-3 * scale


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_the_cards_code_loads_weights_into_diffusers(make_run, monkeypatch, tuning: str) -> None:
    out = make_run(generator={"model": "/elsewhere/tiny-wan", "family": "wan"}, recipe=settings(tuning=tuning))
    TINY["tiny_wan"](out / "tiny-wan")
    recipe = Recipe(tuning=tuning, lora_rank=4, lora_alpha=8)
    mine = _trained(out / "tiny-wan", recipe, out / "weights").transformer
    write_report(out)
    network = _run_code(card_of(out)[1], out, monkeypatch)["pipe"].transformer
    if tuning == "lora":
        expected = adapter_parameters(mine, POLICY)
        found = adapter_parameters(network, next(iter(network.peft_config)))
        assert next(iter(network.peft_config.values())).lora_alpha == 8
    else:
        expected, found = dict(mine.named_parameters()), dict(network.named_parameters())
    assert found.keys() == expected.keys()
    for name, parameter in found.items():
        torch.testing.assert_close(parameter, expected[name].to(parameter.dtype), msg=name)


# ---------------------------------------------------------------------- refusals


def test_a_folder_without_result_is_refused_with_the_stage_to_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run the stage evaluate of rewardbench align first"):
        write_report(tmp_path)


def test_a_result_of_another_tool_is_refused(make_run: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="is of a foreign schema .* name the folder of a run of rewardbench align"):
        write_report(make_run(schema="rewardbench.result/1"))


# ---------------------------------------------------------------------- browser


@pytest.mark.system
@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 900)])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_page_opens_quietly_and_fits(browser: Any, make_run, width: int, height: int, dark: bool) -> None:
    long = "w" * 300
    base = np.arange(10.0)
    look = Reading(40, (base, base + 1), {f"{long}:{long}{i}": (base, base + i) for i in range(4)})
    out = make_run(
        prompts=("a girl waves", HOSTILE, long),
        held_out=["rules", long],
        videos=True,
        watched=watched(look, up_to(20, 0.1)),
        findings=[long],
    )
    write_report(out)
    browser.open(out / "report.html", width, height, dark)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    sticking_out = browser.evaluate(
        "[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1"
        " && !e.closest('.scroll, nav ul, svg, .skip')).map(e => e.outerHTML.slice(0, 80))"
    )
    assert sticking_out == []
    background = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(20, 23, 26)" if dark else "rgb(255, 255, 255)")
    assert browser.complaints() == []
    assert browser.requests() == [(out / "report.html").resolve().as_uri()]


@pytest.mark.system
@pytest.mark.parametrize("limit", [20_000_000, 1], ids=["embedded", "linked"])
def test_one_button_plays_and_pauses_both_clips(browser: Any, make_run, monkeypatch, limit: int) -> None:
    monkeypatch.setattr(report, "MOST_EMBEDDED_BYTES", limit)
    out = make_run(videos=True)
    write_report(out)
    browser.open(out / "report.html", 1280, 900)
    playing = "[...document.querySelectorAll('.take')].map(t => [...t.querySelectorAll('video')].map(v => !v.paused))"
    button = "document.querySelector('button.both')"
    assert browser.evaluate(f"{button}.innerText") == "Play both"
    browser.evaluate(f"{button}.click()")
    deadline = time.monotonic() + 20
    while browser.evaluate(playing)[0] != [True, True] and time.monotonic() < deadline:
        time.sleep(0.1)
    assert browser.evaluate(playing) == [[True, True], [False, False], [False, False]]
    assert browser.evaluate(f"{button}.innerText") == "Pause both"
    browser.evaluate(f"{button}.click()")
    assert browser.evaluate(playing) == [[False, False]] * 3
    assert browser.complaints() == []
