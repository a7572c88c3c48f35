"""VideoScore v1.1 with 16 frames: clips per second end to end, in a synchronous loop, and of the forward pass alone.

    python perf/videoscore.py --templates FOLDER [--size true|small] [--device auto] [--clips 24]

The network has random weights: ``true`` is the published size (8.3 billion, bfloat16; needs a GPU of 24 GB, 20 GB of
disk and minutes to write them), ``small`` fits a CPU. The loop is the published example's: open a clip, decode it,
resize, tokenise, forward, then the next clip, all in one process and with the same network as ours. End to end is the
engine behind ``rewardbench run``, timed from the first batch's scores to the last's, so that loading does not count.
The result goes to perf/results/videoscore.json (videoscore_gpu.json on a GPU).
"""

from __future__ import annotations

import argparse
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
sys.path[:0] = [str(ROOT), str(ROOT / "plugins" / "videoscore" / "src")]

FRAMES, HEIGHT, WIDTH, FPS = 49, 480, 720, 8.0
PROMPT = "A girl with long hair walks along a river in the rain and looks back once, in the style of an old film."
ROUNDS = 3
SIZES: dict[str, dict[str, Any]] = {
    "true": {
        "text_config": {"vocab_size": 32_003, "max_position_embeddings": 32_768, "rms_norm_eps": 1e-5},
        "vision_config": {
            "hidden_size": 1152,
            "intermediate_size": 4304,
            "num_hidden_layers": 27,
            "num_attention_heads": 16,
            "image_size": 980,
            "patch_size": 14,
        },
        "perceiver_config": {},
    },
    "small": {
        "text_config": {
            "vocab_size": 1024,
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 32,
            "rms_norm_eps": 1e-5,
        },
        "vision_config": {
            "hidden_size": 96,
            "intermediate_size": 192,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 980,
            "patch_size": 14,
        },
        "perceiver_config": {
            "resampler_n_latents": 16,
            "resampler_depth": 1,
            "resampler_n_heads": 4,
            "resampler_head_dim": 32,
            "num_key_value_heads": 2,
        },
    },
}
"""``small`` is sized so that on one core a forward pass costs about as much as decoding and preparing the clip, which
is the proportion that decides what running them side by side can gain."""


def write_checkpoint(folder: Path, size: str, device: str) -> None:
    """A checkpoint in the published layout with random weights and a tokenizer that makes one token per word."""
    import torch
    from rewardbench_videoscore.idefics2 import build_network, read_config
    from safetensors.torch import save_file
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
    from transformers.initialization import no_init_weights

    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ("<s>", "</s>", "<fake_token_around_image>", "<image>", "<end_of_utterance>")
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"model_type": "idefics2", "image_token_id": tokenizer.token_to_id("<image>"), **SIZES[size]}
    config["text_config"] = {"model_type": "mistral", **config["text_config"]}
    edges = (
        {"longest_edge": 980, "shortest_edge": 378} if size == "true" else {"longest_edge": 378, "shortest_edge": 98}
    )
    preprocessor = {"do_image_splitting": False, "size": edges, "resample": 2}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    torch.manual_seed(0)
    with torch.device(device), no_init_weights():
        network = build_network(read_config(config), 5, dtype)
    state = {}
    for name, value in network.state_dict().items():
        value.normal_(0, 0.02)
        if "norm" in name and name.endswith("weight"):
            value.fill_(1)
        state[name] = value.cpu()
    save_file(state, folder / "model.safetensors")


def write_clips(folder: Path, count: int) -> list[Path]:
    """Clips of noise that moves, as long and as large as CogVideoX's."""
    from rewardbench.video import write_video

    paths = []
    for number in range(count):
        rng = np.random.default_rng(number)
        canvas = np.kron(
            rng.integers(0, 256, (HEIGHT // 8, WIDTH // 4, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8)
        )
        frames = np.stack([canvas[:, 6 * t : 6 * t + WIDTH] for t in range(FRAMES)])
        paths.append(folder / f"{number:03d}.mp4")
        write_video(paths[-1], frames, FPS)
    return paths


def published_loop(model: Any, paths: Sequence[Path]) -> float:
    """Seconds for all clips, one after the other, in this process."""
    import av
    from rewardbench_videoscore.card import ASPECTS

    from rewardbench_plugin import Clip, Frames, Item

    spec = model.card.inputs[ASPECTS[0]]
    started = time.perf_counter()
    for path in paths:
        with av.open(str(path)) as container:
            total = container.streams.video[0].frames
            wanted = spec.sampling.indices(total, FPS)
            decoded = zip(range(wanted[-1] + 1), container.decode(video=0), strict=False)
            rgb = np.stack([frame.to_ndarray(format="rgb24") for i, frame in decoded if i in wanted])
        clip = Clip(path.name, str(path), PROMPT)
        frames = Frames(rgb, wanted, wanted / FPS, FPS, total, HEIGHT, WIDTH)
        model.score([Item(clip, model.prepare(clip, {spec: frames}))])
    return time.perf_counter() - started


def forward_only(model: Any, paths: Sequence[Path]) -> float:
    """Seconds of the forward passes, everything prepared before."""
    from rewardbench.video import read_frames
    from rewardbench_plugin import Clip, Item

    (spec,) = model.card.frame_specs()
    items = []
    for path in paths[:4]:
        clip = Clip(path.name, str(path), PROMPT)
        items.append(Item(clip, model.prepare(clip, read_frames(str(path), [spec]))))
    model.score(items[:1])
    started = time.perf_counter()
    for number in range(len(paths)):
        model.score([items[number % len(items)]])
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--templates", type=Path, required=True, help="folder with regression.txt")
    parser.add_argument("--size", choices=sorted(SIZES), help="true on a GPU, small on a CPU")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--clips", type=int, default=24)
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
        weights = {"": str(folder), "templates": str(arguments.templates)}
        choice, model = choose_reward("videoscore:v1.1", weights=weights, options={"num_frames": "16"})
        model.load(device, None, model.weights, model.options)
        _, unloaded = choose_reward("videoscore:v1.1", weights=weights, options={"num_frames": "16"})
        clips = [Clip(path.name, str(path), PROMPT) for i, path in enumerate(paths)]
        sessions = []

        def through_the_engine() -> float:
            rate, session = end_to_end(choice, unloaded, clips, device, workers, 4)
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
        "videoscore" if device == "cpu" else "videoscore_gpu",
        {
            "what": "VideoScore v1.1, 16 frames, random weights: clips per second",
            "machine": about,
            "device": device if device == "cpu" else _gpu_name(),
            "size": size,
            "clips": {"count": len(paths), "frames": FRAMES, "height": HEIGHT, "width": WIDTH},
            "decode_processes": workers,
            **found,
            "peak_memory": sessions[-1].peak_memory,
        },
    )


def _gpu_name() -> str:
    import torch

    return str(torch.cuda.get_device_name())


if __name__ == "__main__":
    main()
