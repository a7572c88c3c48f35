"""One LoRA-DPO step at true size, against the papers' pseudo-code and against its own arithmetic.

    python perf/align_step.py [--model NAME] [--rounds 5] [--precision bf16] [--compile]
        [--cpu-small] [--predict]

CogVideoX-5B image-to-video (49 x 480 x 720) and Wan 2.1 1.3B (81 x 480 x 832) with random weights on the device, one
pair of random latents and conditions of true shapes, no VAE and no text encoder. Ours is the trainer of
``rewardbench align``:

* ``fast``: selective checkpointing, cached reference errors;
* ``small``: full checkpointing, reference with adapters off;
* ``low_memory``: the same with winner and loser apart.

The peer is the pseudo-code as it stands in the papers: winner and loser through the policy, then through a second copy
of the network, four forwards, diffusers' own gradient checkpointing, the same LoRA, optimiser and autocast. Both sides
are eager; ``--compile`` adds ``fast`` with compiled blocks, reported apart. All variants must begin with the same loss
(ln 2) and the same norm of the gradient. The memory estimator is asked before each of ours.

The result goes to perf/results/align_step_DEVICE.json. Without a GPU the script says so and ends with 2, unless
``--cpu-small`` is given: small networks of the same two kinds in float32, whose variants take turns within each round,
compared by the processor's own seconds, as other load stretches the clock's. ``--predict`` adds what the estimator says
of the peaks at true size, the peer's included; it needs no GPU (and follows autocast's rules for CPUs).

It needs what ``rewardbench align`` needs, diffusers above all: a GPU machine that has torch, transformers, peft and
accelerate but no diffusers wants its wheel carried there (and ``PYTHONPATH=.`` where rewardbench is not installed).
"""

from __future__ import annotations

import argparse
import gc
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from machine import machine, write_result  # the neighbouring scripts
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from true_size import SMALL, TRUE, MadeUp, Size, build

from rewardbench.align.adapters import POLICY, adapter_parameters, attach
from rewardbench.align.memory import Ledger, estimate, place_without_data, readable
from rewardbench.align.noise import add_noise
from rewardbench.align.objective import Batch, make_batch
from rewardbench.align.pairs import PreferencePair
from rewardbench.align.phases import Phases, peak_flops
from rewardbench.align.prompts import Prompt
from rewardbench.align.recipe import Recipe
from rewardbench.align.training import Trainer

PAGE_PEAK = 790e12
"""Operations per second of the research page's bounds: bf16 matrix products of an H100 or H200."""
VARIANTS: dict[str, dict[str, Any]] = {
    "fast": {"checkpointing": "selective", "cache_reference": True, "draws_per_pair": 1},
    "small": {"checkpointing": "full"},
    "low_memory": {"checkpointing": "full", "low_memory": True},
}
PEER = "four_forwards"
UNITS = {"fast": (3.0, 3.5), "small": (4.0, 5.5), "low_memory": (5.0, 6.5), PEER: (4.0, 5.5)}
"""(linear, attention) work of a step in forwards: forward 1, live reference 1, recomputing 1, backward of a LoRA 1 for
linear layers (no weight gradients) and 2.5 for attention, whose backward computes its scores again."""
GOALS = {
    "fast_over_bound": 1.5,
    "fast_over_peer_time": 0.75,
    "small_over_peer_memory": 0.75,
    "low_memory_over_peer_memory": 0.55,
    "small_gb": 32.0,
    "estimate_error": 0.15,
}


PAIR = PreferencePair("q", Prompt("p", "", None), "win", ("lose",), 1.0, (0.0,))


class Ours:
    """A variant of ours: the trainer itself."""

    def __init__(self, size: Size, recipe: Recipe, folder: Path, device: str, dtype: torch.dtype, steps: int) -> None:
        self.family = build(size, folder / "model", device, dtype)
        cache = MadeUp(self.family, size, dtype)
        self.estimate = estimate(self.family, recipe, condition=cache.row).as_dict()
        attach(self.family, recipe)
        self.trainer = Trainer(self.family, recipe, [PAIR], {}, cache, folder)  # type: ignore[arg-type]
        self.trainer.cache_reference(steps)
        self.trainer.phases.take()

    def step(self) -> tuple[dict[str, float], float, float]:
        """Seconds by phase, loss, norm of the gradient."""
        values = self.trainer.train_step()
        return self.trainer.phases.take(), float(values["loss"]), float(values["gradient_norm"])

    def held(self) -> list[Tensor]:
        network = self.family.transformer
        states = [v for s in self.trainer.optimizer.state.values() for v in s.values()]
        return [*network.parameters(), *network.buffers(), *states]


