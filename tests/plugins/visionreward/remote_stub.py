"""The source of a weights folder that brings its own code, with the interface of CogVLM2-Video's, a few layers deep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CONFIGURATION = """
from transformers import PretrainedConfig


class StubConfig(PretrainedConfig):
    model_type = "stub_cogvlm_video"

    def __init__(self, vocab_size=300, hidden_size=24, max_position_embeddings=2000, forgetful=False, **more):
        self.vocab_size, self.hidden_size = vocab_size, hidden_size
        self.max_position_embeddings, self.forgetful = max_position_embeddings, forgetful
        super().__init__(**more)
"""

MODELING = '''
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from .configuration_stub import StubConfig

LANGUAGE, VISION, PER_FRAME = 0, 1, 4


def positions_of(kinds):
    """Neighbouring vision tokens share a position, as in CogVLM."""
    joined = (kinds[:, 1:] == VISION) & (kinds[:, :-1] == VISION)
    steps = torch.zeros_like(kinds)
    steps[:, 1:] = (~joined).long()
    return steps.cumsum(-1)


class Layer(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.text, self.vision = nn.Linear(width, 3 * width), nn.Linear(width, 3 * width)
        self.out, self.mlp = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, hidden, kinds, past):
        mixed = torch.where((kinds == VISION)[..., None], self.vision(hidden), self.text(hidden))
        query, key, value = mixed.chunk(3, dim=-1)
        if past is not None:
            key, value = torch.cat([past[0], key], 1), torch.cat([past[1], value], 1)
        length, total = query.shape[1], key.shape[1]
        mask = torch.ones(length, total, dtype=torch.bool, device=hidden.device).tril(total - length)
        weights = (query @ key.transpose(1, 2) / query.shape[-1] ** 0.5).masked_fill(~mask, -1e9).softmax(-1)
        hidden = hidden + self.out(weights @ value)
        return hidden + torch.tanh(self.mlp(hidden)), (key, value)


class StubForCausalLM(PreTrainedModel):
    config_class = StubConfig

    def __init__(self, config):
        super().__init__(config)
        width = config.hidden_size
        self.embed = nn.Embedding(config.vocab_size, width)
        self.place = nn.Embedding(config.max_position_embeddings, width)
        self.see = nn.Linear(3, width)
        self.layers = nn.ModuleList([Layer(width) for _ in range(2)])
        self.lm_head = nn.Linear(width, config.vocab_size, bias=False)
        self.seen = 0
        self.post_init()

    def _init_weights(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            module.weight.data.normal_(std=0.4)

    def build_conversation_input_ids(self, tokenizer, *, query, history, images, template_version):
        assert template_version == "chat" and history == [] and len(images) == 1
        video = images[0]
        assert video.dtype == torch.uint8 and video.shape[0] == 3, "a video is uint8 (3, T, H, W)"
        pixels = torch.nn.functional.interpolate(video.float().permute(1, 0, 2, 3) / 255, size=(8, 8))
        pixels = pixels.permute(1, 0, 2, 3)
        words = tokenizer.encode(f"Question: {query} Answer:", add_special_tokens=False)
        count = PER_FRAME * video.shape[1]
        ids = [0] + [0] * count + words
        kinds = [LANGUAGE] + [VISION] * count + [LANGUAGE] * len(words)
        return {
            "input_ids": torch.tensor(ids), "token_type_ids": torch.tensor(kinds),
            "attention_mask": torch.ones(len(ids), dtype=torch.long), "images": [pixels],
        }

    def prepare_inputs_for_generation(
        self, input_ids, token_type_ids, images=None, past_key_values=None, attention_mask=None, **more
    ):
        positions = positions_of(token_type_ids)
        if past_key_values:
            input_ids, token_type_ids, positions = input_ids[:, -1:], token_type_ids[:, -1:], positions[:, -1:]
        return {
            "input_ids": input_ids, "token_type_ids": token_type_ids, "images": images, "position_ids": positions,
            "past_key_values": past_key_values, "attention_mask": attention_mask, "use_cache": more.get("use_cache"),
        }

    def forward(
        self, input_ids=None, images=None, token_type_ids=None, attention_mask=None, position_ids=None,
        past_key_values=None, use_cache=None, return_dict=None,
    ):
        hidden = self.embed(input_ids)
        if past_key_values is None:
            self.seen += 1
            video = images[0][0].permute(1, 0, 2, 3)
            patches = torch.nn.functional.adaptive_avg_pool2d(video, 2).flatten(2).transpose(1, 2).reshape(-1, 3)
            hidden = hidden.clone()
            hidden[token_type_ids == VISION] = self.see(patches.to(hidden.dtype))
        known = past_key_values[0][0].shape[1] if past_key_values else 0
        assert attention_mask.shape[1] == input_ids.shape[1] + known
        hidden = hidden + self.place(position_ids)
        caches = []
        for number, layer in enumerate(self.layers):
            past = None if past_key_values is None or self.config.forgetful else past_key_values[number]
            hidden, cache = layer(hidden, token_type_ids, past)
            caches.append(cache)
        return CausalLMOutputWithPast(logits=self.lm_head(hidden).float(), past_key_values=tuple(caches))
'''


def write_remote_folder(folder: Path, tokenizer: Any, *, forgetful: bool = False, seed: int = 0) -> Path:
    """Write such a folder; a ``forgetful`` model's code does not look at the cache it is given."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "configuration_stub.py").write_text(CONFIGURATION)
    (folder / "modeling_stub.py").write_text(MODELING)
    config = {
        "model_type": "stub_cogvlm_video",
        "architectures": ["StubForCausalLM"],
        "auto_map": {
            "AutoConfig": "configuration_stub.StubConfig",
            "AutoModelForCausalLM": "modeling_stub.StubForCausalLM",
        },
        "vocab_size": len(tokenizer),
        "forgetful": forgetful,
    }
    (folder / "config.json").write_text(json.dumps(config))
    torch.manual_seed(seed)
    loaded = AutoConfig.from_pretrained(str(folder), trust_remote_code=True)
    model = AutoModelForCausalLM.from_config(loaded, trust_remote_code=True)
    model.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer.save_pretrained(folder)
    _write_old_tokenizer(folder)
    return folder


def _write_old_tokenizer(folder: Path) -> None:
    """Tokenizer files as transformers 4.42 and tokenizers 0.19 wrote them, and later versions still read them."""
    path = folder / "tokenizer.json"
    saved = json.loads(path.read_text(encoding="utf-8"))
    saved["model"]["merges"] = [one if isinstance(one, str) else " ".join(one) for one in saved["model"]["merges"]]
    path.write_text(json.dumps(saved), encoding="utf-8")
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**settings, "tokenizer_class": "PreTrainedTokenizerFast"}), encoding="utf-8")
