"""A run folder becomes a bundle: the same run gives the same bytes, and nothing of the machine it ran on goes along."""

from __future__ import annotations

import hashlib
import heapq
import itertools
import json
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from pydantic import ValidationError

from rewardbench.errors import InputError, RewardbenchError
from rewardbench.evaluation import SLICE_PREFIX
from rewardbench.jobs import TABLE_PLUGINS
from rewardbench.leaderboard import archive
from rewardbench.leaderboard.bundle import (
    MAX_ID,
    MAX_TEXT,
    Declaration,
    Evaluation,
    Manifest,
    ModelFacts,
    TrainingData,
)
from rewardbench.results import PluginRecord, Result, read_result
from rewardbench.runfolder import RunRecord, read_run
from rewardbench.schemas import first_fault

FACTS = ("name", "parameters", "code_licence", "weights_licence", "training_data", "training_data_note", "citation")
_ABSOLUTE = re.compile(r"(?:file:/*|(?<![\w./:\\])(?:~|[A-Za-z]:)?(?=[/\\]))(?:[/\\]*[^\s/\\'\"]+[/\\])+([^\s/\\'\"]*)")


def make_bundle(
    run: Path,
    *,
    training_data: Declaration | None = None,
    facts: Mapping[str, Mapping[str, Any]] | None = None,
    submitted_by: str = "",
) -> bytes:
    """The bytes of a run's bundle.

    Args:
        run: folder of a finished run.
        training_data: what is declared for every model that ``facts`` says nothing of.
        facts: model (plugin label, or the score's name for a recorded table) to what is known of it (``FACTS``).
        submitted_by: shown as provenance.

    Raises:
        InputError: no finished run, tables that do not belong together or hold what is no score, or facts that cannot
            be so or are of a model that is not in it.
    """
    record, result = read_run(run), read_result(run / "result.json")
    rows = _table(run / "pairs.parquet")
    tables = {archive.PAIRS: _pairs(run, rows)}
    said = _comparisons(run / "comparisons.parquet", recorded=_recorded(rows))
    for name, lines in ((archive.SCORES, _scores(run / "scores.parquet")), (archive.COMPARISONS, said)):
        if lines:
            tables[name] = lines
    models = _models(record, result, {line["plugin"] for line in said}, training_data, facts or {})
    try:
        members = {name: b"".join(map(_line, lines)) for name, lines in tables.items()}
    except ValueError:
        raise InputError(f"a table in {run} has a number that is not finite; run it again") from None
    members[archive.RESULT] = without_places(result).to_json().encode()
    files = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(members.items())}
    manifest = _manifest(record, models, submitted_by, files)
    members[archive.MANIFEST] = (
        json.dumps(manifest.model_dump(by_alias=True), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    ).encode()
    return archive.pack(members)


def _manifest(record: RunRecord, models: list[ModelFacts], submitted_by: str, files: dict[str, str]) -> Manifest:
    if len(submitted_by) > MAX_ID:
        raise InputError(f"--submitted-by has {len(submitted_by):,} characters; give at most {MAX_ID}")
    try:
        evaluation = Evaluation(
            rows=record.rows,
            cluster=record.cluster,
            bootstrap=record.bootstrap,
            seed=record.seed,
            tie_threshold=record.tie_threshold,
            label_format=record.label_format,  # type: ignore[arg-type]
        )
        return Manifest(models=models, evaluation=evaluation, submitted_by=submitted_by, files=files)
    except ValidationError as error:
        raise InputError(f"the run does not fit into a bundle: {first_fault(error)}") from None


def bundle_name(run: Path, content: bytes) -> str:
    """File name of a bundle: benchmark, models and eight digits of its content."""
    result = read_result(run / "result.json")
    names = "+".join(dict.fromkeys(plugin.label for plugin in result.plugins))
    digest = hashlib.sha256(content).hexdigest()[:8]
    return f"{plain_name(result.benchmark.name)}--{plain_name(names)[:60]}--{digest}.zip"


def write_bundle(path: Path, content: bytes) -> None:
    """Write a bundle whole or not at all.

    Raises:
        InputError: if it cannot be written there.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); choose another place with --out") from None


def plain_name(text: str) -> str:
    """A text as part of a file name."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-.") or "unnamed"


