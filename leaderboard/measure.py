"""The repository's own board: measure, submit, verify, build.

    python leaderboard/measure.py                     the embedded benchmark: bundles and a probe into results
    python leaderboard/measure.py --weights clip=ViT-B-32.safetensors --option clip.model=ViT-B-32
                                                      models without weights of their own too
    python leaderboard/measure.py --data DIR --board BOARD
                                                      FETV and TVGE from recorded scores, into a board elsewhere

A model whose weights are not given is left out, and that is said; its earlier bundle stays.

The embedded benchmark is the project's own (Apache-2.0). The recorded scores are somebody else's: bundles made of them
hold ids, prompts, labels and scores, so they are made only of tables whose licence in ``DIR/MANIFEST.csv`` lets them be
passed on, and never into the repository's own folder.
"""

from __future__ import annotations

import argparse
import csv
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rewardbench.cli.progress import terminal_progress
from rewardbench.errors import InputError, RewardbenchError
from rewardbench.leaderboard.bundle import Declaration
from rewardbench.leaderboard.folder import RESULTS, build_site
from rewardbench.leaderboard.known import admit, fingerprint
from rewardbench.leaderboard.submission import bundle_name, make_bundle, plain_name, write_bundle
from rewardbench.runfolder import write_text
from rewardbench.runs import RunSettings, run_benchmark

OWN = Path(__file__).parent
BENCHMARK = "anime-probe"
PROBED = "animereward"
PROBED_CLIPS = 16
"""Undegraded ones; with 13 or more a fall can be told from chance after the correction for all treatments."""
PROBED_FAMILIES = ("degradations", "invariances", "prompts", "images")


@dataclass(frozen=True)
class Model:
    """One model of the board. ``weights``: it has none of its own, and is measured where some are given."""

    plugin: str
    declaration: Declaration
    weights: bool = False


MODELS = (
    Model("animereward", "clean"),  # its preset mini: trained on clips of the same drawing program, but of other seeds
    Model("random", "clean"),
    Model("clip", "unknown", weights=True),
)
MAY_BE_PASSED_ON = ("CC-BY-4.0", "Apache-2.0", "MIT")


@dataclass(frozen=True)
class Table:
    """One table of pairs with recorded scores. Every score answers every label."""

    file: str
    labels: tuple[str, ...]
    scores: tuple[str, ...]
    citation: str


TABLES = (
    Table(
        "tables/fetv_pairs_even.csv",
        ("alignment_mean3", "static_quality_mean3", "temporal_quality_mean3"),
        ("CLIPScore", "CLIPScore-ft", "BLIPScore", "Otter-VQA", "UMTScore"),
        "Liu et al., FETV, 2023, arXiv:2311.01813 (even prompt ids)",
    ),
    Table(
        "tables/tvge_pairs.csv",
        ("alignment", "quality"),
        ("CLIP Score", "X-CLIP Score", "BLIP-BLEU"),
        "Wu et al., Towards a Better Metric for Text-to-Video Generation, 2024, arXiv:2401.07781",
    ),
)


def measure_embedded(
    board: Path, weights: Mapping[str, str] | None = None, options: Mapping[str, Mapping[str, str]] | None = None
) -> None:
    """Run the models on ``anime-probe``: those that ship with the package, and those whose weights are given.

    Args:
        board: where the bundles go.
        weights: model to path.
        options: model to its options.
    """
    weights, options = weights or {}, options or {}
    for name in [*weights, *options]:
        if name not in [model.plugin for model in MODELS]:
            raise InputError(f"--weights or --option of {name}, which is none of {', '.join(m.plugin for m in MODELS)}")
    for model in MODELS:
        path, chosen = weights.get(model.plugin), dict(options.get(model.plugin, {}))
        if model.weights and path is None:
            print(
                f"{model.plugin}: left out, its weights are not given (--weights {model.plugin}=PATH)", file=sys.stderr
            )
            continue
        with tempfile.TemporaryDirectory() as folder:
            settings = RunSettings(
                (model.plugin,),
                weights={} if path is None else {"": path},
                options=chosen,
                out=Path(folder) / "run",
                command=_command(model.plugin, path, chosen),
            )
            _submit(settings, board, model.declaration)