class FourForwards:
    """The pseudo-code: four forwards, a second copy of the network; with or without data, see :func:`build`."""

    def __init__(
        self, size: Size, recipe: Recipe, folder: Path, device: str, dtype: torch.dtype, *, data: bool = True
    ) -> None:
        self.family = build(size, folder / "model", device, dtype, data=data)
        self.reference = build(size, folder / "model", device, dtype, data=data).transformer
        self.policy, self.recipe, self.device = self.family.transformer, recipe, torch.device(device)
        self.estimate: dict[str, Any] | None = None
        self.cache = MadeUp(self.family, size, dtype)
        with torch.device(device if data else "meta"):
            attach(self.family, recipe)
        self.policy.enable_gradient_checkpointing()
        self.policy.train()
        self.learning = list(adapter_parameters(self.policy, POLICY).values())
        self.optimizer = torch.optim.AdamW(self.learning, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        self.phases = Phases(self.device)
        self.done = 0

    def step(self) -> tuple[dict[str, float], float, float]:
        with self.phases.timed("data"):
            batch = self.batch()
        loss = self.backward(batch)
        with self.phases.timed("optimiser"):
            norm = torch.nn.utils.clip_grad_norm_(self.learning, self.recipe.max_grad_norm)
            self.optimizer.step()
            self.optimizer.zero_grad()
        self.done += 1
        return self.phases.take(), float(loss), float(norm)

    def batch(self) -> Batch:
        example = [(PAIR, self.done)]
        return make_batch(self.family, self.recipe, self.cache, example, {}, self.device)  # type: ignore[arg-type]

    def backward(self, batch: Batch) -> Tensor:
        """The loss; its gradient is in the parameters."""
        sides = [batch.side(0), batch.side(1)]
        with self.phases.timed("forward"):
            win, lose = (self._error(self.policy, side) for side in sides)
        with self.phases.timed("reference"), torch.no_grad():
            win_reference, lose_reference = (self._error(self.reference, side) for side in sides)
        with self.phases.timed("backward"):
            gap = (win - win_reference) - (lose - lose_reference)
            loss = -torch.nn.functional.logsigmoid(-0.5 * self.recipe.beta * gap)
            loss.backward()
        return loss.detach()

    def _error(self, network: torch.nn.Module, side: Batch) -> Tensor:
        x_t = add_noise(side.latents, side.noise, side.time)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            predicted = self.family.predict(network, x_t, side.time, side.condition)
        target = self.family.schedule.target(side.latents, side.noise, side.time)
        return ((predicted.float() - target) ** 2).mean()

    def held(self) -> list[Tensor]:
        states = [v for s in self.optimizer.state.values() for v in s.values()]
        networks = [t for n in (self.policy, self.reference) for t in (*n.parameters(), *n.buffers())]
        return [*networks, *states]


def estimate_peer(size: Size, recipe: Recipe, folder: Path, dtype: torch.dtype) -> int:
    """What the estimator's ledger says of a step of the peer, from the second on."""
    peer = FourForwards(size, recipe, folder, "cpu", dtype, data=False)
    batch = peer.batch()
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    networks = (peer.policy, peer.reference)
    with fake:
        for network in networks:
            place_without_data(network, peer.device)
    static = [t for n in networks for t in (*n.parameters(), *n.buffers())]
    ledger = Ledger()
    ledger.ignore(static)
    with fake, ledger, ledger.during("backward"):
        peer.backward(batch)
    inputs = [batch.latents, batch.noise, *batch.condition.values()]
    moments = 2 * sum(t.nbytes for t in adapter_parameters(peer.policy, POLICY).values())
    return sum(t.nbytes for t in (*static, *inputs)) + moments + ledger.peak


def predict(size: Size) -> dict[str, Any]:
    """Peaks of a step at true size, as the estimator sees them."""
    dtype = torch.bfloat16
    recipe = Recipe(algorithm="dpo", batch_size=1, lora_rank=size.rank, lora_alpha=size.rank, precision="bf16")
    gigabytes: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for variant, changes in VARIANTS.items():
            family = build(size, Path(folder), "cpu", dtype, data=False)
            row = MadeUp(family, size, dtype).row
            found = estimate(family, replace(recipe, **changes), condition=row, device="cpu")
            gigabytes[variant] = round(found.total / 1e9, 2)
        gigabytes[PEER] = round(estimate_peer(size, recipe, Path(folder), dtype) / 1e9, 2)
    values = {
        "small_gb": gigabytes["small"],
        "small_over_peer_memory": gigabytes["small"] / gigabytes[PEER],
        "low_memory_over_peer_memory": gigabytes["low_memory"] / gigabytes[PEER],
    }
    return {"gigabytes": gigabytes, "ratios": against_goals(values)}


def against_goals(values: dict[str, float]) -> dict[str, Any]:
    goals = {
        name: {"goal": GOALS[name], "met": value <= GOALS[name]} for name, value in values.items() if name in GOALS
    }
    return {name: {"value": round(value, 4), **goals.get(name, {})} for name, value in values.items()}


def forward_work(size: Size, folder: Path, device: str, dtype: torch.dtype) -> tuple[float, float]:
    """Operations of one clip's forward, (linear, attention), counted by torch."""
    from torch.utils.flop_counter import FlopCounterMode

    family = build(size, folder / "model", device, dtype)
    cache = MadeUp(family, size, dtype)
    time_ = family.schedule.at(torch.tensor([0.5])).to(device)
    condition = {name: value.to(device) for name, value in cache.row.items()}
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        family.predict(family.transformer, cache.latents(["win"]).to(device), time_, condition)
    counts = counter.get_flop_counts()["Global"]
    attention = float(sum(v for op, v in counts.items() if "attention" in str(op)))
    return float(sum(counts.values())) - attention, attention


def cpu_peak(work: Callable[[], object]) -> int:
    """Bytes above those at the start, at the highest moment, from the allocator's events."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = highest = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        highest = max(highest, now)
    return highest


def held_bytes(tensors: Sequence[Tensor]) -> int:
    return sum({s.data_ptr(): s.nbytes() for s in (t.untyped_storage() for t in tensors)}.values())


class Measured:
    """Times, peaks and the first step of one variant."""

    def __init__(self) -> None:
        self.phases: list[dict[str, float]] = []
        self.processor: list[float] = []
        self.first: tuple[float, float] = (math.nan, math.nan)
        self.peak: dict[str, int] = {}
        self.estimate: dict[str, Any] | None = None

    def step(self, way: Any) -> None:
        began = time.process_time()
        self.phases.append(way.step()[0])
        self.processor.append(time.process_time() - began)

    def summary(self) -> dict[str, Any]:
        totals = [sum(p.values()) for p in self.phases]
        names = list(dict.fromkeys(name for p in self.phases for name in p))
        return {
            "seconds": statistics.median(totals),
            "seconds_of_steps": totals,
            "seconds_by_phase": {n: statistics.median(p.get(n, 0.0) for p in self.phases) for n in names},
            "processor_seconds": statistics.median(self.processor),
            "processor_seconds_of_steps": self.processor,
            "peak_bytes": self.peak,
            "first_loss": self.first[0],
            "first_gradient_norm": self.first[1],
        }


def measure_in_turn(ways: dict[str, Callable[[Path], Any]], rounds: int, work: Path) -> dict[str, Measured]:
    """On a CPU: all variants at once, one step of each a round; the allocator's peak in a step of its own."""
    running = {name: make(work / name) for name, make in ways.items()}
    found = {name: Measured() for name in ways}
    for name, way in running.items():  # warms up
        found[name].first = way.step()[1:]
    for _ in range(rounds):
        for name, way in running.items():
            found[name].step(way)
    for name, way in running.items():
        found[name].peak = {"allocated": held_bytes(way.held()) + cpu_peak(way.step)}
        found[name].estimate = way.estimate
    return found


def measure_alone(ways: dict[str, Callable[[Path], Any]], rounds: int, work: Path) -> dict[str, Measured]:
    """On a GPU: one variant after the other, each with the whole memory."""
    found = {}
    for name, make in ways.items():
        found[name] = mine = Measured()
        way = make(work / name)
        mine.first = way.step()[1:]
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        for _ in range(rounds):
            mine.step(way)
        mine.peak = {"allocated": torch.cuda.max_memory_allocated(), "reserved": torch.cuda.max_memory_reserved()}
        mine.estimate = way.estimate
        del way
        gc.collect()
        torch.cuda.empty_cache()
    return found


def compiled(make: Callable[[Path], Ours]) -> Callable[[Path], Ours]:
    def made(folder: Path) -> Ours:
        way = make(folder)
        for block in way.family.blocks(way.family.transformer):
            block.compile()
        return way

    return made


def report(found: dict[str, Measured], linear: float, attention: float, peak: float, device: str) -> dict[str, Any]:
    """Times against bounds and against the peer, with the goals' verdicts; a CPU's times are the processor's own."""
    clock = "seconds" if device == "cuda" else "processor_seconds"
    variants: dict[str, Any] = {}
    for name, measured in found.items():
        units = UNITS[name.split("+")[0]]
        work = 2 * (units[0] * linear + units[1] * attention)
        variants[name] = entry = measured.summary()
        entry |= {"flops": work, "mfu": work / peak / entry[clock], "bound_seconds_at_measured_gemm": work / peak}
        if device == "cuda":
            entry |= {
                "bound_seconds_at_790_tflops": work / PAGE_PEAK,
                "share_of_790_tflops": work / PAGE_PEAK / entry[clock],
            }
        if measured.estimate is not None:
            ratio = measured.estimate["total"] / measured.peak["allocated"]
            entry |= {"estimate": measured.estimate, "estimate_over_measured": ratio}
    peer = variants[PEER]

    def times(name: str) -> float:
        pairs = zip(variants[name][f"{clock}_of_steps"], peer[f"{clock}_of_steps"], strict=True)
        return statistics.median(a / b for a, b in pairs)

    def memory(name: str) -> float:
        return float(variants[name]["peak_bytes"]["allocated"])

    bound = "bound_seconds_at_790_tflops" if device == "cuda" else "bound_seconds_at_measured_gemm"
    values = {"fast_over_bound": variants["fast"][clock] / variants["fast"][bound]}
    values |= {f"{name}_over_peer_time": times(name) for name in variants if name != PEER}
    values |= {f"{name}_over_peer_memory": memory(name) / memory(PEER) for name in variants if name != PEER}
    if device == "cuda":
        values["small_gb"] = memory("small") / 1e9
    wrong = max(abs(e["estimate_over_measured"] - 1) for e in variants.values() if "estimate" in e)
    values["estimate_error"] = wrong
    return {"variants": variants, "ratios": against_goals(values)}


def check_same(found: dict[str, Measured], tolerance: float) -> None:
    """All variants computed the same first step."""
    losses = [m.first[0] for m in found.values()]
    norms = [m.first[1] for m in found.values()]
    assert max(abs(loss - math.log(2)) for loss in losses) < 1e-3, f"first losses are not ln 2: {losses}"
    assert max(norms) / min(norms) - 1 < tolerance, f"first gradients differ: {norms}"


def print_table(name: str, result: dict[str, Any]) -> None:
    print(name)
    for variant, e in result["variants"].items():
        parts = ", ".join(f"{phase} {s:.3f}" for phase, s in e["seconds_by_phase"].items())
        said = f", estimated {readable(e['estimate']['total'])}" if "estimate" in e else ""
        clocks = f"{e['seconds']:.3f} s, processor {e['processor_seconds']:.3f} s"
        peak = readable(e["peak_bytes"]["allocated"])
        print(f"  {variant:<14}{clocks} ({parts}), MFU {e['mfu']:.2f}, peak {peak}{said}")
    print_ratios(result["ratios"])


def print_ratios(ratios: dict[str, Any]) -> None:
    for ratio, e in ratios.items():
        goal = f" (goal {e['goal']:g}: {'met' if e['met'] else 'MISSED'})" if "goal" in e else ""
        print(f"  {ratio}: {e['value']:.3f}{goal}")


def measure(
    size: Size, chosen: argparse.Namespace, device: str, dtype: torch.dtype, precision: str
) -> tuple[dict[str, Measured], tuple[float, float], float]:
    """(what was measured, linear and attention operations of a forward, best speed of matrix products around it)."""
    recipe = Recipe(algorithm="dpo", batch_size=1, lora_rank=size.rank, lora_alpha=size.rank, precision=precision)
    steps = chosen.rounds + 3
    ways: dict[str, Callable[[Path], Any]] = {
        variant: lambda folder, changes=changes: Ours(size, replace(recipe, **changes), folder, device, dtype, steps)
        for variant, changes in VARIANTS.items()
    }
    ways[PEER] = lambda folder: FourForwards(size, recipe, folder, device, dtype)
    if chosen.compile:
        ways["fast+compile"] = compiled(ways["fast"])
    place = torch.device(device)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        linear, attention = forward_work(size, work / "count", device, dtype)
        gemm = [peak_flops(place, dtype)]
        found = (measure_in_turn if device == "cpu" else measure_alone)(ways, chosen.rounds, work)
        gemm.append(peak_flops(place, dtype))
        if device == "cpu":
            found[PEER].estimate = {"total": estimate_peer(size, recipe, work / "estimate", dtype)}
    check_same(found, 1e-3 if device == "cpu" else 0.1)
    return found, (linear, attention), max(gemm)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", choices=[*TRUE, *SMALL], action="append", help="only this; all of a size if left out"
    )
    parser.add_argument("--rounds", type=int, default=5, help="steps of every variant that are timed, after one")
    parser.add_argument("--precision", choices=("bf16", "no"), default="bf16", help="autocast, on a GPU")
    parser.add_argument("--compile", action="store_true", help="also fast with compiled blocks")
    parser.add_argument("--cpu-small", action="store_true", help="small networks on the CPU, on one thread")
    parser.add_argument("--predict", action="store_true", help="also what the estimator says of peaks at true size")
    chosen = parser.parse_args()
    device = "cpu" if chosen.cpu_small else "cuda"
    if device == "cuda" and not torch.cuda.is_available():
        print("There is no GPU here, and true size needs one; --cpu-small measures small networks.", file=sys.stderr)
        sys.exit(2)
    if device == "cpu":
        torch.set_num_threads(1)  # the processor's seconds of one thread can be compared
    sizes = SMALL if chosen.cpu_small else TRUE
    precision = "no" if device == "cpu" else chosen.precision
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    result: dict[str, Any] = {
        "what": "one LoRA-DPO step on one pair: ours three ways, against the pseudo-code with a second copy",
        "machine": machine(),
        "device": "cpu" if device == "cpu" else torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "torch_threads": torch.get_num_threads(),
        "weights": f"random, {dtype}".replace("torch.", ""),
        "autocast": precision,
        "rounds": chosen.rounds,
        "models": {},
    }
    done = {name: measure(sizes[name], chosen, device, dtype, precision) for name in chosen.model or sizes}
    result["gemm_flops_per_s"] = peak = max(gemm for _, _, gemm in done.values())
    for name, (found, (linear, attention), _) in done.items():
        size = sizes[name]
        facts = {"clip": vars(size.clip), "lora_rank": size.rank}
        work = {"forward_flops": {"linear": linear, "attention": attention}}
        result["models"][name] = facts | work | report(found, linear, attention, peak, device)
        print_table(name, result["models"][name])
    if chosen.predict:
        result["predicted_at_true_size"] = {name: predict(size) for name, size in TRUE.items()}
        for name, said in result["predicted_at_true_size"].items():
            print(f"predicted peaks of {name}: {said['gigabytes']} GB")
            print_ratios(said["ratios"])
    result["load_average_1min_at_the_end"] = machine()["load_average_1min"]
    if device == "cpu":
        result["not_measured"] = "true size: there is no GPU here; run the script on one as it is"
    write_result("align_step_" + "_".join(result["device"].lower().replace("-", " ").split()), result)


if __name__ == "__main__":
    main()
