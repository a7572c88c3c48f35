"""The port against transformers' and peft's own modules put together by hand, and the published layout both ways."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from rewardbench_lift.layout import apply_adapter, read_base, write_adapter, write_base
from rewardbench_lift.network import build_projector, load_vila, merge_neighbours, normalise
from rewardbench_lift.prompts import IMAGE, IMAGE_ID, token_ids
from safetensors.torch import load_file, save_file

PREPROCESSOR = {"rescale_factor": 1 / 255, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def frames(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 28, 28, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def vila(critic):
    return load_vila(critic.base, critic.adapter, "cpu", torch.float32)


@pytest.fixture
def copies(critic, tmp_path: Path):
    """Folders to be spoilt at will."""
    base = shutil.copytree(critic.base, tmp_path / critic.base.name)
    return base, shutil.copytree(critic.adapter, tmp_path / "lora")


# -- outputs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [1, 2, 3, 7, 8])
def test_neighbours_are_merged_as_the_published_block_does(side: int) -> None:
    """Against its view, permute and view, step by step."""
    x = torch.randn(2, side * side, 5)
    grid = x.reshape(2, side, side, 5)
    if side % 2:
        grid = torch.cat([grid, torch.zeros(2, 1, side, 5)], dim=1)
        grid = torch.cat([grid, torch.zeros(2, side + 1, 1, 5)], dim=2)
    even = side + side % 2
    steps = grid.reshape(2, even, even // 2, 10).permute(0, 2, 1, 3).contiguous()
    expected = steps.reshape(2, even // 2, even // 2, 20).reshape(2, -1, 20)
    assert torch.equal(merge_neighbours(x), expected)


def test_a_grid_that_is_no_square_is_refused() -> None:
    with pytest.raises(ValueError, match="7 patches are no square"):
        merge_neighbours(torch.zeros(1, 7, 4))


def test_features_are_those_of_the_layer_before_the_last(critic, vila) -> None:
    pixels = normalise(frames(0, 3), PREPROCESSOR, "cpu", torch.float32)
    with torch.inference_mode():
        expected = critic.merged.see(pixels)
    assert expected.shape == (3, 16, 32)  # 7 x 7 patches, filled up to 8 x 8
    assert torch.allclose(vila.see(pixels), expected, atol=1e-5)


def test_pixels_are_siglips() -> None:
    from PIL import Image
    from transformers import SiglipImageProcessor

    rgb = frames(1, 2)
    processor = SiglipImageProcessor(size={"height": 28, "width": 28})
    expected = processor([Image.fromarray(frame) for frame in rgb], return_tensors="pt")["pixel_values"]
    assert torch.allclose(normalise(rgb, PREPROCESSOR, "cpu", torch.float32), expected, atol=1e-6)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_answers_are_transformers_own_greedy_ones(critic, vila, count: int) -> None:
    """Three questions behind one cached prefix against three calls of ``generate`` on whole embeddings."""
    tokenizer, llm = critic.tokenizer, critic.merged.llm
    pixels = normalise(frames(count, count), PREPROCESSOR, "cpu", torch.float32)
    texts = [
        f"Hi. USER: {(IMAGE + chr(10)) * count}a fox{question} ASSISTANT:" for question in (" real?", " smooth?", "")
    ]
    ids = [token_ids(tokenizer, text) for text in texts]
    most = 12
    found = vila.answer(vila.see(pixels), ids, lambda _, logits: int(logits.argmax()), lambda _: False, most)
    with torch.inference_mode():
        features = critic.merged.see(pixels)
        for answer, text in zip(found, texts, strict=True):
            pieces = []
            for number, piece in enumerate(text.split(IMAGE)):
                if number:
                    pieces.append(features[number - 1])
                own = tokenizer(piece, add_special_tokens=False)["input_ids"]
                own = [tokenizer.bos_token_id, *own] if number == 0 else own
                pieces.append(llm.model.embed_tokens(torch.tensor(own, dtype=torch.long)))
            embedded = torch.cat(pieces)[None]
            expected = llm.generate(
                inputs_embeds=embedded,
                attention_mask=torch.ones(embedded.shape[:2], dtype=torch.long),
                max_new_tokens=most, min_new_tokens=most, do_sample=False, pad_token_id=0, eos_token_id=None,
            )  # fmt: skip
            assert answer == expected[0].tolist()
            assert vila.length(ids[texts.index(text)], features) == embedded.shape[1]
    assert len({tuple(answer) for answer in found}) == 3


def test_logits_are_those_of_a_whole_pass(critic, vila) -> None:
    pixels = normalise(frames(9, 4), PREPROCESSOR, "cpu", torch.float32)
    ids = [token_ids(critic.tokenizer, f"A: {(IMAGE + chr(10)) * 4}fox{end}") for end in ("? B:", " so? B:")]
    seen = []
    vila.answer(vila.see(pixels), ids, lambda _, logits: seen.append(logits) or 5, lambda _: True, 1)
    with torch.inference_mode():
        features = critic.merged.see(pixels)
        for logits, sequence in zip(seen, ids, strict=True):
            rows, frame = [], 0
            for token in sequence:
                rows.append(
                    features[frame] if token == IMAGE_ID else critic.merged.llm.model.embed_tokens.weight[token][None]
                )
                frame += token == IMAGE_ID
            expected = critic.merged.llm(inputs_embeds=torch.cat(rows)[None]).logits[0, -1]
            assert float((logits - expected).abs().max()) < 1e-4
            assert float(expected.std()) > 0.1


def test_token_ids_are_those_of_the_published_rule(critic) -> None:
    """Pieces tokenised alone, separators between, begin-of-sequence kept once."""
    tokenizer = critic.tokenizer
    text = f"Hello {IMAGE}\n{IMAGE}\nend"
    pieces = [tokenizer(piece)["input_ids"] for piece in text.split(IMAGE)]
    expected = [tokenizer.bos_token_id]
    separators = [[IMAGE_ID] * 2] * len(pieces)
    for piece in [one for pair in zip(pieces, separators, strict=True) for one in pair][:-1]:
        expected += piece[1:]
    assert token_ids(tokenizer, text) == expected


# -- the published layout --------------------------------------------------------------------------------------------


def test_every_tensor_is_read_and_the_adapter_is_merged_as_peft_merges_it(critic) -> None:
    state = read_base(critic.base)
    assert set(state) == set(critic.state)
    assert any(name.startswith("vision_tower.vision_tower.vision_model.head.") for name in state)
    assert all(torch.equal(state[name], critic.state[name]) for name in state)
    apply_adapter(critic.adapter, state)
    merged = critic.merged.state_dict()
    changed = [name for name in state if name.startswith("llm.") and not torch.equal(state[name], critic.state[name])]
    assert sorted(changed) == sorted(f"{target}.weight" for target in critic.targets)
    for name in changed:
        assert torch.allclose(state[name], merged[name], atol=1e-5), name


def test_written_folders_have_the_published_names_and_read_back(critic, tmp_path: Path) -> None:
    original = load_file(critic.adapter / "adapter_model.safetensors")
    products = {
        target: (
            original[f"base_model.model.{target}.lora_A.weight"],
            original[f"base_model.model.{target}.lora_B.weight"],
        )
        for target in critic.targets
    }
    trained = {"mm_projector.layers.4.bias": torch.full((32,), 0.5)}
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    write_base(base, critic.state)
    write_adapter(adapter, products, trained, alpha=8.0, base="somebody/VILA1.5-tiny")
    for part in ("llm", "vision_tower", "mm_projector"):
        ours, theirs = (load_file(home / part / "model.safetensors") for home in (base, critic.base))
        assert set(ours) == set(theirs)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert set(load_file(adapter / "adapter_model.safetensors")) == set(original)
    config, theirs = (json.loads((home / "adapter_config.json").read_text()) for home in (adapter, critic.adapter))
    for key in ("peft_type", "r", "lora_alpha", "bias", "base_model_name_or_path"):
        assert config[key] == theirs[key]
    assert config["target_modules"] == sorted(critic.targets)  # peft writes the shortest endings that mean the same
    state, expected = read_base(base), read_base(critic.base)
    apply_adapter(adapter, state)
    apply_adapter(critic.adapter, expected)
    assert torch.equal(state.pop("mm_projector.layers.4.bias"), trained["mm_projector.layers.4.bias"])
    assert all(torch.equal(state[name], expected[name]) for name in state)


def test_our_adapter_folder_loads_with_peft(critic, tmp_path: Path) -> None:
    from peft import LoraConfig
    from safetensors.torch import load_file

    state = load_file(critic.adapter / "adapter_model.safetensors")
    name = critic.targets[0]
    a, b = (state[f"base_model.model.{name}.{half}.weight"] for half in ("lora_A", "lora_B"))
    write_adapter(tmp_path, {name: (a, b)}, {}, alpha=8.0, base="x")
    settings = LoraConfig.from_pretrained(str(tmp_path))
    assert (settings.r, settings.lora_alpha, settings.target_modules) == (4, 8.0, {name})


def test_a_tensor_that_belongs_to_no_part_is_not_written(critic, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 unexpected: model.embed"):
        write_base(tmp_path, {**critic.state, "model.embed": torch.zeros(1)})


def test_old_buffers_that_follow_from_the_configuration_are_passed_over(copies) -> None:
    base, adapter = copies
    path = base / "llm" / "model.safetensors"
    save_file(
        {**load_file(path), "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}, path, {"format": "pt"}
    )
    load_vila(base, adapter, "cpu", torch.float32)


@pytest.mark.parametrize("part", ["llm", "vision_tower", "mm_projector"])
@pytest.mark.parametrize("change", ["missing", "unexpected", "of another shape"])
def test_base_folders_are_read_strictly(copies, part: str, change: str) -> None:
    base, adapter = copies
    path = base / part / "model.safetensors"
    state = load_file(path)
    name = next(name for name in state if name.endswith(("norm.weight", "layernorm.weight", "layers.1.weight")))
    if change == "missing":
        del state[name]
    elif change == "unexpected":
        state["another.weight"] = torch.zeros(2)
    else:
        state[name] = state[name][:-1].clone()
    save_file(state, path, {"format": "pt"})
    with pytest.raises(ValueError, match=rf"{part} is not a checkpoint of .*1 {change}: "):
        load_vila(base, adapter, "cpu", torch.float32)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("half", r"does not fit its base model: 1 missing: llm\..*lora_B"),
        ("pair", r"1 missing: llm\..*lora_A"),
        ("stranger", r"1 unexpected: base_model\.model\.llm\.model\.stranger\.lora_A\.weight"),
        ("untargeted", r"2 unexpected: base_model\.model\.llm\.lm_head\.lora_A"),
        ("rank", r"do not make rank 4"),
    ],
)
def test_adapters_are_read_strictly(copies, critic, change: str, sentence: str) -> None:
    base, adapter = copies
    path = adapter / "adapter_model.safetensors"
    state = load_file(path)
    first = f"base_model.model.{critic.targets[0]}"
    if change in ("half", "pair"):
        del state[f"{first}.lora_B.weight"]
    if change == "pair":
        del state[f"{first}.lora_A.weight"]
    if change == "stranger":
        state["base_model.model.llm.model.stranger.lora_A.weight"] = torch.zeros(4, 4)
    if change == "untargeted":
        state["base_model.model.llm.lm_head.lora_A.weight"] = torch.zeros(4, 32)
        state["base_model.model.llm.lm_head.lora_B.weight"] = torch.zeros(8, 4)
    if change == "rank":
        state[f"{first}.lora_A.weight"] = state[f"{first}.lora_A.weight"][:2].clone()
    save_file(state, path)
    with pytest.raises(ValueError, match=sentence):
        load_vila(base, adapter, "cpu", torch.float32)


@pytest.mark.parametrize("prefix", ["base_model.model.", "model.", ""])
def test_other_trained_tensors_replace_theirs_under_any_published_prefix(critic, copies, prefix: str) -> None:
    base, adapter = copies
    value = torch.randn(32)
    torch.save({f"{prefix}mm_projector.layers.2.bias": value}, adapter / "non_lora_trainables.bin")
    state = read_base(base)
    apply_adapter(adapter, state)
    assert torch.equal(state["mm_projector.layers.2.bias"], value)
    torch.save({f"{prefix}mm_projector.layers.9.bias": value}, adapter / "non_lora_trainables.bin")
    with pytest.raises(ValueError, match=rf"non_lora_trainables.bin does not fit .*1 unexpected: {prefix}mm_projector"):
        apply_adapter(adapter, read_base(base))


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"use_dora": True}, "sets use_dora"),
        ({"modules_to_save": ["lm_head"]}, "sets modules_to_save"),
        ({"bias": "all"}, "trains biases"),
        ({"peft_type": "IA3"}, "is of type 'IA3', not 'LORA'"),
        ({"target_modules": "all-linear"}, "has no list of target_modules"),
    ],
)
def test_adapters_that_are_no_plain_lora_are_refused(copies, setting, sentence) -> None:
    base, adapter = copies
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**config, **setting}))
    with pytest.raises(ValueError, match=sentence):
        load_vila(base, adapter, "cpu", torch.float32)


def test_rank_stabilised_scale(copies, critic) -> None:
    base, adapter = copies
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "use_rslora": True}))
    plain, scaled = read_base(base), read_base(base)
    name = f"{critic.targets[0]}.weight"
    before = plain[name].clone()
    apply_adapter(adapter, scaled)
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    apply_adapter(adapter, plain)
    assert torch.allclose(scaled[name] - before, 2 * (plain[name] - before), atol=1e-5)  # 8 / sqrt(4) against 8 / 4


def test_names_of_the_projector_are_published_ones() -> None:
    assert sorted(build_projector(3, 5).state_dict()) == [
        f"layers.{number}.{kind}" for number in (1, 2, 4) for kind in ("bias", "weight")
    ]
