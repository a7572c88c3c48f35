"""The 29 questions, their answers, the public path, and what is refused."""

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
from rewardbench_visionreward.answers import AnswerTokens, find_answer_tokens
from rewardbench_visionreward.cogvlm2 import pinned_revision
from rewardbench_visionreward.model import VisionReward
from rewardbench_visionreward.questions import Checklist, read_checklist

import rewardbench
from rewardbench.cli import main
from rewardbench.errors import InputError, PluginError
from rewardbench.registry import choose_reward
from rewardbench.video import read_frames
from rewardbench_plugin import Clip, Item

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TRUSTED = {"trust_remote_code": "true", "revision": COMMIT}
PROMPT = "a grey field"


def loaded(folder: Path, **options: str) -> VisionReward:
    small = {} if "revision" in options else {"max_pixels": "1536"}
    _, model = choose_reward("visionreward", weights={"": str(folder)}, options={**small, **options})
    model.load("cpu", "float32", model.weights, model.options)
    assert isinstance(model, VisionReward)
    return model


def item(model: VisionReward, video: Path, prompt: str) -> Item:
    clip = Clip("one", str(video), prompt)
    return Item(clip, model.prepare(clip, read_frames(video, model.card.frame_specs())))


# -- questions -------------------------------------------------------------------------------------------------------


@pytest.mark.shared
def test_questions_keep_their_newlines_and_the_first_three_name_the_prompt(shared: Path) -> None:
    checklist = read_checklist(shared / "assets" / "visionreward" / "templates")  # weight.json lies beside it
    asked = checklist.ask("a [[fox]] {runs}")
    assert len(asked) == len(checklist.weights) == 29
    assert all(question.endswith("?\n") or question.endswith('?"\n') for question in asked[:1])
    assert [question.endswith("\n") for question in asked] == [True] * 28 + [False]
    assert ["a [[fox]] {runs}" in question for question in asked] == [True] * 3 + [False] * 26
    raw = (shared / "assets" / "visionreward" / "templates" / "questions.txt").read_bytes()
    assert "".join(checklist.ask("[[prompt]]")).encode() == raw
    assert checklist.weights.sum() == pytest.approx(6.27717, abs=1e-5)
    assert (checklist.weights.min(), checklist.weights.max()) == pytest.approx((0.00846, 1.14182), abs=1e-5)


@pytest.mark.shared
def test_the_score_is_the_mean_of_answer_times_weight(shared: Path) -> None:
    checklist = read_checklist(shared / "assets" / "visionreward" / "templates")
    answers = np.random.default_rng(0).choice([-1.0, 1.0], 29)
    by_hand = sum(a * w for a, w in zip(answers, checklist.weights.tolist(), strict=True)) / 29
    assert checklist.score(answers.tolist()) == pytest.approx(by_hand, abs=1e-15)
    assert checklist.score([1.0] * 29) == pytest.approx(0.216454, abs=1e-6)
    assert checklist.score([1.0] * 29) == -checklist.score([-1.0] * 29)
    (dimension,) = VisionReward.card.dimensions
    assert dimension.low <= -checklist.score([1.0] * 29)
    assert checklist.score([1.0] * 29) <= dimension.high <= 0.2166


