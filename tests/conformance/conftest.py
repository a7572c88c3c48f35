"""Installing a package of another author for the length of a test, sound or broken on purpose."""

from __future__ import annotations

import importlib
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rewardbench.conformance.clips import Clips, make_clips
from rewardbench.registry import load_registry

KINDS = runpy.run_path(str(Path(__file__).with_name("sources.py")))["KINDS"]

Package = Callable[..., str]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWARDBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return make_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Package]:
    """``package(kind, (old, new), …, files={…})`` installs a package and returns the name it registers.

    Each (old, new) must occur in its source: a defect that changes nothing would prove nothing.
    """
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    installed: list[str] = []

    def install(kind: str, *changes: tuple[str, str], files: dict[str, str] | None = None) -> str:
        name = f"test-{kind}-{len(installed)}"
        module = name.replace("-", "_")
        folder = site / module
        folder.mkdir()
        left = set(changes)
        for part, source in KINDS[kind].items():
            text = source
            for old, new in changes:
                if old in text:
                    text = text.replace(old, new)
                    left.discard((old, new))
            text = text.replace("__NAME__", name).replace("__MODULE__", module)
            (folder / f"{part}.py").write_text(text, encoding="utf-8")
        assert not left, f"the source has no {left}"
        for file, content in (files or {}).items():
            (site / file.replace("__MODULE__", module)).write_text(content.replace("__NAME__", name), encoding="utf-8")
        info = site / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[rewardbench]\n{name} = {module}\n")
        installed.append(module)
        importlib.invalidate_caches()
        load_registry.cache_clear()
        return name

    yield install
    for module in list(sys.modules):
        if module.partition(".")[0] in installed:
            del sys.modules[module]
    load_registry.cache_clear()
