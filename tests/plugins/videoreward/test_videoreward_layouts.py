"""The layouts on the disk: equal weights give equal scores, and nothing missing or left over is passed over."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from rewardbench_videoreward.checkpoint import read_weights
from rewardbench_videoreward.folder import find_checkpoint, read_config
from rewardbench_videoreward.settings import read_settings

from rewardbench.errors import PluginError

pytestmark = pytest.mark.shared
PEFT = "base_model.model."


def state_of(root: Path) -> dict[str, torch.Tensor]:
    return torch.load(root / "checkpoint-10" / "model.pth", weights_only=True)


def write(root: Path, state: dict[str, torch.Tensor]) -> None:
    torch.save(state, root / "checkpoint-10" / "model.pth")


def merged(state: dict[str, torch.Tensor], scale: float) -> dict[str, torch.Tensor]:
    """LoRA folded in by hand, in float64; plain names."""
    plain = {}
    for name, tensor in state.items():
        if ".lora_" in name:
            continue
        folded = tensor
        if name.endswith(".base_layer.weight"):
            module = name.removesuffix(".base_layer.weight")
            low, high = state[f"{module}.lora_A.default.weight"], state[f"{module}.lora_B.default.weight"]
            folded = (tensor.double() + scale * (high.double() @ low.double())).float()
        plain[name.removeprefix(PEFT).replace(".base_layer.", ".")] = folded
    return plain


def scores(golden, root: Path, **options: str) -> np.ndarray:
    model = golden.load(root, **options).model
    return model.score([golden.saved_item(model, "example_3_B")]).values[0]


def refused(golden, root: Path, **options: str) -> str:
    with pytest.raises(PluginError) as error:
        golden.load(root, **options)
    return str(error.value)


@pytest.mark.parametrize("rslora", [False, True])
def test_lora_is_added_with_the_configured_scale(golden, copied, edited, rslora) -> None:
    root = copied("full_lora")
    edited(root / "model_config.json", "peft_lora_config", use_rslora=rslora)
    found = scores(golden, root)
    write(root, merged(state_of(root), 8 / math.sqrt(4) if rslora else 8 / 4))
    edited(root / "model_config.json", "peft_lora_config", lora_enable=False)
    np.testing.assert_allclose(found, scores(golden, root), rtol=0, atol=2e-5)
    truth = golden.values("full_lora", "single_raw")[3]
    assert (np.abs(found - truth).max() < 5e-5) == (not rslora)


def test_an_adapter_equals_the_full_state_it_stands_for(golden, copied, edited) -> None:
    """Base weights, what was trained beside them and LoRA, put together by hand, as one ``model.pth``."""
    from safetensors.torch import load_file

    root = copied("adapter")
    step = root / "checkpoint-10"
    expected = scores(golden, root)
    state = {}
    for name, tensor in load_file(root.parent / "base_model" / "model.safetensors").items():
        linear = ".layers." in name and name.split(".")[-2].endswith("_proj")
        state[PEFT + (f"{name.rpartition('.')[0]}.base_layer.{name.rpartition('.')[2]}" if linear else name)] = tensor
    state |= torch.load(step / "non_lora_state_dict.pth", weights_only=True)
    for name, tensor in load_file(step / "adapter_model.safetensors").items():
        state[name.replace(".weight", ".default.weight")] = tensor
    write(root, state)
    np.testing.assert_allclose(scores(golden, root), expected, rtol=0, atol=1e-6)


def test_names_of_transformers_5_and_modules_trained_whole_are_understood(golden, copied) -> None:
    root = copied("full_plain")
    expected = golden.values("full_plain", "single_raw")[3]
    state = state_of(root)
    write(root, {_newer(name): tensor for name, tensor in state.items()})
    np.testing.assert_allclose(scores(golden, root), expected, rtol=0, atol=5e-5)
    head = state.pop("rm_head.weight")
    state["rm_head.original_module.weight"] = torch.zeros_like(head)
    state["rm_head.modules_to_save.default.weight"] = head
    write(root, {PEFT + name: tensor for name, tensor in state.items()})
    np.testing.assert_allclose(scores(golden, root), expected, rtol=0, atol=5e-5)


def _newer(name: str) -> str:
    if name.startswith("model."):
        return f"model.language_model.{name.removeprefix('model.')}"
    return f"model.{name}" if name.startswith("visual.") else name


def test_a_shared_head_of_one_row_rates_every_dimension(golden, copied, edited) -> None:
    root = copied("full_plain")
    state = state_of(root)
    head = state["rm_head.weight"]
    separate = []
    for row in range(3):
        state["rm_head.weight"] = head[[row] * 3]
        write(root, state)
        separate.append(scores(golden, root)[:3])
    state["rm_head.weight"] = head[1:2]
    write(root, state)
    edited(root / "model_config.json", "model_config", output_dim=1)
    np.testing.assert_allclose(scores(golden, root)[:3], separate[1], rtol=0, atol=1e-6)
    assert np.abs(separate[0] - separate[1]).max() > 0.01


def test_a_full_checkpoint_needs_no_base_model(golden, copied, edited) -> None:
    """Sizes come from the tensors, the rest from ``arch.json``, else it is Qwen2-VL-2B-Instruct's."""
    root = copied("full_lora")
    expected = golden.values("full_lora", "single_raw")[3]
    base = json.loads((root.parent / "base_model" / "config.json").read_text())
    edited(root / "model_config.json", "model_config", model_name_or_path="Qwen/Qwen2-VL-2B-Instruct")
    rest = ("num_attention_heads", "num_key_value_heads", "rope_theta", "rope_scaling")
    arch = {**{name: base[name] for name in rest}, "vision_config": {"num_heads": 2}}
    (root / "arch.json").write_text(json.dumps(arch))
    np.testing.assert_allclose(scores(golden, root), expected, rtol=0, atol=5e-5)
    (root / "checkpoint-10" / "arch.json").write_text(json.dumps({**arch, "rope_theta": 100.0}))
    assert np.abs(scores(golden, root) - expected).max() > 1e-3, "the file beside the weights comes first"


