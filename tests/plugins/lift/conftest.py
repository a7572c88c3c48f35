"""A tiny random VILA-1.5 with a LoRA folder on it, made by transformers and peft alone, saved as published."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

SIDE, PATCH, VISION, TEXT = 28, 4, 24, 32
SENTENCES = {
    "semantic": " Does it show what it should?",
    "fidelity": " Does it look real?",
    "motion": " Does it move well?",
    "system": "Somebody asks and somebody answers.",
}
"""Stand-ins for the published texts, which are not at hand."""


def build_tokenizer() -> Any:
    """Letters, the three grades and full stops, with ``<s>`` before every text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("G", "o"), ("Go", "o"), ("Goo", "d"), ("N", "o"), ("No", "r"), ("Nor", "m"), ("Norm", "a"),
              ("Norma", "l"), ("B", "a"), ("Ba", "d")]  # fmt: skip
    words = ["<unk>", "<s>", "</s>", *letters, *(a + b for a, b in merges)]
    core = Tokenizer(models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=merges))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


class Downsample(nn.Module):
    """The published projector's first layer, written out patch by patch."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        _, patches, width = features.shape
        side = int(patches**0.5)
        even = side + side % 2
        rows = []
        for image in features:
            grid = torch.zeros(even, even, width)
            for number in range(patches):
                grid[number // side, number % side] = image[number]
            blocks = []
            for column in range(0, even, 2):  # column by column: the published block leaves the grid turned over
                for row in range(0, even, 2):
                    four = [grid[row + r, column + c] for r in (0, 1) for c in (0, 1)]
                    blocks.append(torch.cat(four))
            rows.append(torch.stack(blocks))
        return torch.stack(rows)


class Tower(nn.Module):
    """Makes the names ``vision_tower.vision_tower.…``."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.vision_tower = model


class Projector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        wide = 4 * VISION
        self.layers = nn.Sequential(
            Downsample(), nn.LayerNorm(wide), nn.Linear(wide, TEXT), nn.GELU(), nn.Linear(TEXT, TEXT)
        )


class Composition(nn.Module):
    """The parts under the published names, with nothing of the plugin."""

    def __init__(self, seed: int, tokens: int) -> None:
        from transformers import LlamaConfig, LlamaForCausalLM, SiglipVisionConfig, SiglipVisionModel

        super().__init__()
        torch.manual_seed(seed)
        self.llm = LlamaForCausalLM(
            LlamaConfig(
                hidden_size=TEXT, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
                num_key_value_heads=2, vocab_size=tokens + 5, max_position_embeddings=4096, tie_word_embeddings=False,
            )
        )  # fmt: skip
        self.vision_tower = Tower(
            SiglipVisionModel(
                SiglipVisionConfig(
                    hidden_size=VISION, intermediate_size=40, num_hidden_layers=3, num_attention_heads=2,
                    image_size=SIDE, patch_size=PATCH,
                )
            )
        )  # fmt: skip
        self.mm_projector = Projector()
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.3)
            elif not name.endswith(("norm.weight", "norm1.weight", "norm2.weight")):
                nn.init.normal_(parameter, std=0.1)

    def see(self, pixels: torch.Tensor) -> torch.Tensor:
        """All patches behind the last layer but one, layer by layer."""
        tower = self.vision_tower.vision_tower
        hidden = tower.embeddings(pixels)
        for layer in list(tower.encoder.layers)[:-1]:
            found = layer(hidden, attention_mask=None)
            hidden = found[0] if isinstance(found, tuple) else found
        return self.mm_projector.layers(hidden)


def old_name(name: str) -> str:
    """transformers 5 dropped ``vision_model.`` from SigLIP's names; published folders have it."""
    head = "vision_tower.vision_tower."
    return f"{head}vision_model.{name[len(head) :]}" if name.startswith(head) else name