def read_facts(path: Path) -> dict[str, dict[str, Any]]:
    """What a submitter says of the models: ``{model: {name, parameters, weights_licence, training_data, …}}``.

    Raises:
        InputError: not such a file.
    """
    try:
        value = archive.read_json(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); give a JSON file with --facts") from None
    except ValueError as error:
        raise InputError(f"{error}; give a JSON file with --facts") from None
    if not isinstance(value, dict) or not all(isinstance(one, dict) for one in value.values()):
        raise InputError(f"{path} is not an object of objects; write {{model: {{fact: value}}}}")
    return value


def without_places(result: Result) -> Result:
    """The result without folders of this machine: base names stand where absolute paths stood."""
    data = result.model_dump(by_alias=True)
    data["benchmark"]["source"] = base_name(result.benchmark.source)
    data["provenance"]["command"] = _command(result.provenance.command)
    for plugin in data["plugins"]:
        plugin["options"] = {key: base_name(value) for key, value in plugin["options"].items()}
    for failure in data["failures"]:
        failure["video"] = base_name(failure["video"])
        failure["error"] = without_paths(failure["error"])
    data["warnings"] = [without_paths(warning) for warning in data["warnings"]]
    return Result.model_validate(data)


def base_name(text: str) -> str:
    """The last part of an absolute path; any other text as it is."""
    if text.startswith(("/", "~", "\\", "file:")):
        return PurePosixPath(text.replace("\\", "/")).name
    return PureWindowsPath(text).name if re.match(r"[A-Za-z]:[\\/]", text) else text


def without_paths(text: str) -> str:
    """A sentence with the base name of every absolute path in it."""
    return _ABSOLUTE.sub(r"\1", text)[:MAX_TEXT]


def _command(command: str) -> str:
    try:
        words = shlex.split(command)
    except ValueError:
        return without_paths(command)
    kept = []
    for word in words:
        key, equals, value = word.partition("=")
        kept.append(f"{key}={base_name(value)}" if equals and base_name(word) == word else base_name(word))
    return shlex.join(kept)


def _models(
    record: RunRecord,
    result: Result,
    judges: set[str],
    declared: Declaration | None,
    facts: Mapping[str, Mapping[str, Any]],
) -> list[ModelFacts]:
    models, named = [], set()
    for job, plugin in enumerate(result.plugins):
        scores: Iterable[str | None] = [None]
        if plugin.name in TABLE_PLUGINS:
            scores = dict.fromkeys(row.score for row in record.rows if row.job == job)
        for score in scores:
            name = plugin.label if score is None else score
            known = {**_card_facts(plugin), **_given(name, facts)}
            note = known.pop("training_data_note", plugin.training_data)
            untrained = "clean" if plugin.training_data == "none" else "unknown"
            declaration = known.pop("training_data", declared or untrained)
            kind = "recorded" if score is not None else "judge" if plugin.label in judges else "model"
            try:
                training = TrainingData(declaration=declaration, note=note)
                models.append(
                    ModelFacts.model_validate(
                        {"job": job, "score": score, "name": name, "kind": kind, "training_data": training, **known}
                    )
                )
            except ValidationError as error:
                raise InputError(f"--facts: {name!r}: {first_fault(error)}") from None
            named.add(name)
    for name in facts:
        if name not in named:
            raise InputError(f"--facts speaks of {name!r}, which is not in this run ({', '.join(sorted(named))})")
    return models


