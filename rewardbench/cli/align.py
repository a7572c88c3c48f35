"""``rewardbench align``: a reward plugin to a better generator."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rewardbench.cli import options, output
from rewardbench.cli.progress import terminal_progress
from rewardbench.errors import InputError

if TYPE_CHECKING:
    from rewardbench.align.families import ClipShape
    from rewardbench.align.judging import Judge
    from rewardbench.align.settings import AlignSettings
    from rewardbench.scoring.progress import Progress
    from rewardbench_plugin.card import RewardCard

EXIT_SOME_FAILED = 3
_MOST_SAID = 10
_KINDS = {"bool": "true or false", "int": "a whole number", "float": "a number", "float | None": "a number or none"}


def align(
    context: typer.Context,
    plugin: Annotated[str, typer.Option("--plugin", metavar="NAME[:PRESET]", help="Reward model that judges.")],
    algorithm: Annotated[
        str | None,
        typer.Option("--algorithm", metavar="NAME", help="sft, dpo, gapo, flow-dpo, flow-rwr, realdpo or flow-nrg."),
    ] = None,
    preset: Annotated[
        str | None, typer.Option("--preset", metavar="NAME", help="Recipe of a paper or code, e.g. gapo_paper.")
    ] = None,
    model: Annotated[
        str,
        typer.Option("--model", metavar="FAMILY[:HUB-ID]|PATH", help="Generator: toy, toy:v, or a diffusers folder."),
    ] = "toy",
    model_option: Annotated[
        list[str] | None,
        typer.Option("--model-option", metavar="KEY=VALUE", help="A choice of the generator's family."),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option("--prompts", metavar="TABLE", help="Prompts to learn on (prompt, image?, prompt_id?)."),
    ] = None,
    evaluation_prompts: Annotated[
        Path | None,
        typer.Option("--evaluation-prompts", metavar="TABLE", help="Prompts to compare base and aligned on."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the run.")] = Path("rewardbench-align"),
    dimension: Annotated[
        list[str] | None,
        typer.Option("--dimension", metavar="NAME[=WEIGHT]", help="Dimension to optimise; repeat for a weighted mean."),
    ] = None,
    held_out: Annotated[
        list[str] | None,
        typer.Option(
            "--held-out", metavar="NAME", help="Plugin that is watched, not optimised (repeatable); none for none."
        ),
    ] = None,
    held_out_weights: Annotated[
        list[str] | None,
        typer.Option("--held-out-weights", metavar="NAME=[PART=]PATH", help="Weights of a held-out plugin."),
    ] = None,
    held_out_option: Annotated[
        list[str] | None,
        typer.Option("--held-out-option", metavar="NAME=KEY=VALUE", help="An option of a held-out plugin."),
    ] = None,
    weights: options.WeightsOption = None,
    option: options.OptionsOption = None,
    trust_remote_code: options.TrustOption = False,
    prompt_count: Annotated[int | None, typer.Option("--prompt-count", help="Prompts to learn on.")] = None,
    evaluation_count: Annotated[int | None, typer.Option("--evaluation-count", help="Prompts to compare on.")] = None,
    sampling_steps: Annotated[
        int | None, typer.Option("--sampling-steps", help="Steps of the sampler; the family's usual ones if left out.")
    ] = None,
    guidance: Annotated[
        float | None, typer.Option("--guidance", help="Classifier-free guidance, 1 is none; the family's usual one.")
    ] = None,
    sampling_batch: Annotated[
        int | None, typer.Option("--sampling-batch", help="Clips sampled at once; 16 for the toy, else 1.")
    ] = None,
    clip: Annotated[
        str | None,
        typer.Option("--clip", metavar="FRAMESxHEIGHTxWIDTH@FPS", help="Size of clips, e.g. 49x480x720@8."),
    ] = None,
    pairs: Annotated[
        Path | None, typer.Option("--pairs", metavar="FILE", help="Learn from a pairs file instead of sampling.")
    ] = None,
    label: Annotated[
        str | None, typer.Option("--label", metavar="NAME", help="Label of that file that decides.")
    ] = None,
    winners: Annotated[
        Path | None, typer.Option("--winners", metavar="TABLE", help="Real clips that win (realdpo).")
    ] = None,
    min_gap: Annotated[
        float, typer.Option("--min-gap", help="Smallest difference of rewards that makes a pair.")
    ] = 0.0,
    latent_reward: Annotated[
        str | None, typer.Option("--latent-reward", metavar="NAME|FILE", help="flow-nrg: guide by this one.")
    ] = None,
    start: Annotated[Path | None, typer.Option("--start", metavar="DIR", help="LoRA to start from.")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any setting of the recipe (repeatable); see --settings."),
    ] = None,
    show_settings: Annotated[
        bool,
        typer.Option("--settings", help="Print the recipe with every setting, and where it comes from; do nothing."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what the run would do and how much memory it needs; do nothing.")
    ] = False,
    stage: Annotated[
        str | None,
        typer.Option(
            "--stage", metavar="NAME", help="Up to sample, score, pair, encode or train; or evaluate, or report."
        ),
    ] = None,
    evaluations: Annotated[int, typer.Option("--evaluations", help="Looks at the policy, the end included.")] = 3,
    watch_count: Annotated[int, typer.Option("--watch-count", help="Prompts of a look while it learns.")] = 32,
    on_alarm: Annotated[
        str, typer.Option("--on-alarm", metavar="warn|stop", help="When the reward is being hacked.")
    ] = ("warn"),
    device: options.DeviceOption = "auto",
    dtype: Annotated[
        str, typer.Option("--dtype", metavar="auto|float32|bfloat16|float16", help="Of the generator's frozen weights.")
    ] = "auto",
    save_every: Annotated[int, typer.Option("--save-every", help="Steps between states to resume from.")] = 50,
    seed: options.SeedOption = 0,
    output_format: options.FormatOption = "table",
    debug: options.DebugOption = False,
) -> int:
    """Make a video generator better by a reward plugin: sample, score, pair, train, compare.

    Without --model and --prompts it runs on a small generator of the drawn anime world, on any machine. The same
    command goes on where an interrupted run stopped.
    """
    from rewardbench.align.alignment import align as run_alignment
    from rewardbench.align.families import family_name
    from rewardbench.align.judging import Judge, card_of
    from rewardbench.align.presets import recipe_for
    from rewardbench.align.processes import leaving_at_the_end
    from rewardbench.align.sampling import SamplingChoice
    from rewardbench.align.settings import AlignSettings

    if on_alarm not in ("warn", "stop"):
        raise InputError(f"--on-alarm is warn or stop, not {on_alarm!r}")
    changes = {"seed": seed, **_settings(setting or [])}
    toy = family_name(model) == "toy"
    of_lora = {} if start is None else _strength_of(start)
    recipe = recipe_for(algorithm, preset, {**of_lora, **changes}, toy=toy)
    if show_settings:
        _show_recipe(recipe.as_dict(), preset, changes, of_lora)
        return 0
    parts = options.read_weights(weights)
    values = options.read_options(option, trust_remote_code=trust_remote_code)
    settings = AlignSettings(
        recipe=recipe,
        judge=Judge(plugin, _mix(dimension) or {_usual_dimension(card_of(plugin, parts, values)): 1.0}, parts, values),
        out=out,
        held_out=_held_out_judges(_held_out(held_out, toy, plugin), held_out_weights, held_out_option),
        model=model,
        clip=_clip(clip),
        model_options=dict(options.split_pairs("--model-option", model_option, "KEY=VALUE")),
        prompts=prompts,
        evaluation_prompts=evaluation_prompts,
        prompt_count=prompt_count,
        evaluation_count=evaluation_count,
        sampling=SamplingChoice(sampling_steps, guidance, sampling_batch),
        pairs=pairs,
        label=label,
        winners=winners,
        min_gap=min_gap,
        latent_reward=latent_reward,
        start=start,
        evaluations=evaluations,
        watch_count=watch_count,
        on_alarm=on_alarm,
        device=device,
        dtype=dtype,
        save_every=save_every,
        preset=preset,
        command=context.obj or "",
    )
    if dry_run:
        from rewardbench.align.dryrun import describe_run

        for line in describe_run(settings):
            output.write(line)
        return 0
    with output.own_stdout() as stdout, terminal_progress() as progress, leaving_at_the_end():
        result = run_alignment(settings, progress, stage=stage)
        progress.end_phase()
        if output_format == "json":
            output.print_json(result, stdout)
        elif result and stage in (None, "evaluate", "report"):
            _print_result(result, out, stdout)
        return max(_say_failures(settings, progress), _say_unknown(result, progress))


def _say_failures(settings: AlignSettings, progress: Progress) -> int:
    """Say on which clips a judge failed; the exit code."""
    from rewardbench.align.watching import failed_clips

    failed = failed_clips(settings.out, settings)
    for one in failed[:_MOST_SAID]:
        progress.message(f"{one['judge']} failed on {one['clips']}/{one['clip_id']}: {one['error']}")
    if len(failed) > _MOST_SAID:
        progress.message(f"… and on {len(failed) - _MOST_SAID:,} more clips")
    if failed:
        progress.message("clips to compare on are scored again when the same command is run again")
    return EXIT_SOME_FAILED if failed else 0


def _say_unknown(result: dict[str, Any], progress: Progress) -> int:
    """Say where the optimised reward could not be compared at all; the exit code."""
    if not result or result["changes"][result["optimised"]] is not None:
        return 0
    progress.message(
        f"{result['optimised']} scored no prompt of the comparison on both sides: whether the generator is better is "
        "not known"
    )
    return EXIT_SOME_FAILED


def _settings(texts: list[str]) -> dict[str, Any]:
    """``NAME=VALUE`` of ``--set`` as values of the recipe's types.

    Raises:
        InputError: no such setting, or a value of another type.
    """
    import dataclasses

    from rewardbench.align.recipe import Recipe
    from rewardbench.registry import nearest

    fields = {f.name: f for f in dataclasses.fields(Recipe)}
    found: dict[str, Any] = {}
    for text in texts:
        name, mark, value = text.partition("=")
        if not mark or name not in fields:
            hint = nearest(name, fields) if name not in fields else "; write --set NAME=VALUE"
            raise InputError(f"--set {text}: the recipe has no such setting{hint}")
        found[name] = _value(name, value, str(fields[name].type))
    return found


def _value(name: str, text: str, kind: str) -> Any:
    try:
        if kind == "bool":
            return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[text.lower()]
        if kind == "int":
            return int(text)
        if kind == "float":
            return float(text)
        if kind == "float | None":
            return None if text.lower() == "none" else float(text)
    except (ValueError, KeyError):
        raise InputError(f"--set {name}={text}: {name} is {_KINDS[kind]}") from None
    return text


def _clip(text: str | None) -> ClipShape | None:
    """``FRAMESxHEIGHTxWIDTH@FPS`` of ``--clip``."""
    from rewardbench.align.families import ClipShape

    if text is None:
        return None
    found = re.fullmatch(r"(\d+)x(\d+)x(\d+)@(\d+(?:\.\d+)?)", text)
    if found is None or float(found[4]) == 0:
        raise InputError(f"--clip {text} is not of the form FRAMESxHEIGHTxWIDTH@FPS, e.g. 49x480x720@8")
    return ClipShape(int(found[1]), int(found[2]), int(found[3]), float(found[4]))


def _mix(dimensions: list[str] | None) -> dict[str, float]:
    """``NAME[=WEIGHT]`` of ``--dimension``; empty where nothing is said."""
    mix: dict[str, float] = {}
    for text in dimensions or []:
        name, mark, weight = text.partition("=")
        try:
            mix[name] = float(weight) if mark else 1.0
        except ValueError:
            raise InputError(f"--dimension {text}: the weight is not a number") from None
    return mix


def _usual_dimension(card: RewardCard) -> str:
    """What is optimised where nothing is said: its overall, its default score, or its only dimension.

    Raises:
        InputError: it has none of these.
    """
    names = card.dimension_names
    for name in ("overall", card.default_score, names[0] if len(names) == 1 else None):
        if name in names:
            return str(name)
    raise InputError(
        f"{card.name} has no overall score; say with --dimension what to optimise, there are {', '.join(names)}"
    )


def _held_out(given: list[str] | None, toy: bool, judge: str) -> list[str]:
    """The judges that are watched; ``none`` for none. Where nothing is said, on the toy: the pixel rules, or the small
    judge where these are optimised."""
    if given:
        return [] if given == ["none"] else given
    if not toy:
        return []
    return ["animereward"] if judge.partition(":")[0] == "drawn-rules" else ["drawn-rules"]


def _held_out_judges(names: list[str], weights: list[str] | None, values: list[str] | None) -> tuple[Judge, ...]:
    """Each with its own weights and options, and its overall, default score or first dimension as reward: all its
    dimensions are watched anyway.

    Raises:
        InputError: weights or options of a plugin that is not held out.
    """
    from rewardbench.align.judging import Judge, card_of

    own: dict[str, tuple[list[str], list[str]]] = {name: ([], []) for name in names}
    for number, (option, given) in enumerate((("--held-out-weights", weights), ("--held-out-option", values))):
        for name, rest in options.split_pairs(option, given, "NAME=…"):
            if name not in own:
                raise InputError(f"{option} {name}={rest}: {name} is not held out; add --held-out {name}")
            own[name][number].append(rest)
    judges = []
    for name, (paths, choices) in own.items():
        parts, chosen = options.read_weights(paths), options.read_options(choices)
        card = card_of(name, parts, chosen)
        names_of = card.dimension_names
        reward = next((d for d in ("overall", card.default_score) if d in names_of), names_of[0])
        judges.append(Judge(name, {str(reward): 1.0}, parts, chosen))
    return tuple(judges)


def _strength_of(start: Path) -> dict[str, int]:
    from rewardbench.align.adapters import strength_of

    return strength_of(start)


def _show_recipe(recipe: dict[str, Any], preset: str | None, changes: dict[str, Any], of_lora: dict[str, int]) -> None:
    from rewardbench.align.presets import PRESETS

    found = PRESETS.get(preset or "")
    rows = [["setting", "value", "from"]]
    for name, value in recipe.items():
        origin = "the LoRA" if name in of_lora else "ours"
        if name in changes and name != "seed":
            origin = "you"
        if found is not None and origin == "ours" and name in found.stated:
            origin = found.source
        rows.append([name, str(value), origin])
    output.print_columns(rows)
    if found is not None and found.notes:
        output.write(found.notes)


def _print_result(result: dict[str, Any], out: Path, stdout: Any) -> None:
    """A line a judge and dimension, the alarm in the page's words, and where the page is."""
    from rewardbench.align.evidence import watch_of

    rows = [["judge", "base", "aligned", "difference", "95 % interval", "win rate", "95 % interval", "n"]]
    for name, change in result["changes"].items():
        mark = " *" if name == result["optimised"] else ""
        if change is None:
            rows.append([name + mark, *["-"] * 6, "0"])
            continue
        low, high = change["difference_ci95"]
        won_low, won_high = change["win_rate_ci95"]
        rows.append(
            [
                name + mark,
                f"{change['base']:.4f}",
                f"{change['aligned']:.4f}",
                f"{change['difference']:+.4f}",
                f"[{low:+.4f}, {high:+.4f}]",
                f"{change['win_rate']:.3f}",
                f"[{won_low:.3f}, {won_high:.3f}]",
                str(change["n"]),
            ]
        )
    output.print_columns(rows, stdout)
    output.write("* optimised; all others are only watched or its parts", stdout)
    found = watch_of(out, result)
    output.write(f"alarm: {found.sentence}" if found.state == "alarm" else found.sentence, stdout)
    for finding in result["findings"]:
        output.write(f"found: {finding}", stdout)
    output.write(str(out / "report.html"), stdout)