def test_bases_are_found_in_the_folder_then_beside_it_then_where_named(golden, copied, edited) -> None:
    root = copied("adapter")
    expected = golden.values("adapter", "single_raw")[3]
    elsewhere = root.parent / "elsewhere"
    (root.parent / "base_model").rename(elsewhere)
    message = "the base model 'base_model' that"
    with pytest.raises(Exception, match=message):
        golden.load(root)
    found = scores(golden, root, parts={"base": str(elsewhere)})
    np.testing.assert_allclose(found, expected, rtol=0, atol=5e-5)
    elsewhere.rename(root / "Qwen2-VL-2B-Instruct")
    edited(root / "model_config.json", "model_config", model_name_or_path="Qwen/Qwen2-VL-2B-Instruct")
    np.testing.assert_allclose(scores(golden, root), expected, rtol=0, atol=5e-5)


def test_a_checkpoint_without_a_tokenizer_takes_the_bases_with_the_reward_tokens_added(golden, copied) -> None:
    import shutil

    root = copied("full_lora")
    shutil.rmtree(root / "checkpoint-10" / "tokenizer")
    expected = golden.values("full_lora", "single_raw")[3]
    np.testing.assert_allclose(scores(golden, root), expected, rtol=0, atol=5e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop(f"{PEFT}model.norm.weight"), "1 missing: language_model.norm.weight"),
        (lambda s: s.update({f"{PEFT}surplus.weight": torch.zeros(2)}), "surplus"),
        (lambda s: s.pop(f"{PEFT}rm_head.weight"), "rm_head.weight is missing"),
        (lambda s: s.update({f"{PEFT}rm_head.weight": torch.zeros(2, 64)}), r"rm_head.weight is \(2, 64\)"),
        (lambda s: s.pop(f"{PEFT}model.embed_tokens.weight"), "model.embed_tokens.weight is missing"),
        (
            lambda s: s.pop(f"{PEFT}model.layers.1.mlp.up_proj.lora_B.default.weight"),
            "1 modules with half a LoRA: model.layers.1.mlp.up_proj",
        ),
        (
            lambda s: [s.pop(f"{PEFT}model.layers.1.mlp.up_proj.lora_{x}.default.weight") for x in "AB"],
            "1 modules without LoRA: model.layers.1.mlp.up_proj",
        ),
        (
            lambda s: s.update(
                {
                    f"{PEFT}visual.blocks.0.mlp.fc1.lora_A.default.weight": torch.zeros(4, 32),
                    f"{PEFT}visual.blocks.0.mlp.fc1.lora_B.default.weight": torch.zeros(128, 4),
                }
            ),
            "1 modules with LoRA where none belongs: visual.blocks.0.mlp.fc1",
        ),
        (
            lambda s: s.update({f"{PEFT}model.layers.0.mlp.up_proj.lora_A.default.weight": torch.zeros(3, 64)}),
            "another shape than rank 4: model.layers.0.mlp.up_proj",
        ),
        (
            lambda s: s.update(
                {f"{PEFT}model.layers.0.mlp.up_proj.lora_magnitude_vector.default.weight": torch.ones(1)}
            ),
            "is no LoRA weight of the adapter 'default'",
        ),
    ],
)
def test_missing_and_unexpected_weights_are_named(golden, copied, change, message) -> None:
    import re

    root = copied("full_lora")
    state = state_of(root)
    change(state)
    write(root, state)
    assert re.search(message, refused(golden, root)), refused(golden, root)


