"""The published checkpoint: CogVLM2-Video as Python code that comes with the weights.

That code was written for transformers 4.42 (caches are tuples of key and value per layer). It is used by the interface
it shows: ``build_conversation_input_ids`` lays out a question and its frames, ``prepare_inputs_for_generation`` gives
the positions, and the forward pass takes and returns ``past_key_values``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rewardbench_plugin.devices import require_memory, torch_dtype
from rewardbench_visionreward.answers import AnswerTokens, common_prefix, find_answer_tokens, refuse_special_tokens
from rewardbench_visionreward.qwen2_vl import require_complete

STRATEGY = "chat"
GPU_MEMORY = 30 * 2**30
FETCHED = ".fetched.json"
COMMIT = re.compile(r"[0-9a-f]{40}")


def pinned_revision(folder: Path, options: Mapping[str, str]) -> str:
    """The commit the weights folder is of: ``--option revision=COMMIT``, else what ``plugins fetch`` recorded in the
    folder, else the name of a hub snapshot folder.

    Raises:
        ValueError: where neither tells, or the option is no commit.
    """
    named = options.get("revision")
    if named is None:
        recorded = _fetched_commit(folder)
        if recorded is not None:
            return recorded
        found = folder.resolve()
        if found.parent.name == "snapshots" and COMMIT.fullmatch(found.name):
            return found.name
        raise ValueError(
            f"code that comes with weights is run at a pinned revision only: add --option revision=COMMIT, the "
            f"40-digit commit of the repository that {folder} was downloaded from"
        )
    if not COMMIT.fullmatch(named):
        raise ValueError(f"--option revision={named} is not a commit of 40 hexadecimal digits; a branch pins nothing")
    return named


def _fetched_commit(folder: Path) -> str | None:
    """The one commit that the record of ``rewardbench plugins fetch`` names, or None."""
    try:
        sources = json.loads((folder / FETCHED).read_text(encoding="utf-8"))["sources"]
        commits = {str(source["commit"]) for source in sources.values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    commit = commits.pop() if len(commits) == 1 else ""
    return commit if COMMIT.fullmatch(commit) else None


def require_own_code(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse a folder whose code would be fetched from elsewhere, or is not there.

    Raises:
        ValueError: naming the entry.
    """
    entries = dict(config.get("auto_map") or {})
    tokenizer = folder / "tokenizer_config.json"
    if tokenizer.is_file():
        named = json.loads(tokenizer.read_text(encoding="utf-8")).get("auto_map") or {}
        for key, value in named.items():
            entries[key] = value[0] if isinstance(value, list) else value
    if "AutoModelForCausalLM" not in entries:
        raise ValueError(f"{folder / 'config.json'} names no code for AutoModelForCausalLM in its auto_map")
    for key, value in entries.items():
        if value is None:
            continue
        if "--" in value:
            raise ValueError(
                f"{folder}: auto_map[{key!r}] = {value!r} takes code from another repository, which is not pinned"
            )
        if not (folder / f"{value.rpartition('.')[0]}.py").is_file():
            raise ValueError(f"{folder} is incomplete: it names the code {value!r} and does not hold it")


