"""The page holds every number, survives every result, and nothing in the data becomes markup or script."""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from rewardbench.errors import InputError
from rewardbench.report import write_report
from rewardbench.report.page import TEMPLATES

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><script>alert(2)</script>",
    '"><img src=x onerror=alert(3)>',
    "' onmouseover='alert(4)",
    "{{ 7 * 7 }}{% raw %}",
    "</style></title><svg onload=alert(5)>",
    "javascript:alert(6)",
    "\u202eevil\x00\x1b[2J",
)
VOID = {"meta", "link", "img", "br", "hr", "input", "path", "line", "circle", "rect"}


class Document(HTMLParser):
    """The tags of a page, with a check that they nest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("script", "style"):
            self.text.append(data)


def written(folder: Path) -> tuple[str, Document, str]:
    """The page's source, its parsed form, and its text with single spaces."""
    page = write_report(folder).read_text(encoding="utf-8")
    document = Document(page)
    return page, document, " ".join("".join(document.text).split())


def check_safe_and_usable(page: str, document: Document) -> None:
    scripts = re.findall(r"<script\b[^>]*>(.*?)</script>", page, re.DOTALL)
    assert scripts == [(TEMPLATES / "report.js").read_text(encoding="utf-8")]
    ids = [attrs["id"] for _, attrs in document.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for tag, attrs in document.tags:
        assert not [name for name in attrs if name.startswith("on")], (tag, attrs)
        assert tag not in ("iframe", "object", "embed", "link", "base", "form")
        for name in ("src", "href", "xlink:href", "action"):
            if name in attrs:
                value = attrs[name] or ""
                assert value.startswith(("#", "data:image/jpeg;base64,")), (tag, value)
                assert not value.startswith("#") or value[1:] in ids, value
        for name in ("aria-labelledby",):
            assert name not in attrs or attrs[name] in ids, attrs
        if tag == "img":
            assert attrs.get("alt")
        if tag == "th":
            assert attrs.get("scope") in ("col", "row")
        if tag == "svg" and attrs.get("class") == "chart":
            assert attrs.get("role") == "img"
            assert attrs.get("aria-label")
    outside = re.sub(r"<script.*?</script>|<style.*?</style>", "", page, flags=re.DOTALL)
    assert "http://" not in outside
    assert "https://" not in outside
    assert not re.search(r"@import|url\(", page)


@pytest.fixture
def plain_folder(make: Any, tmp_path: Path) -> Path:
    metric = make.metric()
    folder: Path = make.folder(tmp_path / "run", make.result([metric]), make.pairs(metric))
    return folder


def test_page_shows_every_number_of_a_row(make: Any, tmp_path: Path) -> None:
    from rewardbench import results

    metric = make.metric(
        "animereward:mini", "VQ", "appeal", n=150, n_abstained=50, kendall_tau_b=-0.0381, human_tie_rate=0.2512
    )
    ties = metric.accuracy_with_ties
    ties.native = results.Thresholded(value=0.5111, tie_threshold=0.6931, ci95=(0.4811, 0.5411))
    ties.fixed = results.Thresholded(value=0.5222, tie_threshold=0.1, ci95=None)
    page, document, text = written(make.folder(tmp_path, make.result([metric]), make.pairs(metric)))
    check_safe_and_usable(page, document)
    for shown in (
        *("VQ ← appeal", "animereward:mini", ".7500", ".2512", ".4000"),
        *(".5188", ".4892–.5446", ".5328", ".5091–.5629", "1.56884766", "0.25 to 1", ".5333"),
        *(".7600", ".7277–.7929", ".7605", ".7282–.7931", "−.0381"),
        *(".5111", ".4811–.5411", "at 0.6931", ".5222", "at 0.1"),
        *("oracle threshold, for comparison with papers", "videoalign, bug-compatible"),
        "rewardbench run --plugin scores --map VQ=quality",
    ):
        assert shown in text, shown


def test_every_kind_of_section_is_there(make: Any, tmp_path: Path) -> None:
    from rewardbench import results

    cut = results.SliceRecord(
        n=40,
        n_abstained=3,
        human_tie_rate=0.2,
        majority_floor=0.45,
        with_ties_crossfit=results.Crossfit(value=0.6123, ci95=(0.5, 0.7)),
        without_ties=results.AccuracyWithoutTies(value=0.8234, half_credit=0.8345, ci95=(0.7, 0.9)),
    )
    verdict = results.VerdictRecord(genai_v1=0.48457, three_way=0.5, strict=0.4, without_ties=0.6, n=1891, n_unparsed=1)
    position = results.PositionRecord(consistency=0.8125, favours_first=0.125, favours_second=0.0625, n=1891)
    metric = make.metric(
        slices={"model_a": {"wan": cut, "": cut}}, verdict_accuracy=verdict, position_consistency=position
    )
    result = make.result(
        [metric],
        failures=[results.FailureRecord(plugin="scores", clip_id="c7", video="v/c7.mp4", error="v/c7.mp4 is empty")],
        warnings=["TA equals its own label"],
        cost=results.CostRecord.of(
            {"scores": results.PluginCost(n_scored=7, seconds=3.5, clips_per_s=2.0, peak_memory={"host": 2**29})}
        ),
    )
    result.plugins[0].citation = "@article{key, title={A {B} C}}"
    page, document, text = written(make.folder(tmp_path, result, make.pairs(metric)))
    check_safe_and_usable(page, document)
    for shown in (
        *("model_a", "wan", "(empty)", ".6123", ".8234", ".8345"),
        *(
            "48.46",
            "1,891",
            "81.25",
            "favours first",
            "12.50",
            "6.25",
            "c7",
            "v/c7.mp4 is empty",
            "TA equals its own label",
        ),
        *("512 MiB", "3.5", "2.00", "@article{key, title={A {B} C}}", "@software{rewardbench,"),
        *("Strongest disagreements", "the table names no clip", "What the numbers mean"),
    ):
        assert shown in text, shown
    headings = [int(tag[1]) for tag, _ in document.tags if re.fullmatch(r"h[1-6]", tag)]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(headings))


