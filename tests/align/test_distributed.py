"""Two processes on the CPU learn what one does, whole or shared out (FSDP2, DeepSpeed), and go on where two stopped."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from rewardbench.align import engines
from rewardbench.align.adapters import POLICY, adapter_parameters, load_adapter
from rewardbench.align.processes import leaving_at_the_end
from rewardbench.align.recipe import make_recipe
from rewardbench.align.samples import _turns
from rewardbench.align.toy.network import ToyTransformer
from rewardbench.align.training import read_log, states
from rewardbench.errors import InputError
from tests.align import gloo_threads
from tests.align.conftest import load_toy

SCRIPT = Path(__file__).with_name("distributed_run.py")
RECIPES = {
    "gapo": {
        "algorithm": "gapo",
        "pair_weight": "gap",
        "gap_normalize": "batch",
        "low_memory": True,
        "cache_reference": True,
        "draws_per_pair": 2,
    },
    "ema": {"algorithm": "dpo", "reference": "ema", "ema_decay": 0.5},
    "full": {"algorithm": "dpo", "tuning": "full", "reference": "frozen_copy"},
}


SHARDED = {
    "frozen_copy": {"algorithm": "dpo", "tuning": "full", "reference": "frozen_copy", "checkpointing": "full"},
    "ema": {"algorithm": "dpo", "tuning": "full", "reference": "ema", "ema_decay": 0.5},
    "lora": RECIPES["gapo"] | {"micro_batch_size": 1},
    "lora_ema": RECIPES["ema"],
    "late_lora": RECIPES["ema"] | {"lora_from": 1, "checkpointing": "full"},
}
ENGINES = {
    "plain": {},
    "fsdp2": {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_CPU_RAM_EFFICIENT_LOADING": "true"},
    "zero2": {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2", "DS_ACCELERATOR": "cpu"},
    "zero3": {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3", "DS_ACCELERATOR": "cpu"},
}
"""What `accelerate launch` sets for its configurations; on CPUs it would set it for none of them."""
needs_names = pytest.mark.skipif(not gloo_threads.THREADS.is_dir(), reason="the names of threads are read from /proc")
needs_deepspeed = pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="needs deepspeed")


def launch(processes: int, arguments: list[object], engine: str = "plain") -> subprocess.CompletedProcess[str]:
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--nproc_per_node", str(processes)]
        command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TESTED_ENGINE": engine, **ENGINES[engine]}
    environment["PYTHONPATH"] = os.pathsep.join([str(SCRIPT.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    if engine.startswith("zero"):
        environment["ACCELERATE_TORCH_DEVICE"] = "cpu"
    else:
        environment["ACCELERATE_USE_CPU"] = "true"
    return subprocess.run(
        [*command, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=600, check=False
    )


def run(
    processes: int, tiny_toy, toy_samples, toy_rewards, out: Path, changes: dict, steps: int = 5, engine: str = "plain"
) -> dict:
    settings = {"batch_size": 4, "lora_rank": 4, "lora_alpha": 8, "learning_rate": 1e-3, "beta": 50.0, "steps": 5}
    out.mkdir(exist_ok=True)
    samples = Path(toy_samples[0].video).parents[1]
    arguments = [SCRIPT, tiny_toy, samples, json.dumps(toy_rewards), out, json.dumps(settings | changes), steps]
    done = launch(processes, arguments, engine)
    assert done.returncode == 0, done.stderr[-3000:]
    return load_file(out / "learnt.safetensors")


def equal_after_five_steps(one: Path, two: Path) -> None:
    assert relative(load_file(one / "learnt.safetensors"), load_file(two / "learnt.safetensors")) <= 1e-5
    logs = [read_log(folder / "train") for folder in (one, two)]
    assert len(logs[0]) == len(logs[1]) == 5
    for ours, theirs in zip(*logs, strict=True):
        assert theirs["loss"] == pytest.approx(ours["loss"], rel=1e-5)
        assert theirs["gradient_norm"] == pytest.approx(ours["gradient_norm"], rel=1e-4)
    clips = [load_latents(folder) for folder in (one, two)]
    assert clips[0].keys() == clips[1].keys()
    assert len(clips[0]) == 3
    assert relative(*clips) <= 1e-5  # sampled in step, one process with nothing to do in the second turn


def load_latents(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for path in sorted((folder / "clips-5").glob("latents-*.safetensors")):
        found |= load_file(path)
    return found


def relative(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    assert a.keys() == b.keys()
    difference = torch.cat([(a[k] - b[k]).flatten() for k in a])
    return float(difference.norm() / torch.cat([v.flatten() for v in a.values()]).norm())


@pytest.mark.system
@pytest.mark.parametrize("name", RECIPES)
def test_two_processes_equal_one_at_the_same_global_batch(name, tmp_path, tiny_toy, toy_samples, toy_rewards) -> None:
    given = (tiny_toy, toy_samples, toy_rewards)
    one = run(1, *given, tmp_path / "one", RECIPES[name])
    two = run(2, *given, tmp_path / "two", RECIPES[name])
    assert relative(one, two) <= 1e-5
    equal_after_five_steps(tmp_path / "one", tmp_path / "two")


@pytest.mark.system
def test_two_processes_go_on_where_two_stopped(tmp_path, tiny_toy, toy_samples, toy_rewards) -> None:
    given = (tiny_toy, toy_samples, toy_rewards)
    whole = run(2, *given, tmp_path / "whole", RECIPES["ema"])
    run(2, *given, tmp_path / "parts", RECIPES["ema"], steps=3)
    rest = run(2, *given, tmp_path / "parts", RECIPES["ema"], steps=5)
    for key, value in whole.items():
        assert torch.equal(value, rest[key]), key


@pytest.mark.system
@pytest.mark.parametrize("name", SHARDED)
def test_a_network_shared_out_by_fsdp2_learns_what_one_process_does(
    name, tmp_path, tiny_toy, toy_samples, toy_rewards
) -> None:
    given = (tiny_toy, toy_samples, toy_rewards)
    run(1, *given, tmp_path / "one", SHARDED[name])
    run(2, *given, tmp_path / "two", SHARDED[name], engine="fsdp2")
    assert (states(tmp_path / "two" / "train")[-1] / "pytorch_model_fsdp_0").is_dir()  # FSDP2 wrote it, in shards
    equal_after_five_steps(tmp_path / "one", tmp_path / "two")
    loads_as_learnt(tmp_path / "two", SHARDED[name], tiny_toy)


def loads_as_learnt(folder: Path, changes: dict, tiny_toy: Path) -> None:
    """What was gathered and written is loaded into a plain network, and is what was learnt."""
    learnt = load_file(folder / "learnt.safetensors")
    if changes.get("tuning") == "full":
        network = ToyTransformer.from_pretrained(folder / "weights")
        found = dict(network.named_parameters())
    else:
        family = load_toy(tiny_toy)
        load_adapter(family, folder / "weights", POLICY)
        found = adapter_parameters(family.transformer, POLICY)
    assert found.keys() == learnt.keys()
    for key, value in learnt.items():
        assert torch.equal(found[key].detach(), value), key


@pytest.mark.system
@pytest.mark.parametrize("name", ["ema", "lora_ema"])
def test_a_network_shared_out_by_fsdp2_goes_on_where_it_stopped(
    name, tmp_path, tiny_toy, toy_samples, toy_rewards
) -> None:
    given = (tiny_toy, toy_samples, toy_rewards)
    whole = run(2, *given, tmp_path / "whole", SHARDED[name], engine="fsdp2")
    run(2, *given, tmp_path / "parts", SHARDED[name], steps=3, engine="fsdp2")
    rest = run(2, *given, tmp_path / "parts", SHARDED[name], steps=5, engine="fsdp2")
    for key, value in whole.items():
        assert torch.equal(value, rest[key]), key


@pytest.mark.system
def test_under_fsdp2_in_bfloat16_policy_and_reference_round_alike(tmp_path, tiny_toy, toy_samples, toy_rewards) -> None:
    changes = SHARDED["frozen_copy"] | {"precision": "bf16"}
    run(2, tiny_toy, toy_samples, toy_rewards, tmp_path / "two", changes, engine="fsdp2")
    first = read_log(tmp_path / "two" / "train")[0]
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-6)  # nothing is learnt yet: they are one network
    assert first["error_win"] == first["error_win_reference"]


@pytest.mark.system
@needs_deepspeed
@pytest.mark.parametrize("engine", ["zero2", "zero3"])
@pytest.mark.parametrize("name", ["frozen_copy", "lora"])
def test_a_network_shared_out_by_deepspeed_learns_what_one_process_does_and_goes_on_where_it_stopped(
    engine, name, tmp_path, tiny_toy, toy_samples, toy_rewards
) -> None:
    given = (tiny_toy, toy_samples, toy_rewards)
    run(1, *given, tmp_path / "one", SHARDED[name])
    run(2, *given, tmp_path / "two", SHARDED[name], steps=3, engine=engine)
    run(2, *given, tmp_path / "two", SHARDED[name], steps=5, engine=engine)
    equal_after_five_steps(tmp_path / "one", tmp_path / "two")
    loads_as_learnt(tmp_path / "two", SHARDED[name], tiny_toy)


JOINS = """
import os
import gloo_threads
from rewardbench.align.processes import join, leaving_at_the_end

