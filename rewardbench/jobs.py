"""From what the user asked for to configured plugins, each with the options and weights that are its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rewardbench.errors import InputError, PluginError
from rewardbench.registry import choose_reward, find_reward, instantiate, nearest, resolve_spec
from rewardbench.scoring.plan import Job

TABLE_PLUGINS = ("scores", "verdicts")
DTYPES = ("float32", "float16", "bfloat16")


def model_jobs(
    specs: Sequence[str],
    *,
    weights: Mapping[str, str],
    options: Mapping[str, str],
    dimensions: Sequence[str] | None,
    dtype: str | None,
    seed: int,
) -> list[Job]:
    """Jobs of plugins that are run. Options and weights go to the plugins that know them.

    Raises:
        InputError: an option, part, dimension, precision or seed that nobody can use.
        PluginError: a plugin that cannot be used.
    """
    if dtype is not None and dtype not in DTYPES:
        raise InputError(f"unknown precision --dtype {dtype}{nearest(dtype, DTYPES)}")
    if seed < 0:
        raise InputError(f"--seed {seed} is negative; give 0 or more")
    known = [_takes(spec) for spec in specs]
    _refuse_unknown("--option", options, [set(names) for names, _ in known], specs)
    _refuse_unknown("--weights", [part for part in weights if part], [set(parts) for _, parts in known], specs)
    jobs: list[Job] = []
    for spec, (names, parts) in zip(specs, known, strict=True):
        alone = len(specs) == 1
        own_options = {name: value for name, value in options.items() if alone or name in names}
        own_weights = {part: path for part, path in weights.items() if alone or not part or part in parts}
        job = make_job(spec, own_weights, own_options, dimensions, dtype, seed)
        if any(job.label == other.label for other in jobs):
            raise InputError(f"--plugin {spec} is given twice ({job.label})")
        jobs.append(job)
    return jobs


def table_jobs(name: str, table: Path, scores: Iterable[str], label_format: str, seed: int) -> list[Job]:
    """Jobs of recorded tables: one for ``scores``, one for every judge of ``verdicts``."""
    wanted = list(dict.fromkeys(scores))
    if name == "scores":
        return [make_job("scores", {}, {"table": str(table)}, wanted, None, seed)]
    options = [{"table": str(table), "judge": judge, "format": label_format} for judge in wanted]
    return [make_job("verdicts", {}, one, None, None, seed) for one in options]


def make_job(
    spec: str,
    weights: Mapping[str, str],
    options: Mapping[str, str],
    dimensions: Sequence[str] | None,
    dtype: str | None,
    seed: int,
) -> Job:
    """One configured plugin, checked against its registration.

    Raises:
        InputError: a choice it does not take, or weights that are not there.
        PluginError: if it breaks the plugin API.
    """
    choice, model = choose_reward(spec, weights=weights, options=options, dimensions=dimensions, seed=seed)
    manifest = find_reward(choice.name)
    if (model.card.name, model.card.version) != (manifest.name, manifest.version):
        raise PluginError(
            f"plugin {choice.name!r} is registered as version {manifest.version}, but its card says "
            f"{model.card.name} {model.card.version}; the two must agree"
        )
    _check_readers(model.card.frame_specs(model.dimensions), choice.label)
    job = Job(choice, model, dtype)
    try:
        _ = job.fingerprint
    except (ValueError, OSError) as error:
        raise InputError(f"plugin {choice.label!r}: {error}") from None
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise PluginError(f"plugin {choice.label!r} cannot say what it is ({reason})") from error
    return job


def _takes(spec: str) -> tuple[Sequence[str], Sequence[str]]:
    """Option names and weights parts of a plugin."""
    name, _, target = resolve_spec(spec)
    model = instantiate(name, target)
    return model.option_names, model.card.weights_parts


def _refuse_unknown(option: str, given: Iterable[str], known: Sequence[set[str]], specs: Sequence[str]) -> None:
    """Where several plugins run, every option must be known to one of them; one alone says so itself."""
    if len(known) < 2:
        return
    every = set().union(*known)
    for name in given:
        if name not in every:
            hint = nearest(name, every) or f"; none of {', '.join(specs)} takes any"
            raise InputError(f"{option} {name} is known to no plugin of this run{hint}")


def _check_readers(specs: Sequence[object], label: str) -> None:
    from rewardbench.video import require_readers

    try:
        require_readers(specs)  # type: ignore[arg-type]
    except InputError as error:
        raise InputError(f"plugin {label!r}: {error}") from None
