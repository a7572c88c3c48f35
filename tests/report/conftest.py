"""Run folders made by hand, and a headless browser, for the tests of the report.

Nothing heavy is imported here: the browser's tests are also collected where only pytest is installed.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PAIR_COLUMNS = (
    ("plugin", "string"),
    ("label", "string"),
    ("score", "string"),
    ("pair_id", "string"),
    ("prompt", "string"),
    ("cluster", "string"),
    ("clip_a", "string"),
    ("clip_b", "string"),
    ("video_a", "string"),
    ("video_b", "string"),
    ("human", "int8"),
    ("score_a", "double"),
    ("score_b", "double"),
    ("margin", "double"),
    ("fold", "int32"),
    ("tie_threshold", "double"),
    ("predicted", "int8"),
)


def _metric(plugin: str = "scores", label: str = "VQ", score: str = "quality", **changed: Any) -> Any:
    from rewardbench import results

    fields: dict[str, Any] = {
        "n": 200,
        "n_abstained": 0,
        "human_tie_rate": 0.25,
        "majority_floor": 0.4,
        "accuracy_with_ties": results.AccuracyWithTies(
            crossfit=results.Crossfit(value=0.5188, ci95=(0.4892, 0.5446), tie_thresholds=[0.25, 0.5, 0.5, 0.5, 1.0]),
            threshold=results.Thresholded(value=0.5328, tie_threshold=1.56884766, ci95=(0.5091, 0.5629)),
            videoalign=results.VideoAlignAccuracy(value=0.5333),
        ),
        "accuracy_without_ties": results.AccuracyWithoutTies(
            value=0.76, half_credit=0.7605, ci95=(0.7277, 0.7929), half_credit_ci95=(0.7282, 0.7931)
        ),
        "kendall_tau_b": 0.3446,
    }
    return results.MetricRecord(plugin=plugin, label=label, score=score, **(fields | changed))


def _undefined(plugin: str = "scores", label: str = "VQ", score: str = "quality") -> Any:
    """A row on which the scorer abstained throughout: every number is null."""
    from rewardbench import results

    return _metric(
        plugin,
        label,
        score,
        n=0,
        n_abstained=200,
        human_tie_rate=float("nan"),
        majority_floor=float("nan"),
        accuracy_with_ties=results.AccuracyWithTies(
            crossfit=results.Crossfit(value=float("nan"), ci95=(float("nan"), float("nan"))),
            threshold=results.Thresholded(value=float("nan"), tie_threshold=float("nan")),
            videoalign=results.VideoAlignAccuracy(value=float("nan")),
        ),
        accuracy_without_ties=results.AccuracyWithoutTies(value=None, half_credit=None),
        kendall_tau_b=float("nan"),
    )


def _result(metrics: list[Any], **changed: Any) -> Any:
    from rewardbench import results

    labels = list(dict.fromkeys(metric.plugin for metric in metrics)) or ["scores"]
    fields: dict[str, Any] = {
        "plugins": [
            results.PluginRecord(
                label=label,
                name=label.partition(":")[0],
                version="0.1.0",
                fingerprint="f" * 64,
                dimensions=[results.DimensionRecord(name="quality", low=0, high=1)],
            )
            for label in labels
        ],
        "benchmark": results.BenchmarkRecord(name="pairs", version="1", sha256="a" * 64, n_pairs=200, n_clips=400),
        "metrics": metrics,
        "cluster": results.ClusterRecord(column="prompt", n=50),
        "bootstrap": results.BootstrapRecord(n=1000, seed=0, refit="threshold"),
        "provenance": results.Provenance(
            rewardbench="0.1.0", python="3.11.9", command="rewardbench run --plugin scores --map VQ=quality"
        ),
    }
    return results.Result(**(fields | changed))


def _pairs(metric: Any, n: int = 200, seed: int = 0, **columns: Any) -> list[dict[str, Any]]:
    """Pairs of one row with margins that follow the label, noisily."""
    import numpy as np

    rng = np.random.default_rng(seed)
    human = rng.choice([1, 0, -1], n, p=[0.375, 0.25, 0.375])
    margin = human * rng.gamma(2.0, 0.4, n) + rng.normal(0, 0.4, n)
    return [
        {
            "plugin": metric.plugin,
            "label": metric.label,
            "score": metric.score,
            "pair_id": f"p{k}",
            "prompt": f"prompt {k // 4}",
            "cluster": f"prompt {k // 4}",
            "clip_a": f"a{k}",
            "clip_b": f"b{k}",
            "video_a": "",
            "video_b": "",
            "human": int(human[k]),
            "score_a": float(margin[k] / 2),
            "score_b": float(-margin[k] / 2),
            "margin": float(margin[k]),
            "fold": k % 5,
            "tie_threshold": 0.5,
            "predicted": int(np.sign(margin[k])) if abs(margin[k]) > 0.5 else 0,
            **columns,
        }
        for k in range(n)
    ]


class Make:
    """Builders of records and run folders."""

    metric = staticmethod(_metric)
    undefined = staticmethod(_undefined)
    result = staticmethod(_result)
    pairs = staticmethod(_pairs)

    @staticmethod
    def folder(
        path: Path, result: Any, pairs: list[dict[str, Any]] | None, hashes: dict[str, str] | None = None
    ) -> Path:
        """Write a run folder; ``pairs`` None leaves pairs.parquet out, ``hashes`` are {clip_id: sha256}."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        from rewardbench.results import write_result

        path.mkdir(parents=True, exist_ok=True)
        write_result(result, path / "result.json")
        if pairs is not None:
            columns = {name: pa.array([row[name] for row in pairs], kind) for name, kind in PAIR_COLUMNS}
            pq.write_table(pa.table(columns), path / "pairs.parquet")
        if hashes is not None:
            rows = [(plugin.label, clip, sha) for plugin in result.plugins for clip, sha in hashes.items()]
            names = ("plugin", "clip_id", "video_sha256")
            table = {name: pa.array([row[k] for row in rows], "string") for k, name in enumerate(names)}
            pq.write_table(pa.table(table), path / "scores.parquet")
        return path


