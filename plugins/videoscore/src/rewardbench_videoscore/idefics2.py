"""A host for Mantis' ``Idefics2ForSequenceClassification``, which `transformers` does not have.

It reads any folder in that class' layout (VideoScore, the two regressors of AnimeReward):

    regressor = Idefics2Regressor(folder)            # cheap; enough for prepare()
    prepared = regressor.prepare(frames, text)       # numpy, no torch
    regressor.load("cuda", None)
    scores = regressor.logits(prepared)              # float64 (K,)

Where `transformers` differs from the class the checkpoints were trained with, the class is followed:

* every norm of the perceiver resampler has the *text* model's epsilon, whatever ``perceiver_config`` says;
* patch positions come from ``arange(0, 1 - 1e-6, 1 / n)``; the newer product ``i * (1 / n)`` puts some patches of
  frames 49, 58, 77 or 98 patches long into the neighbouring position;
* the logits are those of the last token, or, where the top level of config.json has a ``pad_token_id``, of the token
  before its first occurrence (before position 0 is the last one).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from rewardbench_plugin.checkpoints import load_strict, read_tensors
from rewardbench_plugin.devices import require_memory, torch_dtype
from rewardbench_videoscore.idefics2_inputs import Idefics2Inputs
from rewardbench_videoscore.saved import read_json, require_transformers

FRAMES_AT_ONCE = 8
ACTIVATIONS = 3 * 2**30  # bytes beside the weights: 8 frames of 4,900 patches and 48 frames' tokens, rounded up


class Idefics2Regressor:
    """An Idefics2 model with a linear head of K outputs on one token of the text.

    Args:
        folder: ``config.json``, ``model*.safetensors`` (sharded or not), ``tokenizer.json`` and
            ``preprocessor_config.json``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._inputs: Idefics2Inputs | None = None
        self._network: Any = None

    @property
    def inputs(self) -> Idefics2Inputs:
        """The saved preprocessing, read once."""
        if self._inputs is None:
            self._inputs = Idefics2Inputs(self.folder)
        return self._inputs

    @property
    def outputs(self) -> int:
        """K, the number of values :meth:`logits` gives."""
        return int(self._network.score.out_features)

    def prepare(self, rgb: np.ndarray, text: str) -> dict[str, np.ndarray]:
        """See :meth:`Idefics2Inputs.prepare`; needs no :meth:`load`."""
        return self.inputs.prepare(rgb, text)

    def load(self, device: str, dtype: str | None, *, advice: str = "use a larger GPU or --device cpu") -> None:
        """Read the weights, every key accounted for.

        Raises:
            ValueError: where the folder is not such a checkpoint, is half downloaded, or the GPU has too little room.
        """
        require_transformers()
        import torch
        from transformers.initialization import no_init_weights

        precision = torch_dtype(dtype, device)
        table = self.inputs.images.table()
        saved = read_json(self.folder / "config.json")
        config = read_config(saved)
        with torch.device("meta"), no_init_weights():
            size = sum(p.numel() for p in build_network(config, 1, precision).parameters()) * precision.itemsize
        require_memory(device, size + ACTIVATIONS, f"{self.folder.name}", advice)
        state = read_tensors(self.folder)
        if "score.weight" not in state:
            raise ValueError(f"{self.folder} is not a checkpoint of a regressor: it has no score.weight")
        with torch.device(device), no_init_weights():
            network = build_network(config, len(state["score.weight"]), precision)
        load_strict(network, state, self.folder)
        self._network = network.eval().requires_grad_(False)
        self._table = torch.from_numpy(table).to(device)
        self._pad: int | None = saved.get("pad_token_id")

    def logits(self, prepared: Mapping[str, np.ndarray]) -> np.ndarray:
        """The K outputs, float64 (K,), for what :meth:`prepare` made."""
        import torch

        device = self._table.device
        ids = torch.from_numpy(np.asarray(prepared["input_ids"])).to(device)
        network = self._network.model
        with torch.inference_mode():
            embedded = network.text_model.embed_tokens(ids)
            latents = self.latents(prepared["frames"]).flatten(0, 1)
            slots = ids == network.config.image_token_id
            if int(slots.sum()) != len(latents):
                raise ValueError(f"{int(slots.sum())} image tokens for {len(latents)} image latents")
            embedded = embedded.masked_scatter(slots[:, None], latents)
            hidden = network.text_model(inputs_embeds=embedded[None], use_cache=False).last_hidden_state[0]
            scores = self._network.score(hidden[pooled_position(prepared["input_ids"], self._pad)])
        return scores.double().cpu().numpy()  # type: ignore[no-any-return]

    def latents(self, frames: np.ndarray) -> Any:
        """What the text model sees of frames uint8 (T, h, w, 3): (T, n_latents, text width)."""
        import torch

        model = self._network.model
        parts = []
        with torch.inference_mode():
            for start in range(0, len(frames), FRAMES_AT_ONCE):
                levels = torch.from_numpy(frames[start : start + FRAMES_AT_ONCE]).to(self._table.device)
                pixels = torch.stack([self._table[c][levels[..., c].long()] for c in range(3)], dim=1)
                parts.append(_resampled(model.connector, _patches(model.vision_model, pixels.to(model.dtype))))
        return torch.cat(parts)

    def close(self) -> None:
        """Release the weights."""
        self._network = None