def measure_probe(board: Path) -> None:
    """What the embedded model reacts to, on undegraded clips of the embedded benchmark."""
    from rewardbench.benchmark import load_benchmark
    from rewardbench.probing.probes import probe
    from rewardbench.probing.settings import ProbeOptions

    benchmark = load_benchmark(BENCHMARK)
    pairs = benchmark.comparisons
    sides = [(c.clip_a, c.row["severity_a"]) for c in pairs] + [(c.clip_b, c.row["severity_b"]) for c in pairs]
    undegraded = sorted({clip for clip, severity in sides if severity == "0"})
    with tempfile.TemporaryDirectory() as folder, terminal_progress() as progress:
        outcome = probe(
            ProbeOptions(
                clips=[benchmark.clips[clip] for clip in undegraded[:PROBED_CLIPS]],
                plugin=PROBED,
                only=PROBED_FAMILIES,
                quick=True,
                out=Path(folder) / "probe",
                command=f"leaderboard/measure.py ({BENCHMARK})",
            ),
            progress,
        )
    record = outcome.record
    path = board / RESULTS / plain_name(BENCHMARK) / f"{plain_name(record.plugin.label)}.probe.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, record.to_json())
    print(path)


def measure_tables(data: Path, board: Path) -> None:
    """Bundles of the recorded scores in ``data``."""
    if board.resolve() == OWN.resolve():
        raise InputError(
            "recorded scores of others do not go into the repository's own board; name a --board elsewhere"
        )
    licences = licences_of(data / "MANIFEST.csv")
    for table in TABLES:
        licence = licences.get(table.file, "none stated")
        if not licence.startswith(MAY_BE_PASSED_ON):
            print(f"{table.file}: left out, its licence is {licence}", file=sys.stderr)
            continue
        path = data / table.file
        admit(board, fingerprint(str(path), labels=table.labels, licence=licence, citation=table.citation))
        pairs = tuple((label, score) for label in table.labels for score in table.scores)
        with tempfile.TemporaryDirectory() as folder:
            settings = RunSettings(
                ("scores",),
                (str(path),),
                score_map=pairs,
                scores=path,
                out=Path(folder) / "run",
                command=f"leaderboard/measure.py --data . ({path.name})",
            )
            _submit(settings, board, "unknown")


def licences_of(manifest: Path) -> dict[str, str]:
    """Licence of each file by the data folder's manifest."""
    try:
        with open(manifest, newline="", encoding="utf-8") as stream:
            return {row["path"]: row["licence"] for row in csv.DictReader(stream)}
    except (OSError, KeyError) as error:
        raise InputError(f"{manifest} is not a manifest with path and licence ({error}); check --data") from None


def _submit(settings: RunSettings, board: Path, declaration: Declaration) -> None:
    with terminal_progress() as progress:
        (outcome,) = run_benchmark(settings, progress)
    content = make_bundle(outcome.folder, training_data=declaration)
    place = board / RESULTS / plain_name(outcome.benchmark)
    path = place / bundle_name(outcome.folder, content)
    for earlier in place.glob(f"{path.name.rpartition('--')[0]}--*.zip"):  # the same models measured before
        earlier.unlink()
    write_bundle(path, content)
    print(path)


def _command(model: str, weights: str | None, options: Mapping[str, str]) -> str:
    words = ["rewardbench", "run", "--plugin", model, "--benchmark", BENCHMARK]
    if weights is not None:
        words += ["--weights", Path(weights).name]
    for name, value in options.items():
        words += ["--option", f"{name}={value}"]
    return shlex.join(words)


def _given(option: str, pairs: Sequence[str]) -> dict[str, str]:
    """``NAME=VALUE`` of a repeatable option."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals and value):
            raise InputError(f"{option} {pair} is not NAME=VALUE")
        found[name] = value
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--board", type=Path, default=OWN, help="folder of the board (default: this one)")
    parser.add_argument("--data", type=Path, help="folder with MANIFEST.csv and tables/: measure these instead")
    parser.add_argument("--weights", metavar="MODEL=PATH", action="append", default=[], help="measure this model too")
    parser.add_argument("--option", metavar="MODEL.OPTION=VALUE", action="append", default=[], help="for that model")
    parser.add_argument("--no-probe", action="store_true", help="leave the probe as it is")
    parser.add_argument("--no-build", action="store_true", help="make bundles only")
    options = parser.parse_args(arguments)
    try:
        if options.data is None:
            chosen: dict[str, dict[str, str]] = {}
            for key, value in _given("--option", options.option).items():
                model, _, name = key.partition(".")
                chosen.setdefault(model, {})[name] = value
            measure_embedded(options.board, _given("--weights", options.weights), chosen)
            if not options.no_probe:
                measure_probe(options.board)
        else:
            measure_tables(options.data, options.board)
        if not options.no_build:
            page, _ = build_site(options.board)
            print(page)
    except RewardbenchError as error:
        print(f"{Path(__file__).name}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
