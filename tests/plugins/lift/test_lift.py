"""Grades, their numbers, the public path, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rewardbench_lift.answers import GRADES, LEVELS, PUBLISHED, is_decided, mean_score, read_grade
from rewardbench_lift.model import LiftCritic
from rewardbench_lift.prompts import TEMPLATES, Wording, read_wording
from safetensors.torch import load_file, save_file

import rewardbench
from rewardbench.cli import main
from rewardbench.errors import InputError
from rewardbench.metrics import pairwise_accuracy
from rewardbench.registry import choose_reward
from rewardbench.video import read_frames
from rewardbench_plugin import Clip, Frames, FrameSpec, Item, Sampling

CAPTION = "a grey field"
PLUGIN = """
from dataclasses import replace

from rewardbench_lift.model import LiftCritic
from rewardbench_plugin import RewardManifest, Template, hookimpl


class Tiny(LiftCritic):
    templates = {{{templates}}}
    card = replace(LiftCritic.card, name="lift-tiny")

    def configure(self, **choices):
        super().configure(**choices)
        self.card = replace(self.card, name="lift-tiny")


@hookimpl
def rewardbench_rewards():
    return [RewardManifest(name="lift-tiny", version="1.0", target=__name__ + ":Tiny")]
"""


def first_token(critic: SimpleNamespace, video: Path, text: str) -> int:
    """The likeliest first token, by hand: Pillow's resize, SigLIP's scaling, one whole pass."""
    decoded = read_frames(video, [spec := FrameSpec(sampling=Sampling("all"))])[spec]
    picked = decoded.rgb[np.linspace(0, len(decoded.rgb) - 1, 8).astype(int)]
    small = [np.asarray(Image.fromarray(frame).resize((28, 28), Image.Resampling.BICUBIC)) for frame in picked]
    pixels = torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).float() / 255 * 2 - 1
    tokenizer, llm = critic.tokenizer, critic.merged.llm
    with torch.inference_mode():
        features = critic.merged.see(pixels)
        pieces = [torch.tensor([tokenizer.bos_token_id])]
        pieces += [
            torch.tensor(tokenizer(piece, add_special_tokens=False)["input_ids"]) for piece in text.split("<image>")
        ]
        rows = [llm.model.embed_tokens(piece.long()) for piece in pieces]
        embedded = [rows[0], rows[1], *(part for pair in zip(features, rows[2:], strict=True) for part in pair)]
        return int(llm(inputs_embeds=torch.cat(embedded)[None]).logits[0, -1, : len(tokenizer)].argmax())


@pytest.fixture(scope="module")
def talking(make_critic, sentences, tiny_clips, tmp_path_factory) -> SimpleNamespace:
    """A critic whose first tokens about the first tiny clip are Good, Normal and Bad, in this order.

    What the composition of transformers' modules says first decides which rows of its last layer are exchanged.
    """
    for seed in range(50):
        critic = make_critic(tmp_path_factory.mktemp("talking"), seed)
        places = "<image>\n" * 8
        asked = [sentences[name] for name in ("semantic", "fidelity", "motion")]
        texts = [f"{sentences['system']} USER: {places}{CAPTION}{question} ASSISTANT:" for question in asked]
        first = [first_token(critic, tiny_clips[0], text) for text in texts]
        if len(set(first)) == 3:
            break
    order = list(range(critic.merged.llm.config.vocab_size))
    for grade, spoken in zip(GRADES, first, strict=True):
        wanted, place = critic.tokenizer.convert_tokens_to_ids(grade), order.index(spoken)
        order[wanted], order[place] = order[place], order[wanted]
    path = critic.base / "llm" / "model.safetensors"
    state = load_file(path)
    save_file({**state, "lm_head.weight": state["lm_head.weight"][order].clone()}, path, {"format": "pt"})
    return critic


@pytest.fixture
def folders(critic, tmp_path: Path) -> Path:
    """An adapter folder with its base model in it, to be spoilt at will."""
    shutil.copytree(critic.adapter, tmp_path / "lora")
    shutil.copytree(critic.base, tmp_path / "lora" / critic.base.name)
    return tmp_path / "lora"


@pytest.fixture
def tiny(stand_ins, install_plugin) -> str:
    """The plugin with the stand-in texts' digests, installed as another package's plugin."""
    templates = ", ".join(f"{name!r}: Template({t.name!r}, {t.sha256!r}, {t.url!r})" for name, t in stand_ins.items())
    install_plugin("lift-tiny", PLUGIN.format(templates=templates))
    return "lift-tiny"


def loaded(critic: SimpleNamespace, stand_ins, dimensions=None, seed: int = 0, **options: str) -> LiftCritic:
    model = LiftCritic()
    model.templates = stand_ins
    weights = {"": str(critic.adapter), "base": str(critic.base)}
    model.configure(weights=weights, options=options, dimensions=dimensions, seed=seed)
    model.load("cpu", "float32", model.weights, model.options)
    return model


def item(model: LiftCritic, video: Path, caption: str = CAPTION) -> Item:
    clip = Clip("one", str(video), caption)
    return Item(clip, model.prepare(clip, read_frames(video, model.card.frame_specs(model.dimensions))))


# -- grades ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "grade"),
    [
        ("Good. Basically correct.", "Good"),
        ("Bad. Normal gait, but the eyes are missing.", "Bad"),  # the published script reads Normal
        ("Normal, with slight issues. Bad hands.", "Normal"),
        ("  Good", "Good"),
        ("Bad\nbecause", "Bad"),
        ("Normal: so so", "Normal"),
        ("good. lower case", None),
        ("Goodness, no", None),
        ("Bad-ish", None),
        ("The motion is Good.", None),
        ("**Good**", None),
        ("1. Good", None),
        ("", None),
        ("Excellent.", None),  # the published script takes it for Good
    ],
)
def test_the_first_word_decides(answer: str, grade: str | None) -> None:
    assert read_grade(answer) == grade


@given(st.text(alphabet="GodNrmlBa .,\n-*1", max_size=12), st.text(alphabet="dxl .\n", max_size=6))
def test_what_is_decided_does_not_change_as_the_answer_goes_on(text: str, more: str) -> None:
    if is_decided(text):
        assert read_grade(text + more) == read_grade(text)


@pytest.mark.parametrize(
    ("grades", "published", "levels"),
    [
        (("Good", "Normal", "Bad"), 0.38, 2.0),
        (("Good", "Bad", "Bad"), 0.33, 5 / 3),
        (("Normal", "Normal", "Normal"), 0.2, 2.0),
        (("Good", "Good", "Good"), 0.9, 3.0),
        (("Bad", "Bad", "Bad"), 0.05, 1.0),
    ],
)
def test_both_mappings(grades, published: float, levels: float) -> None:
    """The published one prefers one Good and two Bad to three Normal; the other does not."""
    assert mean_score([PUBLISHED.values[g] for g in grades], PUBLISHED.digits) == published
    assert mean_score([LEVELS.values[g] for g in grades], LEVELS.digits) == pytest.approx(levels, abs=1e-12)


def test_ties_get_the_expectation_of_a_coin() -> None:
    """VideoAlign replaces equal scores by a fair coin; half credit is what the coin gives on average."""
    rng = np.random.default_rng(0)
    values = np.array(list(LEVELS.values.values()))
    scores = rng.choice(values, (2, 60, 3)).mean(axis=2)
    margin, human = scores[0] - scores[1], rng.choice([-1, 1], 60)
    found = pairwise_accuracy(human, margin, tie_rule=LiftCritic.card.native_tie_rule.thresholds["overall"])
    correct, ties = np.sum(np.sign(margin) == human), np.sum(margin == 0)
    assert ties > 5
    assert found.without_ties_half_credit == pytest.approx((correct + ties / 2) / 60, abs=1e-12)
    coins = rng.choice([-1, 1], (4000, 60))
    thrown = np.mean([np.mean(np.where(margin == 0, coin, np.sign(margin)) == human) for coin in coins])
    assert found.without_ties_half_credit == pytest.approx(thrown, abs=0.01)


# -- the public path -------------------------------------------------------------------------------------------------


@pytest.mark.system
def test_command_and_library_give_the_grades_of_the_composition(talking, tiny, tiny_clips, capsys) -> None:
    words = ["score", str(tiny_clips[0]), "--prompt", CAPTION, "--plugin", tiny, "--weights", str(talking.adapter)]
    words += ["--weights", f"base={talking.base}", "--device", "cpu", "--dtype", "float32", "--format", "json"]
    assert main([*words, "--option", "max_new_tokens=1", "--workers", "1"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["scores"] == {"semantic": 0.9, "fidelity": 0.2, "motion": 0.05, "overall": 0.38}
    assert row["raw"]["overall"] == pytest.approx(1.15 / 3)
    options = {"max_new_tokens": 1, "mapping": "levels"}
    weights = {"": str(talking.adapter), "base": str(talking.base)}
    model = rewardbench.load_reward(tiny, weights=weights, device="cpu", dtype="float32", **options)
    clip = Clip("a", str(tiny_clips[0]), CAPTION)
    np.testing.assert_allclose(model.score([clip]), [[3, 2, 1, 2]])
    model.close()


@pytest.mark.parametrize(
    ("wanted", "value"), [("semantic", 0.9), ("fidelity", 0.2), ("motion", 0.05), ("overall", 0.38)]
)
def test_only_what_is_asked_for_is_asked(talking, stand_ins, tiny_clips, monkeypatch, wanted, value) -> None:
    model = loaded(talking, stand_ins, [wanted], max_new_tokens="1")
    asked = []
    answer = type(model._vila).answer
    monkeypatch.setattr(
        type(model._vila), "answer", lambda self, features, questions, *rest: asked.append(len(questions))
        or answer(self, features, questions, *rest),
    )  # fmt: skip
    assert model.score([item(model, tiny_clips[0])]).values.tolist() == [[value]]
    assert asked == [3 if wanted == "overall" else 1]


def test_an_answer_without_a_grade_abstains_and_is_quoted(critic, stand_ins, tiny_clips, monkeypatch) -> None:
    model = loaded(critic, stand_ins)
    said = {"semantic": "Good. Fine.", "fidelity": "I see a fox", "motion": "Bad. Slow."}
    monkeypatch.setattr(model, "_ask", lambda _: said)
    scores = model.score([item(model, tiny_clips[0])])
    np.testing.assert_allclose(scores.values, [[0.9, np.nan, 0.05, np.nan]])
    assert scores.notes == ["semantic: Good; fidelity: unreadable answer 'I see a fox'; motion: Bad"]


def test_greedy_answers_repeat_and_sampled_ones_follow_seed_and_clip(talking, stand_ins, tiny_clips) -> None:
    def answers(seed: int, count: int = 1, **options: str) -> list[dict[str, str]]:
        model = loaded(talking, stand_ins, seed=seed, reasons="true", max_new_tokens="6", **options)
        return [model._ask(item(model, tiny_clips[i])) for i in range(count)]

    assert answers(0) == answers(1)
    hot = {"temperature": "5"}
    assert answers(0, 2, **hot)[:1] == answers(0, 1, **hot) != answers(1, 1, **hot)
    assert len({talking_print(talking, stand_ins, seed, **options) for seed in (0, 1) for options in ({}, hot)}) == 3


def talking_print(critic, stand_ins, seed: int, **options: str) -> str:
    model = LiftCritic()
    model.templates = stand_ins
    model.configure(weights={"": str(critic.adapter), "base": str(critic.base)}, options=options, seed=seed)
    return model.fingerprint()


def test_an_answer_is_cut_where_its_grade_is_certain_unless_reasons_are_wanted(critic, stand_ins, tiny_clips) -> None:
    lengths = {}
    for reasons in ("false", "true"):
        model = loaded(critic, stand_ins, ["motion"], reasons=reasons, max_new_tokens="40")
        counted: list[int] = []
        finished = model._is_finished
        model._is_finished = lambda tokens, f=finished, c=counted: c.append(len(tokens)) or f(tokens)
        model.score([item(model, tiny_clips[0])])
        lengths[reasons] = max(counted)
    assert lengths["false"] < lengths["true"] <= 40


# -- what is refused -------------------------------------------------------------------------------------------------


def test_one_clip_that_cannot_be_asked_about_costs_itself(talking, stand_ins, tiny_clips) -> None:
    model = loaded(talking, stand_ins, max_new_tokens="1")
    captions = [CAPTION, "a <image> fox", "a fox</s>", "  ", "word " * 5000]
    scores = model.score([item(model, tiny_clips[0], caption) for caption in captions])
    assert np.isfinite(scores.values).all(axis=1).tolist() == [True, False, False, False, False]
    assert "contains '<image>'" in scores.errors[1]
    assert "contains '</s>'" in scores.errors[2]
    assert "has no prompt" in scores.errors[3]
    assert "tokens, the model reads 4096; shorten the prompt" in scores.errors[4]


def test_a_clip_of_one_frame_is_refused_and_a_short_one_is_taken_whole(critic, stand_ins) -> None:
    model = loaded(critic, stand_ins)
    (spec,) = model.card.frame_specs()
    rgb = np.zeros((1, 28, 28, 3), np.uint8)
    single = Frames(rgb, np.zeros(1, np.int64), np.zeros(1), 8.0, 1, 28, 28)
    with pytest.raises(ValueError, match="it has a single frame; LiFT-Critic needs at least two"):
        model.prepare(Clip("a", "a.mp4", "x"), {spec: single})
    assert spec.sampling.indices(5, 8.0).tolist() == [0, 1, 2, 3, 4]
    assert spec.sampling.indices(50, 8.0).tolist() == np.linspace(0, 49, 8, dtype=int).tolist()


def test_texts_are_verified(critic, stand_ins, folders) -> None:
    assert set(TEMPLATES) == set(stand_ins)
    with pytest.raises(ValueError, match="is not the published template"):
        read_wording(folders / "templates")
    wording = read_wording(folders / "templates", stand_ins)
    assert isinstance(wording, Wording)
    text = wording.conversation("motion", "A fox.", 2)
    assert text.endswith("USER: <image>\n<image>\nA fox. Does it move well? ASSISTANT:")
    (folders / "templates" / "motion.txt").unlink()
    with pytest.raises(ValueError, match="motion.txt is missing; it is published at https"):
        read_wording(folders / "templates", stand_ins)


def test_published_digests_are_those_of_the_shared_research() -> None:
    starts = {"semantic": "8b5b01bde7b15640", "fidelity": "cf75126d77396493", "motion": "902a57c80d031015"}
    assert {name: TEMPLATES[name].sha256[:16] for name in starts} == starts


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"mapping": "mine"}, "mapping=mine is not one of published, levels"),
        ({"round_digits": "many"}, "round_digits=many is not a whole number"),
        ({"num_frames": "1"}, "num_frames=1 is not a whole number from 2 to 64"),
        ({"temperature": "-1"}, "temperature=-1 is not a number from 0 to 10"),
        ({"reasons": "yes"}, "reasons=yes is neither true nor false"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, sentence) -> None:
    with pytest.raises(InputError, match=sentence):
        choose_reward("lift", options=options)


def test_without_weights_the_card_can_be_shown_but_nothing_scored() -> None:
    for spec, repository in (("lift", "v1.5"), ("lift:13b", "lora")):
        _, model = choose_reward(spec)
        assert model.card.sources[0].repo.endswith(repository)
        assert model.card.dimension_names == ("semantic", "fidelity", "motion", "overall")
        for call in (model.fingerprint, lambda m=model: m.load("cpu", None, {}, {})):
            with pytest.raises(ValueError, match="lift needs weights: add --weights DIR"):
                call()
    _, levels = choose_reward("lift", options={"mapping": "levels"})
    assert {(d.low, d.high) for d in levels.card.dimensions} == {(1.0, 3.0)}


def change_json(path: Path, **fields) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.mark.parametrize(
    ("file", "fields", "sentence"),
    [
        (
            "vision_tower/config.json",
            {"model_type": "intern_vit_6b"},
            "sees with 'intern_vit_6b', not with SigLIP; the 40b",
        ),
        ("mm_projector/config.json", {"mm_projector_type": "linear"}, "has a projector of type 'linear'"),
        ("llm/config.json", {"model_type": "qwen2"}, "speaks with a 'qwen2' model"),
        ("config.json", {"image_aspect_ratio": "pad"}, "pads or tiles its frames"),
        ("config.json", {"mm_use_im_start_end": True}, "mm_use_im_start_end"),
    ],
)
def test_base_models_of_another_make_are_refused(folders, critic, file, fields, sentence) -> None:
    change_json(folders / critic.base.name / file, **fields)
    with pytest.raises(InputError, match=sentence):
        choose_reward("lift", weights={"": str(folders)})


def test_a_base_model_inside_or_beside_the_adapter_is_found(folders, critic) -> None:
    _, model = choose_reward("lift", weights={"": str(folders)})
    assert model.weights["base"] == str(folders / critic.base.name)
    (folders / critic.base.name).rename(folders.parent / critic.base.name)
    _, model = choose_reward("lift", weights={"": str(folders)})
    assert model.weights["base"] == str(folders.parent / critic.base.name)
    shutil.rmtree(folders.parent / critic.base.name)
    with pytest.raises(InputError, match=r"the base model 'somebody/VILA1.5-tiny' .* add --weights base=PATH"):
        choose_reward("lift", weights={"": str(folders)})


@pytest.mark.parametrize("file", ["adapter_config.json", "VILA1.5-tiny/config.json", "VILA1.5-tiny/llm/config.json"])
def test_half_a_folder_is_one_sentence(folders, file: str) -> None:
    (folders / file).unlink()
    with pytest.raises(InputError, match=rf"{Path(file).name} is not there; the folder is no whole checkpoint"):
        choose_reward("lift", weights={"": str(folders)})


@pytest.mark.parametrize("file", ["adapter_model.safetensors", "non_lora_trainables.bin",
                                  "VILA1.5-tiny/llm/model.safetensors"])  # fmt: skip
def test_half_a_file_is_one_sentence(folders, critic, stand_ins, file: str) -> None:
    path = folders / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    model = LiftCritic()
    model.templates = stand_ins
    model.configure(weights={"": str(folders)})
    with pytest.raises(ValueError, match="half downloaded"):
        model.load("cpu", "float32", model.weights, model.options)
