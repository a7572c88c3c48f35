"""VideoReward's ablation (its Table 6 and Figure 3) on the drawn world, and how far scores move with the prompt alone.

    python perf/reward_ablation.py --work FOLDER

A small Qwen2-VL is taught captions, once per seed; from it four reward models are trained with ``rewardbench train``'s
own function (regression, BT, BTT at the last token, BTT at separate tokens) and measured on clips whose answers are
known. Everything is kept in FOLDER: an interrupted run goes on where it was. ``docs/training.md`` explains the numbers.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "perf")]

DIMENSIONS = ("VQ", "MQ", "TA")
VQ_FAULTS = ("noise", "colour_cast")
MQ_FAULTS = ("flicker", "jitter")
FACTS_SHOWN = {
    "hair_colour": ("black", "blonde", "blue", "pink", "green"),
    "outfit_colour": ("red", "blue", "white", "yellow", "black"),
    "background": ("night city", "forest", "seaside", "snow field", "sunset hill"),
}
"""What prompts state and clips may contradict. Few values: a model of half a million parameters has to learn them."""
SEVERITIES, SEVERITY_SHARES = (0.0, 0.5, 1.0), (0.5, 0.25, 0.25)
WRONG_FACTS = (0, 2, 3)
WORDS = {
    "noise": "noisy",
    "colour_cast": "tinted",
    "flicker": "flickering",
    "jitter": "shaking",
}
FRAMES, SIDE, FPS = 6, 84, 8.0
RATER_NOISE = 0.14
"""Standard deviation of one look at one clip, in levels (the range is 0 to 1); a pair is two looks."""
SAME = 0.25
"""Levels that look closer than this are called a tie."""
LEAK_PROMPTS = 4
SIZE = {"hidden": 64, "layers": 3, "mlp": 128, "vision_width": 64, "vision_depth": 2}
BINS = np.array([-np.inf, *np.arange(-3.75, 4, 0.5), np.inf])


@dataclass(frozen=True)
class Plan:
    """Sizes; the defaults fit 35 minutes of one core."""

    caption_clips: int = 2400
    caption_epochs: int = 6
    caption_batch: int = 16
    caption_rate: float = 6e-3
    train_prompts: int = 240
    test_prompts: int = 80
    clips_per_prompt: int = 4
    epochs: int = 6
    rate: float = 3e-3
    lora_rank: int = 8


@dataclass(frozen=True)
class Variant:
    """One row of the paper's Table 6."""

    name: str
    objective: str
    reward_token: str
    head: str


VARIANTS = (
    Variant("regression", "regression", "last", "per-dimension"),
    Variant("bt", "bt", "last", "per-dimension"),
    Variant("btt", "btt", "last", "per-dimension"),
    Variant("btt_separate", "btt", "special", "shared"),
)


# --- the world -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Drawn:
    """One clip: where it is, what it is judged against, and how good it is in each dimension (0 to 1)."""

    video: str
    prompt: str
    levels: dict[str, float]
    look: str


def write_world(folder: Path, plan: Plan) -> None:
    """Caption clips, training clips with pairs and ratings, test clips with pairs."""
    from rewardbench.synth.caption import caption, facts_of

    if (folder / "done").exists():
        return
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(11)
    rows = []
    for i in range(plan.caption_clips):
        scene = a_scene(rng)
        drawn = a_clip(
            folder, f"caption-{i:05d}", scene, caption(facts_of(scene, camera=False)), rng, wrong_facts=False
        )
        rows.append({"video": drawn.video, "prompt": f"{drawn.look} {drawn.prompt}"})
    write_csv(folder / "captions.csv", rows)
    prompts: set[str] = set()
    for part, n_prompts, seed in (("train", plan.train_prompts, 12), ("test", plan.test_prompts, 13)):
        rng = np.random.default_rng(seed)
        drawn = []
        while len({d.prompt for d in drawn}) < n_prompts:
            scene = a_scene(rng)
            prompt = caption(facts_of(scene, camera=False))
            if prompt in prompts:
                continue
            prompts.add(prompt)
            drawn += [a_clip(folder, f"{part}-{len(prompts):04d}-{k}", scene, prompt, rng) for k in
                      range(plan.clips_per_prompt)]  # fmt: skip
        write_tables(folder, part, drawn, rng, noise=RATER_NOISE if part == "train" else 0.0)
    (folder / "done").touch()


