"""The local engine: what is scored, what a failure costs, and what is never done twice."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rewardbench.errors import PluginError
from rewardbench.registry import Listeners, choose_reward, load_registry
from rewardbench.scoring.engine import EngineSettings
from rewardbench.scoring.plan import Job
from rewardbench.scoring.progress import Silent
from rewardbench.scoring.scorer import Scorer
from rewardbench.scoring.store import ScoreStore
from rewardbench_plugin import Clip


@pytest.fixture
def clips(tiny_clips: list[Path]) -> dict[str, Clip]:
    return {path.name: Clip(path.name, str(path)) for path in tiny_clips}


def score(
    clips, store, *, dimensions=None, timeout=60.0, decode_timeout=60.0, batch_size=None, device="cpu", **options
):
    choice, model = choose_reward("brightness", options=options, dimensions=dimensions)
    settings = EngineSettings(
        workers=2, device=device, batch_size=batch_size, score_timeout=timeout, decode_timeout=decode_timeout
    )
    scorer = Scorer([Job(choice, model, None)], store, settings, Silent(), Listeners(load_registry().manager, print))
    sessions = scorer.score_clips(clips)
    values = {}
    for name, clip in clips.items():
        content = scorer.contents.of(clip, scorer.jobs[0])
        if content is not None:
            found = store.score(scorer.jobs[0].score_key(model.dimensions[0], content[0], clip, content[1]))
            if found is not None:
                values[name] = found.value
    return values, scorer, sessions


def expected(clips):
    """Brightness of the tiny clips: 20, 50, … over 255, give or take what H.264 in YUV loses."""
    return {name: pytest.approx((20 + 30 * i) / 255, abs=0.012) for i, name in enumerate(clips)}


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_scores_are_right_whatever_the_batch_size(brightness, clips, batch_size) -> None:
    values, scorer, sessions = score(clips, ScoreStore(None), batch_size=batch_size)
    assert values == expected(clips)
    assert not scorer.failures.sentences
    assert sessions[0].n_scored == len(clips)
    assert sessions[0].peak_memory["resident"] > 0


def test_what_is_stored_is_not_scored_again(brightness, clips, tmp_path) -> None:
    log = tmp_path / "asked"
    store = ScoreStore(tmp_path / "s.sqlite")
    first = dict(list(clips.items())[:2])
    score(first, store, log=str(log))
    values, _, _ = score(clips, store, log=str(log))
    assert values == expected(clips)
    assert sorted(log.read_text().split()) == sorted(clips)
    _, _, sessions = score(clips, store, log=str(log))
    assert sessions == [None], "with nothing to do no process is started"


def test_a_clip_under_two_names_is_scored_once(brightness, clips, tmp_path) -> None:
    name, clip = next(iter(clips.items()))
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(Path(clip.video).read_bytes())
    log = tmp_path / "asked"
    twins = {name: clip, "copy": Clip("copy", str(copy))}
    values, _, _ = score(twins, ScoreStore(None), log=str(log))
    assert log.read_text().split() == [name]
    assert values[name] == values["copy"]


def test_another_prompt_is_another_clip(brightness, clips, tmp_path) -> None:
    clip = next(iter(clips.values()))
    log = tmp_path / "asked"
    both = {"a": Clip("a", clip.video, "a cat"), "b": Clip("b", clip.video, "a dog")}
    score(both, ScoreStore(None), log=str(log))
    assert sorted(log.read_text().split()) == ["a", "b"]


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("raise", "raised RuntimeError: bad clip"),
        ("die", "its process ended: it ended with status 9"),
        ("kill", "its process ended: it was ended by SIGKILL"),
        ("hang", "no answer within 3 s (--score-timeout)"),
        ("range", "scored brightness 7, outside its declared range [0, 1]"),
        ("inf", "outside its declared range"),
        ("error", "no, not this one"),
        ("prepare", "clip3.mp4: RuntimeError: cannot prepare"),
        (
            "decode-die",
            "could not be decoded and prepared for plugin 'brightness': its process ended: it ended with status 7",
        ),
        ("decode-hang", "no answer within 3 s (--decode-timeout)"),
    ],
)
def test_a_bad_clip_costs_that_clip_only(brightness, clips, fault, sentence) -> None:
    limits = {"timeout": 3.0} if fault == "hang" else {"decode_timeout": 3.0} if fault == "decode-hang" else {}
    values, scorer, _ = score(clips, ScoreStore(None), fault=fault, at="clip3", **limits)
    right = expected(clips)
    del right["clip3.mp4"]
    assert values == right
    assert list(scorer.failures.sentences) == [(0, "clip3.mp4")]
    assert sentence in scorer.failures.sentences[0, "clip3.mp4"]


def test_nan_is_an_abstention_not_a_failure(brightness, clips) -> None:
    values, scorer, _ = score(clips, ScoreStore(None), fault="nan", at="clip3")
    assert values["clip3.mp4"] is None
    assert not scorer.failures.sentences


def test_running_out_of_memory_halves_the_batch(brightness, clips) -> None:
    values, scorer, sessions = score(clips, ScoreStore(None), fault="memory", room="1", batch_size=6)
    assert values == expected(clips)
    assert not scorer.failures.sentences
    assert sessions[0].batch_size == 1


def test_a_plugin_that_always_hangs_is_given_up(brightness, clips) -> None:
    values, scorer, _ = score(clips, ScoreStore(None), fault="hang", at="clip", timeout=1.0, batch_size=1)
    assert values == {}
    sentences = scorer.failures.sentences
    assert len(sentences) == len(clips)
    assert sum("not tried" in sentence for sentence in sentences.values()) == len(clips) - 3


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"fault": "load"}, "cannot be loaded: the weights are broken"),
        ({"fault": "shape"}, "returned scores of shape"),
        ({"device": "cuda:7"}, "device 'cuda:7' cannot be used here"),
    ],
)
def test_a_broken_plugin_ends_the_run_in_one_sentence(brightness, clips, options, sentence) -> None:
    with pytest.raises(PluginError, match=sentence) as caught:
        score(clips, ScoreStore(None), **options)
    assert "\n" not in str(caught.value)


def test_missing_and_unreadable_files_fail_alone(brightness, clips, tmp_path) -> None:
    junk = tmp_path / "junk.mp4"
    junk.write_bytes(b"this is not a video" * 50)
    more = {**clips, "gone": Clip("gone", str(tmp_path / "gone.mp4")), "junk": Clip("junk", str(junk))}
    values, scorer, _ = score(more, ScoreStore(None))
    assert values == expected(clips)
    assert scorer.failures.of(0, "gone") == f"{tmp_path / 'gone.mp4'}: no such file"
    assert str(junk) in (scorer.failures.of(0, "junk") or "")


def test_only_the_dimensions_asked_for(brightness, clips) -> None:
    store = ScoreStore(None)
    values, scorer, _ = score(clips, store, dimensions=["darkness"])
    assert scorer.jobs[0].dimensions == ("darkness",)
    assert store.count() == len(clips)
    assert values["clip0.mp4"] == pytest.approx(1 - 20 / 255, abs=0.012)


def test_no_process_outlives_the_engine(brightness, clips) -> None:
    before = _children()
    with pytest.raises(PluginError):
        score(clips, ScoreStore(None), fault="shape")
    assert _children() == before


def _children() -> set[str]:
    """Live child processes of this one (Linux)."""
    task = Path(f"/proc/{os.getpid()}/task")
    return {pid for t in task.iterdir() for pid in (t / "children").read_text().split()}


def test_two_plugins_share_one_decode(brightness, clips, monkeypatch, tmp_path) -> None:
    counter = tmp_path / "reads"
    site = tmp_path / "third-party-site"
    (site / "sitecustomize.py").write_text(
        "import rewardbench.video as v\n"
        "real = v.read_frames\n"
        "def counted(path, specs, **k):\n"
        f"    open({str(counter)!r}, 'a').write(str(path) + '\\n')\n"
        "    return real(path, specs, **k)\n"
        "v.read_frames = counted\n"
    )
    jobs = []
    for dimensions in (["brightness"], ["darkness"]):
        choice, model = choose_reward("brightness", dimensions=dimensions)
        jobs.append(Job(choice, model, None))
    store = ScoreStore(None)
    scorer = Scorer(jobs, store, EngineSettings(workers=2), Silent(), Listeners(load_registry().manager, print))
    scorer.score_clips(clips)
    assert store.count() == 2 * len(clips)
    assert sorted(counter.read_text().split()) == sorted(clip.video for clip in clips.values())