os.environ |= {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "0"}
with leaving_at_the_end():
    join(on_cpu=True)
    assert gloo_threads.now()
    import torch.distributed.nn.functional  # as a model's package may
assert not gloo_threads.left()
"""


@needs_names
def test_a_group_can_be_left_although_pytorchs_functions_took_it_as_a_default() -> None:
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(SCRIPT.parent)}
    done = subprocess.run([sys.executable, "-c", JOINS], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


FAILS = """
import sys
from accelerate.state import PartialState
from rewardbench.align.processes import from_main, on_all, on_main
from rewardbench.errors import InputError

process = PartialState(cpu=True)
assert from_main(process, process.process_index) == 0

def work():
    raise InputError("the prompts have no images")

def own():
    if process.process_index == 1:
        raise InputError("a clip of the second cannot be read")
    return "done"

said = []
for each in (lambda: on_main(process, work), lambda: on_all(process, own)):
    try:
        each()
    except InputError as error:
        said.append(str(error))
assert on_all(process, lambda: process.process_index) == process.process_index
open(f"{sys.argv[1]}/{process.process_index}", "w").write("\\n".join(said))
process.destroy_process_group()
"""


@pytest.mark.system
def test_what_fails_in_one_process_ends_the_others_with_its_sentence(tmp_path) -> None:
    script = tmp_path / "fails.py"
    script.write_text(FAILS)
    done = launch(2, [script, tmp_path])
    assert done.returncode == 0, done.stderr[-3000:]
    said = "the prompts have no images\na clip of the second cannot be read"
    assert [(tmp_path / str(rank)).read_text() for rank in (0, 1)] == [said] * 2


ENDS = """
import os
import sys
from pathlib import Path
import gloo_threads
from rewardbench.cli import main

