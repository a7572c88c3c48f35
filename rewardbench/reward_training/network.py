"""The reward model while it is trained: the plugin's Qwen2-VL with a reward head, and what of it is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from rewardbench_videoreward.architecture import pixel_statistics
from rewardbench_videoreward.checkpoint import EMBEDDING, HEAD, PEFT
from rewardbench_videoreward.network import Network
from rewardbench_videoreward.tokens import Tokens
from torch import Tensor, nn

from rewardbench.errors import InputError
from rewardbench.reward_training.inputs import Prepared
from rewardbench.reward_training.settings import TrainingSettings

ADAPTER = "default"


class RewardNetwork(nn.Module):
    """Clips to rewards, by the very computation that the plugin scores with.

    Attributes:
        backbone: Qwen2-VL's vision encoder and language model.
        rm_head: linear, no bias: one row a dimension, or one row for all of them.
        token_rows: (D, hidden) embeddings of the special tokens, kept apart from the table, of which nothing else is
            trained; None where the last token is read.
    """

    def __init__(self, backbone: Any, tokens: Tokens, base: Path, head_rows: int, n_dimensions: int) -> None:
        super().__init__()
        text = backbone.config.text_config
        self.backbone = backbone
        self.rm_head = nn.Linear(text.hidden_size, head_rows, bias=False)
        nn.init.normal_(self.rm_head.weight, std=text.initializer_range)
        self.special_ids = tokens.rewards
        self.token_rows: nn.Parameter | None = None
        table = backbone.get_input_embeddings()
        if self.special_ids:
            self.token_rows = nn.Parameter(table.weight[list(self.special_ids)].detach().clone())
            table.register_forward_hook(self._place_rows)
        mean, std = pixel_statistics(base)
        pooling = "special" if self.special_ids else "last"
        self._reading = {"video_pad": tokens.video_pad, "mean": mean, "std": std, "rewards": tokens.rewards}
        self._reading |= {"pooling": pooling, "rated": n_dimensions}

    def forward(self, clips: Sequence[Prepared]) -> Tensor:
        """Rewards (N, D), float32; positions are one-dimensional, as VideoReward was trained."""
        network = Network(self.backbone, self.rm_head.weight, **self._reading)
        states = network.hidden_states([clip.frames for clip in clips], [clip.ids for clip in clips])
        with torch.autocast(states.device.type, enabled=False):  # a margin in bfloat16 has three digits
            rows = [network._pool(state.float(), clip.ids) for state, clip in zip(states, clips, strict=True)]
        return torch.stack(rows)

    def _place_rows(self, module: nn.Module, arguments: tuple[Tensor, ...], embedded: Tensor) -> Tensor:
        assert self.token_rows is not None
        for row, token in zip(self.token_rows, self.special_ids, strict=True):
            embedded = torch.where((arguments[0] == token)[..., None], row.to(embedded.dtype), embedded)
        return embedded


def read_base(base: Path) -> Any:
    """The base model with its language head, float32.

    Raises:
        InputError: the folder holds no Qwen2-VL model that can be loaded.
    """
    import transformers

    if not (base / "config.json").is_file():
        raise InputError(f"--base {base} is not a model folder: config.json is not there")
    try:
        config = transformers.AutoConfig.from_pretrained(base)
        if config.model_type != "qwen2_vl":
            raise InputError(f"--base {base} is a {config.model_type} model; reward models are trained from qwen2_vl")
        loaded: Any = transformers.Qwen2VLForConditionalGeneration.from_pretrained(
            base, dtype=torch.float32, attn_implementation="sdpa", output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise InputError(f"--base {base} cannot be loaded: {' '.join(str(error).split())[:300]}") from None
    model, loading = loaded
    missing = sorted(set(loading["missing_keys"]) - {"lm_head.weight"})
    if missing or loading["unexpected_keys"]:
        odd = [*(f"{m} missing" for m in missing), *(f"{u} unexpected" for u in sorted(loading["unexpected_keys"]))]
        raise InputError(f"--base {base} has other weights than its config says: {', '.join(odd[:4])}")
    return model


def build_network(base_model: Any, vocabulary: int, tokens: Tokens, n_dimensions: int, settings: TrainingSettings
                  ) -> RewardNetwork:  # fmt: skip
    """The network with everything frozen that is not trained.

    The embedding table gets the tokenizer's length, ``vocabulary``, as VideoAlign's script does (a table that was
    longer shrinks).
    """
    base_model.resize_token_embeddings(vocabulary, mean_resizing=False)
    backbone = base_model.model
    rows = 1 if settings.head == "shared" else n_dimensions
    network = RewardNetwork(backbone, tokens, settings.base, rows, n_dimensions)
    backbone.requires_grad_(False)
    if settings.language == "lora":
        _add_lora(backbone, settings)
    elif settings.language == "full":
        backbone.language_model.requires_grad_(True)
    backbone.visual.requires_grad_(settings.vision == "full")
    return network


def _add_lora(backbone: Any, settings: TrainingSettings) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    linears = [name for name, m in backbone.language_model.named_modules() if isinstance(m, nn.Linear)]
    config = LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=linears,
        bias="none",
    )
    inject_adapter_in_model(config, backbone.language_model, adapter_name=ADAPTER)


def parameter_groups(network: RewardNetwork, settings: TrainingSettings) -> list[dict[str, Any]]:
    """Trained parameters with their learning rate; matrices decay, norms, biases and special tokens do not."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        if name in ("rm_head.weight", "token_rows"):
            rate = settings.head_learning_rate
        else:
            rate = settings.vision_learning_rate if name.startswith("backbone.visual.") else None
        decay = settings.weight_decay if parameter.ndim > 1 and name != "token_rows" else 0.0
        groups.setdefault((settings.learning_rate if rate is None else rate, decay), []).append(parameter)
    return [{"lr": rate, "weight_decay": decay, "params": members} for (rate, decay), members in groups.items()]


def published_state(network: RewardNetwork, lm_head: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Weights under the names of VideoReward's ``model.pth``.

    Those are transformers' names up to 4.51 (``visual.``, ``model.``, ``lm_head``), behind ``base_model.model.`` where
    LoRA stays unmerged; the table of embeddings holds the trained rows of the special tokens.
    """
    prefix = PEFT if any(".lora_A." in name for name, _ in network.named_parameters()) else ""
    tied = lm_head.data_ptr() == network.backbone.get_input_embeddings().weight.data_ptr()
    for name, value in network.backbone.state_dict().items():
        old = name.replace("language_model.", "model.", 1) if name.startswith("language_model.") else name
        if old == EMBEDDING and network.token_rows is not None:
            table = value.clone()
            table[list(network.special_ids)] = network.token_rows.detach().to(table)
            yield prefix + old, table
            lm_head = table if tied else lm_head
        else:
            yield prefix + old, value
    yield prefix + "lm_head.weight", lm_head
    yield prefix + HEAD, network.rm_head.weight
