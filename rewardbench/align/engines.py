"""Engines that share a network out (FSDP2, DeepSpeed): how it is prepared, gathered, filled, and what is refused.

Under FSDP2 a parameter is a ``DTensor`` of which every process holds a part; under ZeRO-3 it is empty outside of a
forward; under ZeRO-1 and -2 it is whole, in the precision of the forward, with its float32 original inside DeepSpeed.
Whatever gathers is a conversation: every process has to call it, in the same order.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from rewardbench.align.families.base import VideoFamily
from rewardbench.align.recipe import Recipe
from rewardbench.errors import InputError


def make_accelerator(family: VideoFamily, recipe: Recipe) -> Any:
    """accelerate's ``Accelerator`` for a training, as its launcher has set it up."""
    from accelerate import Accelerator

    on_cpu = next(family.transformer.parameters()).device.type == "cpu"
    return Accelerator(mixed_precision=recipe.precision, cpu=on_cpu)


def engine_name(accelerator: Any) -> str:
    """``plain`` (one process, or DDP), ``fsdp2`` or ``deepspeed``.

    Raises:
        InputError: an engine that this loop does not know.
    """
    kind = str(getattr(accelerator.distributed_type, "value", accelerator.distributed_type))
    if kind == "DEEPSPEED":
        return "deepspeed"
    if kind == "FSDP":
        if not accelerator.is_fsdp2:
            raise InputError("FSDP's first version is not supported; write fsdp_version: 2 into accelerate's file")
        return "fsdp2"
    if kind in ("MEGATRON_LM", "XLA"):
        raise InputError(f"accelerate's {kind} is not supported; choose DDP, FSDP2 or DeepSpeed")
    return "plain"


def check_engine(engine: str, recipe: Recipe) -> None:
    """Refuse what is known not to work with an engine that shares the network out.

    Raises:
        InputError: saying what to choose instead.
    """
    if engine == "plain":
        return
    name = {"fsdp2": "FSDP2", "deepspeed": "DeepSpeed"}[engine]
    if recipe.precision == "fp16":
        raise InputError(f"precision fp16 does not work with {name} here; choose bf16, or DDP")
    if recipe.rounds > 1:
        raise InputError(
            f"a network that {name} has shared out cannot be taken over by a second round; choose rounds 1, or DDP"
        )
    if engine == "deepspeed" and recipe.compares and recipe.reference == "ema":
        raise InputError(
            "DeepSpeed keeps its float32 weights to itself, so that an ema reference cannot follow them; choose "
            "another reference, FSDP2 or DDP"
        )


def prepare(
    accelerator: Any, engine: str, family: VideoFamily, recipe: Recipe, optimizer: torch.optim.Optimizer, share: int
) -> tuple[Any, Any]:
    """``accelerator.prepare`` of network and optimiser, with what the engine has to know before.

    Args:
        accelerator: accelerate's.
        engine: see :func:`engine_name`.
        family: whose blocks are the units of sharding.
        recipe: precision, clipping.
        optimizer: of the network's parameters.
        share: examples in a process's step.
    """
    network = family.transformer
    if engine == "fsdp2":
        _set_up_fsdp2(accelerator, family, recipe)
    elif engine == "deepspeed":
        # Clipping is the engine's own. Its steps of accumulation stay at 1, because it would divide losses by them that
        # are weighed already; where a step ends it is told at every backward.
        config = accelerator.state.deepspeed_plugin.deepspeed_config
        config["train_micro_batch_size_per_gpu"] = share
        config["gradient_accumulation_steps"] = 1
        config["train_batch_size"] = recipe.batch_size
        config["gradient_clipping"] = recipe.max_grad_norm
        config["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] = False
    if engine != "plain" and recipe.precision == "bf16":
        _compute_in_autocast(network, accelerator.device.type)
    prepared: tuple[Any, Any] = accelerator.prepare(network, optimizer)
    if engine == "fsdp2":
        network.register_forward_hook(_settle_without_gradients)
    return prepared


def _settle_without_gradients(module: nn.Module, *rest: Any) -> None:
    """Families ask the network's parameters for their precision, which is another one while they are gathered."""
    if not torch.is_grad_enabled():
        settle(module)


def _set_up_fsdp2(accelerator: Any, family: VideoFamily, recipe: Recipe) -> None:
    """Sharding by the family's blocks; arithmetic as under DDP.

    FSDP2 would cast a network's inputs to bfloat16, times too: 501.5 of 1000 becomes 502. Autocast does what has to be
    done. Loading on one process only (``cpu_ram_efficient_loading``) fails for a network with buffers in its state, as
    CogVideoX image-to-video and the toy have: every process has loaded the network here.
    """
    plugin = accelerator.state.fsdp_plugin
    plugin.cpu_ram_efficient_loading = False
    plugin.activation_checkpointing = False  # ours is the recipe's
    plugin.auto_wrap_policy = _by_class()
    plugin.transformer_cls_names_to_wrap = sorted({type(b).__name__ for b in family.blocks(family.transformer)})
    if recipe.precision != "no":
        from torch.distributed.fsdp import MixedPrecisionPolicy

        plugin.mixed_precision_policy = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False
        )