class RemoteBackbone:
    """Answers of a CogVLM2-Video checkpoint by its own code.

    Raises:
        ValueError: where the folder is no whole checkpoint, or its code fails to load.
    """

    def __init__(self, folder: Path, device: str, dtype: str | None) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, __version__

        require_memory(
            device, GPU_MEMORY, "VisionReward-Video", "use a larger GPU, or the preset chat with a smaller model"
        )
        preferred = "bfloat16"
        if device.startswith("cuda") and torch.cuda.get_device_capability(device)[0] < 8:
            preferred = "float16"
        self._dtype = torch_dtype(dtype, device, preferred)
        trusted = {"trust_remote_code": True, "local_files_only": True}
        named = {"dtype" if int(__version__.split(".")[0]) >= 5 else "torch_dtype": self._dtype}
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(str(folder), **trusted)
            model, report = AutoModelForCausalLM.from_pretrained(
                str(folder), output_loading_info=True, **trusted, **named
            )
        except Exception as error:  # whatever foreign code or a damaged file raises
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
            raise ValueError(
                f"{folder} cannot be loaded by the code it holds under transformers {__version__}: {reason}"
            ) from None
        require_complete(folder, report)
        self._model = model.to(device).eval()
        self._device, self._torch = device, torch
        self._checked = False
        self.tokens: AnswerTokens = find_answer_tokens(self._tokenizer, folder)

    def refuse(self, prompt: str) -> str | None:
        """Why this prompt cannot be asked about, or None."""
        return refuse_special_tokens(self._tokenizer, prompt)

    def logits(self, frames: np.ndarray, queries: Sequence[str], *, shared: bool) -> Any:
        """Logits (Q, V), float32, of the first answer token to each query.

        Args:
            frames: uint8 (T, H, W, 3), one a second, at the clip's own size.
            queries: Q questions.
            shared: one pass for the common prefix, else one whole pass (with the video) for each query.

        Raises:
            ValueError: where a query is longer than the model reads, or the code cannot go on from a shared prefix.
        """
        video = self._torch.from_numpy(np.ascontiguousarray(frames)).permute(3, 0, 1, 2)
        asked = [self._inputs(video, query) for query in queries]
        most = getattr(self._model.config, "max_position_embeddings", None)
        longest = max(int(one["position_ids"].max()) + 1 for one in asked)
        if most is not None and longest > most:
            raise ValueError(f"question and video take {longest} positions, the model has {most}; shorten the prompt")
        with self._torch.inference_mode():
            if not shared:
                return self._torch.stack([self._whole(one) for one in asked])
            logits = self._shared(asked)
            if not self._checked:
                self._require_equal(logits[0], self._whole(asked[0]))
                self._checked = True
            return logits

    def _inputs(self, video: Any, query: str) -> dict[str, Any]:
        built = self._model.build_conversation_input_ids(
            tokenizer=self._tokenizer, query=query, images=[video], history=[], template_version=STRATEGY
        )
        inputs = {
            name: built[name].unsqueeze(0).to(self._device)
            for name in ("input_ids", "token_type_ids", "attention_mask")
        }
        inputs["images"] = [[built["images"][0].to(self._device).to(self._dtype)]]
        ready = self._model.prepare_inputs_for_generation(**inputs)
        return {**inputs, "position_ids": ready["position_ids"]}

    def _whole(self, inputs: Mapping[str, Any]) -> Any:
        return self._model(**inputs, use_cache=False, return_dict=True).logits[0, -1].float()

    def _shared(self, asked: Sequence[Mapping[str, Any]]) -> Any:
        """The prefix once, then each question behind a cache that no question changes."""
        length = common_prefix([one["input_ids"][0].tolist() for one in asked])
        sliced = ("input_ids", "token_type_ids", "position_ids", "attention_mask")
        first = {name: asked[0][name][:, :length] for name in sliced}
        past = self._model(**first, images=asked[0]["images"], use_cache=True, return_dict=True).past_key_values
        rows = []
        for one in asked:
            rest = {name: one[name][:, length:] for name in sliced[:3]}
            output = self._model(
                **rest,
                attention_mask=one["attention_mask"],
                past_key_values=past,
                use_cache=True,
                return_dict=True,
            )
            rows.append(output.logits[0, -1].float())
        return self._torch.stack(rows)

    def _require_equal(self, shared: Any, separate: Any) -> None:
        """The first question of the first clip both ways, since the code that came with the weights is not ours."""
        tolerance = 1e-3 if self._dtype == self._torch.float32 else 5e-2
        difference = float((shared.softmax(-1) - separate.softmax(-1)).abs().max())
        if not difference <= tolerance:
            raise ValueError(
                f"the code of these weights answers otherwise behind a shared prefix (probabilities differ by "
                f"{difference:.3g}); add --option prefix=separate"
            )
