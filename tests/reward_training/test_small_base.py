"""The small base model is a Qwen2-VL like any other."""

import torch
import transformers

from rewardbench.reward_training.small_base import CHAT_TEMPLATE, SPECIAL, SmallSize, write_small_base

SIZE = SmallSize(32, 1, 2, 1, 48, 32, 1, 2, 300)


def test_it_loads_as_a_qwen2_vl(tmp_path):
    made = write_small_base(tmp_path, ["a red cat"], SIZE)
    loaded = transformers.Qwen2VLForConditionalGeneration.from_pretrained(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(made.state_dict().values(), loaded.state_dict().values(), strict=True))
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ids = tokenizer.convert_tokens_to_ids(list(SPECIAL))
    assert len(set(ids)) == len(SPECIAL)
    assert loaded.config.video_token_id == tokenizer.convert_tokens_to_ids("<|video_pad|>")
    assert tokenizer.decode(tokenizer("a red cat")["input_ids"]) == "a red cat"


def test_seeds_decide_the_weights(tmp_path):
    one, same, other = (write_small_base(tmp_path / str(i), ["x"], SIZE, seed) for i, seed in enumerate((1, 1, 2)))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)


def test_the_chat_template_shows_the_clip_and_opens_the_answer(tmp_path):
    write_small_base(tmp_path, ["x"], SIZE)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    turn = {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "Judge."}]}
    text = tokenizer.apply_chat_template(
        [turn], chat_template=CHAT_TEMPLATE, tokenize=False, add_generation_prompt=True
    )
    shown = "<|vision_start|><|video_pad|><|vision_end|>Judge."
    assert text == f"<|im_start|>user\n{shown}<|im_end|>\n<|im_start|>assistant\n"
