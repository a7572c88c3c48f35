"""``README.md`` of an alignment: a model card as the Hugging Face Hub reads it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from rewardbench.align.evidence import Row, Watch, win_rate
from rewardbench.align.sources import settings_by_subject, source_of, value_text
from rewardbench.report import notation

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)


def base_model(generator: Mapping[str, Any]) -> str:
    """The base as the Hub names it: ``Wan-AI/Wan2.1-T2V-1.3B-Diffusers``; of a local folder its last name."""
    model, family = str(generator["model"]), str(generator.get("family", ""))
    if family == "toy" and model.partition(":")[0] == "toy":
        return "toy"
    name, mark, source = model.partition(":")
    found = source if mark and name == family and source else model
    if _HUB_NAME.fullmatch(found):
        return found
    return re.sub(r"[^A-Za-z0-9_.]+", "-", PurePath(found).name).strip("-.") or "base"


def model_card(result: Mapping[str, Any], mix: Mapping[str, float], rows: Sequence[Row], watch: Watch) -> str:
    """The card as Markdown with its YAML front matter.

    Args:
        result: ``result.json``.
        mix: weights of the optimised reward's dimensions.
        rows: changes, the optimised one first.
        watch: what is known of reward hacking.
    """
    parts = [
        f"---\n{_front_matter(result)}\n---",
        f"# {_md(base_model(result['generator']))}, aligned by {result['algorithm']} to {_md(result['optimised'])}",
        _summary(result, rows[0]),
        f"> {'**Alarm.** ' if watch.state == 'alarm' else ''}{_md(watch.sentence)}",
        *(f"**Found.** {_md(finding)}" for finding in watch.findings),
        "## What changed",
        _changes_table(rows),
        "Base against aligned on prompts that were not learned on, both from the same noise. Higher is better in every "
        "row (dimensions of motion say how much moves, not how well). Intervals are 95 %: of differences by bootstrap "
        "over prompts, of win rates Wilson's; a win rate counts equal scores one half. Scores and differences are each "
        "rounded to four decimals (rows below 0.1 to four significant digits), win rates to three. Clips and curves "
        "stand in `report.html`.",
        "## How to load",
        *_how_to_load(result),
        "## How it was made",
        _made(result, mix),
        _recipe_table(result),
        "## Limits",
        "\n".join(f"- {sentence}" for sentence in _limits(result, watch)),
        "## Provenance",
        _provenance(result),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(result: Mapping[str, Any]) -> str:
    from huggingface_hub import ModelCardData

    generator, recipe = result["generator"], result["recipe"]
    pictured = bool(generator.get("needs_image", any(clip["image"] for clip in result["clips"])))
    guided = result["algorithm"] == "flow-nrg"
    lora = recipe["tuning"] == "lora" and not guided
    task = "image-to-video" if pictured else "text-to-video"
    data = ModelCardData(
        base_model=base_model(generator),
        base_model_relation="adapter" if lora or guided else "finetune",
        library_name="rewardbench" if guided or generator.get("family") == "toy" else "diffusers",
        pipeline_tag=task,
        tags=[
            task,
            *(["lora", "peft"] if lora else []),
            *(["reward-guidance"] if guided else ["preference-alignment"]),
            result["algorithm"],
            "rewardbench",
        ],
    )
    return str(data.to_yaml()).strip()


def _summary(result: Mapping[str, Any], optimised: Row) -> str:
    found = optimised.change
    if found is None:
        return (
            f"`{_code(optimised.name)}` has no score of both base and aligned on any prompt; nothing can be said of it."
        )
    low, high = (optimised.difference(v) for v in found.difference_ci95)
    won_low, won_high = (win_rate(v) for v in found.win_rate_ci95)
    open_still = " These are too few to say whether it changed." if optimised.few else ""
    return (
        f"The optimised reward `{_code(optimised.name)}` went from {optimised.score(found.base)} to "
        f"{optimised.score(found.aligned)} ({optimised.difference(found.difference)}, 95 % interval [{low}, {high}]); "
        f"the aligned clip wins on a share of {win_rate(found.win_rate)} [{won_low}, {won_high}] of "
        f"{notation.count(found.n)} prompts.{open_still}"
    )


def _changes_table(rows: Sequence[Row]) -> str:
    lines = [
        "| judge:dimension | role | base | aligned | difference [95 %] | win rate [95 %] | n | abstained |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        c = row.change
        if c is None:
            cells = ["–"] * 4 + ["0", "–"]
        else:
            low, high = (row.difference(v) for v in c.difference_ci95)
            won_low, won_high = (win_rate(v) for v in c.win_rate_ci95)
            cells = [
                *(row.score(c.base), row.score(c.aligned), f"{row.difference(c.difference)} [{low}, {high}]"),
                f"{win_rate(c.win_rate)} [{won_low}, {won_high}]",
                notation.count(c.n) + (" (too few)" if row.few else ""),
                notation.count(c.abstained) + (f" ({notation.count(c.failed)} failed)" if c.failed else ""),
            ]
        lines.append(f"| {_md(row.name)} | {row.note} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _how_to_load(result: Mapping[str, Any]) -> list[str]:
    generator, lora = result["generator"], result["recipe"]["tuning"] == "lora"
    model, base = str(generator["model"]), base_model(generator)
    if result["algorithm"] == "flow-nrg":
        plugin = result["optimised"].rpartition(":")[0]
        reward = str((result.get("guidance") or {}).get("latent_reward") or "latent-reward.safetensors")
        reward = "weights/latent-reward.safetensors" if reward == "latent-reward.safetensors" else reward
        command = (
            f"rewardbench align --algorithm flow-nrg --plugin {_shell(plugin)} --model {_shell(model)} "
            f"--latent-reward {_shell(reward)}"
        )
        return [
            "The generator is unchanged; a latent reward guides it while it samples. In this folder:",
            _fenced(command, "sh"),
        ]
    if generator.get("family") == "toy":
        return ["From this folder:", _fenced(_toy_code(model, lora), "python")]
    names = "DiffusionPipeline" if lora else "AutoModel, DiffusionPipeline"
    # a transformer handed to DiffusionPipeline.from_pretrained is passed over where the pipeline calls it optional, as
    # Wan's does (diffusers 0.42): the base would be loaded without a word
    load = (
        'pipe.load_lora_weights("weights")'
        if lora
        else 'pipe.transformer = AutoModel.from_pretrained("weights/transformer", dtype=torch.bfloat16)'
    )
    code = [
        "import torch",
        f"from diffusers import {names}",
        "",
        f"pipe = DiffusionPipeline.from_pretrained({base!r}, dtype=torch.bfloat16)",
        load,
    ]
    said = ["From this folder:", _fenced("\n".join(code), "python")]
    if lora and generator.get("family") == "wan" and generator.get("needs_image"):
        said.append(
            "diffusers warns of the layers `add_k_proj` and `add_v_proj`, which this LoRA does not adapt: it gives "
            "them adapters of zeros. Nothing is missing."
        )
    return said


def _toy_code(model: str, lora: bool) -> str:
    if lora:
        return "\n".join(
            [
                "from pathlib import Path",
                "",
                "from rewardbench.align.adapters import POLICY, activate, load_adapter",
                "from rewardbench.align.families import load_family",
                "",
                f"family = load_family({model!r})",
                'load_adapter(family, Path("weights"), POLICY)',
                "activate(family.transformer, POLICY)",
            ]
        )
    return "\n".join(
        [
            "from rewardbench.align.families import load_family",
            "from rewardbench.align.toy.network import ToyTransformer",
            "",
            f"family = load_family({model!r})",
            'family.transformer = ToyTransformer.from_pretrained("weights/transformer")',
        ]
    )


def _made(result: Mapping[str, Any], mix: Mapping[str, float]) -> str:
    beta, source = result["effective_beta"], source_of(result["preset"])
    weights = ", ".join(f"{_md(name)} × {weight:g}" for name, weight in mix.items())
    pairs = [p["n"] for p in result["pairs"] if p["n"] is not None]
    lines = [
        f"- Base model: `{_code(result['generator']['model'])}`",
        f"- Algorithm: {result['algorithm']}"
        + (f", preset `{_code(result['preset'])}`" if result["preset"] else ", no preset")
        + (f" (after {_md(source.source)})" if source else ""),
        f"- Trained with rewardbench {result['provenance']['rewardbench']}, diffusers and peft",
        f"- Judge: {_md(result['optimised'])}" + (f" (weighted mean of {weights})" if len(mix) > 1 else ""),
        f"- Held-out judges: {_md(', '.join(result['held_out'])) or 'none'}",
        f"- Prompts: {notation.count(result['prompts']['learned_on'])} learned on, "
        f"{notation.count(result['prompts']['compared_on'])} others compared on",
        *([f"- Pairs: {', '.join(notation.count(n) for n in pairs)}"] if pairs else []),
        *(f"- Learned from: {_md(one)}" for one in dict.fromkeys(p["source"] for p in result["pairs"])),
        *(
            f"- {_md(one[:1].upper() + one[1:])}"
            for one in dict.fromkeys(t for p in result["pairs"] for t in p["said"])
        ),
        f"- Effective beta: {beta['per_sample']:g} per sample (of the mean squared error), {beta['per_element']:.3g} "
        f"per element ({notation.count(beta['elements'])} elements a clip)"
        if beta
        else f"- Effective beta: none; {result['algorithm']} compares with no reference",
        *([f"- Guidance: {_md(value_text(result['guidance']))}"] if result.get("guidance") else []),
    ]
    return "\n".join(lines)


def _recipe_table(result: Mapping[str, Any]) -> str:
    groups = settings_by_subject(result["recipe"], result["preset"])
    marked = any(s.origin for group in groups.values() for s in group)
    idle = [f"`{s.name}` {_md(s.value)}" for group in groups.values() for s in group if not s.effect]
    lines = [
        "| setting | value | chosen by |" if marked else "| setting | value |",
        "|---|---|" + ("---|" if marked else ""),
    ]
    for group in groups.values():
        for s in group:
            if s.effect:
                lines.append(f"| `{s.name}` | {_md(s.value)} |" + (f" {_md(s.remark)} |" if marked else ""))
    if idle:
        lines += ["", f"Without effect in this recipe: {', '.join(idle)}."]
    return "\n".join(lines)


def _limits(result: Mapping[str, Any], watch: Watch) -> list[str]:
    limits = [
        "The reward is a model's: a higher one does not show that people prefer the clips. Look at them.",
        f"One training run, one seed ({value_text(result['recipe']['seed'])}): the intervals are over prompts, and say "
        "nothing about how another run would have ended. They are not corrected for the number of rows.",
        "Nothing is known of prompts unlike those it was compared on.",
    ]
    if watch.state == "blind":
        limits.append("Nothing in this run could have shown that the reward was hacked.")
    if result["generator"].get("family") == "toy":
        limits.append("The toy generator draws a small made-up world; it serves to try methods out, not to make clips.")
    else:
        limits.append("Licence, terms of use and limits of the base model hold for this one too.")
    return limits


def _provenance(result: Mapping[str, Any]) -> str:
    facts = result["provenance"]
    lines = ["| | |", "|---|---|"]
    lines += [
        f"| {_md(name)} | {_md(value_text(value))} |"
        for name, value in facts.items()
        if name != "command" and value is not None
    ]
    return "\n".join(lines) + "\n\n" + _fenced(notation.plain(facts["command"] or "(command not recorded)"), "sh")


# ---------------------------------------------------------------------- Markdown


def _md(text: object) -> str:
    """Foreign text on one line, with nothing in it that Markdown, a table or HTML would take for its own."""
    line = " ".join(notation.plain(text).split())
    return re.sub(r"([\\`*_{}\[\]<>#|!~$&])", r"\\\1", line)


def _code(text: object) -> str:
    """For between backticks, in which nothing can be escaped."""
    return " ".join(notation.plain(text).split()).replace("`", "'")


def _fenced(text: str, language: str) -> str:
    """A block of code behind a fence that its text cannot close."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"


def _shell(text: str) -> str:
    import shlex

    return shlex.quote(text)