def test_an_adapter_without_all_its_parts_is_refused(golden, copied) -> None:
    from safetensors.torch import load_file, save_file

    root = copied("adapter")
    step = root / "checkpoint-10"
    low = load_file(step / "adapter_model.safetensors")
    kept = {name: tensor for name, tensor in low.items() if "layers.2.self_attn.o_proj" not in name}
    save_file(kept, step / "adapter_model.safetensors")
    assert "1 modules without LoRA: model.layers.2.self_attn.o_proj" in refused(golden, root)
    save_file(low, step / "adapter_model.safetensors")
    rest = torch.load(step / "non_lora_state_dict.pth", weights_only=True)
    embedding = rest.pop(f"{PEFT}model.embed_tokens.weight")
    torch.save(rest, step / "non_lora_state_dict.pth")
    assert "lacks model.embed_tokens.weight" in refused(golden, root)
    torch.save({**rest, f"{PEFT}model.embed_token.weight": embedding}, step / "non_lora_state_dict.pth")
    assert "lacks model.embed_tokens.weight" in refused(golden, root)
    whole = {**rest, f"{PEFT}model.embed_tokens.weight": embedding, "x.weight": embedding}
    torch.save(whole, step / "non_lora_state_dict.pth")
    assert "weights that the base model has not: x.weight" in refused(golden, root)


def test_lora_and_its_configuration_must_agree(golden, copied, edited) -> None:
    root = copied("full_lora")
    edited(root / "model_config.json", "peft_lora_config", lora_enable=False)
    assert "holds LoRA weights" in refused(golden, root)
    edited(root / "model_config.json", "peft_lora_config", lora_enable=True)
    write(root, merged(state_of(root), 2.0))
    assert "21 modules without LoRA" in refused(golden, root)


def test_lora_on_embeddings_and_the_last_modules_only(golden, copied, edited) -> None:
    """PEFT's embedding LoRA is stored transposed; ``num_lora_modules`` counts from the end of the model."""
    root = copied("full_plain")
    state = state_of(root)
    generator = torch.Generator().manual_seed(0)
    low, high = torch.randn(4, 437, generator=generator), torch.randn(64, 4, generator=generator)
    wrapped = {PEFT + name: tensor for name, tensor in state.items()}
    wrapped[f"{PEFT}model.embed_tokens.base_layer.weight"] = wrapped.pop(f"{PEFT}model.embed_tokens.weight")
    wrapped[f"{PEFT}model.embed_tokens.lora_embedding_A.default"] = low
    wrapped[f"{PEFT}model.embed_tokens.lora_embedding_B.default"] = high
    write(root, wrapped)
    every = ["lm_head", "rm_head", "visual", "layers"]
    edited(root / "model_config.json", "peft_lora_config", lora_enable=True, lora_namespan_exclude=every)
    config = read_config(root)
    weights = read_weights(
        find_checkpoint(root, None), None, read_settings(config, {}, None, root).lora, special_tokens=True
    )
    folded = dict(weights.folded(torch.float32))
    expected = state["model.embed_tokens.weight"].double() + 2 * (high.double() @ low.double()).T
    np.testing.assert_allclose(folded["model.embed_tokens.weight"], expected, rtol=1e-5, atol=1e-5)
    edited(
        root / "model_config.json", "peft_lora_config", num_lora_modules=1, lora_namespan_exclude=["lm_head", "rm_head"]
    )
    assert "1 modules without LoRA: model.layers.2.mlp.down_proj" in refused(golden, root)
