"""What a row stands on: weights and data with the revisions that are known, and settings held against the plugin."""

from __future__ import annotations

from pathlib import Path

from rewardbench.catalogue.card import MEDIA, BenchmarkCard, find_card, repositories
from rewardbench.reproduction.manifest import Manifest, ModelRun
from rewardbench_plugin.card import RewardCard
from rewardbench_plugin.clip import FrameSpec

NOT_PINNED = "not pinned: the row's source names no commit"


def weights_words(run: ModelRun) -> str:
    """The weights of a row and their revision; plainly "not pinned" where no commit is known."""
    if not run.weights:
        return "none"
    return f"{run.weights} at {run.revision}" if run.revision else f"{run.weights} ({NOT_PINNED})"


def data_words(manifest: Manifest) -> str:
    """Where the labels of a row are published, each place with its revision."""
    if manifest.parameters.get("printed_inputs"):
        return "numbers printed in the source"
    card = find_card(manifest.benchmark)
    if card is None:
        return f"{manifest.benchmark}, made on this machine"
    places = [f"github.com/{repository} at {commit}" for repository, commit in repositories(card).items()]
    places += _hub_places(card, media=manifest.run is not None)
    return "; ".join(dict.fromkeys(places)) or "by hand"


def _hub_places(card: BenchmarkCard, *, media: bool) -> list[str]:
    return [
        f"{source.repo} at {source.revision}" + ("" if source.pinned else " (a branch, not pinned)")
        for source in card.hub
        if media or source.part != MEDIA
    ]


def configured_card(plugin: str) -> RewardCard:
    """The card of ``NAME[:PRESET]`` with the preset applied; no weights are opened."""
    from rewardbench.registry import instantiate, resolve_spec

    name, preset, target = resolve_spec(plugin)
    model = instantiate(name, target)
    model.configure(preset=preset)
    return model.card


def settings_faults(run: ModelRun) -> list[str]:
    """Where the plugin would not be run as the row says, one sentence each."""
    if run.fps is None and run.max_pixels is None:
        return []
    specs = [spec for spec in configured_card(run.plugin).inputs.values() if isinstance(spec, FrameSpec)]
    rates = {spec.sampling.fps for spec in specs if spec.sampling.rule == "fps"}
    pixels = {None if spec.size is None else spec.size.max_pixels for spec in specs}
    found = []
    if run.fps is not None and rates != {run.fps}:
        said = ", ".join(f"{rate:g}" for rate in rates if rate is not None) or "none"
        found.append(f"settings: the row takes {run.fps:g} frames a second, plugin {run.plugin} {said}")
    if run.max_pixels is not None and pixels != {run.max_pixels}:
        given = ", ".join("any number" if one is None else f"{one:,}" for one in pixels) or "none"
        found.append(f"settings: the row takes at most {run.max_pixels:,} pixels a frame, plugin {run.plugin} {given}")
    return found


def weights_faults(run: ModelRun, folder: Path | None) -> list[str]:
    """Where the weights in ``folder`` (where ``plugins fetch`` puts them) are not those of the row."""
    from rewardbench.fetching.assets import commits_of

    if folder is None or not run.weights:
        return []
    sources = configured_card(run.plugin).sources
    if sources and run.weights not in {source.repo for source in sources}:
        brought = ", ".join(source.repo for source in sources)
        return [
            f"weights: the row used {run.weights}, and `rewardbench plugins fetch {run.plugin}` brings {brought}; name "
            "the row's own with --weights"
        ]
    commit = commits_of(folder).get(run.weights, "")
    if run.revision and folder.is_dir() and not commit.startswith(run.revision):
        held = f"commit {commit}" if commit else "an unknown commit"
        return [f"weights: the row used {run.weights} at {run.revision}, and {folder} holds {held} of it"]
    return []
