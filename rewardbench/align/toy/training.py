"""Trains the toy generator from drawn clips: ``python -m rewardbench.align.toy.training --work DIR``.

Resumable: drawn parts and the training state are kept in the work folder, and the same command goes on. Clips are drawn
and coded once; every step's clips, times and noise follow from the seed and the step's number.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from rewardbench.align.noise import Schedule, TimeLaw, add_noise
from rewardbench.align.toy.checkpoint import Toy, schedule_of
from rewardbench.align.toy.codec import BlockCodec, fit_codec
from rewardbench.align.toy.drawn import drawn_prompt
from rewardbench.align.toy.network import ToyTransformer
from rewardbench.align.toy.words import encode, vocabulary

CHANNELS = 48
PART = 250
"""Clips in a file."""


def draw_part(path: Path, part: int) -> None:
    """Draw one file of clips and captions; uint8, before any code is fitted."""
    if path.exists():
        return
    prompts = [drawn_prompt("generator", part * PART + i) for i in range(PART)]
    clips = np.stack([p.clip() for p in prompts])
    partial = path.with_suffix(".partial")
    with open(partial, "wb") as stream:
        np.savez(stream, clips=clips, captions=np.array([p.caption for p in prompts]))
    os.replace(partial, path)


def draw(work: Path, clips: int, workers: int) -> list[Path]:
    (work / "clips").mkdir(parents=True, exist_ok=True)
    paths = [work / "clips" / f"{i:04d}.npz" for i in range(-(-clips // PART))]
    with ProcessPoolExecutor(workers) as pool:
        list(pool.map(draw_part, paths, range(len(paths))))
    return paths


def coded(work: Path, paths: list[Path]) -> tuple[BlockCodec, dict[str, Tensor]]:
    """The codec, and latents (N, C, 8, 8, 8), first-frame latents (N, C, 8, 8) and words (N, L) of all clips."""
    store = work / f"coded-{len(paths)}.safetensors"
    if not store.exists():
        first = [pixels(np.load(p)["clips"]) for p in paths[:4]]
        codec, kept = fit_codec(torch.cat(first), CHANNELS)
        print(f"codec keeps {kept:.4f} of the variance")
        latents, images, words = [], [], []
        for path in paths:
            data = np.load(path)
            clips = pixels(data["clips"])
            latents.append(codec.encode(clips).half().contiguous())
            images.append(codec.encode(clips[:, :1].repeat(1, 2, 1, 1, 1))[:, :, 0].half().contiguous())
            words.append(encode([str(c) for c in data["captions"]], vocabulary()))
        tensors = {"latents": torch.cat(latents), "images": torch.cat(images), "words": torch.cat(words)}
        tensors |= {"mean": codec.mean, "basis": codec.basis.contiguous(), "scale": codec.scale}
        save_file(tensors, str(store) + ".partial")
        os.replace(str(store) + ".partial", store)
    tensors = load_file(store)
    codec = BlockCodec(tensors.pop("mean"), tensors.pop("basis"), tensors.pop("scale"))
    return codec, tensors


def pixels(clips: np.ndarray) -> Tensor:
    return torch.from_numpy(clips).float() / 127.5 - 1.0


def spread(data: dict[str, Tensor]) -> Tensor:
    """(C, t, 1, 1): root mean square of what differs from the first frame held still, at least 0.05."""
    changes = data["latents"][:1000].float() - data["images"][:1000].float().unsqueeze(2)
    return changes.square().mean((0, 3, 4)).sqrt().clamp(min=0.05)[:, :, None, None]


def batch_loss(
    model: ToyTransformer, schedule: Schedule, data: dict[str, Tensor], law: TimeLaw, batch: int, seed: tuple[int, int]
) -> Tensor:
    """Mean squared error of the velocity on one step's batch; captions are dropped with probability 0.1."""
    generator = torch.Generator().manual_seed(seed[0] * 1_000_003 + seed[1])
    rows = torch.randint(len(data["latents"]), (batch,), generator=generator)
    x0, image, words = (data[k][rows] for k in ("latents", "images", "words"))
    words = words * (torch.rand(batch, 1, generator=generator) >= 0.1)
    moment = schedule.at(law.sample(batch, generator))
    x0 = x0.float()
    eps = torch.randn(x0.shape, generator=generator)
    prediction = model(add_noise(x0, eps, moment), moment.native, words, image.float())
    return torch.nn.functional.mse_loss(prediction.float(), schedule.target(x0, eps, moment))


def train(
    work: Path,
    out: Path,
    prediction: str,
    clips: int,
    steps: int,
    batch: int,
    rate: float,
    start: Path | None,
    seed: int,
) -> None:
    codec, data = coded(work, draw(work, clips, os.cpu_count() or 1))
    torch.manual_seed(seed)
    model = ToyTransformer(channels=CHANNELS, vocabulary=len(vocabulary()) + 2, prediction=prediction)
    model.spread.copy_(spread(data))
    if start is not None:
        model.load_state_dict(Toy.load(start).transformer.state_dict())
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998))
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=0.01)
    law, schedule = TimeLaw("logit_normal"), schedule_of(prediction)
    state_path, done = work / f"state-{prediction}.pt", 0
    if state_path.exists():
        state = torch.load(state_path, weights_only=True)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        done = state["step"]
    began, losses = time.monotonic(), []
    for step in range(done, steps):
        warm, left = min(1.0, (step + 1) / 200), (steps - step) / steps
        for group in optimizer.param_groups:
            group["lr"] = rate * warm * min(1.0, 4 * left)
        loss = batch_loss(model, schedule, data, law, batch, (seed, step))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(model)
        losses.append(float(loss.detach()))
        if (step + 1) % 50 == 0 or step + 1 == steps:
            pace = (time.monotonic() - began) / (step + 1 - done)
            entry = {
                "step": step + 1,
                "loss": round(float(np.mean(losses[-50:])), 5),
                "seconds_per_step": round(pace, 3),
            }
            print(json.dumps(entry), flush=True)
        if (step + 1) % 250 == 0 or step + 1 == steps:
            state = {"model": model.state_dict(), "average": average.state_dict(), "step": step + 1}
            torch.save(state | {"optimizer": optimizer.state_dict()}, str(state_path) + ".partial")
            os.replace(str(state_path) + ".partial", state_path)
            averaged: Any = average.module
            Toy(averaged, codec, vocabulary()).save(out / prediction)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder of drawn clips and training states")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("weights"), help="folder of the weights")
    parser.add_argument("--prediction", choices=("flow", "v"), default="flow")
    parser.add_argument("--start", type=Path, help="weights to start from (flow's, for v)")
    parser.add_argument("--clips", type=int, default=6000)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    train(
        given.work,
        given.out,
        given.prediction,
        given.clips,
        given.steps,
        given.batch,
        given.rate,
        given.start,
        given.seed,
    )


if __name__ == "__main__":
    main()