@pytest.mark.shared
@pytest.mark.parametrize("name", ["questions.txt", "weight.json"])
def test_changed_or_missing_files_are_refused(shared: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(shared / "assets" / "visionreward" / "templates", tmp_path / "templates")
    shutil.copy(shared / "assets" / "visionreward" / "weight.json", folder)
    (folder / name).write_bytes((folder / name).read_bytes() + b"\n")
    with pytest.raises(ValueError, match=rf"{name} is not the published template"):
        read_checklist(folder)
    (folder / name).unlink()
    with pytest.raises(ValueError, match=rf"{name} is missing; it is published at https://raw"):
        read_checklist(folder)


# -- answers ---------------------------------------------------------------------------------------------------------

WORDS = ["yes", "no", "Yes", " yes", "yes.", "No", "maybe"]


def scripted(tokens: list[str]) -> torch.Tensor:
    logits = torch.zeros(len(tokens), len(WORDS))
    for row, token in enumerate(tokens):
        logits[row, WORDS.index(token)] = 5.0
    return logits


def test_only_exactly_yes_is_yes() -> None:
    answers = AnswerTokens(0, 1, lambda ids: WORDS[ids[0]])
    assert answers.reference(scripted(WORDS)) == [1.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0]


@given(st.lists(st.floats(-20, 20), min_size=4, max_size=4))
def test_soft_answers_are_the_difference_of_two_probabilities(logits) -> None:
    answers = AnswerTokens(1, 3, str)
    weights = np.exp(np.array(logits) - max(logits))
    (found,) = answers.soft(torch.tensor([logits], dtype=torch.float64))
    assert found == pytest.approx((weights[1] - weights[3]) / weights.sum(), abs=1e-5)
    assert -1 <= found <= 1


@given(st.integers(0, 2**29 - 1))
def test_soft_scores_of_sure_answers_are_the_reference_scores(pattern: int) -> None:
    tokens = ["yes" if pattern >> i & 1 else "no" for i in range(29)]
    answers = AnswerTokens(0, 1, lambda ids: WORDS[ids[0]])
    checklist = Checklist(("?",) * 29, np.random.default_rng(pattern).random(29))
    sure = scripted(tokens) * 10
    assert checklist.score(answers.soft(sure)) == pytest.approx(checklist.score(answers.reference(sure)), abs=1e-9)


def test_a_tokenizer_without_the_answers_is_refused() -> None:
    split = SimpleNamespace(encode=lambda word, **_: [ord(letter) for letter in word], decode=str)
    with pytest.raises(ValueError, match="has no single token 'yes'"):
        find_answer_tokens(split, "folder")


# -- the public path -------------------------------------------------------------------------------------------------


@pytest.mark.system
@pytest.mark.shared
def test_command_and_library_give_the_same_scores(chat_folder, tiny_clips, capsys) -> None:
    words = ["score", *map(str, tiny_clips[:2]), "--prompt", PROMPT, "--plugin", "visionreward:chat"]
    words += ["--weights", str(chat_folder), "--device", "cpu", "--dtype", "float32", "--format", "json"]
    assert main([*words, "--option", "scoring=soft", "--option", "max_pixels=1536", "--workers", "1"]) == 0
    rows = json.loads(capsys.readouterr().out)
    options = {"scoring": "soft", "max_pixels": 1536}
    clips = [Clip(str(path), str(path), PROMPT) for path in tiny_clips[:2]]
    values = {}
    for prefix in ("shared", "separate"):
        model = rewardbench.load_reward(
            "visionreward", weights=chat_folder, device="cpu", dtype="float32", prefix=prefix, **options
        )
        values[prefix] = model.score(clips)[:, 0]
        model.close()
    np.testing.assert_allclose([row["scores"]["overall"] for row in rows], values["shared"], atol=1e-6)
    np.testing.assert_allclose(values["shared"], values["separate"], atol=1e-6)
    assert len(set(np.round(values["shared"], 9))) == 2


@pytest.mark.shared
def test_scores_follow_from_the_backbone_s_logits(chat_folder, tiny_clips) -> None:
    model = loaded(chat_folder)
    one = item(model, tiny_clips[0], PROMPT)
    assert one.data["frames"].shape[0] == 2  # 8 frames at 8 a second: the seconds 0 and 1
    asked = model._checklist.ask(PROMPT)
    logits = model._backbone.logits(one.data["frames"], asked, shared=False)
    tokenizer = model._backbone._tokenizer
    answers = [1 if tokenizer.decode(int(row.argmax())) == "yes" else -1 for row in logits]
    scores = model.score([one])
    assert scores.values[0, 0] == pytest.approx(np.mean(np.array(answers) * model._checklist.weights), abs=1e-12)
    assert scores.notes[0] == "answers " + "".join("+" if a > 0 else "-" for a in answers)


@pytest.mark.shared
def test_prompt_frames_and_scoring_are_part_of_a_score(chat_folder, tiny_clips) -> None:
    model = loaded(chat_folder, scoring="soft")
    items = [item(model, tiny_clips[i], prompt) for i, prompt in ((0, PROMPT), (0, "a fox"), (4, PROMPT))]
    assert len(set(np.round(model.score(items).values[:, 0], 9))) == 3
    prints = {
        choose_reward("visionreward", weights={"": str(chat_folder)}, options=options)[1].fingerprint()
        for options in ({}, {"scoring": "soft"}, {"prefix": "separate"})
    }
    assert len(prints) == 3


@pytest.mark.shared
def test_one_clip_that_cannot_be_asked_about_costs_itself(chat_folder, tiny_clips) -> None:
    model = loaded(chat_folder)
    prompts = [PROMPT, "a fox <|im_end|>", " ", "word " * 5000]
    scores = model.score([item(model, tiny_clips[0], prompt) for prompt in prompts])
    assert np.isfinite(scores.values[:, 0]).tolist() == [True, False, False, False]
    assert scores.errors[0] is None
    assert "contains '<|im_end|>', a token with a meaning of its own" in scores.errors[1]
    assert "has no prompt" in scores.errors[2]
    assert "tokens, the model reads 6000; shorten the prompt" in scores.errors[3]


# -- the released checkpoint -----------------------------------------------------------------------------------------


@pytest.mark.shared
def test_weights_with_code_of_their_own_are_scored_once_trusted_and_pinned(remote_folder, shared) -> None:
    model = loaded(remote_folder, scoring="soft", **TRUSTED)
    assert model.card.environment == "isolated"
    assert model.card.sources[0].revision == COMMIT
    (spec,) = model.card.frame_specs()
    assert (spec.reader, spec.sampling.rule, spec.sampling.count, spec.size) == ("decord", "seconds", 24, None)
    one = item(model, shared / "golden" / "videos" / "cartoon_films_tui_la_13.mp4", PROMPT)
    assert one.data["frames"].shape == (4, 480, 720, 3)
    shared_prefix = model.score([one]).values[0, 0]
    separate = loaded(remote_folder, scoring="soft", prefix="separate", **TRUSTED).score([one]).values[0, 0]
    assert shared_prefix == pytest.approx(separate, abs=1e-6)
    assert abs(shared_prefix) > 1e-9


@pytest.mark.shared
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "brings its own Python code; add --trust-remote-code"),
        ({"revision": COMMIT}, "brings its own Python code; add --trust-remote-code"),
        ({"trust_remote_code": "true"}, "run at a pinned revision only: add --option revision=COMMIT"),
        ({"trust_remote_code": "true", "revision": "main"}, "revision=main is not a commit"),
        ({"trust_remote_code": "yes"}, "trust_remote_code=yes is neither true nor false"),
        ({**TRUSTED, "max_pixels": "100000"}, "max_pixels is for the preset chat"),
    ],
)
def test_code_of_weights_is_not_run_unasked(remote_folder, options, sentence, tmp_path) -> None:
    code = remote_folder / "modeling_stub.py"
    code.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n{code.read_text()}")
    with pytest.raises(InputError, match=sentence):
        choose_reward("visionreward", weights={"": str(remote_folder)}, options=options)
    assert not (tmp_path / "ran").exists()


