"""A whole probe by a plugin that measures known things: each gets the verdict that closed form demands."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from rewardbench.errors import ClipError, InputError
from rewardbench.probing.probes import ProbeOutcome, probe
from rewardbench.probing.record import ProbeCell, read_probe
from rewardbench.probing.settings import ProbeOptions
from rewardbench.scoring.progress import Silent
from rewardbench_plugin import Clip

ONLY = ("blur", "noise", "working_copy", "container", "prompts", "images", "batch_size", "seed")
N = 13


@pytest.fixture
def clips(write_clips: Callable[..., list[Clip]]) -> list[Clip]:
    return write_clips(N)


def run(clips: list[Clip], out: Path, **given: object) -> ProbeOutcome:
    options = {"only": ONLY, "quick": True, "workers": 1, **given}
    return probe(ProbeOptions(clips=clips, plugin="known", out=out, **options))  # type: ignore[arg-type]


def cell(outcome: ProbeOutcome, treatment: str, dimension: str, level: str | None = None) -> ProbeCell:
    (found,) = [
        c
        for c in outcome.record.cells
        if (c.treatment, c.dimension) == (treatment, dimension)
        and (c.verdict is not None or c.expectation is None or c.n == 0 or level is not None)
        and level in (None, c.level)
    ]
    return found


def test_every_dimension_gets_the_verdict_that_its_closed_form_demands(known, clips, tmp_path: Path) -> None:
    outcome = run(clips, tmp_path / "out", meanings={})
    assert outcome.exit_code == 0
    # detail: blur takes it away, noise adds to it, the prompt is none of its business
    assert cell(outcome, "blur", "appeal").verdict == "as expected"
    assert cell(outcome, "noise", "appeal").verdict == "wrong way"
    swap = cell(outcome, "prompt_swap", "appeal")
    assert (swap.verdict, swap.n_equal, swap.n) == ("as expected", N, N)
    # a constant: blind where it should fall, as expected where it should not move, and its curves are flat
    for treatment, wanted in (("blur", "as expected"), ("prompt_swap", "as expected"), ("image_swap", "as expected")):
        assert cell(outcome, treatment, "character").verdict == wanted
    for curve in outcome.record.responses:
        if curve.dimension == "character":
            assert (curve.spearman, curve.share_flat, curve.share_falling) == (0.0, 1.0, 0.0)
        if (curve.treatment, curve.dimension) == ("blur", "appeal"):
            scores = by_dose(outcome, "blur", "appeal")
            assert curve.spearman == pytest.approx(np.mean([spearmanr([0, 0.5, 1], row)[0] for row in scores]))
            assert curve.share_falling == np.mean([a >= b >= c and a > c for a, b, c in scores]) == 1.0
    # prompt length is permuted by the swap: the mean stays, the sizes are those of the lengths' differences
    lengths = np.array([len(c.prompt or "") for c in clips], float)
    differences = np.roll(lengths, -1) - lengths
    text = cell(outcome, "prompt_swap", "text_video")
    assert text.change == pytest.approx(0.0, abs=1e-12)
    assert text.verdict == "open"
    assert text.typical == pytest.approx(np.abs(differences).mean() / lengths.std(ddof=1))
    assert text.largest == pytest.approx(np.abs(differences).max())
    # the leak: a visual dimension that the prompt moves, up as much as down
    leak = cell(outcome, "prompt_swap", "smoothness")
    assert leak.expectation == "still"
    assert abs(leak.effect or 0.0) < 1e-9
    assert leak.verdict == "moves"
    # noise by name and seed moves wherever a name or seed changes
    assert cell(outcome, "blur", "motion").verdict == "moves"
    assert cell(outcome, "seed", "motion").verdict == "moves"
    assert cell(outcome, "seed", "appeal").n_equal == N
    # one clip in a batch: only the number that counts its company notices
    assert cell(outcome, "batch_size", "mystery").verdict == "moves"
    assert cell(outcome, "batch_size", "appeal").n_equal == N
    # the same stream in another container shows the same frames
    assert cell(outcome, "container", "appeal").n_equal == N
    # the working copy was encoded again, which nothing here notices much
    assert cell(outcome, "working_copy", "appeal").verdict == "as expected"
    # an image of another clip changes what is measured on the image, and nothing else
    assert cell(outcome, "image_swap", "image_video").n_equal == 0
    assert cell(outcome, "image_swap", "appeal").n_equal == N
    # abstaining throughout
    assert all(c.n == 0 and c.verdict is None for c in outcome.record.cells if c.dimension == "overall")
    assert any("abstains on every clip in overall" in note for note in outcome.record.notes)
    # lower is better: the change is turned round
    values = {row["clip"]: row for row in table(outcome) if row["treatment"] == "batch_size"}
    assert all(float(row["mystery"]) == 1.0 for row in values.values())
    assert (cell(outcome, "batch_size", "mystery").change or 0.0) > 0
    # what is written is what is returned, and without NaN
    text_of_file = (outcome.folder / "probe.json").read_text()
    json.loads(text_of_file, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert read_probe(outcome.folder / "probe.json") == outcome.record


def table(outcome: ProbeOutcome) -> list[dict[str, str]]:
    with open(outcome.folder / "probe.csv", newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_the_table_has_every_score_from_which_a_cell_can_be_computed_again(known, clips, tmp_path: Path) -> None:
    outcome = run(clips[:5], tmp_path / "out", only=("blur",))
    rows = table(outcome)
    before = {row["clip"]: float(row["appeal"]) for row in rows if row["treatment"] == "working copy"}
    after = {row["clip"]: float(row["appeal"]) for row in rows if (row["treatment"], row["level"]) == ("blur", "1")}
    unit = np.std(list(before.values()), ddof=1)
    found = cell(outcome, "blur", "appeal")
    assert found.effect == pytest.approx(np.mean([after[c] - before[c] for c in before]) / unit)
    assert all(row["overall"] == "" and row["error"] == "" for row in rows)


def by_dose(outcome: ProbeOutcome, treatment: str, dimension: str) -> list[list[float]]:
    """Scores of each clip at dose 0 and at every dose, from the table."""
    doses = [("working copy", ""), (treatment, "0.5"), (treatment, "1")]
    rows = {(row["clip"], row["treatment"], row["level"]): float(row[dimension]) for row in table(outcome)}
    return [[rows[(clip, *dose)] for dose in doses] for clip in sorted({key[0] for key in rows})]


def scored(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


class Stop(Silent):
    """A user who interrupts once something has been scored."""

    def __init__(self) -> None:
        self.phase = ""

    def start_phase(self, name: str, total: int | None) -> None:
        self.phase = name

    def advance(self, n: int = 1) -> None:
        if self.phase == "scoring clips":
            raise KeyboardInterrupt


def test_a_stopped_probe_goes_on_where_it_was_and_a_wider_one_scores_only_what_is_new(known, clips, tmp_path) -> None:
    log = tmp_path / "log"
    given = {"only": ("blur",), "options": {"log": str(log)}, "batch_size": 1}
    options = ProbeOptions(clips=clips[:3], plugin="known", out=tmp_path / "out", quick=True, workers=1, **given)
    with pytest.raises(KeyboardInterrupt):
        probe(options, Stop())
    kept = len(set(scored(log)))
    assert kept >= 1
    made = sorted((p, p.stat().st_mtime_ns) for p in (tmp_path / "cache" / "probe").rglob("*.mp4"))
    first = run(clips[:3], tmp_path / "out", **given)
    assert len(scored(log)) - len(set(scored(log))) <= 1, "at most what was under way is scored twice"
    assert made == sorted((p, p.stat().st_mtime_ns) for p in (tmp_path / "cache" / "probe").rglob("*.mp4"))
    log.unlink()
    again = run(clips[:3], tmp_path / "out", **given)
    assert scored(log) == []
    assert again.record.cells == first.record.cells
    run(clips[:3], tmp_path / "out", **{**given, "only": ("blur", "noise")})
    assert {name.split("/")[1] for name in scored(log)} == {"noise"}


def test_one_clip_gives_changes_in_own_units_and_decides_equality_only(known, clips, tmp_path: Path) -> None:
    outcome = run(clips[:1], tmp_path / "out", only=("blur", "prompts", "images"))
    blur = cell(outcome, "blur", "appeal")
    assert blur.effect is None
    assert (blur.change or 0.0) < 0
    assert blur.verdict == "open"
    assert cell(outcome, "blur", "character").verdict == "as expected"
    assert any("One clip has no spread" in note for note in outcome.record.notes)
    reasons = {one.treatment: one.reason for one in outcome.record.left_out}
    assert "no second prompt" in reasons["prompt_swap"]
    assert "no second image" in reasons["image_swap"]
    assert "u" in (outcome.folder / "report.html").read_text()


def test_a_clip_of_one_frame_is_left_out_of_what_needs_time_and_said_so(known, write_clips, tmp_path: Path) -> None:
    clips = [*write_clips(2)[:1], *[Clip("still", c.video, c.prompt) for c in write_clips(1, frames=1)]]
    outcome = run(clips[1:], tmp_path / "out", only=("freeze", "blur", "time", "length"))
    reasons = {one.treatment: one.reason for one in outcome.record.left_out}
    assert {"freeze", "reversed", "shuffled", "length"} <= set(reasons)
    assert all("changes nothing" in reasons[name] for name in ("freeze", "reversed", "shuffled", "length"))
    assert cell(outcome, "blur", "appeal").n == 1


def test_a_clip_that_cannot_be_read_costs_itself_and_one_that_cannot_be_scored_its_cells(
    known, clips, tmp_path
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    missing = Clip("missing.mp4", str(tmp_path / "missing.mp4"), "a", None, {"name": "missing.mp4"})
    given = [*clips[:3], Clip("broken.mp4", str(broken), "b", None, {"name": "broken.mp4"}), missing]
    outcome = run(given, tmp_path / "out", only=("blur",), options={"at": "clip01.mp4 blur 1"})
    assert outcome.exit_code == 3
    assert outcome.record.clips.n == 3
    assert outcome.record.clips.n_failed == 2
    failed = {failure.video for failure in outcome.record.failures}
    assert failed == {"broken.mp4", "missing.mp4", "clip01.mp4 blur 1"}
    assert cell(outcome, "blur", "appeal").n == 2
    assert cell(outcome, "blur", "appeal").n_abstained == 1


def test_nothing_readable_is_one_sentence(known, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(InputError, match="none of the 1 clips can be probed"):
        run([Clip("a", str(tmp_path / "a.mp4"))], tmp_path / "out")


def test_the_same_clip_twice_counts_once(known, clips, tmp_path: Path) -> None:
    twin = Clip("twin", clips[0].video, clips[0].prompt)
    outcome = run([clips[0], twin], tmp_path / "out", only=("blur",))
    assert outcome.record.clips.n == 1
    assert any(one.reason == "stands twice; counted once" for one in outcome.record.left_out)


def test_tables_of_scores_and_wrong_settings_are_refused_in_a_sentence(known, clips, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="reads recorded scores"):
        probe(ProbeOptions(clips=clips, plugin="scores", out=tmp_path / "out"))
    with pytest.raises(InputError, match="--only nonsense is no family"):
        run(clips, tmp_path / "out", only=("nonsense",))
    with pytest.raises(InputError, match="--meaning nothing=appeal: the plugin has no such dimension"):
        run(clips, tmp_path / "out", meanings={"nothing": "appeal"})
    with pytest.raises(InputError, match="--meaning mystery=beauty: use one of smoothness"):
        run(clips, tmp_path / "out", meanings={"mystery": "beauty"})


def test_a_meaning_that_is_given_is_held_against_the_dimension(known, clips, tmp_path: Path) -> None:
    outcome = run(clips, tmp_path / "out", only=("noise",), meanings={"character": "appeal", "appeal": "character"})
    assert cell(outcome, "noise", "character").verdict == "blind"
    assert cell(outcome, "noise", "appeal").verdict == "moves"


def test_clips_without_an_image_are_shown_with_their_own_first_frame(known, clips, tmp_path: Path) -> None:
    outcome = run(clips[:2], tmp_path / "out", only=("images",))
    assert outcome.record.clips.n_first_frames == 2
    assert any("their own first frame stands for it" in note for note in outcome.record.notes)
    assert math.isfinite(outcome.record.dimensions[5].mean or math.nan)


def test_a_reader_is_told_how_many_clips_a_verdict_takes(known, clips, tmp_path: Path) -> None:
    outcome = run(clips[:3], tmp_path / "out", only=("blur",))
    tested = sum(c.p_holm is not None for c in outcome.record.cells)
    needed = math.ceil(1 + math.log2(tested / 0.05))
    assert any(f"{needed} clips are the fewest" in note for note in outcome.record.notes)


def test_errors_of_clips_are_clip_errors(tmp_path: Path) -> None:
    from rewardbench.probing.workshop_worker import read_source
    from rewardbench.video import write_video

    write_video(tmp_path / "small.mp4", np.zeros((2, 8, 8, 3), np.uint8), 8.0)
    with pytest.raises(ClipError, match="8x8 pixels are too few"):
        read_source(str(tmp_path / "small.mp4"), 320, 10)
