"""VisionReward's 29 questions behind one shared prefix, against 29 whole passes, and what goes into the difference.

    python perf/visionreward.py [--size true|small] [--device auto] [--frames 8] [--rounds 3]

The network is a Qwen2-VL with random weights: ``true`` is the 7-billion size in bfloat16 (a GPU of 24 GB), ``small``
fits a CPU. Questions are 29 sentences of ours of the published ones' length; a token is a letter here, as no published
tokenizer is at hand, so they are cut to the published number of tokens. Both ways are timed in turn, in the same
rounds, on the same frames, and must give the same logits. The result goes to perf/results/visionreward.json
(visionreward_gpu.json on a GPU).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine, write_result  # the neighbouring script

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "plugins" / "visionreward" / "src")]

SIZES: dict[str, dict[str, Any]] = {
    "true": {
        "text": {
            "hidden_size": 3584,
            "intermediate_size": 18_944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "vocab_size": 152_064,
            "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
        },
        "vision": {"depth": 32, "embed_dim": 1280, "num_heads": 16, "hidden_size": 3584, "mlp_ratio": 4},
        "side": 448,
    },
    "small": {
        "text": {
            "hidden_size": 256,
            "intermediate_size": 1024,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": 4096,
            "rope_scaling": {"type": "mrope", "mrope_section": [8, 12, 12]},
        },
        "vision": {"depth": 4, "embed_dim": 160, "num_heads": 4, "hidden_size": 256, "mlp_ratio": 4},
        "side": 224,
    },
}
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
           "<|video_pad|>")  # fmt: skip
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>{% endif %}"
)
QUESTIONS = tuple(f"Is point {number:02d} right?\n" for number in range(29))
"""19 tokens each; the published ones have 8 to 20 with Qwen2-VL's tokenizer."""
TOLERANCE = {"float32": 1e-4, "bfloat16": 0.1}


def build_processor() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2VLImageProcessor, Qwen2VLProcessor, Qwen2VLVideoProcessor

    merges = [("y", "e"), ("ye", "s"), ("n", "o")]
    words = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet()), *(a + b for a, b in merges)]
    core = Tokenizer(models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=merges))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|im_end|>", additional_special_tokens=list(SPECIAL)
    )
    return Qwen2VLProcessor(
        image_processor=Qwen2VLImageProcessor(),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(),
        chat_template=TEMPLATE,
    )


def build_model(size: str, device: str, dtype: Any) -> Any:
    import torch
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration
    from transformers.initialization import no_init_weights

    ids = {word: number for number, word in enumerate(SPECIAL)}
    config = Qwen2VLConfig(
        text_config={**SIZES[size]["text"], "max_position_embeddings": 32_768, "bos_token_id": 0, "eos_token_id": 2},
        vision_config=SIZES[size]["vision"],
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        dtype=dtype,
    )
    torch.manual_seed(0)
    with torch.device(device), no_init_weights():
        model = Qwen2VLForConditionalGeneration._from_config(config, dtype=dtype, attn_implementation="sdpa")
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.data.fill_(float(name.endswith("weight")))
        else:
            parameter.data.normal_(0, 0.02)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=sorted(SIZES))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--frames", type=int, default=8, help="one a second; the most is 24")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()

    import torch
    import transformers
    from rewardbench_visionreward.answers import common_prefix
    from rewardbench_visionreward.qwen2_vl import ChatBackbone

    device = ("cuda" if torch.cuda.is_available() else "cpu") if chosen.device == "auto" else chosen.device
    size = chosen.size or ("small" if device == "cpu" else "true")
    name = "float32" if device == "cpu" else "bfloat16"
    backbone = ChatBackbone(build_processor(), build_model(size, device, getattr(torch, name)), "perf")
    side = SIZES[size]["side"]
    frames = np.random.default_rng(0).integers(0, 256, (chosen.frames, side, side, 3), dtype=np.uint8)
    asked = backbone._encode(frames, QUESTIONS)
    prefix = common_prefix(asked.ids)

    seconds: dict[str, list[float]] = {"shared": [], "separate": []}
    peak: dict[str, int] = {}
    logits: dict[str, Any] = {}
    for _ in range(chosen.rounds + 1):  # the first round warms up
        for way in ("shared", "separate"):
            if device != "cpu":
                torch.cuda.reset_peak_memory_stats()
            start = time.perf_counter()
            logits[way] = backbone.logits(frames, QUESTIONS, shared=way == "shared").cpu()
            seconds[way].append(time.perf_counter() - start)
            if device != "cpu":
                peak[way] = torch.cuda.max_memory_allocated()
    difference = float((logits["shared"] - logits["separate"]).abs().max())
    assert difference < TOLERANCE[name], f"the two ways differ by {difference}"
    median = {way: statistics.median(times[1:]) for way, times in seconds.items()}
    prepared = [_timed(lambda: backbone._encode(frames, QUESTIONS)) for _ in range(chosen.rounds)]
    result = {
        "what": "29 yes/no questions about one clip: video prefix shared, against a whole pass for each",
        "machine": machine(),
        "device": torch.cuda.get_device_name() if device != "cpu" else "cpu",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "torch_threads": torch.get_num_threads(),
        "size": size,
        "parameters": sum(parameter.numel() for parameter in backbone._model.parameters()),
        "weights": "random",
        "dtype": name,
        "frames": chosen.frames,
        "side": side,
        "prefix_tokens": prefix,
        "question_tokens": sum(len(ids) - prefix for ids in asked.ids),
        "rounds": chosen.rounds,
        "seconds_per_clip": {way: round(value, 4) for way, value in median.items()},
        "clips_per_second": {way: round(1 / value, 4) for way, value in median.items()},
        "seconds_tokenising_and_patching": round(statistics.median(prepared), 4),
        "shared_over_separate": round(median["separate"] / median["shared"], 2),
        "largest_difference_of_logits": difference,
        "peak_memory": peak or None,
        "not_measured": None if device != "cpu" else "true size: there is no GPU here; run the script on one as it is",
    }
    print(result)
    write_result("visionreward" if device == "cpu" else "visionreward_gpu", result)


def _timed(work: Any) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