def a_scene(rng: np.random.Generator) -> Any:
    """A girl in a kimono who moves; hair, kimono and place vary, and so does what the caption does not state."""
    from rewardbench.synth.scene import CAMERAS, MOVING_ACTIONS, Scene
    from rewardbench.synth.splits import TRAIN_SEEDS

    scene = Scene.sample(rng, styles=("classic",), seeds=TRAIN_SEEDS, actions=MOVING_ACTIONS, cameras=CAMERAS[:1])
    stated = {fact: str(rng.choice(values)) for fact, values in FACTS_SHOWN.items()}
    return replace(scene, person="girl", hair_style="long", eye_colour="brown", outfit="kimono", **stated)


def shape() -> dict[str, Any]:
    return {"frames": FRAMES, "height": SIDE, "width": SIDE, "fps": FPS}


def a_clip(
    folder: Path, name: str, scene: Any, prompt: str, rng: np.random.Generator, *, wrong_facts: bool = True
) -> Drawn:
    """A clip of ``scene`` with one picture fault, one motion fault and some wrong facts, each possibly absent."""
    from rewardbench.synth.degradations import degrade
    from rewardbench.synth.world import draw_clip

    vq, mq = (float(rng.choice(SEVERITIES, p=SEVERITY_SHARES)) for _ in range(2))
    vq_fault, mq_fault = str(rng.choice(VQ_FAULTS)), str(rng.choice(MQ_FAULTS))
    wrong = int(rng.choice(WRONG_FACTS, p=SEVERITY_SHARES)) if wrong_facts else 0
    changed = {}
    for fact in rng.permutation(list(FACTS_SHOWN))[:wrong]:
        others = [value for value in FACTS_SHOWN[fact] if value != getattr(scene, fact)]
        changed[fact] = str(rng.choice(others))
    shown = replace(scene, phase=round(float(rng.random()), 3), **changed)
    seed = int(rng.integers(2**31))

    def render() -> np.ndarray:
        return degrade(degrade(draw_clip(shown, **shape()), mq_fault, mq, seed), vq_fault, vq, seed)

    save(folder / f"clips/{name}.mp4", render)
    levels = {"VQ": 1 - vq, "MQ": 1 - mq, "TA": 1 - wrong / len(FACTS_SHOWN)}
    look = f"{said(vq_fault, vq, 'clear')}, {said(mq_fault, mq, 'steady')}."
    return Drawn(f"clips/{name}.mp4", prompt, levels, look)


def said(fault: str, severity: float, without: str) -> str:
    """What a caption says of a fault."""
    return without if severity == 0 else WORDS[fault] if severity < 1 else f"very {WORDS[fault]}"


def save(path: Path, render: Callable[[], np.ndarray]) -> None:
    from rewardbench.video import write_video

    if not path.exists():
        write_video(path, render(), FPS, codec="libx264", crf=16)


def write_tables(folder: Path, part: str, drawn: list[Drawn], rng: np.random.Generator, noise: float) -> None:
    """``PART-pairs.csv`` (all pairs of a prompt) and ``PART-ratings.csv`` (1 to 5), by raters whose looks are noisy."""
    by_prompt: dict[str, list[Drawn]] = {}
    for d in drawn:
        by_prompt.setdefault(d.prompt, []).append(d)
    pairs = []
    for prompt, members in by_prompt.items():
        for a, b in combinations(members, 2):
            row = {"pair_id": str(len(pairs)), "prompt": prompt, "video_a": a.video, "video_b": b.video}
            looks = {d: a.levels[d] - b.levels[d] + noise * float(rng.normal() + rng.normal()) for d in DIMENSIONS}
            row |= {f"label_{d}": verdict(looks[d], SAME) for d in DIMENSIONS}
            pairs.append(row | {"label_Overall": verdict(sum(looks.values()), 0.05)})
    ratings = []
    for d in drawn:
        seen = {k: level + noise * float(rng.normal()) for k, level in d.levels.items()}
        rated = {f"rating_{k}": str(int(np.clip(np.rint(1 + 4 * v), 1, 5))) for k, v in seen.items()}
        ratings.append({"video": d.video, "prompt": d.prompt} | rated)
    write_csv(folder / f"{part}-pairs.csv", pairs)
    write_csv(folder / f"{part}-ratings.csv", ratings)


def verdict(difference: float, same: float) -> str:
    return "tie" if abs(difference) < same else "A" if difference > 0 else "B"


