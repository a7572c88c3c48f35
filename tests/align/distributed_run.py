"""Trains a tiny toy on the pairs of a folder and writes what was learnt: run once, or by `accelerate launch` twice.

accelerate takes FSDP2 and DeepSpeed for machines with GPUs only; here both are let loose on CPUs with gloo. What they
do from there on is their own: nothing else is replaced.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from pathlib import Path

import gloo_threads
import torch
from safetensors.torch import save_file

from rewardbench.align.adapters import POLICY, activate, adapter_parameters, attach
from rewardbench.align.engines import is_sharded, saved_as, whole_state
from rewardbench.align.families.toy import ToyFamily
from rewardbench.align.latent_cache import LatentCache
from rewardbench.align.objective import pair_weights
from rewardbench.align.pairs import best_against_worst
from rewardbench.align.processes import leaving_at_the_end, on_main
from rewardbench.align.prompts import Prompt
from rewardbench.align.recipe import make_recipe
from rewardbench.align.samples import read_samples, sample_clips
from rewardbench.align.sampling import SamplingSettings
from rewardbench.align.training import Trainer


def let_loose(engine: str) -> None:
    """Make accelerate use an engine on CPUs."""
    import accelerate
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType

    if engine == "fsdp2":
        PartialState(cpu=True)
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
    elif engine.startswith("zero"):
        import deepspeed.ops

        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # minutes of compiling; gloo does as well
        PartialState(cpu=True)
        kind = accelerate.Accelerator

        @functools.wraps(kind)
        def on_cpu(**named):
            return kind(**{**named, "cpu": False})

        accelerate.Accelerator = on_cpu


def main(toy: str, samples: str, rewards: str, out: str, changes: str, steps: str) -> None:
    torch.set_num_threads(1)
    let_loose(os.environ.get("TESTED_ENGINE", "plain"))
    recipe = make_recipe({}, json.loads(changes))
    family = ToyFamily.load(toy, device="cpu", dtype=torch.float32, clip=None, options={})
    attach(family, recipe)
    clips = read_samples(Path(samples))
    pairs = best_against_worst(clips, json.loads(rewards), "judge", losers=recipe.losers)
    folder = Path(out)
    cache = LatentCache(folder / "cache", family, list(pairs.clips.values()), seed=0)
    weights = pair_weights(pairs.pairs, recipe, (0.0, 1.0))
    trainer = Trainer(family, recipe, pairs.pairs, weights, cache, folder / "train", log_every=1)
    accelerator = trainer.accelerator
    cache.fill(part=(accelerator.process_index, accelerator.num_processes))
    accelerator.wait_for_everyone()
    cache.open()
    trainer.train(int(steps))
    network, lora = family.transformer, recipe.tuning == "lora"
    prompts: list[Prompt] = list({c.prompt.prompt_id: c.prompt for c in clips}.values())[:3]
    network.eval()
    sample_clips(  # three chunks for two processes: one has nothing to do in the second turn
        family,
        prompts,
        folder / f"clips-{steps}",
        per_prompt=1,
        settings=SamplingSettings(steps=2, batch_size=1),
        seed=1,
        generator="learnt",
        identity={},
        part=(accelerator.process_index, accelerator.num_processes),
        in_step=accelerator if is_sharded(network) else None,
    )
    if lora:
        activate(network, POLICY)
    state = whole_state(network, lambda key: ".lora_" in key or not lora)
    names = {id(p): k for k, p in network.named_parameters()}
    found = (
        {k: state[names[id(p)]] for k, p in adapter_parameters(network, POLICY).items()}
        if lora
        else {k: state[k] for k in names.values()}
    )

    def write() -> None:
        save_file({k: p.contiguous() for k, p in found.items()}, folder / "learnt.safetensors")
        written = folder / "weights"
        written.mkdir(exist_ok=True)
        with saved_as(network, state):
            family.save_adapter(written) if lora else family.save_full(written)

    on_main(accelerator, write)


if __name__ == "__main__":
    with leaving_at_the_end():
        main(*sys.argv[1:])
    if os.environ.get("TESTED_ENGINE", "plain") == "plain":  # DTensor and DeepSpeed keep their groups to the end
        assert not gloo_threads.left()  # under load they can abort a process that ends
