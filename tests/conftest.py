"""Fixtures shared by all tests."""

from __future__ import annotations

import importlib
import os
import runpy
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("REWARDBENCH_SHARED", ROOT.parent / "shared"))


def pytest_configure() -> None:
    """Tests stop processes with SIGINT; whoever ignores it (nohup, a shell's background job) hands that down."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked ``shared`` visibly where the data is absent; in CI its absence is an error."""
    if SHARED.is_dir():
        return
    marked = [item for item in items if item.get_closest_marker("shared")]
    if marked and os.environ.get("CI"):
        raise pytest.UsageError(f"{SHARED} is missing: {len(marked)} tests that need it would be skipped in CI")
    for item in marked:
        item.add_marker(pytest.mark.skip(reason=f"shared data folder {SHARED} is absent"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The shared data folder; use it together with ``@pytest.mark.shared``."""
    return SHARED


InstallPlugin = Callable[..., str]


@pytest.fixture
def install_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InstallPlugin]:
    """Install a module with an entry point for the length of a test: ``install(name, source) -> module name``."""
    from rewardbench.registry import load_registry

    site = tmp_path / "third-party-site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    installed: list[str] = []

    def install(name: str, source: str, *, distribution: str | None = None) -> str:
        module = f"third_party_{name.replace('-', '_')}"
        (site / f"{module}.py").write_text(source, encoding="utf-8")
        info = site / f"{(distribution or module)}-1.0.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution or module}\nVersion: 1.0\n")
        with open(info / "entry_points.txt", "a", encoding="utf-8") as stream:
            stream.write(f"[rewardbench]\n{name} = {module}\n" if stream.tell() == 0 else f"{name} = {module}\n")
        installed.append(module)
        importlib.invalidate_caches()
        load_registry.cache_clear()
        return module

    yield install
    for module in installed:
        sys.modules.pop(module, None)
    load_registry.cache_clear()


@pytest.fixture
def brightness(install_plugin: InstallPlugin) -> None:
    """The third-party plugin of ``tests/scoring/brightness.py``, installed for the length of a test."""
    source = runpy.run_path(str(ROOT / "tests" / "scoring" / "brightness.py"))["SOURCE"]
    install_plugin("brightness", source)


@pytest.fixture(scope="session")
def tiny_clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Six clips of 32 x 48 pixels and 8 frames, each of another brightness (20, 50, …, 170)."""
    import numpy as np

    from rewardbench.video import write_video

    folder = tmp_path_factory.mktemp("tiny")
    clips = []
    for number in range(6):
        frames = np.full((8, 32, 48, 3), 20 + 30 * number, dtype=np.uint8)
        clips.append(folder / f"clip{number}.mp4")
        write_video(clips[-1], frames, 8.0)
    return clips