def write_published(
    home: Path, composition: Composition, adapted: Any, tokenizer: Any, alpha: float
) -> SimpleNamespace:
    """A VILA folder and a LoRA folder as the published training code leaves them."""
    from safetensors.torch import save_file

    base, adapter, templates = home / "VILA1.5-tiny", home / "critic-lora", home / "critic-lora" / "templates"
    state = {old_name(name): tensor.clone() for name, tensor in composition.state_dict().items()}
    parts = {"llm": "llm.", "vision_tower": "vision_tower.vision_tower.", "mm_projector": "mm_projector."}
    llm = composition.llm.config.to_dict()
    vision = {**composition.vision_tower.vision_tower.config.to_dict(), "architectures": ["SiglipVisionModel"]}
    configs = {"llm": llm, "vision_tower": vision, "mm_projector": {"mm_projector_type": "mlp_downsample"}}
    for part, prefix in parts.items():
        (base / part).mkdir(parents=True)
        own = {name[len(prefix) :]: tensor.contiguous() for name, tensor in state.items() if name.startswith(prefix)}
        save_file(own, base / part / "model.safetensors", {"format": "pt"})
        (base / part / "config.json").write_text(json.dumps(configs[part], default=str))
    (base / "vision_tower" / "preprocessor_config.json").write_text(
        json.dumps(
            {"size": {"height": SIDE, "width": SIDE}, "resample": 3, "rescale_factor": 1 / 255,
             "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
        )
    )  # fmt: skip
    tokenizer.save_pretrained(base / "llm")
    (base / "config.json").write_text(
        json.dumps(
            {"architectures": ["LlavaLlamaModel"], "model_type": "llava_llama", "mm_vision_select_layer": -2,
             "mm_vision_select_feature": "cls_patch", "image_aspect_ratio": "resize", "mm_use_im_start_end": False}
        )
    )  # fmt: skip
    adapted.save_pretrained(adapter)
    found = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(
        json.dumps({**found, "base_model_name_or_path": "somebody/VILA1.5-tiny"})
    )
    torch.save({}, adapter / "non_lora_trainables.bin")
    templates.mkdir()
    for name, text in SENTENCES.items():
        (templates / f"{name}.txt").write_bytes(text.encode())
    return SimpleNamespace(base=base, adapter=adapter, state=state)


@pytest.fixture(scope="session")
def sentences() -> dict[str, str]:
    return dict(SENTENCES)


@pytest.fixture(scope="session")
def stand_ins() -> dict[str, Any]:
    """Templates whose digests are those of the stand-in sentences."""
    from rewardbench_plugin import Template

    return {
        name: Template(f"{name}.txt", hashlib.sha256(text.encode()).hexdigest(), "https://example.org")
        for name, text in SENTENCES.items()
    }


@pytest.fixture(scope="session")
def make_critic():
    """``make(folder, seed)``: a composition with merged LoRA, and the folders it was saved to before merging."""
    from peft import LoraConfig, get_peft_model

    def make(home: Path, seed: int = 0, rank: int = 4, alpha: float = 8.0) -> SimpleNamespace:
        tokenizer = build_tokenizer()
        composition = Composition(seed, len(tokenizer)).eval()
        state = {old_name(name): tensor.clone() for name, tensor in composition.state_dict().items()}
        linear = [
            name
            for name, module in composition.llm.named_modules()
            if isinstance(module, nn.Linear) and name != "lm_head"
        ]
        plain = {name: tensor.clone() for name, tensor in composition.state_dict().items()}
        settings = LoraConfig(r=rank, lora_alpha=alpha, target_modules=[f"llm.{name}" for name in linear])
        adapted = get_peft_model(composition, settings)
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter, std=0.2)
        untouched = Composition(seed, len(tokenizer))
        untouched.load_state_dict(plain)
        written = write_published(home, untouched, adapted, tokenizer, alpha)
        merged = adapted.merge_and_unload().eval()
        return SimpleNamespace(
            base=written.base, adapter=written.adapter, state=state, merged=merged, tokenizer=tokenizer,
            targets=[f"llm.{name}" for name in linear],
        )  # fmt: skip

    return make


@pytest.fixture(scope="session")
def critic(make_critic, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    return make_critic(tmp_path_factory.mktemp("critic"))
