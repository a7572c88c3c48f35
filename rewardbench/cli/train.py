"""``rewardbench train``: preferences or ratings to a reward model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rewardbench.cli import options, output
from rewardbench.cli.progress import phase_callback, terminal_progress
from rewardbench.errors import InputError

_LEARNING, _MODEL, _VIEW = "Learning", "Model", "What the model sees"


def train(
    data: Annotated[
        Path,
        typer.Option("--data", metavar="TABLE", help="Pairs file, VideoAlign's csv, or (regression) rating table."),
    ],
    base: Annotated[
        Path, typer.Option("--base", metavar="PATH", help="Folder of a Qwen2-VL model, or AnimeReward checkpoint.")
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder of the run; DIR/model becomes the checkpoint.")
    ],
    validation: Annotated[
        Path | None, typer.Option("--validation", metavar="TABLE", help="Validation table with prompts of its own.")
    ] = None,
    validation_share: Annotated[
        float, typer.Option("--validation-share", help="Share of the prompts held out where there is no such table.")
    ] = 0.1,
    objective: Annotated[str, typer.Option("--objective", metavar="regression|bt|btt", help="What is learned.")] = (
        "btt"
    ),
    theta: Annotated[float, typer.Option("--theta", help="Tie parameter of btt.")] = 5.0,
    dimension: Annotated[
        list[str] | None, typer.Option("--dimension", metavar="NAME", help="Train this dimension only (repeatable).")
    ] = None,
    reward_token: Annotated[
        str, typer.Option("--reward-token", metavar="special|last", help="Where a dimension is read.")
    ] = "special",
    head: Annotated[
        str, typer.Option("--head", metavar="per-dimension|shared", help="One row of weights a dimension, or one.")
    ] = "per-dimension",
    context_dimension: Annotated[
        list[str] | None,
        typer.Option("--context-dimension", metavar="NAME", help="Dimension that may see the prompt (repeatable)."),
    ] = None,
    template: Annotated[
        str, typer.Option("--template", metavar="NAME", help="short (ours) or a published template in --templates.")
    ] = "short",
    templates: Annotated[
        Path | None, typer.Option("--templates", metavar="DIR", help="Folder of VideoReward's published templates.")
    ] = None,
    bert: Annotated[
        Path | None, typer.Option("--bert", metavar="DIR", help="BERT's vocabulary, for AnimeReward's text_video.")
    ] = None,
    language: Annotated[
        str, typer.Option("--language", metavar="lora|full|frozen", help="How the language model is trained.")
    ] = "lora",
    vision: Annotated[
        str, typer.Option("--vision", metavar="full|frozen", help="How the vision encoder is trained.")
    ] = "full",
    lora_rank: Annotated[int, typer.Option("--lora-rank")] = 64,
    lora_alpha: Annotated[int, typer.Option("--lora-alpha")] = 128,
    lora_dropout: Annotated[float, typer.Option("--lora-dropout")] = 0.0,
    learning_rate: Annotated[float, typer.Option("--learning-rate", help="Of LoRA, and where no other is given.")] = (
        2e-6
    ),
    vision_learning_rate: Annotated[float | None, typer.Option("--vision-learning-rate")] = None,
    head_learning_rate: Annotated[
        float | None, typer.Option("--head-learning-rate", help="Of reward head and special tokens.")
    ] = None,
    weight_decay: Annotated[float, typer.Option("--weight-decay")] = 0.0,
    schedule: Annotated[
        str, typer.Option("--schedule", metavar="NAME", help="constant, constant_with_warmup, linear or cosine.")
    ] = "constant_with_warmup",
    warmup_share: Annotated[float, typer.Option("--warmup-share", help="Share of the steps that warm up.")] = 0.05,
    max_grad_norm: Annotated[float, typer.Option("--max-grad-norm")] = 1.0,
    epochs: Annotated[float, typer.Option("--epochs")] = 2.0,
    batch_size: Annotated[int, typer.Option("--batch-size", help="Examples a step and device.")] = 4,
    gradient_accumulation: Annotated[int, typer.Option("--gradient-accumulation")] = 1,
    pairs_per_prompt: Annotated[
        int, typer.Option("--pairs-per-prompt", help="Pairs of one prompt in one example; shared clips cost once.")
    ] = 1,
    save_every: Annotated[
        int | None, typer.Option("--save-every", metavar="STEPS", help="Steps between states to resume from.")
    ] = None,
    fps: Annotated[float, typer.Option("--fps", help="Frames a second that are shown.")] = 2.0,
    num_frames: Annotated[int | None, typer.Option("--num-frames", help="A number of frames instead.")] = None,
    max_pixels: Annotated[int, typer.Option("--max-pixels", help="Largest frame.")] = 448 * 448,
    min_pixels: Annotated[int, typer.Option("--min-pixels", help="Smallest frame.")] = 128 * 28 * 28,
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Less memory, a third more time.")
    ] = False,
    device: options.DeviceOption = "auto",
    dtype: Annotated[
        str | None, typer.Option("--dtype", metavar="float32|bfloat16", help="bfloat16 on a GPU if left out.")
    ] = None,
    workers: Annotated[int, typer.Option("--workers", help="Processes that decode ahead.")] = 0,
    seed: options.SeedOption = 0,
    output_format: options.FormatOption = "table",
    debug: options.DebugOption = False,
) -> int:
    """Train a reward model on preferences or ratings and write it in VideoReward's layout.

    The same command goes on where an interrupted run stopped. The result loads with
    ``--plugin videoreward --weights DIR/model``.
    """
    given = {k: v for k, v in locals().items() if k not in ("dimension", "context_dimension", "output_format", "debug")}
    from rewardbench.reward_training.settings import TrainingSettings
    from rewardbench.reward_training.training import train as run_training

    settings = TrainingSettings(
        **given,
        dimensions=tuple(dimension) if dimension else None,
        context_dimensions=tuple(context_dimension) if context_dimension else None,
    )
    with output.own_stdout() as stdout:
        try:
            with terminal_progress() as progress:
                result = run_training(settings, progress=phase_callback(progress))
        except ValueError as error:  # of the plugin API: one sentence
            raise InputError(str(error)) from error
        if output_format == "json":
            output.print_json(result, stdout)
        else:
            print_result(result, out, stdout)
    return 0


def print_result(result: dict[str, Any], out: Path, stdout: Any) -> None:
    """Write one line a dimension, and where the checkpoint is."""
    names = {
        "n": "n",
        "accuracy_with_ties": "with ties",
        "accuracy_without_ties": "without ties",
        "majority_floor": "floor",
        "squared_error": "squared error",
        "kendall_tau_b": "tau-b",
    }
    shown = [k for k in names if any(k in entry for entry in result["validation"].values())]
    lines = [["dimension", *(names[k] for k in shown), "mean", "std"]]
    for dimension, entry in result["validation"].items():
        values = [entry.get(k) for k in shown]
        scale = result["normalisation"][dimension]
        cells = ["-" if v is None else f"{v}" if isinstance(v, int) else f"{v:.3f}" for v in values]
        lines.append([dimension, *cells, f"{scale['mean']:.3f}", f"{scale['std']:.3f}"])
    output.print_columns(lines, stdout)
    output.write(f"{out / result['checkpoint']} ({result['steps']} steps, {result['seconds']} s)", stdout)
