"""A toy on the disk: ``transformer/`` as diffusers writes it, and ``codec.safetensors`` with the words of captions."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from rewardbench.align.noise import Schedule
from rewardbench.align.toy.codec import BlockCodec
from rewardbench.align.toy.network import FLOW, TABLE, ToyTransformer
from rewardbench.errors import InputError

BUILT_IN = Path(__file__).with_name("weights")


@dataclass
class Toy:
    """Network, code of latents, and vocabulary."""

    transformer: ToyTransformer
    codec: BlockCodec
    words: tuple[str, ...]

    def save(self, folder: Path) -> None:
        """Write it in half precision: 4 MB instead of 8; it computes in float32."""
        folder.mkdir(parents=True, exist_ok=True)
        copy.deepcopy(self.transformer).half().save_pretrained(folder / "transformer")
        tensors = {"mean": self.codec.mean, "basis": self.codec.basis.contiguous(), "scale": self.codec.scale}
        save_file(tensors, folder / "codec.safetensors", metadata={"words": json.dumps(self.words)})

    @classmethod
    def load(cls, folder: Path, dtype: torch.dtype = torch.float32) -> Toy:
        """Read a folder that :meth:`save` wrote.

        Raises:
            InputError: the folder is no toy checkpoint, or cannot be read.
        """
        path = folder / "codec.safetensors"
        try:
            with safe_open(path, framework="pt") as file:
                codec = BlockCodec(*(file.get_tensor(name) for name in ("mean", "basis", "scale")))
                words = tuple(json.loads((file.metadata() or {})["words"]))
            transformer = ToyTransformer.from_pretrained(folder / "transformer", dtype=dtype)
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise InputError(f"{folder} is not a checkpoint of the toy generator: {error}") from error
        return cls(transformer, codec, words)


def schedule_of(prediction: str) -> Schedule:
    """The noise schedule of a toy with this prediction: rectified flow, or CogVideoX-5B's v-prediction table.

    Raises:
        InputError: another prediction.
    """
    if prediction == "flow":
        return FLOW
    if prediction == "v":
        return TABLE
    raise InputError(f"the toy predicts flow or v, not {prediction!r}")
