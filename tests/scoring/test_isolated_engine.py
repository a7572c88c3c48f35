"""A worker in an interpreter of its own: what it may do wrong, and what that costs."""

from __future__ import annotations

import os
import runpy
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import rewardbench
from rewardbench.environments import recipe_of
from rewardbench.errors import InputError, PluginError
from rewardbench.registry import Listeners, choose_reward, load_registry
from rewardbench.scoring.engine import EngineSettings
from rewardbench.scoring.plan import Job
from rewardbench.scoring.process import Interpreter
from rewardbench.scoring.progress import Silent
from rewardbench.scoring.scorer import Scorer
from rewardbench.scoring.store import ScoreStore
from rewardbench_plugin import Clip

SOURCE = runpy.run_path(str(Path(__file__).with_name("isolated.py")))["SOURCE"]


@pytest.fixture
def clips(tiny_clips: list[Path]) -> dict[str, Clip]:
    return {path.name: Clip(path.name, str(path)) for path in tiny_clips[2:5]}


@pytest.fixture(autouse=True)
def interpreter(install_plugin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Interpreter:
    """This Python, started as an isolated one is: with the copied packages on its path and nothing else of ours."""
    install_plugin("faulty", SOURCE)
    _, model = choose_reward("faulty")
    recipe = recipe_of(model.card, type(model).__module__ + ":Faulty")
    assert recipe is not None
    packages = tmp_path / "packages"
    for source in recipe.sources:
        if source.is_dir():
            shutil.copytree(source, packages / source.name)
        else:
            shutil.copy(source, packages)
    lent = Interpreter(Path(sys.executable), packages)
    for user in ("scorer", "isolated"):
        monkeypatch.setattr(f"rewardbench.scoring.{user}.ensure", lambda recipe, progress: lent)
    return lent


def score(clips, *, timeout=60.0, silence=30.0, logs=None, progress=None, dimensions=("size",), **options):
    choice, model = choose_reward("faulty", options=options, dimensions=dimensions)
    settings = EngineSettings(
        workers=1, device="cpu", batch_size=2, score_timeout=timeout, silence=silence, log_folder=logs
    )
    store = ScoreStore(None)
    job = Job(choice, model, None)
    scorer = Scorer([job], store, settings, progress or Silent(), Listeners(load_registry().manager, print))
    scorer.score_clips(clips)
    found = {}
    for name, clip in clips.items():
        content = scorer.contents.of(clip, job)
        assert content is not None
        stored = store.score(job.score_key(model.dimensions[0], content[0], clip, content[1]))
        if stored is not None:
            found[name] = stored
    return found, scorer.failures.sentences


def sizes(clips) -> dict[str, float]:
    return {name: os.path.getsize(clip.video) / 1e6 for name, clip in clips.items()}


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("killed", "its process ended: it was ended by SIGKILL"),
        ("exits", "its process ended: it ended with status 5"),
        ("hangs", "no answer within 2 s (--score-timeout)"),
        ("garbage", "it sent garbage: received something that is not a message"),
        ("half", "no answer within 2 s (--score-timeout)"),
        ("pickle", "it sent garbage: received something that is not a message"),
        ("another-answer", "it answered request 77"),
        ("no-answer", "it answered request None"),
        ("objects", "raised TypeError"),
        ("nothing", "raised AttributeError"),
    ],
)
def test_a_misbehaving_worker_costs_the_clip_at_fault_only(clips, fault, sentence) -> None:
    limits = {"timeout": 2.0} if "2 s" in sentence else {}
    found, failures = score(clips, fault=fault, at="clip3", **limits)
    right = sizes(clips)
    del right["clip3.mp4"]
    assert {name: stored.value for name, stored in found.items()} == right
    assert list(failures) == [(0, "clip3.mp4")]
    assert sentence in failures[0, "clip3.mp4"]
    assert "\n" not in failures[0, "clip3.mp4"]


def test_what_it_prints_is_logged_and_harms_nothing(clips, tmp_path) -> None:
    found, failures = score(clips, fault="prints", logs=tmp_path)
    assert {name: stored.value for name, stored in found.items()} == sizes(clips)
    assert not failures
    (log,) = tmp_path.glob("faulty-*.log")
    assert "to standard output\n" in log.read_text()
    assert "to descriptor 1\n" in log.read_text()