@pytest.mark.parametrize("hostile", HOSTILE)
def test_foreign_text_stays_text_everywhere(
    make: Any, tmp_path: Path, write_clip: Callable[..., Path], hostile: str
) -> None:
    from rewardbench import results

    cut = results.SliceRecord(
        n=1,
        n_abstained=0,
        human_tie_rate=None,
        majority_floor=None,
        with_ties_crossfit=results.Crossfit(value=None),
        without_ties=results.AccuracyWithoutTies(value=None, half_credit=None),
    )
    metric = make.metric(hostile, hostile, hostile + "2", slices={hostile: {hostile: cut}})
    result = make.result(
        [metric, make.metric("other")],
        benchmark=results.BenchmarkRecord(
            name=hostile, version=hostile, sha256=hostile, n_pairs=1, n_clips=1, source=hostile
        ),
        cluster=results.ClusterRecord(column=hostile, n=1),
        failures=[results.FailureRecord(plugin=hostile, clip_id=hostile, video=hostile, error=hostile)],
        warnings=[hostile],
        cost=results.CostRecord.of({hostile: results.PluginCost(peak_memory={hostile: 1})}),
        provenance=results.Provenance(
            **dict.fromkeys(("rewardbench", "python", "torch", "platform", "command", "git", "started"), hostile),
            packages={hostile: hostile},
            decoder={hostile: hostile},
            resize_filter=[hostile],
        ),
    )
    for name in ("version", "notes", "training_data", "citation", "fingerprint"):
        setattr(result.plugins[0], name, hostile)
    result.plugins[0].weights = result.plugins[0].options = {hostile: hostile}
    result.plugins[0].inputs = {hostile: {hostile: hostile}}
    result.plugins[0].dimensions[0].name = hostile
    clip = str(write_clip(tmp_path / "clip.mp4"))
    changed = dict.fromkeys(("prompt", "pair_id", "cluster", "clip_a", "clip_b", "video_b"), hostile)
    rows = make.pairs(metric, 200, video_a=clip, **changed)
    page, document, text = written(make.folder(tmp_path / "run", result, rows))
    check_safe_and_usable(page, document)
    assert not {"\x00", "\x1b", "\u202e"} & set(page)
    visible = hostile.replace("\u202e", "\ufffd").replace("\x00", "\ufffd").replace("\x1b", "\ufffd")
    assert text.count(" ".join(visible.split())) >= 15
    assert sum(tag == "img" for tag, _ in document.tags) == 6


def test_the_policy_names_the_only_script(plain_folder: Path) -> None:
    import base64
    import hashlib

    page, _, _ = written(plain_folder)
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html.unescape(policy)
    assert "default-src 'none'" in html.unescape(policy)


def test_no_rows_no_pairs_no_scores(make: Any, tmp_path: Path) -> None:
    page, document, text = written(make.folder(tmp_path, make.result([]), None))
    check_safe_and_usable(page, document)
    assert "No label was held against a score" in text


@pytest.mark.parametrize("with_pairs", [True, False])
def test_everything_abstained(make: Any, tmp_path: Path, with_pairs: bool) -> None:
    metric = make.undefined()
    rows = make.pairs(metric, margin=None, score_a=None, score_b=None, predicted=None, tie_threshold=None)
    page, document, text = written(make.folder(tmp_path, make.result([metric]), rows if with_pairs else None))
    check_safe_and_usable(page, document)
    assert "abstains throughout on VQ ← quality" in text
    assert ("the scorer abstained on every pair" if with_pairs else "pairs.parquet is absent") in text
    assert "nan" not in text.lower().replace("provenance", "")


