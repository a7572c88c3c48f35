"""What a bundle says of its models that follows from no item: what kind each is, its rule for ties, its ranges.

Where the plugin is installed here in the version that the bundle states, its own card decides. Where it is not, the
submitter's word is all there is, and a page says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rewardbench.errors import PluginError
from rewardbench.jobs import TABLE_PLUGINS
from rewardbench.leaderboard.archive import quoted
from rewardbench.leaderboard.bundle import Bundle
from rewardbench.results import DimensionRecord, PluginRecord
from rewardbench_plugin.card import RewardCard

Kind = Literal["model", "judge", "recorded"]


@dataclass(frozen=True)
class _Installed:
    """A plugin as it is installed here, configured with its preset and nothing else.

    ``weights`` has the SHA-256 of those that the preset brings along, None where it cannot do without the user's.
    """

    card: RewardCard
    options: frozenset[str]
    weights: Mapping[str, str] | None
    is_judge: bool


def kind_of(bundle: Bundle, job: int) -> Kind:
    """What the model of a plugin is, by the plugin and the items; what the submitter calls it decides nothing."""
    plugin = bundle.result.plugins[job]
    if plugin.name in TABLE_PLUGINS:
        return "recorded"
    return "judge" if plugin.label in bundle.judged else "model"


@dataclass(frozen=True)
class Declared:
    """What was found: faults, and the (job, score) whose range and rule for ties are those of an installed card."""

    faults: tuple[str, ...]
    as_installed: frozenset[tuple[int, str]]


def held_against_cards(bundle: Bundle) -> Declared:
    """Models called what they are not, rules for ties that change between rows, and what an installed card denies."""
    plugins, rows = bundle.result.plugins, bundle.manifest.evaluation.rows
    faults = [*_label_faults(plugins), *_model_faults(bundle)]
    first: dict[tuple[int, str], float | None] = {}
    for row in rows:
        if first.setdefault((row.job, row.score), row.native_threshold) != row.native_threshold:
            named = f"{quoted(row.plugin)} {quoted(row.score)}"
            faults.append(f"{named} has several native thresholds: a model has one rule for ties")
    as_installed = set()
    for job in dict.fromkeys(row.job for row in rows):
        plugin = plugins[job]
        try:
            installed = _installed(plugin)
        except PluginError as error:
            faults.append(f"{quoted(plugin.label)} in version {plugin.version}: {error}")
            continue
        if installed is None:
            continue
        if installed.is_judge != (plugin.label in bundle.judged):
            what = "a judge of pairs" if installed.is_judge else "no judge, so it has no verdicts"
            faults.append(f"{quoted(plugin.label)} is {what} in version {plugin.version}")
        unknown = sorted(set(plugin.options) - installed.options)
        if unknown:
            faults.append(f"{quoted(plugin.label)} has no option {quoted(unknown[0])} in version {plugin.version}")
        # Options and weights of one's own may change a card; nothing of them is run here, so then it is not known.
        settled = not plugin.options and plugin.weights == installed.weights
        for (of, score), native in first.items():
            if of == job:
                denied = _differences(plugin, score, native, installed.card)
                if not denied:
                    as_installed.add((job, score))
                elif settled or plugin.name in TABLE_PLUGINS:
                    faults += [f"{quoted(plugin.label)} {quoted(score)}: {what}" for what in denied]
    return Declared(tuple(faults), frozenset(as_installed))


def _label_faults(plugins: Sequence[PluginRecord]) -> Iterator[str]:
    for plugin in plugins:
        if plugin.label != (plugin.name if plugin.preset is None else f"{plugin.name}:{plugin.preset}"):
            preset = "no preset" if plugin.preset is None else f"preset {quoted(plugin.preset)}"
            yield f"{quoted(plugin.label)} is not the label of plugin {quoted(plugin.name)} with {preset}"


def _model_faults(bundle: Bundle) -> Iterator[str]:
    for facts in bundle.manifest.models:
        if facts.job >= len(bundle.result.plugins):
            yield f"model {quoted(facts.name)} is of plugin {facts.job}, which result.json does not have"
            continue
        kind = kind_of(bundle, facts.job)
        if facts.kind != kind:
            yield f"model {quoted(facts.name)} is called {facts.kind}; by its plugin and its items it is {kind}"
        if facts.score is None and kind == "recorded":
            yield f"model {quoted(facts.name)} names no score; of recorded tables each score is a model"
        if facts.score is not None and kind != "recorded":
            yield f"model {quoted(facts.name)} names a score; a plugin is one model, whatever scores it has"


def _differences(plugin: PluginRecord, score: str, native: float | None, card: RewardCard) -> list[str]:
    """What the record says of one score and the card does not."""
    rule = None if card.native_tie_rule is None else card.native_tie_rule.thresholds
    if plugin.name in TABLE_PLUGINS:  # a table names its scores; their rule is the plugin's only one, their range its
        threshold = next(iter(rule.values())) if rule else None
        dimension = card.dimensions[0] if card.dimensions else None
    elif score not in card.dimension_names:
        return [f"version {card.version} has no such score"]
    else:
        threshold, dimension = (rule or {}).get(score), card.dimension(score)
    found = []
    if threshold != native:
        found.append(f"the native threshold is stated as {native}, and its card says {threshold}")
    stated = next((one for one in plugin.dimensions if one.name == score), None)
    if dimension is not None and stated is not None:
        true = DimensionRecord(name=score, low=dimension.low, high=dimension.high)
        if (stated.low, stated.high) != (true.low, true.high):
            found.append(f"the range is stated as {_range(stated)}, and its card says {_range(true)}")
        if stated.higher_is_better != dimension.higher_is_better:
            found.append("which way is better is not what its card says")
    return found


def _range(record: DimensionRecord) -> str:
    return f"{'any' if record.low is None else record.low} to {'any' if record.high is None else record.high}"


def _installed(plugin: PluginRecord) -> _Installed | None:
    """The plugin as it is installed here; None where it is not, in another version, or cannot be loaded.

    Raises:
        PluginError: that version has no such preset.
    """
    from rewardbench.registry import instantiate, load_registry, resolve_spec
    from rewardbench_plugin.digests import hash_path
    from rewardbench_plugin.reward import PairwiseJudge

    manifest = load_registry().rewards.get(plugin.name)
    if manifest is None or manifest.version != plugin.version:
        return None
    name, preset, target = resolve_spec(plugin.label)
    try:
        model = instantiate(name, target)
    except PluginError:  # this machine lacks what it imports
        return None
    weights: Mapping[str, str] | None = {}
    if name not in TABLE_PLUGINS:
        try:
            model.configure(preset=preset)
            weights = {part: hash_path(path) for part, path in model.weights.items()}
        except Exception:  # it needs weights or an option, and says so in its own way: its class speaks for it
            weights = None
    return _Installed(model.card, frozenset(model.option_names), weights, isinstance(model, PairwiseJudge))