def _by_class() -> Any:
    from torch.distributed.fsdp.wrap import transformer_auto_wrap_policy

    return transformer_auto_wrap_policy


def _compute_in_autocast(network: nn.Module, device: str) -> None:
    """As accelerate does for every engine but these."""
    forward = network.forward

    def autocast_forward(self: nn.Module, *arguments: Any, **named: Any) -> Any:
        with torch.autocast(device, dtype=torch.bfloat16):
            return forward(*arguments, **named)

    network.forward = MethodType(autocast_forward, network)


def prepare_copy(copy: nn.Module, accelerator: Any, engine: str, recipe: Recipe) -> None:
    """A frozen copy of the network: sharded alike (FSDP2), or whole in the precision of the policy (DeepSpeed).

    It is asked as the policy is, so that both round alike.
    """
    if engine == "plain":
        return
    if recipe.precision == "bf16":
        _compute_in_autocast(copy, accelerator.device.type)
        if engine == "deepspeed":
            copy.to(torch.bfloat16)
    if engine == "fsdp2":
        from accelerate.utils.fsdp_utils import fsdp2_prepare_model

        fsdp2_prepare_model(accelerator, copy)
        copy.register_forward_hook(_settle_without_gradients)


def is_sharded(network: nn.Module) -> bool:
    """True where every forward is a conversation of all processes (FSDP2, ZeRO-3)."""
    return any(_is_fsdp2(m) for m in network.modules()) or any(hasattr(p, "ds_id") for p in network.parameters())


def is_shared_out(network: nn.Module) -> bool:
    """True where an engine keeps weights of its own, apart from the network's (FSDP2, DeepSpeed)."""
    return is_sharded(network) or any(hasattr(p, "_hp_mapping") for p in network.parameters())


def _is_fsdp2(module: nn.Module) -> bool:
    return hasattr(module, "set_requires_gradient_sync") and hasattr(module, "reshard")


def settle(network: nn.Module) -> None:
    """Put the network back into its parts. FSDP2 leaves some of it gathered after a forward without gradients, and
    what is read from or written to the gathered parameters is lost."""
    for module in network.modules():
        if _is_fsdp2(module):
            module.reshard()  # type: ignore[operator]


def whole(tensor: Any) -> Tensor:
    """A parameter or buffer in one piece, on the CPU, apart from its original; every process has to ask."""
    if hasattr(tensor, "full_tensor"):
        found: Tensor = tensor.detach().full_tensor().cpu()
        return found
    if hasattr(tensor, "_hp_mapping") or hasattr(tensor, "ds_id"):
        deepspeed: Any = importlib.import_module("deepspeed")
        if tensor.requires_grad:
            original = deepspeed.utils.safe_get_full_fp32_param(tensor)
            if original is not None:
                return detached(original)
        if hasattr(tensor, "ds_id"):
            with deepspeed.zero.GatheredParameters([tensor]):
                return detached(tensor)
    return detached(tensor)


def detached(tensor: Tensor) -> Tensor:
    """A copy on the CPU."""
    return tensor.detach().cpu().clone()


def fill(parameter: Tensor, value: Tensor) -> None:
    """Write a whole tensor into a parameter, of which this process may hold a part."""
    with torch.no_grad():
        if hasattr(parameter, "full_tensor"):
            from torch.distributed.tensor import distribute_tensor

            local: Any = parameter.to_local()  # type: ignore[attr-defined]
            mesh, placements = parameter.device_mesh, parameter.placements  # type: ignore[attr-defined]
            value = value.to(device=local.device, dtype=local.dtype)
            local.copy_(distribute_tensor(value, mesh, placements, src_data_rank=None).to_local())
        else:
            parameter.copy_(value)


def whole_state(
    network: nn.Module, wanted: Callable[[str], bool] = lambda key: True, *, keep: bool = True
) -> dict[str, Tensor]:
    """``state_dict`` in one piece on the CPU; every process has to ask, and gets nothing if it does not ``keep``."""
    settle(network)
    found = {}
    for key, value in network.state_dict(keep_vars=True).items():
        if wanted(key):
            one = whole(value)
            if keep:
                found[key] = one
    return found


@contextlib.contextmanager
def saved_as(network: nn.Module, state: dict[str, Tensor] | None) -> Iterator[None]:
    """The network says that ``state`` is its ``state_dict``, so that what writes networks can write one that is shared
    out; None changes nothing."""
    if state is None:
        yield
        return
    network.state_dict = lambda *arguments, **named: dict(state)  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        del network.state_dict