def _given(name: str, facts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    given = dict(facts.get(name, {}))
    for key in given:
        if key not in FACTS:
            raise InputError(f"--facts: {name} has the unknown fact {key!r}; known: {', '.join(FACTS)}")
    if given.get("training_data", "unknown") not in ("clean", "overlaps", "unknown"):
        raise InputError(f"--facts: training_data of {name} is clean, overlaps or unknown")
    return given


def _card_facts(plugin: PluginRecord) -> dict[str, Any]:
    """Parameters and licences by the installed plugin's card; nothing where it is not installed in that version."""
    from rewardbench.registry import instantiate, resolve_spec

    facts = {"citation": plugin.citation}
    if plugin.name in TABLE_PLUGINS:
        return facts
    try:
        name, preset, target = resolve_spec(plugin.label)
        model = instantiate(name, target)
        model.configure(preset=preset, options=dict(plugin.options))
    except (RewardbenchError, ValueError, OSError):  # an option may name a file that is gone
        return facts
    card = model.card
    if card.version != plugin.version:
        return facts
    return facts | {
        "parameters": card.parameters,
        "code_licence": card.code_licence,
        "weights_licence": card.weights_licence,
    }


def _table(path: Path) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows: list[dict[str, Any]] = pq.ParquetFile(path).read().to_pylist()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; name the folder of a finished run") from None
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    return rows


def _recorded(rows: Iterable[Mapping[str, Any]]) -> set[str]:
    """Plugins whose verdicts were recorded, not asked for: their texts are part of the numbers."""
    return {row["plugin"] for row in rows if row.get("verdict") is not None}


def _pairs(run: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line per pair, in an order that is the benchmark's for each label: one accuracy depends on the order."""
    pairs: dict[str, dict[str, Any]] = {}
    parts: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        line = {name: row[name] for name in ("pair_id", "prompt", "cluster", "clip_a", "clip_b")}
        slices = {k.removeprefix(SLICE_PREFIX): v or "" for k, v in row.items() if k.startswith(SLICE_PREFIX)}
        known = pairs.setdefault(row["pair_id"], line | {"labels": {}, "texts": {}, "slices": slices})
        if any(known[name] != value for name, value in line.items()):
            raise InputError(f"{run / 'pairs.parquet'} tells two stories of pair {row['pair_id']!r}; run it again")
        known["labels"][row["label"]] = row["human"]
        if row.get("verdict") is not None and row.get("human_text"):
            known["texts"][row["label"]] = row["human_text"]
        parts.setdefault((row["plugin"], row["label"], row["score"]), []).append(row["pair_id"])
    ordered = [pairs[pair_id] for pair_id in _merged(list(pairs), parts.values())]
    if len(ordered) != len(pairs):
        raise InputError(f"{run / 'pairs.parquet'} has its pairs in several orders; run it again")
    for line in ordered:
        if line["cluster"] == line["prompt"]:
            del line["cluster"]
        for name in ("texts", "slices"):
            if not line[name]:
                del line[name]
    return ordered


def _merged(ids: list[str], orders: Iterable[list[str]]) -> list[str]:
    """One order that agrees with all given ones (Kahn 1962), earliest seen first; shorter than ``ids`` if none does."""
    place = {pair_id: number for number, pair_id in enumerate(ids)}
    after: dict[str, list[str]] = {pair_id: [] for pair_id in ids}
    waits_for = dict.fromkeys(ids, 0)
    for order in orders:
        for first, second in itertools.pairwise(order):
            after[first].append(second)
            waits_for[second] += 1
    ready = [place[pair_id] for pair_id in ids if not waits_for[pair_id]]
    found = []
    while ready:
        found.append(ids[heapq.heappop(ready)])
        for pair_id in after[found[-1]]:
            waits_for[pair_id] -= 1
            if not waits_for[pair_id]:
                heapq.heappush(ready, place[pair_id])
    return found


def _scores(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    lines: dict[tuple[str, str], dict[str, Any]] = {}
    for row in _table(path):
        key = (row["plugin"], row["clip_id"])
        line = lines.setdefault(key, {"plugin": key[0], "clip_id": key[1], "values": {}})
        line["values"][row["dimension"]] = row["value"]
        if row["video_sha256"]:
            line["video_sha256"] = row["video_sha256"]
        if row["error"]:
            line["error"] = without_paths(row["error"])
    return list(lines.values())


def _comparisons(path: Path, recorded: set[str]) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    lines = []
    for row in _table(path):
        line = {name: row.get(name) for name in ("plugin", "score", "pair_id", "order")}
        line["p"] = None if row["p_a"] is None else [row["p_a"], row["p_tie"], row["p_b"]]
        if row["plugin"] in recorded:
            line["text"] = (row["text"] or "")[:MAX_TEXT]
        if row["error"]:
            line["error"] = without_paths(row["error"])
        lines.append(line)
    return lines


def _line(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n").encode()