@pytest.fixture(scope="session")
def make() -> type[Make]:
    return Make


@pytest.fixture(scope="session")
def write_clip() -> Callable[..., Path]:
    """Writes a short clip whose frames are one grey level each, getting brighter."""

    def write(path: Path, n_frames: int = 12, height: int = 48, width: int = 64) -> Path:
        import av
        import numpy as np

        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=12)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for k in range(n_frames):
                level = np.full((height, width, 3), 20 + 200 * k // max(1, n_frames - 1), np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(level, "rgb24")))
            container.mux(stream.encode())
        return path

    return write


CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_EXEC_WITH_PIPES = (
    "import fcntl, os, sys\n"
    "ends = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 20) for fd in sys.argv[1:3]]\n"
    "os.dup2(ends[0], 3); os.dup2(ends[1], 4)\n"
    "os.execvp(sys.argv[3], sys.argv[3:])\n"
)


class Browser:
    """Headless Chromium driven over its debugging pipe; collects what the page complains of and asks for."""

    def __init__(self, binary: str, profile: Path) -> None:
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        flags += "--disable-component-update --disable-sync --disable-dev-shm-usage --remote-debugging-pipe"
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-c", _EXEC_WITH_PIPES, str(commands), str(answers)),
                *(binary, *flags.split(), f"--user-data-dir={profile}", "about:blank"),
            ],
            pass_fds=(commands, answers),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        fcntl.fcntl(self._commands, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
        self._buffer, self._sent = b"", 0
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    _session: str | None = None

    def call(self, method: str, **parameters: Any) -> Any:
        self._sent += 1
        message: dict[str, Any] = {"id": self._sent, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._sent:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self.events.append(answer)

    def _receive(self) -> dict[str, Any]:
        deadline = time.monotonic() + 60
        while b"\0" not in self._buffer:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self._answers], [], [], max(0, left))
            assert ready, "the browser gave no answer in 60 s"
            chunk = os.read(self._answers, 1 << 20)
            assert chunk, "the browser ended"
            self._buffer += chunk
        message, self._buffer = self._buffer.split(b"\0", 1)
        decoded: dict[str, Any] = json.loads(message)
        return decoded

    def open(self, page: Path, width: int, height: int, dark: bool = False) -> None:
        """Show a page from the disk at a width; ``width`` below 500 is a phone."""
        self.events.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=page.resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._receive())

    def evaluate(self, expression: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def complaints(self) -> list[str]:
        """Everything the page logged, threw or was refused."""
        kinds = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
        return [json.dumps(event["params"]) for event in self.events if event.get("method") in kinds]

    def requests(self) -> list[str]:
        """Addresses the page asked for, data URIs aside."""
        asked = [e["params"]["request"]["url"] for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        return [url for url in asked if not url.startswith("data:")]

    def screenshot(self) -> bytes:
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._commands)
        os.close(self._answers)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    binary = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    if binary is None:
        if os.environ.get("CI"):
            pytest.fail("Chromium is missing; install it with the system's package manager, as .ci/run does")
        pytest.skip("no Chromium here: install it to see the report in a browser")
    opened = Browser(binary, tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()