def test_forty_rows_with_few_pictures_stay_small(make: Any, tmp_path: Path, write_clip: Callable[..., Path]) -> None:
    clip = str(write_clip(tmp_path / "clip.mp4"))
    metrics = [make.metric(f"p{k % 4}", f"label_{k // 4}") for k in range(40)]
    rows = [row for k, m in enumerate(metrics) for row in make.pairs(m, 60, k, video_a=clip, video_b=clip)]
    page, document, text = written(make.folder(tmp_path / "run", make.result(metrics), rows))
    check_safe_and_usable(page, document)
    assert len(page) < 3_000_000
    assert all(f"label_{k}" in text for k in range(10))


def test_the_contact_sheet_shows_frames_and_the_reason_where_it_cannot(
    make: Any, tmp_path: Path, write_clip: Callable[..., Path]
) -> None:
    good, bad = write_clip(tmp_path / "good.mp4"), tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    metric = make.metric()
    rows = make.pairs(metric, video_a=str(good), video_b=str(bad))
    page, document, text = written(make.folder(tmp_path / "run", make.result([metric]), rows))
    check_safe_and_usable(page, document)
    shown = [attrs for tag, attrs in document.tags if tag == "img"]
    assert len(shown) == 6
    assert {attrs["alt"] for attrs in shown} == {"4 frames of clip A in order of time"}
    assert text.count("No frames:") == 6
    assert "bad.mp4" in text
    again = write_report(tmp_path / "run").read_text(encoding="utf-8")
    assert again == page


def test_a_strip_outlives_its_clip_by_its_hash(make: Any, tmp_path: Path, write_clip: Callable[..., Path]) -> None:
    clip = write_clip(tmp_path / "clip.mp4")
    metric = make.metric()
    rows = make.pairs(metric, clip_a="one", clip_b="one", video_a=str(clip), video_b=str(clip))
    folder = make.folder(tmp_path / "run", make.result([metric]), rows, {"one": "e" * 64})
    first = write_report(folder).read_text(encoding="utf-8")
    clip.unlink()
    assert write_report(folder).read_text(encoding="utf-8") == first


def test_the_strongest_disagreement_comes_first(make: Any, tmp_path: Path) -> None:
    metric = make.metric()
    rows = make.pairs(metric)
    rows[17] |= {"human": 1, "margin": -99.0, "score_a": 1.0, "score_b": 100.0, "prompt": "the worst one"}
    _, _, text = written(make.folder(tmp_path, make.result([metric]), rows))
    sheet = text[text.index("Strongest disagreements") :]
    assert sheet.index("the worst one") < sheet.index("pair p")
    assert "people: A scorer: B margin −99 pair p17" in sheet


def test_the_page_is_written_whole_or_not_at_all(plain_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = write_report(plain_folder).read_text(encoding="utf-8")
    assert not list(plain_folder.glob("*.partial"))

    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(InputError, match=r"report\.html cannot be written: No space left on device"):
        write_report(plain_folder)
    monkeypatch.undo()
    assert (plain_folder / "report.html").read_text(encoding="utf-8") == before


def test_a_folder_without_a_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"result\.json"):
        write_report(tmp_path)


def test_the_report_imports_nothing_heavy(plain_folder: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from pathlib import Path; from rewardbench.report import write_report;"
        "write_report(Path(sys.argv[1]));"
        "heavy = {'torch', 'matplotlib', 'transformers', 'sklearn', 'datasets', 'pandas'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, plain_folder], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.shared
def test_published_numbers_of_fetv_stand_on_the_page(make: Any, tmp_path: Path, shared: Path) -> None:
    """FETV's pairs (n 1,860): the curve drawn from real margins peaks at the oracle accuracy .5328 of UMTScore."""
    import csv

    from rewardbench.report.evidence import Pairs, accuracy_curve

    with (shared / "data" / "tables" / "fetv_pairs_even.csv").open(encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    metric = make.metric(label="alignment_majority", score="UMTScore", n=len(table))
    base = make.pairs(metric, 1)[0]
    sign = {"A": 1, "B": -1, "same": 0}
    rows = [
        base
        | {
            "pair_id": str(k),
            "prompt": row["prompt"],
            "human": sign[row["alignment_majority"]],
            "margin": float(row["UMTScore_A"]) - float(row["UMTScore_B"]),
        }
        for k, row in enumerate(table)
    ]
    folder = make.folder(tmp_path, make.result([metric]), rows)
    found = Pairs(folder / "pairs.parquet").of(metric)
    assert found is not None
    curve = accuracy_curve(found)
    assert curve is not None
    assert f"{curve.accuracy.max():.4f}" == "0.5328"
    assert f"{curve.thresholds[curve.accuracy.argmax()]:.8f}" == "1.56884766"
    page, document, text = written(folder)
    check_safe_and_usable(page, document)
    assert "1,860" in text