def read_config(saved: Mapping[str, Any]) -> Any:
    """The ``Idefics2Config`` of a saved config.json, with the resampler as wide as the text and with its epsilon.

    Raises:
        ValueError: where `transformers` refuses it.
    """
    from transformers import Idefics2Config

    text, perceiver = (dict(saved.get(name) or {}) for name in ("text_config", "perceiver_config"))
    perceiver["hidden_size"] = text.get("hidden_size", perceiver.get("hidden_size", 4096))  # spares a warning
    try:
        config = Idefics2Config.from_dict({**saved, "perceiver_config": perceiver})
    except Exception as error:  # its validation raises several kinds
        raise ValueError(f"config.json cannot be used: {' '.join(str(error).split())[:200]}") from None
    config.perceiver_config.hidden_size = config.text_config.hidden_size
    config.perceiver_config.rms_norm_eps = config.text_config.rms_norm_eps
    return config


def build_network(config: Any, outputs: int, dtype: Any) -> Any:
    """A module with the parameter names of the published checkpoints: ``model.*`` and ``score.*``."""
    import torch
    from transformers import Idefics2Model

    network = torch.nn.Module()
    network.model = Idefics2Model._from_config(config, dtype=dtype)
    network.score = torch.nn.Linear(config.text_config.hidden_size, outputs, dtype=dtype)
    return network


def pooled_position(ids: np.ndarray, pad: int | None) -> int:
    """The position whose hidden state is scored, in int64 ids (L,): see the module's third point."""
    if pad is None:
        return len(ids) - 1
    return (int(np.argmax(ids == pad)) - 1) % len(ids)


@lru_cache(maxsize=64)
def patch_positions(rows: int, columns: int, side: int) -> np.ndarray:
    """Rows of the position table, int64 (rows * columns,), for a frame of rows x columns patches; ``side`` is the
    number of patches along the square the table was trained for."""
    edges = counted(1 / side, 1.0, 1 / side)
    row, column = (
        np.searchsorted(edges, counted(0.0, 1 - 1e-6, float(np.float32(1) / np.float32(n))), side="right")
        for n in (rows, columns)
    )
    positions: np.ndarray = (row[:, None] * side + column).ravel()
    return positions


def counted(start: float, stop: float, step: float) -> np.ndarray:
    """``torch.arange`` in float32 as x86 processors compute it, on every machine.

    Where a patch lies on the edge of two positions, the last bit decides. Torch adds ``step`` 0 to 7 times to a
    float32 base in blocks of 16, and multiplies in the remainder; other processors have other blocks.
    """
    numbers = np.arange(math.ceil((stop - start) / step))
    base = np.where(numbers < len(numbers) // 16 * 16, numbers - numbers % 8, numbers)
    return ((start + step * base).astype(np.float32).astype(np.float64) + step * (numbers - base)).astype(np.float32)


def _patches(vision: Any, pixels: Any) -> Any:
    """Patch features (N, P, vision width) of pixels (N, 3, h, w); a remainder smaller than a patch is not seen."""
    import torch

    embeddings = vision.embeddings
    grid = embeddings.patch_embedding(pixels)
    positions = torch.from_numpy(patch_positions(grid.shape[2], grid.shape[3], embeddings.num_patches_per_side))
    hidden = grid.flatten(2).transpose(1, 2) + embeddings.position_embedding(positions.to(pixels.device))
    return vision.post_layernorm(vision.encoder(inputs_embeds=hidden).last_hidden_state)


def _resampled(connector: Any, patches: Any) -> Any:
    """Latents (N, n_latents, text width); no patch is padding, so nothing is masked."""
    resampler = connector.perceiver_resampler
    context = connector.modality_projection(patches)
    latents = resampler.latents.unsqueeze(0).expand(len(context), -1, -1)
    for layer in resampler.layers:
        latents = layer(latents, context)
    return resampler.norm(latents)
