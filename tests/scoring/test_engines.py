"""Engines of other packages run by name; names are looked up like every other."""

from __future__ import annotations

from pathlib import Path

import pytest

from rewardbench.errors import InputError, PluginError
from rewardbench.runs import RunSettings, run_benchmark
from rewardbench.scoring.engines import engine_class
from rewardbench.scoring.local import LocalEngine

SOURCE = """
from pathlib import Path
from rewardbench_plugin import Manifest, hookimpl


@hookimpl
def rewardbench_engines():
    return [Manifest("NAME", f"{__name__}:make", "the local one, which signs its work")]


def make(jobs, settings, progress, sink, interpreters=None):
    from rewardbench.scoring.local import LocalEngine
    Path(settings.log_folder, "signed.txt").write_text(settings.engine)
    return LocalEngine(jobs, settings, progress, sink, interpreters)
"""


def test_the_local_engine_is_built_in() -> None:
    assert engine_class("local") is LocalEngine


def test_a_registered_engine_does_the_work_of_a_run(install_plugin, tiny_clips: list[Path], tmp_path: Path) -> None:
    install_plugin("signing", SOURCE.replace("NAME", "signing"))
    table = tiny_clips[0].parent / "engine-pairs.csv"
    table.write_text("prompt,video_a,video_b,label_overall\np,clip0.mp4,clip1.mp4,A\n")
    results = []
    for engine in ("local", "signing"):
        settings = RunSettings(
            ("random",), (str(table),), out=tmp_path / engine, engine=engine, device="cpu", workers=1, bootstrap=0
        )
        results.append(run_benchmark(settings)[0].result.metrics)
    assert results[0] == results[1]
    assert (tmp_path / "signing" / "logs" / "signed.txt").read_text() == "signing"


def test_an_unknown_engine_is_refused_with_the_nearest_name(install_plugin) -> None:
    install_plugin("signing", SOURCE.replace("NAME", "signing"))
    with pytest.raises(InputError, match="unknown engine 'singing'; did you mean 'signing'?"):
        engine_class("singing")


def test_names_that_are_taken_are_an_error_that_says_whose(install_plugin) -> None:
    install_plugin("first", SOURCE.replace("NAME", "local"))
    with pytest.raises(PluginError, match="'local' is taken: third_party_first:make"):
        engine_class("other")


def test_an_engine_that_cannot_be_imported_is_named(install_plugin) -> None:
    install_plugin("first", SOURCE.replace("NAME", "first").replace(":make", ":made"))
    with pytest.raises(PluginError, match="engine 'first' cannot be loaded from third_party_first:made"):
        engine_class("first")