code = main()
Path(os.environ["TESTED_THREADS"] + os.environ["RANK"]).write_text(" ".join(gloo_threads.left()))
sys.exit(code)
"""
"""The command, and the threads of gloo that its process still has after it."""


def command(script: Path, out: Path, model: Path, prompts: Path) -> list[object]:
    script.write_text(ENDS)
    words: list[object] = [script, "align", "--plugin", "drawn-rules", "--dimension", "sharpness"]
    words += ["--model", model, "--prompts", prompts, "--out", out, "--device", "cpu", "--algorithm", "dpo"]
    words += ["--held-out", "none", "--sampling-steps", 1, "--sampling-batch", 2, "--evaluations", 1]
    settings = {"steps": 2, "batch_size": 2, "samples_per_prompt": 2, "lora_rank": 2}
    return words + [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]


def threads_after(folder: Path) -> dict[str, str]:
    """By process; what it wrote is taken away."""
    found = {path.name: path.read_text() for path in folder.glob("threads?")}
    for path in folder.glob("threads?"):
        path.unlink()
    return found


@pytest.mark.system
def test_the_command_ends_quietly_in_every_process(tmp_path, monkeypatch, tiny_toy, prompt_table) -> None:
    monkeypatch.setenv("REWARDBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TESTED_THREADS", str(tmp_path / "threads"))
    line = command(tmp_path / "command.py", tmp_path / "run", tiny_toy, prompt_table)
    for _ in range(2):  # anew, and where every file is there already
        done = launch(2, line)
        assert done.returncode == 0, done.stderr[-3000:]
        assert "terminate called" not in done.stderr
        assert "destroy_process_group" not in done.stderr  # torch's own reproach to those who leave without
        assert threads_after(tmp_path) == {"threads0": "", "threads1": ""}
    assert json.loads((tmp_path / "run" / "result.json").read_text())["provenance"]["processes"] == 2


@pytest.mark.system
def test_what_the_first_process_of_the_command_meets_ends_all_with_its_sentence(
    tmp_path, monkeypatch, tiny_toy, prompt_table
) -> None:
    """The first one reads prompts and images for all."""
    monkeypatch.setenv("REWARDBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TESTED_THREADS", str(tmp_path / "threads"))
    next((tmp_path / "images").iterdir()).unlink()
    done = launch(2, command(tmp_path / "command.py", tmp_path / "run", tiny_toy, prompt_table))
    lines = [line for line in done.stderr.splitlines() if line.startswith("rewardbench: error: ")]
    assert done.returncode != 0
    assert len(set(lines)) == 1  # the launcher may end the other before it has said it too
    assert "images/" in lines[0]
    assert "terminate called" not in done.stderr
    left = threads_after(tmp_path)
    assert left in ({"threads0": ""}, {"threads1": ""}, {"threads0": "", "threads1": ""})


@needs_names
@pytest.mark.parametrize(("fails", "cyclic"), [(False, False), (True, False), (True, True)])
def test_nothing_of_the_group_of_processes_is_left_when_the_block_ends(fails, cyclic) -> None:
    def work() -> None:
        distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
        network = DistributedDataParallel(torch.nn.Linear(2, 1))
        network.itself = [network]  # a wrapper that refers to itself goes only when it is looked for
        network(torch.ones(3, 2)).sum().backward()
        assert gloo_threads.now()
        if fails:
            raise InputError("the loss diverged")

    def outer() -> None:
        try:
            work()
        except InputError:
            again = InputError("the run was stopped")
            cause = again if cyclic else ValueError("what it comes from, and where nothing is held")
            raise again from cause  # its context is still the error that went through what holds the network

    assert not gloo_threads.left()
    with pytest.raises(InputError, match="stopped") if fails else nullcontext(), leaving_at_the_end():
        outer()
    assert not distributed.is_initialized()
    assert not gloo_threads.left()


@pytest.mark.parametrize(
    ("engine", "changes", "sentence"),
    [
        ("fsdp2", {"precision": "fp16"}, "choose bf16"),
        ("fsdp2", {"rounds": 2}, "choose rounds 1"),
        ("deepspeed", {"reference": "ema"}, "an ema reference cannot follow"),
    ],
)
def test_what_an_engine_cannot_do_is_refused(engine, changes, sentence) -> None:
    recipe = make_recipe({}, {"algorithm": "dpo", "steps": 4} | changes)
    engines.check_engine("plain", recipe)
    with pytest.raises(InputError, match=sentence):
        engines.check_engine(engine, recipe)


def test_a_file_of_reference_errors_that_was_cut_short_is_made_anew(make_trainer) -> None:
    first = make_trainer("run", cache_reference=True, draws_per_pair=2)
    first.train(1)
    path = first.folder / "reference.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    again = make_trainer("run", cache_reference=True, draws_per_pair=2)
    again.cache_reference(1)
    assert "reference" in again.phases.take()
    assert path.read_bytes() == whole


def test_reference_errors_of_another_reference_or_other_settings_are_made_anew(make_trainer, tmp_path) -> None:
    first = make_trainer("run", cache_reference=True, draws_per_pair=2)
    first.train(1)
    kept = load_file(first.folder / "reference.safetensors")
    again = make_trainer("run", cache_reference=True, draws_per_pair=2)
    again.cache_reference(1)
    assert "reference" not in again.phases.take()  # read, not asked for
    other = make_trainer("run", cache_reference=True, draws_per_pair=2, reduction="sum")
    other.cache_reference(1)
    for key, value in load_file(first.folder / "reference.safetensors").items():
        torch.testing.assert_close(value, kept[key] * float(torch.tensor(other.family.latent_shape).prod()))


def test_an_idle_process_samples_as_often_as_the_others_and_keeps_nothing() -> None:
    turns = [_turns([0, 3, 4, 6, 9], (rank, 3)) for rank in range(3)]
    assert {len(t) for t in turns} == {2}
    assert sorted(index for t in turns for index, kept in t if kept) == [0, 3, 4, 6, 9]
    assert turns[2][1] == (6, False)
