"""A card in words, and as JSON, with the agreement of its raters where the files are at hand."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

from rewardbench.catalogue.card import BenchmarkCard, repositories
from rewardbench.catalogue.folders import data_folder
from rewardbench.catalogue.raters import Agreement, agreement
from rewardbench.errors import InputError
from rewardbench_plugin.hooks import BenchmarkManifest


def card_facts(
    name: str, manifest: BenchmarkManifest, card: BenchmarkCard, data_dir: str | os.PathLike[str] | None = None
) -> dict[str, Any]:
    """Everything that is known of a benchmark, as JSON; ``agreement`` is empty where its files are not at hand."""
    folder = data_folder(card.name, data_dir)
    try:
        raters = agreement(name, folder) if card.kind == "pairs" else []
    except InputError:
        raters = []
    facts = card.model_dump(mode="json")
    return {
        **facts,
        "variants": dict.fromkeys(manifest.variants, "") | dict(card.variants),
        "labels_by": manifest.labels_by,
        "unseen": list(card.unseen),
        "folder": str(folder),
        "at_hand": _at_hand(card, folder),
        "agreement": [asdict(one) for one in raters],
    }


def _at_hand(card: BenchmarkCard, folder: Any) -> dict[str, str]:
    """Part to how many of its known files are there."""
    found = {}
    for part in card.parts:
        files = [file for file in card.files if file.part == part]
        if files:
            found[part] = f"{sum((folder / file.path).is_file() for file in files)} of {len(files)} files"
    return found


def card_lines(card: BenchmarkCard, facts: dict[str, Any]) -> list[str]:
    """The same as lines for a terminal."""
    size = ", ".join(f"{value:,} {key}" for key, value in card.size.model_dump().items() if value is not None)
    lines = [f"{card.title} ({card.name}, version {card.version})", f"  {card.summary}"]
    fields = [
        ("citation", card.citation),
        ("published at", card.url),
        ("licence of labels" if card.kind == "pairs" else "licence of prompts", card.licence.labels),
        ("licence of clips", card.licence.media),
        ("size", size),
        ("labels", card.labels),
        ("sampling", card.sampling),
        ("raters", _raters(card)),
        ("variants", ", ".join(key for key in facts["variants"] if key)),
        ("notes", card.notes),
    ]
    lines += [f"{key}: {value}" for key, value in fields if value]
    if card.dimensions:
        lines += ["dimensions:", *(f"  {key}: {value}" for key, value in card.dimensions.items())]
    if card.answers:
        lines.append("answered by:")
        for plugin, answers in card.answers.items():
            lines.append(f"  {plugin}: {', '.join(f'{label}={score}' for label, score in answers.items())}")
    lines += _sources(card)
    lines += [f"layout: unseen: {what}" for what in facts["unseen"]]
    at_hand = ", ".join(f"{part} {text}" for part, text in facts["at_hand"].items())
    lines.append(f"at hand: {at_hand or 'see the folder'} in {facts['folder']}")
    if facts["agreement"]:
        lines += agreement_lines([Agreement(**one) for one in facts["agreement"]])
    return lines


def _raters(card: BenchmarkCard) -> str:
    raters = card.raters
    if raters is None:
        return ""
    number = "number not published" if raters.per_item is None else f"{raters.per_item} a clip or pair"
    missing = f"; {raters.missing} means no rating" if raters.missing else ""
    return f"{number}, {raters.scale}; label by {raters.rule}{missing}"


def _sources(card: BenchmarkCard) -> list[str]:
    lines = [
        f"files: {sum(file.part == part for file in card.files)} {part}, "
        f"{sum(file.bytes for file in card.files if file.part == part) / 1e6:.1f} MB"
        for part in dict.fromkeys(file.part for file in card.files)
    ]
    lines += [f"  from github.com/{repository} at {commit}" for repository, commit in repositories(card).items()]
    for source in card.hub:
        pinned = source.revision[:12] if source.pinned else f"{source.revision} (not pinned)"
        size = f", {source.size}" if source.size else ""
        lines.append(f"hub: {source.repo} at {pinned}: {source.part}{size}")
    if card.by_hand:
        lines.append(f"by hand: {card.by_hand}")
    return lines


def agreement_lines(found: list[Agreement]) -> list[str]:
    """A small table: how far one rater gets against the others, and Krippendorff's alpha.

    The strict number without ties stands last of the three: it is no ceiling (see :class:`Agreement`).
    """
    header = ["label", "pairs", "raters", "with ties", "half credit", "strict", "alpha"]
    rows = [header]
    for one in found:
        shares = (one.ceiling_with_ties, one.ceiling_half_credit, one.ceiling_without_ties)
        numbers = ["-" if value is None else f"{100 * value:.1f}" for value in shares]
        alpha = "-" if one.alpha is None else f"{one.alpha:.3f}"
        rows.append([one.label, f"{one.n_pairs:,}", str(one.n_raters), *numbers, alpha])
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    lines = [
        "one rater against the others (accuracy in %, ties at their word; half credit and strict without ties, where "
        "strict is no ceiling; alpha of the ratings, ordinal):"
    ]
    return lines + [
        "  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
