"""The page: everything in it, nothing from outside, hostile names harmless."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from rewardbench.errors import InputError
from rewardbench.probing import page, record
from rewardbench.probing.drawings import HEIGHT, _spread
from rewardbench.probing.page import render_page, signed, summary
from rewardbench.results import PluginRecord, Provenance

HOSTILE = '<script src="https://evil.example/x.js"></script>'


def cell(treatment: str, dimension: str, expectation: str | None, verdict: str | None, **given: object):
    values = {
        "family": "degradations", "level": "1", "n": 12, "n_abstained": 0, "n_equal": 0, "change": -0.1, "effect": -0.8,
        "effect_ci95": (-1.0, -0.5), "typical": 0.8, "typical_ci95": (0.5, 1.0), "largest": 0.4, "p": 0.0001,
        "p_holm": 0.01, **given,
    }  # fmt: skip
    return record.ProbeCell(
        treatment=treatment, dimension=dimension, expectation=expectation, verdict=verdict, **values
    )


@pytest.fixture
def found() -> record.ProbeRecord:
    cells = [
        cell("blur", "appeal", "fall", "as expected"),
        cell("blur", "motion", "still", "moves"),
        cell("blur", HOSTILE, None, None),
        cell("container", "appeal", "still", "as expected", family="invariances", level="mkv", n_equal=12, effect=0.0),
        cell("container", "motion", "still", "open", family="invariances", level="mkv", effect=None),
        cell("container", HOSTILE, None, None, family="invariances", level="mkv", n=0, effect=None, change=None),
    ]
    curve = record.ProbeResponse(
        treatment="blur", dimension="appeal", expectation="fall", doses=[0, 0.5, 1], effects=[0, -0.4, -0.8],
        effects_ci95=[(0, 0), (-0.5, -0.2), (-1, -0.5)], n=12, spearman=-1, spearman_ci95=(-1, -1), share_falling=1,
        share_flat=0,
    )  # fmt: skip
    return record.ProbeRecord(
        plugin=PluginRecord(label=HOSTILE, name="p", version="1", fingerprint="f", dimensions=[], notes=HOSTILE),
        dimensions=[
            record.ProbeDimension(name="appeal", meaning="appeal", unit=0.1, n=12, mean=0.5),
            record.ProbeDimension(name="motion", meaning="motion", unit=0.1, n=12, mean=0.5),
            record.ProbeDimension(name=HOSTILE, meaning=None, unit=0.0, n=12, mean=0.5),
        ],
        clips=record.ProbeClips(
            n=12, n_failed=1, n_prompts=2, n_images=0, n_first_frames=0, n_shrunk=0, sha256="0" * 64
        ),
        treatments=[
            record.ProbeTreatment(family="degradations", name="blur", levels=["0.5", "1"], description=HOSTILE),
            record.ProbeTreatment(family="invariances", name="container", levels=["mkv"], description="d"),
        ],
        cells=cells,
        responses=[curve],
        left_out=[record.LeftOut(treatment="freeze", n_clips=1, reason=HOSTILE)],
        notes=[HOSTILE],
        failures=[{"plugin": "p", "clip_id": "c", "video": HOSTILE, "error": HOSTILE}],
        settings=record.Settings(
            only=[], quick=True, limit=None, seed=0, short_side=320, most_frames=121, margin=0.2, alpha=0.05,
            fewest_clips=5, bootstrap=2000, rule="rule",
        ),
        provenance=Provenance(rewardbench="0", python="3", command=HOSTILE),
    )  # fmt: skip


class Requests(HTMLParser):
    """Every attribute that makes a browser fetch something, and every script."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        for name, value in attrs:
            if name in ("src", "srcset", "poster", "data", "action") or (name == "href" and tag != "a"):
                self.fetched.append(value or "")
            if name.startswith("on"):
                self.fetched.append(f"{name}={value}")


def test_the_page_fetches_nothing_and_runs_its_own_script_only(found: record.ProbeRecord) -> None:
    text = render_page(found)
    read = Requests()
    read.feed(text)
    assert read.fetched == []
    assert read.scripts == 1
    assert "default-src 'none'" in text
    assert not re.search(r"url\(|@import", text)
    assert "evil.example/x.js&#34;" in text, "what is hostile is shown as text"


def test_verdicts_can_be_read_without_colour(found: record.ProbeRecord) -> None:
    text = render_page(found)
    assert 'aria-label="should fall: as expected; 12 clips">✓' in text
    assert 'aria-label="should not move: moves; 12 clips">✗' in text
    assert "−0.80" in text
    assert ">equal<" in text
    assert "−0.1 u" in text, "without a spread the change is in the model's own units"


def test_the_summary_counts_verdicts_and_names_what_is_wrong(found: record.ProbeRecord) -> None:
    said = summary(found)
    assert said[0] == ("Of 4 cells with an expectation: 2 as expected, 1 where a score moves that should not, 1 open.")
    assert said[1] == "Answers as it should: appeal to blur."
    assert said[2] == "Moves though it should not: motion to blur."


def test_nothing_expected_is_said_in_a_sentence(found: record.ProbeRecord) -> None:
    bare = found.model_copy(update={"cells": [c for c in found.cells if c.expectation is None], "responses": []})
    assert "there is no verdict" in summary(bare)[0]
    assert "there is no verdict" in render_page(bare)


def test_a_degradation_without_any_curve_says_so(found: record.ProbeRecord) -> None:
    silent = found.responses[0].model_copy(update={"n": 0, "effects": [None] * 3})
    assert "No dimension has a spread" in render_page(found.model_copy(update={"responses": [silent]}))


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.0, "0"), (-0.001, "−0.00"), (0.256, "+0.26"), (-21.27, "−21.3"), (150.0, "+150.0")],
)
def test_changes_are_written_with_their_sign(value: float | None, text: str) -> None:
    assert signed(value) == text


def test_labels_of_curves_keep_their_order_and_do_not_touch() -> None:
    places = [100.0, 101.0, 99.0, 20.0, HEIGHT + 30.0]
    moved = _spread(places)
    ordered = sorted(zip(places, moved, strict=True))
    assert [m for _, m in ordered] == sorted(moved)
    assert all(b - a >= 11.99 for a, b in zip(sorted(moved), sorted(moved)[1:], strict=False))
    assert max(moved) <= HEIGHT


def test_the_shipped_schema_is_the_one_in_force() -> None:
    import json

    shipped = Path(page.__file__).with_name("probe.schema.json")
    assert json.loads(shipped.read_text()) == record.json_schema()


def test_foreign_and_damaged_records_are_refused_in_a_sentence(tmp_path: Path, found: record.ProbeRecord) -> None:
    path = tmp_path / "probe.json"
    with pytest.raises(InputError, match="does not exist"):
        record.read_probe(path)
    for text, said in (
        ("{", "not a readable JSON"),
        ('{"schema": "x/9"}', "is of a foreign schema \\('x/9'\\)"),
        ("[]", "is of a foreign schema \\(None\\)"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=said):
            record.read_probe(path)
    path.write_text('{"schema": "rewardbench.probe/1"}')
    with pytest.raises(InputError, match="does not follow rewardbench.probe/1: plugin"):
        record.read_probe(path)
    path.write_text(found.to_json())
    assert record.read_probe(path) == found
