"""VideoReward at 2 frames per second: clips per second end to end, in a synchronous loop, and of the forward alone.

    python perf/videoreward.py [--size true|small] [--device auto] [--clips 32] [--work FOLDER]

The network has random weights: ``true`` is the published size (2.2 billion, bfloat16; needs a GPU of 12 GB and 10 GB
of disk), ``small`` fits a CPU. Clips are 5 seconds of 1280x720 at 24 frames per second, frames 448x448 (small:
112x112), the text has about the 900 tokens of the released template. Three ways, with the same network:

  forward      score() on what was prepared before, in batches of 8
  loop         as VideoAlign's evaluation script: batches of 8; decord, torchvision's resize and the tokens in one
               process, then the forward pass, then the next batch
  end to end   the engine behind ``rewardbench run``, timed from the first batch's scores to the last's, so that
               loading does not count

The result goes to perf/results/videoreward.json (videoreward_gpu.json on a GPU).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine, write_result  # the neighbouring script
from throughput import compared, end_to_end, in_turn

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "plugins" / "videoreward" / "src")]

FRAMES, HEIGHT, WIDTH, FPS = 120, 720, 1280, 24.0
BATCH = 8
DISTINCT = 4
ROUNDS = 3
SIZES: dict[str, dict[str, Any]] = {
    "true": {
        "text": {"hidden": 1536, "inner": 8960, "layers": 28, "heads": 12, "kv": 2, "rows": 151_660},
        "vision": {"width": 1280, "layers": 32, "heads": 16},
        "sections": [16, 24, 24],
        "max_pixels": 448 * 448,
    },
    "small": {
        "text": {"hidden": 256, "inner": 768, "layers": 6, "heads": 4, "kv": 2, "rows": 512},
        "vision": {"width": 96, "layers": 3, "heads": 2},
        "sections": [8, 12, 12],
        "max_pixels": 112 * 112,
    },
}
"""``small`` is sized so that a forward pass on one core costs about as much as decoding and preparing the clip."""
SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|video_pad|>")
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for c in m['content'] %}{% if c['type'] == 'video' %}"
    "<|vision_start|><|video_pad|><|vision_end|>{% else %}{{ c['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endfor %}<|im_start|>assistant\n"
)
CRITERIA = "look at every frame and weigh what can be seen in it against what the scale asks for " * 17


def write_checkpoint(folder: Path, size: str, device: str) -> None:
    """A checkpoint in the published layout with random weights, and a tokenizer that makes one token per word."""
    import torch
    from rewardbench_videoreward.network import empty_backbone
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
    from transformers import Qwen2VLConfig

    shape = SIZES[size]
    text, vision = shape["text"], shape["vision"]
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    rewards = [f"<|{d}_reward|>" for d in ("VQ", "MQ", "TA")]
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in (*SPECIALS, *rewards)])
    step = folder / "checkpoint-1"
    (step / "tokenizer").mkdir(parents=True)
    tokenizer.save(str(step / "tokenizer" / "tokenizer.json"))
    (step / "tokenizer" / "tokenizer_config.json").write_text(json.dumps({"chat_template": CHAT}))
    template = f"{CRITERIA}{rewards[0]}\n{CRITERIA}{rewards[1]}\n{CRITERIA}{{text_prompt}} {rewards[2]}"
    (folder / "templates").mkdir()
    (folder / "templates" / "measured.txt").write_text(template)
    rotary = {"type": "mrope", "mrope_section": shape["sections"]}
    stated = {"num_attention_heads": text["heads"], "num_key_value_heads": text["kv"], "rope_scaling": rotary}
    (folder / "arch.json").write_text(json.dumps({**stated, "vision_config": {"num_heads": vision["heads"]}}))
    (folder / "model_config.json").write_text(
        json.dumps(
            {
                "data_config": {
                    "max_frame_pixels": shape["max_pixels"],
                    "fps": 2.0,
                    "eval_dim": ["VQ", "MQ", "TA"],
                    "prompt_template_type": "measured",
                    "prompt_template_sha256": hashlib.sha256(template.encode()).hexdigest(),
                    "sample_type": "uniform",
                },
                "model_config": {"model_name_or_path": "none", "output_dim": 3, "use_special_tokens": True},
                "peft_lora_config": {"lora_enable": False},
            }
        )
    )
    config = Qwen2VLConfig(
        hidden_size=text["hidden"],
        intermediate_size=text["inner"],
        num_hidden_layers=text["layers"],
        vocab_size=text["rows"],
        bos_token_id=None,
        eos_token_id=None,
        vision_config={
            "embed_dim": vision["width"],
            "depth": vision["layers"],
            "num_heads": vision["heads"],
            "hidden_size": text["hidden"],
        },
        **stated,
    )
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    torch.manual_seed(0)
    backbone = empty_backbone(config, device, dtype)
    state = {"rm_head.weight": torch.randn(3, text["hidden"], device=device).mul(0.02).to("cpu", dtype)}
    for name, value in backbone.state_dict().items():
        value.normal_(0, 0.02)
        if "norm" in name and name.endswith("weight"):
            value.fill_(1)
        state[name.replace("language_model.", "model.", 1)] = value.cpu()
    torch.save(state, step / "model.pth")


def write_clips(folder: Path, count: int) -> list[Path]:
    """``count`` names of a few clips whose picture moves under a grain."""
    from rewardbench.video import write_video

    paths: list[Path] = []
    for number in range(count):
        path = folder / f"{number:03d}.mp4"
        if number >= DISTINCT:
            path.symlink_to(paths[number % DISTINCT])
        else:
            rng = np.random.default_rng(number)
            coarse = rng.integers(0, 256, (HEIGHT // 40, WIDTH // 20, 3), dtype=np.uint8)
            canvas = np.kron(coarse, np.ones((40, 40, 1), np.uint8))
            frames = np.stack([canvas[:, 5 * t : 5 * t + WIDTH] for t in range(FRAMES)])
            write_video(path, frames, FPS)
        paths.append(path)
    return paths


def prompt(number: int) -> str:
    """Prompts of 20 to 60 words, so that sequences differ in length as real ones do."""
    return "a girl walks along the river " * (4 + number % 7)


def published_loop(model: Any, paths: Sequence[Path]) -> float:
    """Seconds for all clips, batch after batch, in this process."""
    import decord
    import torch
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.functional import resize

    from rewardbench_plugin import Clip, Frames, Item

    (spec,) = model.card.frame_specs()
    started = time.perf_counter()
    for first in range(0, len(paths), BATCH):
        items = []
        for number, path in enumerate(paths[first : first + BATCH], first):
            reader = decord.VideoReader(str(path))
            wanted = spec.sampling.indices(len(reader), reader.get_avg_fps())
            clip = torch.tensor(reader.get_batch(wanted.tolist()).asnumpy()).permute(0, 3, 1, 2)
            size = list(spec.size.target(HEIGHT, WIDTH))
            small = resize(clip, size, interpolation=InterpolationMode.BICUBIC, antialias=True)
            rgb = np.ascontiguousarray(small.permute(0, 2, 3, 1).numpy())
            frames = Frames(rgb, wanted, wanted / FPS, FPS, len(reader), HEIGHT, WIDTH)
            asked = Clip(path.name, str(path), prompt(number))
            items.append(Item(asked, model.prepare(asked, {spec: frames})))
        model.score(items)
    return time.perf_counter() - started


def forward_only(model: Any, paths: Sequence[Path]) -> float:
    """Seconds of the forward passes, everything prepared before."""
    from rewardbench.video import read_frames
    from rewardbench_plugin import Clip, Item

    (spec,) = model.card.frame_specs()
    read = [read_frames(str(path), [spec]) for path in paths[:DISTINCT]]
    items = []
    for number, path in enumerate(paths):
        clip = Clip(path.name, str(path), prompt(number))
        items.append(Item(clip, model.prepare(clip, read[number % DISTINCT])))
    model.score(items[:BATCH])
    started = time.perf_counter()
    for first in range(0, len(items), BATCH):
        model.score(items[first : first + BATCH])
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=sorted(SIZES), help="true on a GPU, small on a CPU")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--workers", type=int, help="decode processes; default one per core, at most 16")
    parser.add_argument("--work", type=Path, help="folder for the checkpoint and the clips; default a temporary one")
    arguments = parser.parse_args()

    from rewardbench.registry import choose_reward
    from rewardbench_plugin import Clip
    from rewardbench_plugin.worker import resolve_device

    device = resolve_device(arguments.device)
    size = arguments.size or ("small" if device == "cpu" else "true")
    about = machine()
    workers = arguments.workers or min(about["cores"], 16)
    with tempfile.TemporaryDirectory(dir=arguments.work) as name:
        folder = Path(name)
        write_checkpoint(folder, size, device)
        (folder / "clips").mkdir()
        paths = write_clips(folder / "clips", arguments.clips)
        choice, model = choose_reward("videoreward", weights={"": str(folder)})
        model.load(device, None, model.weights, model.options)
        _, unloaded = choose_reward("videoreward", weights={"": str(folder)})
        clips = [Clip(path.name, str(path), prompt(i)) for i, path in enumerate(paths)]
        sessions = []

        def through_the_engine() -> float:
            rate, session = end_to_end(choice, unloaded, clips, device, workers, BATCH)
            sessions.append(session)
            return rate

        rates = in_turn(
            {
                "forward_only": lambda: len(paths) / forward_only(model, paths),
                "loop": lambda: len(paths) / published_loop(model, paths),
                "end_to_end": through_the_engine,
            },
            ROUNDS,
        )
    found = compared(rates)
    write_result(
        "videoreward" if device == "cpu" else "videoreward_gpu",
        {
            "what": "VideoReward, 2 frames per second, random weights: clips per second",
            "machine": about,
            "device": device if device == "cpu" else _gpu_name(),
            "size": size,
            "clips": {"count": len(paths), "frames": FRAMES, "height": HEIGHT, "width": WIDTH},
            "decode_processes": workers,
            "batch_size": BATCH,
            **found,
            "peak_memory": sessions[-1].peak_memory,
        },
    )


def _gpu_name() -> str:
    import torch

    return str(torch.cuda.get_device_name())


if __name__ == "__main__":
    main()
