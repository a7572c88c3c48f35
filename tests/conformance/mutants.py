"""Defects, each in a package that is sound otherwise (sources.py), under the check that must name it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """A defect: the check that names it, the package it is in, what is changed, and words of what must be seen."""

    check: str
    kind: str
    changes: tuple[tuple[str, str], ...]
    words: str = ""
    also: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.check}-{self.kind}"


def broken(check: str, kind: str, *changes: tuple[str, str], words: str = "", also: tuple[str, ...] = ()) -> Mutant:
    return Mutant(check, kind, changes, words, frozenset(also))


VALUES = "        notes = ["
SCORED = "        return Scores(values, notes=notes, errors=errors)"
LOADED = '        self.device = "cpu"\n'
CLOSED = "    def close(self):\n        pass"
WAVE = '"kimono" in (item.clip.prompt or "")'  # one of the three ordinary clips, and none of the awkward ones
NATIVE = "frames[FRAMES].rgb.shape"
EVERY = ('Sampling("count", 8)', 'Sampling("all", None)')

MUTANTS = [
    # -- the package -------------------------------------------------------------------------------------------------
    broken(
        "registers", "reward", ('VERSION = "1.0"', 'VERSION = "1.0"\nimport no_such_module'), words="no_such_module"
    ),
    broken("registers", "reward", ("rewardbench_rewards", "rewardbench_reward"), words="unknown hook"),
    broken("registers", "reward", ("    return [RewardManifest", "    raise OSError; return [RewardManifest")),
    broken("registers", "reward", ("@hookimpl\ndef rewardbench_rewards", "def rewards"), words="registers nothing"),
    broken("manifest-light", "reward", ('VERSION = "1.0"', 'VERSION = "1.0"\nimport numpy'), words="numpy"),
    broken("manifest-light", "judge", ('VERSION = "1.0"', 'VERSION = "1.0"\nimport rich'), words="rich"),
    # -- class, card, settings ---------------------------------------------------------------------------------------
    broken("class", "reward", ("model:Model", "model:Modell"), words="Modell"),
    broken("class", "reward", ("class Model(RewardModel)", "class Model")),
    broken("manifest-matches-card", "reward", ("version=VERSION,\n", 'version="2.0",\n'), words="2.0"),
    broken("card-complete", "reward", ('training_data="none"', 'training_data="unknown"'), words="training_data"),
    broken("card-complete", "reward", ('        code_licence="MIT",\n', ""), words="code_licence"),
    broken("card-complete", "reward", ('description="spread"', 'description=""'), words="description of contrast"),
    broken("card-complete", "reward", ('default_score="brightness"', 'default_score="beauty"'), words="beauty"),
    broken("card-complete", "judge", ('citation="none: a test"', 'citation=""'), words="citation"),
    broken(
        "settings",
        "reward",
        (LOADED, LOADED + "\n    def configure(self, **choices):\n        raise KeyError('preset')\n"),
        words="KeyError",
    ),
    broken(
        "fingerprint",
        "reward",
        (CLOSED, CLOSED + "\n\n    def fingerprint(self):\n        return f'{id(self)}'"),
        words="in another process",
    ),
    # -- prepare, load, answers --------------------------------------------------------------------------------------
    broken(
        "prepare",
        "reward",
        (LOADED, LOADED + "        self.scale = 255\n"),
        ("frames[FRAMES].rgb / 255", "frames[FRAMES].rgb / self.scale"),
        words="AttributeError",
    ),
    broken("loads", "reward", (LOADED, "        raise RuntimeError('no driver')\n"), words="no driver"),
    broken("transport", "reward", ("np.array(pixels.std())", "np.array(pixels.std(), dtype=object)"), words="contrast"),
    broken("transport", "reward", ('["" for _ in batch]', '[b"" for _ in batch]'), words="bytes"),
    broken("answers", "reward", (SCORED, "        return Scores(values[:, 0])"), words="(3,)"),
    broken("answers", "reward", (SCORED, "        raise IndexError('off')"), words="IndexError"),
    broken("answers", "judge", ("Judgements(p,", "Judgements(p[:, :2],"), words="(3, 2)"),
    broken("dtype", "reward", (VALUES, "        values = values.astype(np.float16)\n" + VALUES), words="float16"),
    broken("dtype", "reward", (VALUES, "        values = (9 * values).astype(int) // 9\n" + VALUES), words="int"),
    broken("closes", "reward", (CLOSED, "    def close(self):\n        del self.network"), words="network"),
    # -- values ------------------------------------------------------------------------------------------------------
    broken(
        "range", "reward", (VALUES, f"        values[[{WAVE} for item in batch]] += 1\n" + VALUES), words="declared"
    ),
    broken("range", "reward", (VALUES, f"        values[[{WAVE} for item in batch]] = np.inf\n" + VALUES), words="inf"),
    # The same on every clip, ordinary or not: one cause, one fault.
    broken("range", "reward", (VALUES, "        values = values + 1\n" + VALUES), words="declared"),
    broken("nan-policy", "reward", (VALUES, "        values = values * np.nan\n" + VALUES), words="without a note"),
    broken(
        "nan-policy",
        "judge",
        ("        return Judgements", "        p = p * np.nan\n        return Judgements"),
        words="without a note",
    ),
    broken("nan-policy", "reward", (VALUES, f"        values[[{WAVE} for item in batch]] = np.nan\n" + VALUES)),
    broken(
        "nan-policy",
        "judge",
        (
            "        return Judgements",
            '        p[["kimono" in (a.clip.prompt or "") for a, b in batch]] = np.nan\n        return Judgements',
        ),
    ),
    broken(
        "repeats-itself",
        "reward",
        (LOADED, LOADED + "        self.calls = 0\n"),
        (VALUES, "        self.calls += 1\n        values = values + self.calls / 1000\n" + VALUES),
        words="asked twice",
    ),
    broken(
        "second-process",
        "reward",
        (LOADED, LOADED + "        self.head = np.random.default_rng().uniform(0.5, 1)\n"),
        (VALUES, "        values = values * self.head\n" + VALUES),
        words="second process",
    ),
    broken(
        "batch-invariance",
        "reward",
        (VALUES, "        values = values - 0.1 * values.mean(axis=0)\n" + VALUES),
        words="alone",
    ),
    broken(
        "order-invariance",
        "reward",
        (VALUES, "        values = values + 0.01 * np.arange(len(batch))[:, None]\n" + VALUES),
        words="orders",
    ),
    broken(
        "dimension-subset",
        "reward",
        ("for name in self.dimensions] for item", "for name in self.card.dimension_names] for item"),
        words="--dimension contrast",
    ),
    broken(
        "dimension-subset",
        "reward",
        (
            "for name in self.dimensions] for item",
            "for name in ('brightness', 'contrast')[:len(self.dimensions)]] for item",
        ),
        words="--dimension contrast",
    ),
    broken(
        "seed-in-fingerprint",
        "reward",
        (VALUES, "        values = values * (1 - self.seed / 100)\n" + VALUES),
        words="--seed",
    ),
    broken(
        "name-independent",
        "reward",
        (VALUES, "        values = values * [[0.5 + 1 / (2 + len(item.clip.clip_id))] for item in batch]\n" + VALUES),
    ),
    broken(
        "image-declared",
        "reward",
        (VALUES, "        values = values * [[1 - len(item.clip.image or '') / 1e4] for item in batch]\n" + VALUES),
    ),
    broken(
        "missing-inputs",
        "reward",
        (VALUES, "        _ = [item.clip.prompt.lower() for item in batch]\n" + VALUES),
        words="AttributeError",
    ),
    broken(
        "missing-inputs",
        "reward",
        ("        pixels =", "        open(clip.image).close()\n        pixels ="),
        words="TypeError",
    ),
    # -- awkward clips -----------------------------------------------------------------------------------------------
    broken(
        "one-frame",
        "reward",
        ("np.array(pixels.std())", "np.array(np.abs(np.diff(pixels, axis=0)).mean())"),
        words="NaN",
    ),
    broken(
        "one-frame",
        "reward",
        ("        pixels =", "        frames[FRAMES].rgb[1]\n        pixels ="),
        words="IndexError",
    ),
    broken(
        "odd-size",
        "reward",
        (
            "frames[FRAMES].rgb / 255",
            "np.stack([frames[FRAMES].rgb[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]) / 255",
        ),
    ),
    broken(
        "long-clip",
        "reward",
        EVERY,
        ("        pixels =", "        np.zeros(100)[len(frames[FRAMES].rgb)]\n        pixels ="),
        words="IndexError",
    ),
    broken("corrupt-clip", "path", ('errors[i] = f"unreadable: {error}"', "values[i] = 0"), words="is scored"),
    broken(
        "corrupt-clip",
        "path",
        ('errors[i] = f"unreadable: {error}"', "__import__('os')._exit(9)"),
        words="process ended",
    ),
    broken(
        "unicode-path",
        "path",
        ("            try:\n", "            try:\n                item.clip.video.encode('ascii')\n"),
        words="ascii",
    ),
    broken(
        "isolated-worker",
        "reward",
        (LOADED, LOADED + "        import beside_the_package\n"),
        words="beside_the_package",
    ),
    broken(
        "isolated-worker",
        "reward",
        (LOADED, LOADED + '        from importlib.metadata import version\n        version("test-reward-0")\n'),
        words="test-reward-0",
    ),
    # -- judges ------------------------------------------------------------------------------------------------------
    broken(
        "probabilities",
        "judge",
        ("p = p / p.sum(axis=1, keepdims=True)", "p = 0.9 * p / p.sum(axis=1, keepdims=True)"),
        words="sums to 0.9",
    ),
    broken(
        "probabilities",
        "judge",
        ("p = p / p.sum(axis=1, keepdims=True)", "p = p / p.sum(axis=1, keepdims=True) * 2 - [[1/3, 1/3, 1/3]]"),
        words="[",
    ),
    broken(
        "both-orders",
        "judge",
        ("for a, b in batch])", "for a, b in [sorted(pair, key=lambda i: float(i.data['mean'])) for pair in batch]])"),
        words="stay the same",
        also=(),
    ),
    broken(
        "both-orders",
        "judge",
        ("p = p / p.sum(axis=1, keepdims=True)", "p = 0 * p + [[0.6, 0.3, 0.1]]"),
        words="[0.6, 0.3, 0.1]",
    ),
    # -- benchmarks --------------------------------------------------------------------------------------------------
    broken("benchmark-card", "benchmark", ('summary="ten pairs"', 'summary=""'), words="summary"),
    broken("benchmark-card", "benchmark", ('labels_by="construction"', 'labels_by="me"'), words="labels_by"),
    broken(
        "benchmark-loads",
        "benchmark",
        ("    folder = Path", "    raise KeyError('token')\n    folder = Path"),
        words="KeyError",
    ),
    broken("benchmark-loads", "benchmark", ("video_b,label_motion", "video_b,motion")),
    broken(
        "benchmark-loads", "benchmark", ('("tie" if i == 8 else "A")', '("tie" if i == 8 else "left")'), words="left"
    ),
    broken("benchmark-clips", "benchmark", ('for clip in ("a.mp4", "b.mp4")', 'for clip in ("a.mp4",)'), words="b.mp4"),
    broken(
        "benchmark-labels",
        "benchmark",
        (
            "    return table",
            MEMORY := """    from dataclasses import replace
    from rewardbench.benchmark import read_pairs
    found = read_pairs(table, name=name)
    return replace(found, comparisons=tuple(replace(c, labels={"motion": 2}) for c in found.comparisons))""",
        ),
        words="2",
    ),
    broken(
        "benchmark-labels",
        "benchmark",
        ("    return table", MEMORY.replace('{"motion": 2}', "{}")),
        words="decided in no pair",
    ),
    broken(
        "benchmark-sides",
        "benchmark",
        ("for pair, label in ROWS]", "for pair, label in [(p, 'A') for p, _ in ROWS]]"),
        words="A is better in all 10",
    ),
    broken(
        "benchmark-stable", "benchmark", ("prompt {pair}", "prompt {pair} {__import__('os').getpid()}"), words="there"
    ),
    # -- reporters ---------------------------------------------------------------------------------------------------
    broken("reporter-renders", "reporter", ("view:render", "view:draw"), words="draw"),
    broken("reporter-renders", "reporter", ("    (folder /", "    return\n    (folder /"), words="nothing"),
    broken(
        "reporter-leaves-result", "reporter", ('folder / "view.txt"', 'folder / "report.html"'), words="report.html"
    ),
    broken(
        "reporter-leaves-result",
        "reporter",
        ("    lines = []", "    lines = []\n    result.metrics.reverse(); result.metrics.append(result.metrics[0])"),
        words="result it was handed",
    ),
    broken("reporter-repeats", "reporter", ("    lines = []", "    lines = [str(time.time_ns())]"), words="view.txt"),
    broken(
        "reporter-gaps",
        "reporter",
        ('("none" if value is None else f"{value:.3f}")', 'f"{value:.3f}"'),
        words="NoneType",
    ),
    # -- engines -----------------------------------------------------------------------------------------------------
    broken(
        "engine-runs", "engine", ("        return super().run(work)", "        super().run(work)"), words="NoneType"
    ),
    broken("engine-runs", "engine", ("engine:Engine", "engine:Motor"), words="Motor"),
    broken(
        "engine-accounts",
        "engine",
        ("        self.sink.failed(job, work, error)", "        pass"),
        words="corrupt 0 times",
    ),
    broken(
        "engine-accounts",
        "engine",
        (
            "        self.sink.failed(job, work, error)",
            "        self.sink.failed(job, work, error)\n        self.sink.failed(job, work, error)",
        ),
        words="2 times",
    ),
    broken(
        "engine-failures",
        "engine",
        ("failed(job, work, error)\n\n\n", "failed(job, work, '')\n\n\n"),
        words="without a sentence",
    ),
    broken(
        "engine-agrees",
        "engine",
        ("self.sink.scored(job, batch, values,", "self.sink.scored(job, batch, values[::-1],"),
        words="by the local engine",
    ),
    # -- generators and latent rewards -------------------------------------------------------------------------------
    broken("generator-class", "generator", ("class Family(ToyFamily)", "class Family"), words="VideoFamily"),
    broken(
        "generator-loads",
        "generator",
        ("        return super().load(", "        raise KeyError('weights')\n        return super().load("),
        words="KeyError",
    ),
    broken(
        "generator-latents",
        "generator",
        ("return super().decode_latents(latents)", "return 2 * super().decode_latents(latents)"),
        words="pixels from",
    ),
    broken(
        "generator-latents",
        "generator",
        ("return super().encode_video(pixels)", "return super().encode_video(pixels).half()"),
        words="float16",
    ),
    broken(
        "generator-predict",
        "generator",
        (
            "return super().predict(transformer, x_t, time, condition)",
            "return super().predict(transformer, x_t - x_t.mean(0), time, condition)",
        ),
        words="alone",
    ),
    broken(
        "generator-predict",
        "generator",
        (
            "return super().predict(transformer, x_t, time, condition)",
            "return super().predict(transformer, x_t, time, condition) + torch.randn(1)",
        ),
        words="asked again",
    ),
    broken(
        "generator-identity",
        "generator",
        ("return super().fingerprint()", "return f'{id(self):064x}'"),
        words="the next time",
    ),
    broken(
        "generator-identity",
        "generator",
        ("return super().describe()", "return {'dtype': torch.float32}"),
        words="describe",
    ),
    broken(
        "latent-reward-class",
        "latent",
        ("class Reward(LatentReward):", "class Reward(LatentReward):\n    def __init__(self, family): ..."),
        words="family",
    ),
]