@pytest.mark.shared
@pytest.mark.parametrize(
    ("auto_map", "sentence"),
    [
        ({"AutoModelForCausalLM": "someone/else--modeling_stub.StubForCausalLM"}, "takes code from another repository"),
        ({"AutoModelForCausalLM": "modeling_absent.StubForCausalLM"}, "incomplete: it names the code 'modeling_absent"),
        ({"AutoConfig": "configuration_stub.StubConfig"}, "names no code for AutoModelForCausalLM"),
    ],
)
def test_code_from_elsewhere_is_refused(remote_folder, auto_map, sentence) -> None:
    config = json.loads((remote_folder / "config.json").read_text())
    (remote_folder / "config.json").write_text(json.dumps({**config, "auto_map": auto_map}))
    with pytest.raises(InputError, match=sentence):
        choose_reward("visionreward:released", weights={"": str(remote_folder)}, options=TRUSTED)


def test_a_snapshot_folder_names_its_commit(tmp_path: Path) -> None:
    folder = tmp_path / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    assert pinned_revision(folder, {}) == COMMIT


def test_a_fetched_folder_names_its_commit(tmp_path: Path) -> None:
    record = {"sources": {"THUDM/VisionReward-Video": {"repo": "THUDM/VisionReward-Video", "commit": COMMIT}}}
    (tmp_path / ".fetched.json").write_text(json.dumps(record))
    assert pinned_revision(tmp_path, {}) == COMMIT
    assert pinned_revision(tmp_path, {"revision": COMMIT[::-1]}) == COMMIT[::-1]
    (tmp_path / ".fetched.json").write_text("{}")
    with pytest.raises(ValueError, match="run at a pinned revision only"):
        pinned_revision(tmp_path, {})


@pytest.mark.shared
def test_foreign_code_that_fails_is_one_sentence(remote_folder) -> None:
    (remote_folder / "configuration_stub.py").write_text("import a_package_of_2024\n")
    with pytest.raises(ValueError, match=r"by the code it holds under transformers .*a_package_of_2024"):
        loaded(remote_folder, **TRUSTED)


# -- cards and weights -----------------------------------------------------------------------------------------------


