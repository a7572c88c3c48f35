"""Trains a tiny toy on the pairs of a folder and writes what was learnt: run once, or by `accelerate launch` twice."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from rewardbench.align.adapters import POLICY, adapter_parameters, attach
from rewardbench.align.families.toy import ToyFamily
from rewardbench.align.latent_cache import LatentCache
from rewardbench.align.objective import pair_weights
from rewardbench.align.pairs import best_against_worst
from rewardbench.align.recipe import make_recipe
from rewardbench.align.samples import read_samples
from rewardbench.align.training import Trainer


def main(toy: str, samples: str, rewards: str, out: str, changes: str, steps: str) -> None:
    torch.set_num_threads(1)
    recipe = make_recipe({}, json.loads(changes))
    family = ToyFamily.load(toy, device="cpu", dtype=torch.float32, clip=None, options={})
    attach(family, recipe)
    pairs = best_against_worst(read_samples(Path(samples)), json.loads(rewards), "judge", losers=recipe.losers)
    folder = Path(out)
    cache = LatentCache(folder / "cache", family, list(pairs.clips.values()), seed=0)
    weights = pair_weights(pairs.pairs, recipe, (0.0, 1.0))
    trainer = Trainer(family, recipe, pairs.pairs, weights, cache, folder / "train", log_every=1)
    cache.fill(part=(trainer.accelerator.process_index, trainer.accelerator.num_processes))
    trainer.accelerator.wait_for_everyone()
    cache.open()
    trainer.train(int(steps))
    if trainer.accelerator.is_main_process:
        network = family.transformer
        found = dict(network.named_parameters()) if recipe.tuning == "full" else adapter_parameters(network, POLICY)
        save_file({k: p.detach().contiguous() for k, p in found.items()}, folder / "learnt.safetensors")
    trainer.accelerator.end_training()


if __name__ == "__main__":
    main(*sys.argv[1:])