def write_csv(path: Path, rows: Sequence[dict[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


# --- captions ------------------------------------------------------------------------------------------------------

ASK = "Describe this video."


def teach_captions(world: Path, base: Path, plan: Plan, seed: int) -> dict[str, Any]:
    """A small Qwen2-VL that has learnt to caption the drawn world; returns how well, on clips it has not seen.

    ``loss`` is nats a token of held-out captions; ``loss_wrong_clip`` the same captions shown with other clips: the
    difference is what the model takes from the picture.
    """
    import torch
    import transformers
    from rewardbench_videoreward.architecture import pixel_statistics
    from rewardbench_videoreward.network import Network
    from rewardbench_videoreward.prompts import PromptTemplate

    from rewardbench.reward_training import inputs as clip_inputs
    from rewardbench.reward_training.frames import FrameCache
    from rewardbench.reward_training.small_base import SmallSize, write_small_base

    if (base / "captions.json").exists():
        return json.loads((base / "captions.json").read_text())
    start = time.process_time()
    rows = read_csv(world / "captions.csv")
    model = write_small_base(base, [row["prompt"] for row in rows] + 200 * our_words(), SmallSize(**SIZE), seed)
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    tokens = clip_inputs.tokens_of(tokenizer, base, ())
    spec = clip_inputs.frame_spec(settings_of(plan, base=base))
    inputs = clip_inputs.ClipInputs(tokens, PromptTemplate(ASK), FrameCache(spec), model.config.vision_config)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    mean, std = pixel_statistics(base)
    network = Network(model.model, model.lm_head.weight, tokens.video_pad, mean, std, (), "last", 1)

    def loss_of(clips: Sequence[dict[str, str]], captions: Sequence[str]) -> Any:
        prepared = [inputs.prepare(a_clip_of(world, row)) for row in clips]
        said = [[*tokenizer(text, add_special_tokens=False)["input_ids"], end] for text in captions]
        ids = [np.concatenate([one.ids, words]) for one, words in zip(prepared, said, strict=True)]
        states = network.hidden_states([one.frames for one in prepared], ids)
        kept = [
            state[len(one) - len(words) - 1 : len(one) - 1] for state, one, words in zip(states, ids, said, strict=True)
        ]
        logits = model.lm_head(torch.cat(kept))
        return torch.nn.functional.cross_entropy(logits, torch.tensor(np.concatenate(said)))

    held_out, taught = rows[:64], rows[64:]
    steps = optimise(model, lambda part: loss_of(part, [row["prompt"] for row in part]), taught, plan, seed)
    model.eval()
    with torch.inference_mode():
        captions = [row["prompt"] for row in held_out]
        seen = loss_of(held_out, captions).item()
        unseen = loss_of(held_out[32:] + held_out[:32], captions).item()
    model.save_pretrained(base)
    found = {"loss": seen, "loss_wrong_clip": unseen, "steps": steps, "cpu_s": round(time.process_time() - start, 1)}
    (base / "captions.json").write_text(json.dumps(found))
    return found


def optimise(model: Any, loss_of: Callable[[Any], Any], taught: Sequence[Any], plan: Plan, seed: int) -> int:
    """AdamW under a one-cycle schedule; returns the number of steps."""
    import torch

    steps = plan.caption_epochs * len(taught) // plan.caption_batch
    optimizer = torch.optim.AdamW(model.parameters(), lr=plan.caption_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, plan.caption_rate, total_steps=steps, pct_start=0.1)
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(len(taught)) for _ in range(plan.caption_epochs)])
    model.train()
    for step in range(steps):
        loss = loss_of([taught[i] for i in order[step * plan.caption_batch : (step + 1) * plan.caption_batch]])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 50 == 0:
            print(f"  captions, seed {seed}: step {step} of {steps}, loss {loss.item():.3f}", flush=True)
    return steps


def our_words() -> list[str]:
    """What the reward models will be told, so that the tokenizer has words for it."""
    from rewardbench.reward_training.prompts import short_wording

    texts = [ASK, "user", "assistant"]
    for reads in ("last", "special"):
        wording = short_wording(DIMENSIONS, 2, reads)
        text = wording.template.text
        for token in wording.special_tokens:
            text = text.replace(token, "")
        texts.append(text)
    return texts


def a_clip_of(world: Path, row: dict[str, str], prompt: str | None = None) -> Any:
    from rewardbench_plugin import Clip

    return Clip(row["video"], str(world / row["video"]), row["prompt"] if prompt is None else prompt)


# --- reward models -------------------------------------------------------------------------------------------------


def settings_of(plan: Plan, variant: Variant = VARIANTS[0], **paths: Any) -> Any:
    from rewardbench.reward_training.settings import TrainingSettings

    missing = {"data": Path(), "base": Path(), "out": Path()}
    pairs = math.comb(plan.clips_per_prompt, 2)
    prompts_a_step = 4
    rated = variant.objective == "regression"
    return TrainingSettings(
        **(missing | paths),
        validation_share=0.1,
        objective=variant.objective,
        reward_token=variant.reward_token,
        head=variant.head,
        dimensions=DIMENSIONS,
        lora_rank=plan.lora_rank,
        lora_alpha=2 * plan.lora_rank,
        learning_rate=plan.rate,
        schedule="cosine",
        warmup_share=0.05,
        epochs=plan.epochs,
        # as many clips a step for ratings as for pairs
        batch_size=prompts_a_step * (plan.clips_per_prompt if rated else 1),
        pairs_per_prompt=pairs,
        fps=FPS,
        max_pixels=SIDE * SIDE,
        min_pixels=28 * 28,
        device="cpu",
    )


def train_variant(world: Path, home: Path, base: Path, variant: Variant, plan: Plan, seed: int) -> dict[str, Any]:
    """One reward model and its raw scores of the test clips, under their own and under other prompts."""
    from rewardbench.reward_training.training import train

    stored = home / f"{variant.name}.json"
    if stored.exists():
        return json.loads(stored.read_text())
    start = time.process_time()
    table = world / ("train-ratings.csv" if variant.objective == "regression" else "train-pairs.csv")
    settings = settings_of(plan, variant, data=table, base=base, out=home / variant.name, seed=seed)
    result = train(settings)
    trained = time.process_time()
    rows = read_csv(world / "test-ratings.csv")
    prompts = list(dict.fromkeys(row["prompt"] for row in rows))
    scores = {"own": score(home / variant.name, [a_clip_of(world, row) for row in rows])}
    for k in range(1, LEAK_PROMPTS + 1):
        moved = [prompts[(prompts.index(row["prompt"]) + 7 * k) % len(prompts)] for row in rows]
        clips = [a_clip_of(world, row, prompt) for row, prompt in zip(rows, moved, strict=True)]
        scores[f"other{k}"] = score(home / variant.name, clips)
    found = {
        "train": {k: result[k] for k in ("steps", "validation", "normalisation", "parameters", "prompts", "examples")},
        "videos": [row["video"] for row in rows],
        "scores": scores,
        "cpu_s": {"train": round(trained - start, 1), "score": round(time.process_time() - trained, 1)},
    }
    stored.write_text(json.dumps(found))
    return found


def score(run: Path, clips: Sequence[Any]) -> list[list[float]]:
    """Normalised scores (N, 3) of clips, as the plugin gives them."""
    import rewardbench

    model = rewardbench.load_reward(
        "videoreward", weights=run / "model", device="cpu", dtype="float32", dimensions=DIMENSIONS
    )
    values = [model.score(clips[i : i + 32]) for i in range(0, len(clips), 32)]
    model.close()
    return np.concatenate(values).tolist()


# --- what comes out ------------------------------------------------------------------------------------------------

SIGNS = {"A": 1, "B": -1, "tie": 0}


@dataclass(frozen=True)
class TestPairs:
    """Test pairs: their labels, and the rows of their clips in the score tables."""

    labels: dict[str, np.ndarray]
    prompts: list[str]
    a: np.ndarray
    b: np.ndarray

    @classmethod
    def read(cls, world: Path) -> TestPairs:
        at = {row["video"]: i for i, row in enumerate(read_csv(world / "test-ratings.csv"))}
        rows = read_csv(world / "test-pairs.csv")
        return cls(
            {d: np.array([SIGNS[row[f"label_{d}"]] for row in rows]) for d in (*DIMENSIONS, "Overall")},
            [row["prompt"] for row in rows],
            np.array([at[row["video_a"]] for row in rows]),
            np.array([at[row["video_b"]] for row in rows]),
        )

    def margins(self, scores: np.ndarray, dimension: str) -> np.ndarray:
        """Differences (n,) of normalised scores; Overall is the sum, as in the paper's evaluation (its mean)."""
        column = scores.sum(1) if dimension == "Overall" else scores[:, DIMENSIONS.index(dimension)]
        return column[self.a] - column[self.b]


def measure(found: dict[str, Any], pairs: TestPairs) -> dict[str, Any]:
    """Accuracies, margins by label and context leak of one reward model."""
    from rewardbench.metrics import pairwise_accuracy

    own = np.array(found["scores"]["own"])
    accuracy, histogram, ties = {}, {}, {}
    for dimension, human in pairs.labels.items():
        margin = pairs.margins(own, dimension)
        best = pairwise_accuracy(human, margin)
        crossfit = pairwise_accuracy(human, margin, tie_rule="crossfit", groups=pairs.prompts)
        accuracy[dimension] = {
            "with_ties": best.with_ties,
            "with_ties_crossfit": crossfit.with_ties,
            "without_ties": best.without_ties,
        }
        if dimension == "Overall":
            continue
        scaled = margin / margin.std()
        histogram[dimension] = {
            name: np.histogram(scaled[human == sign], BINS)[0].tolist() for name, sign in SIGNS.items()
        }
        size = np.abs(scaled)
        decided, tied = size[human != 0], size[human == 0]
        # how often a tie has the smaller margin than a decided pair: 1/2 says nothing, 1 parts them wholly
        ties[dimension] = {
            "tied_size": float(tied.mean()),
            "decided_size": float(decided.mean()),
            "tie_is_smaller": float(
                (tied[:, None] < decided[None]).mean() + 0.5 * (tied[:, None] == decided[None]).mean()
            ),
        }
    others = np.stack([np.array(found["scores"][f"other{k}"]) for k in range(1, LEAK_PROMPTS + 1)])
    moved = np.abs(others - own).mean(axis=(0, 1)) / own.std(axis=0)
    largest = np.abs(others - own).max(axis=(0, 1)) / own.std(axis=0)
    leak = {d: {"mean": float(m), "largest": float(x)} for d, m, x in zip(DIMENSIONS, moved, largest, strict=True)}
    return {"accuracy": accuracy, "histogram": histogram, "margins": ties, "leak": leak}


def over_seeds(values: Sequence[float]) -> dict[str, Any]:
    """Mean of one number a seed, with Student's 95 % interval of the mean."""
    from scipy.stats import t

    x = np.array(values, dtype=np.float64)
    half = float(t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / math.sqrt(len(x))) if len(x) > 1 else math.nan
    mean = float(x.mean())
    return {"mean": mean, "ci95": [mean - half, mean + half] if len(x) > 1 else None, "values": x.tolist()}


def merged(nested: Sequence[Any]) -> Any:
    """Equal trees, one a seed, as one tree whose numbers are means with intervals; lists (histograms) are summed."""
    first = nested[0]
    if isinstance(first, dict):
        return {k: merged([n[k] for n in nested]) for k in first}
    if isinstance(first, list):
        return np.sum([np.array(n) for n in nested], axis=0).tolist()
    return over_seeds([float(n) for n in nested])


def differences(measured: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The paper's claims as differences within a seed (same base model, same clips), with intervals over seeds."""
    claims = {
        "bt - regression": ("bt", "regression"),
        "btt - bt": ("btt", "bt"),
        "separate - btt": ("btt_separate", "btt"),
    }
    return {
        name: {
            dimension: {
                kind: over_seeds(
                    [
                        a["accuracy"][dimension][kind] - b["accuracy"][dimension][kind]
                        for a, b in zip(measured[left], measured[right], strict=True)
                    ]
                )
                for kind in ("with_ties", "without_ties")
            }
            for dimension in (*DIMENSIONS, "Overall")
        }
        for name, (left, right) in claims.items()
    }


def floors(pairs: TestPairs) -> dict[str, Any]:
    out = {}
    for dimension, human in pairs.labels.items():
        shares = [float((human == sign).mean()) for sign in SIGNS.values()]
        out[dimension] = {"tie_rate": shares[2], "majority_floor": max(shares)}
    return out


def run(work: Path, plan: Plan, seeds: Sequence[int]) -> dict[str, Any]:
    """The whole ablation; what is in ``work`` is not computed again."""
    import torch
    from machine import machine

    torch.set_num_threads(1)
    claim(work, plan)
    start = time.process_time()
    write_world(work / "world", plan)
    pairs = TestPairs.read(work / "world")
    captions, measured, trained = [], {v.name: [] for v in VARIANTS}, {v.name: [] for v in VARIANTS}
    for seed in seeds:
        home = work / f"seed-{seed}"
        home.mkdir(exist_ok=True)
        captions.append(teach_captions(work / "world", home / "base", plan, seed))
        for variant in VARIANTS:
            found = train_variant(work / "world", home, home / "base", variant, plan, seed)
            measured[variant.name].append(measure(found, pairs))
            trained[variant.name].append(found)
            shown = {d: round(a["without_ties"], 3) for d, a in measured[variant.name][-1]["accuracy"].items()}
            print(f"seed {seed}, {variant.name}: {shown}", flush=True)
    return {
        "benchmark": "reward_ablation",
        "command": "python perf/reward_ablation.py --work FOLDER",
        "machine": machine(),
        "plan": asdict(plan),
        "seeds": list(seeds),
        "world": {
            "clip": shape(),
            "faults": {
                "VQ": VQ_FAULTS,
                "MQ": MQ_FAULTS,
                "TA": [f"{n} of {len(FACTS_SHOWN)} facts" for n in WRONG_FACTS],
            },
            "rater_noise": RATER_NOISE,
            "test_pairs": len(pairs.prompts),
            "labels": floors(pairs),
        },
        "size": SIZE,
        "parameters": trained["btt"][0]["train"]["parameters"],
        "captions": merged([{k: c[k] for k in ("loss", "loss_wrong_clip")} for c in captions]),
        "variants": {name: merged(values) for name, values in measured.items()},
        "differences": differences(measured),
        "histogram_bins": [round(float(x), 2) for x in BINS[1:-1]],
        "cpu_s": {
            "captions": round(sum(c["cpu_s"] for c in captions), 1),
            "training": round(sum(f["cpu_s"]["train"] for v in trained.values() for f in v), 1),
            "scoring": round(sum(f["cpu_s"]["score"] for v in trained.values() for f in v), 1),
            "this_call": round(time.process_time() - start, 1),
        },
    }


def claim(work: Path, plan: Plan) -> None:
    """Refuse a folder in which another plan was begun."""
    work.mkdir(parents=True, exist_ok=True)
    path = work / "plan.json"
    own = asdict(plan)
    if path.exists() and json.loads(path.read_text()) != own:
        raise SystemExit(f"{work} holds an ablation of another size; use another --work")
    path.write_text(json.dumps(own))


def tables(result: dict[str, Any]) -> Iterator[str]:
    """The result as Markdown, as ``docs/training.md`` shows it."""
    names = (*DIMENSIONS, "Overall")
    for kind, title in (("without_ties", "Accuracy without ties"), ("with_ties", "Accuracy with ties")):
        yield f"\n{title} | " + " | ".join(names) + "\n--- | " + " | ".join("---" for _ in names)
        for variant, found in result["variants"].items():
            yield f"{variant} | " + " | ".join(cell(found["accuracy"][d][kind]) for d in names)
    yield (
        "\nTies against decided pairs | " + " | ".join(DIMENSIONS) + "\n--- | " + " | ".join("---" for _ in DIMENSIONS)
    )
    for variant, found in result["variants"].items():
        yield f"{variant} | " + " | ".join(cell(found["margins"][d]["tie_is_smaller"]) for d in DIMENSIONS)
    yield "\nMoved by the prompt | " + " | ".join(DIMENSIONS) + "\n--- | " + " | ".join("---" for _ in DIMENSIONS)
    for variant, found in result["variants"].items():
        yield f"{variant} | " + " | ".join(cell(found["leak"][d]["mean"]) for d in DIMENSIONS)
    yield "\nDifference within a seed | " + " | ".join(names) + "\n--- | " + " | ".join("---" for _ in names)
    for claim_name, found in result["differences"].items():
        for kind in ("with_ties", "without_ties"):
            yield f"{claim_name}, {kind} | " + " | ".join(cell(found[d][kind]) for d in names)


def cell(value: dict[str, Any]) -> str:
    interval = value["ci95"]
    return f"{value['mean']:.3f}" + ("" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="clips, models and scores; kept, and gone on from")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--no-write", action="store_true", help="print only")
    chosen = parser.parse_args()
    result = run(chosen.work, Plan(), chosen.seeds)
    print("\n".join(tables(result)))
    if not chosen.no_write:
        from machine import write_result

        write_result("reward_ablation", result)


if __name__ == "__main__":
    main()