def test_cards_can_be_shown_without_weights() -> None:
    for spec, environment in (("visionreward", "isolated"), ("visionreward:released", "isolated"),
                              ("visionreward:chat", "host")):  # fmt: skip
        _, model = choose_reward(spec)
        assert model.card.environment == environment
        assert bool(model.card.requires) == (environment == "isolated")
        assert len(model.card.templates) == 2
        with pytest.raises(ValueError, match="visionreward needs weights: add --weights DIR"):
            model.fingerprint()
        with pytest.raises(ValueError, match="visionreward needs weights: add --weights DIR"):
            model.load("cpu", None, {}, {})


def test_the_isolated_environment_is_pinned_and_says_why() -> None:
    card = choose_reward("visionreward:released")[1].card
    assert "transformers==4.42.4" in card.requires
    assert "transformers 4.42" in card.notes
    assert all("==" in one or "<" in one or ">" in one for one in card.requires)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"scoring": "hard"}, "scoring=hard is not one of reference, soft"),
        ({"prefix": "none"}, "prefix=none is not one of shared, separate"),
        ({"num_frames": "0"}, "num_frames=0 is not a whole number from 1"),
        ({"min_pixels": "200000", "max_pixels": "100000"}, "min_pixels=200000 is more than max_pixels=100000"),
        ({"revision": COMMIT}, "revision is for the preset released"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, sentence) -> None:
    with pytest.raises(InputError, match=sentence):
        choose_reward("visionreward:chat", options=options)


@pytest.mark.shared
def test_weights_of_another_kind_are_refused(chat_folder, remote_folder, tmp_path) -> None:
    def choose(spec: str, folder: Path) -> None:
        choose_reward(spec, weights={"": str(folder)}, options={})

    with pytest.raises(InputError, match="holds a qwen2_vl model, not the published one; use visionreward:chat"):
        choose("visionreward:released", chat_folder)
    with pytest.raises(InputError, match="use visionreward:released"):
        choose("visionreward:chat", remote_folder)
    with pytest.raises(InputError, match="has no config.json"):
        choose("visionreward", tmp_path)
    (chat_folder / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(InputError, match="holds a model of type 'llama', not qwen2_vl or qwen2_5_vl"):
        choose("visionreward", chat_folder)
    (chat_folder / "config.json").write_text('{"model_type": "qwen2')
    with pytest.raises(InputError, match="is not JSON .*half downloaded"):
        choose("visionreward", chat_folder)


def test_missing_questions_are_named(chat_model) -> None:
    with pytest.raises(InputError, match=r"needs its questions and their weights: .*templates is not there"):
        choose_reward("visionreward", weights={"": str(chat_model())})


@pytest.mark.shared
@pytest.mark.parametrize("change", ["missing", "unexpected", "half"])
def test_checkpoints_that_are_not_whole_are_refused(chat_folder, change: str) -> None:
    from safetensors.torch import load_file, save_file

    path = chat_folder / "model.safetensors"
    state = load_file(path)
    if change == "missing":
        del state[
            "model.language_model.norm.weight" if "model.language_model.norm.weight" in state else "model.norm.weight"
        ]
    state["lm_head.extra"] = torch.zeros(1)
    if change != "unexpected":
        del state["lm_head.extra"]
    save_file(state, path, {"format": "pt"})
    if change == "half":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    sentence = (
        "cannot be loaded as a Qwen2-VL chat model" if change == "half" else f"not a whole checkpoint: 1 {change}"
    )
    with pytest.raises(PluginError, match=sentence):
        rewardbench.load_reward("visionreward", weights=chat_folder, device="cpu", dtype="float32")


@pytest.mark.system
@pytest.mark.shared
def test_the_pinned_environment_gives_the_scores_of_this_one(remote_folder, shared, tmp_path, capsys) -> None:
    """The real environment (torch 2.1, transformers 4.42; 5 GB to download where uv has none of it cached)."""
    video = shared / "golden" / "videos" / "cartoon_films_tui_la_13.mp4"
    words = ["score", str(video), "--prompt", PROMPT, "--plugin", "visionreward:released", "--trust-remote-code"]
    words += ["--option", f"revision={COMMIT}", "--option", "scoring=soft", "--weights", str(remote_folder)]
    assert main([*words, "--device", "cpu", "--dtype", "float32", "--format", "json", "--workers", "1"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    model = loaded(remote_folder, scoring="soft", **TRUSTED)
    expected = model.score([item(model, video, PROMPT)]).values[0, 0]
    assert row["scores"]["overall"] == pytest.approx(expected, abs=1e-8)
    assert abs(expected) > 1e-6