def test_a_slow_worker_that_gives_signs_of_life_is_waited_for(clips) -> None:
    found, failures = score(clips, fault="slow", at="clip3", seconds="3", silence=2.0)
    assert len(found) == len(clips)
    assert not failures


def test_a_stopped_worker_is_ended_long_before_its_deadline(clips) -> None:
    started = time.monotonic()
    _, failures = score(clips, fault="stopped", at="clip3", silence=3.0, timeout=600.0)
    assert time.monotonic() - started < 60
    assert failures == {(0, "clip3.mp4"): "plugin 'faulty': no sign of life for 3 s"}


def test_a_worker_stopped_while_loading_ends_the_run(clips) -> None:
    with pytest.raises(PluginError, match="plugin 'faulty' cannot be loaded: no sign of life for 3 s"):
        score(clips, fault="stopped-load", silence=3.0)


def test_a_long_load_is_reported(clips, monkeypatch) -> None:
    lines: list[str] = []

    class Recorded(Silent):
        def message(self, text: str) -> None:
            lines.append(text)

    monkeypatch.setattr("rewardbench.scoring.local.LOADING_SECONDS", 0.5)
    found, _ = score(clips, fault="slow-load", seconds="3", progress=Recorded())
    assert len(found) == len(clips)
    assert any(line.startswith("faulty: loading the model, ") for line in lines)


def test_relative_paths_begin_where_the_user_is(clips, tmp_path, monkeypatch) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    shutil.copy(clips["clip2.mp4"].video, folder / "mine.mp4")
    (folder / "numpy.py").write_text("raise SystemExit('a module of the user was imported')")
    monkeypatch.chdir(folder)
    found, failures = score({"mine": Clip("mine", "mine.mp4")})
    assert not failures
    assert found["mine"].value == os.path.getsize("mine.mp4") / 1e6
    assert found["mine"].note.split("|")[0] == str(folder)


def test_the_workers_python_sees_nothing_of_this_process(interpreter, tmp_path, monkeypatch) -> None:
    from rewardbench.scoring.process import WorkerProcess

    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    (interpreter.packages / "spy.py").write_text(
        "import os, sys\n"
        "from rewardbench_plugin.worker import connect, serve\n"
        "seen = lambda message, arrays: ({'path': sys.path, 'variables': dict(os.environ)}, None)\n"
        "serve(connect(sys.argv[1:]), {'look': seen, 'close': lambda m, a: ({}, None)})\n"
    )
    worker = WorkerProcess("spy", log=None, interpreter=interpreter)
    try:
        seen, _ = worker.call({"op": "look"}, timeout=60)
        assert worker.hello is not None
        assert worker.hello["python"] == ".".join(map(str, sys.version_info[:3]))
    finally:
        worker.kill()
    assert str(interpreter.packages) in seen["path"]
    assert str(tmp_path) not in seen["path"]
    assert "PYTHONHOME" not in seen["variables"]
    assert seen["variables"]["PYTHONPATH"] == str(interpreter.packages)


def test_in_the_callers_process_it_looks_like_any_other(clips) -> None:
    model = rewardbench.load_reward("faulty", device="cpu", dimensions=["size"])
    values = model.score(list(clips.values()))
    assert values[:, 0].tolist() == list(sizes(clips).values())
    assert model.device == "cpu"
    with pytest.raises(InputError, match="plugin 'faulty' opens video files itself; give it paths, not frames"):
        model.score_frames([np.zeros((2, 8, 8, 3), np.uint8)], [None])
    model.close()


def test_in_the_callers_process_its_death_is_one_sentence_and_the_next_call_starts_anew(clips) -> None:
    model = rewardbench.load_reward("faulty", device="cpu", fault="killed", at="clip3")
    with pytest.raises(PluginError, match="plugin 'faulty': its process ended: it was ended by SIGKILL"):
        model.score([clips["clip3.mp4"]])
    assert model.score([clips["clip4.mp4"]]).shape == (1, 2)
    model.close()


def test_in_the_callers_process_what_it_refuses_is_said(clips) -> None:
    with pytest.raises(PluginError, match="plugin 'faulty' cannot be loaded: no such luck"):
        rewardbench.load_reward("faulty", fault="refused")
