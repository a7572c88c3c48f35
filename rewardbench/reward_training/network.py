"""The reward model while it is trained: Qwen2-VL without its language head, and a linear reward head."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rewardbench.errors import InputError
from rewardbench.reward_training.settings import TrainingSettings

ADAPTER = "default"


class RewardNetwork(nn.Module):
    """Clips to rewards.

    Attributes:
        backbone: Qwen2-VL's vision encoder and language model.
        rm_head: linear, no bias: one row a dimension, or one row for all of them.
        token_rows: (D, hidden) embeddings of the special tokens, kept apart from the table, of which nothing else is
            trained; None where the last token is read.
    """

    def __init__(self, backbone: Any, head_rows: int, special_ids: Sequence[int]) -> None:
        super().__init__()
        hidden = backbone.config.text_config.hidden_size
        self.backbone = backbone
        self.rm_head = nn.Linear(hidden, head_rows, bias=False)
        nn.init.normal_(self.rm_head.weight, std=backbone.config.text_config.initializer_range)
        self.special_ids = tuple(special_ids)
        self.token_rows: nn.Parameter | None = None
        if self.special_ids:
            table = backbone.get_input_embeddings().weight
            self.token_rows = nn.Parameter(table[list(self.special_ids)].detach().clone())

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, pixel_values_videos: Tensor, video_grid_thw: Tensor
    ) -> Tensor:
        """Rewards (N, D), float32.

        Positions count 0, 1, 2 … on all three axes, as VideoReward was trained: a recent transformers would build
        three-dimensional ones by itself, which gives other scores.
        """
        embeddings = self.backbone.get_input_embeddings()(input_ids)
        if self.token_rows is not None:
            for row, token in zip(self.token_rows, self.special_ids, strict=True):
                embeddings = torch.where((input_ids == token)[..., None], row.to(embeddings.dtype), embeddings)
        n, length = input_ids.shape
        positions = torch.arange(length, device=input_ids.device).expand(3, n, length)
        hidden = self.backbone(
            input_ids=input_ids,
            inputs_embeds=embeddings,
            attention_mask=attention_mask,
            position_ids=positions,
            pixel_values_videos=pixel_values_videos,
            video_grid_thw=video_grid_thw,
            use_cache=False,
        ).last_hidden_state
        return self._read(hidden, input_ids, attention_mask)

    def _read(self, hidden: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        rows = torch.arange(len(hidden), device=hidden.device)
        head = self.rm_head.weight
        if not self.special_ids:
            last = hidden[rows, attention_mask.sum(1) - 1]
            return last.float() @ head.float().T
        columns = []
        for d, token in enumerate(self.special_ids):
            at = (input_ids == token).int().argmax(1)
            columns.append(hidden[rows, at].float() @ head[d if len(head) > 1 else 0].float())
        return torch.stack(columns, dim=1)


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


def build_network(base_model: Any, tokenizer: Any, special_tokens: Sequence[str], n_dimensions: int,
                  settings: TrainingSettings) -> RewardNetwork:  # fmt: skip
    """The network with everything frozen that is not trained.

    The embedding table gets the tokenizer's length, as VideoAlign's script does (a table that was longer shrinks).
    """
    base_model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    backbone = base_model.model
    special_ids = tokenizer.convert_tokens_to_ids(list(special_tokens))
    network = RewardNetwork(backbone, 1 if settings.head == "shared" else n_dimensions, special_ids)
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
    prefix = "base_model.model." if any(".lora_A." in name for name, _ in network.named_parameters()) else ""
    tied = lm_head.data_ptr() == network.backbone.get_input_embeddings().weight.data_ptr()
    for name, value in network.backbone.state_dict().items():
        old = name.replace("language_model.", "model.", 1) if name.startswith("language_model.") else name
        if old == "model.embed_tokens.weight" and network.token_rows is not None:
            table = value.clone()
            table[list(network.special_ids)] = network.token_rows.detach().to(table)
            yield prefix + old, table
            lm_head = table if tied else lm_head
        else:
            yield prefix + old, value
    yield prefix + "lm_head.weight", lm_head
    yield prefix + "rm_head.weight", network.rm_head.weight
