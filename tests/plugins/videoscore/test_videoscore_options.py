"""Options, presets and input VideoScore cannot use."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from rewardbench_videoscore.card import ASPECTS
from rewardbench_videoscore.idefics2 import Idefics2Regressor
from rewardbench_videoscore.model import VideoScore
from safetensors.numpy import load_file, save_file

from rewardbench.cli import main
from rewardbench.errors import InputError
from rewardbench.registry import choose_reward
from rewardbench_plugin import RewardModel


def ready(folder: Path, templates: str, dimensions: list[str] | None = None, **options: str) -> RewardModel:
    weights = {"": str(folder), "templates": templates}
    _, model = choose_reward("videoscore", weights=weights, options=options, dimensions=dimensions)
    model.load("cpu", "float32", model.weights, model.options)
    return model


@pytest.fixture
def checkpoint(shared: Path) -> Path:
    return shared / "golden" / "idefics2" / "videoscore"


@pytest.mark.parametrize(
    ("spec", "options", "rule", "count"),
    [
        ("videoscore", {}, "stride", 16),
        ("videoscore:v1", {"num_frames": "48"}, "stride", 48),
        ("videoscore:v1.1", {}, "stride", 48),
        ("videoscore:v1.1", {"sampling": "benchmark"}, "count-repeat", 16),
        ("videoscore:v1.1", {"max_frames": "24"}, "stride", 24),
        ("videoscore:anno-only", {}, "count-repeat", 16),
        ("videoscore:anno-only", {"sampling": "example"}, "stride", 16),
        ("videoscore", {"sampling": "anime"}, "stride", 24),
        ("videoscore:v1.1", {"sampling": "anime", "max_frames": "12"}, "stride", 12),
    ],
)
def test_presets_name_their_sampler(spec: str, options: dict[str, str], rule: str, count: int) -> None:
    _, model = choose_reward(spec, options=options)
    (frames,) = model.card.frame_specs()
    assert (frames.sampling.rule, frames.sampling.count, frames.size) == (rule, count, None)
    assert frames.sampling.max_frames == (144 if options.get("sampling") == "anime" else None)
    assert model.card.dimension_names == (*ASPECTS, "overall")
    assert model.card.native_tie_rule is not None
    assert model.card.native_tie_rule.thresholds == {"overall": 0.5}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"sampling": "every"}, "sampling=every is not one of example, benchmark, anime"),
        ({"num_frames": "0"}, "num_frames=0 is not a whole number from 1 to 768"),
        ({"num_frames": "16", "max_frames": "48"}, "two names of one number"),
        ({"round_digits": "few"}, "round_digits=few is not a whole number from 0 to 12"),
        ({"fps": "8"}, "fps"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, str], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        choose_reward("videoscore", options=options)


@pytest.mark.shared
def test_rounding_keeps_raw_values_and_the_mean_is_of_what_is_reported(checkpoint, templates, framed, picture) -> None:
    rgb = picture(1, 3, 60, 90)
    whole = ready(checkpoint, templates, round_digits="none")
    raw = whole.score([framed(whole, rgb, "a fox")])
    assert raw.raw is not None
    assert np.array_equal(raw.values, raw.raw)
    for digits in (0, 2, 3):
        model = ready(checkpoint, templates, round_digits=str(digits))
        scores = model.score([framed(model, rgb, "a fox")])
        assert np.array_equal(scores.raw, raw.raw)
        assert scores.values[0, :5].tolist() == [round(value, digits) for value in raw.raw[0, :5].tolist()]
        assert scores.values[0, 5] == pytest.approx(scores.values[0, :5].mean(), abs=1e-15)


@pytest.mark.shared
def test_dimensions_asked_for_are_the_same_scores(checkpoint, templates, framed, picture) -> None:
    rgb = picture(2, 4, 60, 90)
    every, some = ready(checkpoint, templates), ready(checkpoint, templates, ["overall", "dynamic_degree"])
    values = every.score([framed(every, rgb, "a fox")]).values[0]
    fewer = some.score([framed(some, rgb, "a fox")]).values[0]
    expected = [values[every.card.dimension_names.index(name)] for name in some.dimensions]
    assert fewer.tolist() == expected


@pytest.mark.shared
def test_a_clip_of_one_frame_and_clips_of_unequal_size_are_scored(checkpoint, templates, framed, picture) -> None:
    model = ready(checkpoint, templates, round_digits="none")
    clips = [framed(model, picture(i, n, h, w), "a fox") for i, (n, h, w) in enumerate([(1, 60, 90), (5, 200, 100)])]
    together = model.score(clips).values
    alone = [model.score([clip]).values[0] for clip in clips]
    assert np.array_equal(together, alone)


@pytest.mark.shared
def test_the_fingerprint_knows_weights_template_and_options(checkpoint, templates, altered) -> None:
    def fingerprint(folder: Path, **options: str) -> str:
        model = VideoScore()
        model.configure(weights={"": str(folder), "templates": templates}, options=options)
        assert set(model.weights) == {"", "templates"}
        return model.fingerprint()

    changed = altered("videoscore", {"config.json": {"pad_token_id": 3}})
    assert fingerprint(checkpoint) == fingerprint(checkpoint)
    assert len({fingerprint(checkpoint), fingerprint(changed), fingerprint(checkpoint, sampling="benchmark")}) == 3


def test_without_weights_the_card_is_shown_but_nothing_scored() -> None:
    _, model = choose_reward("videoscore:anno-only")
    assert model.card.sources[0].repo == "TIGER-Lab/VideoScore-anno-only"
    for call in (model.fingerprint, lambda: model.load("cpu", None, {}, {})):
        with pytest.raises(ValueError, match="videoscore needs weights: add --weights DIR"):
            call()


@pytest.mark.shared
def test_what_is_missing_or_strange_in_the_folder_is_named(checkpoint, templates, altered, tmp_path: Path) -> None:
    named = {"": str(checkpoint)}
    with pytest.raises(InputError, match="needs its prompt template: .*templates is not there"):
        choose_reward("videoscore", weights=named)
    with pytest.raises(InputError, match="is not a folder with a VideoScore checkpoint"):
        choose_reward("videoscore", weights={"": str(checkpoint / "model.safetensors"), "templates": templates})
    with pytest.raises(InputError, match=r"has no config.json"):
        choose_reward("videoscore", weights={"": str(tmp_path), "templates": templates})
    other = altered("videoscore", {"config.json": {"model_type": "llava"}})
    with pytest.raises(InputError, match="holds a model of type 'llava', not 'idefics2'"):
        choose_reward("videoscore", weights={"": str(other), "templates": templates})
    wrong = tmp_path / "templates"
    wrong.mkdir()
    (wrong / "regression.txt").write_bytes((Path(templates) / "regression.txt").read_bytes().strip())
    with pytest.raises(ValueError, match="is not the published template: its SHA-256 is"):
        ready(checkpoint, str(wrong))
    for name in ("tokenizer.json", "preprocessor_config.json", "model.safetensors"):
        with pytest.raises(ValueError, match=name):
            ready(altered("videoscore", without=(name,)), templates)
    with pytest.raises(ValueError, match="is incomplete: model-00003-of-00004.safetensors"):
        ready(altered("anime_smooth", without=("model-00003-of-00004.safetensors",)), templates)
    with pytest.raises(
        ValueError, match="scores 1 dimension; VideoScore has 5; .* smoothness and appeal of animereward:released"
    ):
        ready(altered("anime_smooth"), templates)


@pytest.mark.shared
def test_every_key_is_accounted_for(checkpoint, templates, altered) -> None:
    state = load_file(checkpoint / "model.safetensors")

    def saved(state: dict[str, np.ndarray]) -> Path:
        folder = altered("videoscore", without=("model.safetensors",))
        save_file(state, folder / "model.safetensors")
        return folder

    bias = "score.bias"
    with pytest.raises(ValueError, match=f"1 missing: {bias}"):
        ready(saved({k: v for k, v in state.items() if k != bias}), templates)
    with pytest.raises(ValueError, match="1 unexpected: lm_head.weight"):
        ready(saved({**state, "lm_head.weight": state["score.weight"]}), templates)
    with pytest.raises(ValueError, match="no score.weight"):
        ready(saved({k: v for k, v in state.items() if not k.startswith("score")}), templates)
    half = altered("videoscore", without=("model.safetensors",))
    (half / "model.safetensors").write_bytes((checkpoint / "model.safetensors").read_bytes()[:200_000])
    with pytest.raises(ValueError, match="may be half downloaded"):
        ready(half, templates)


@pytest.mark.shared
def test_frames_are_never_split_or_counted_otherwise_in_silence(altered, picture) -> None:
    rgb = picture(1, 2, 50, 60)
    for said in (True, None):  # left out, the image processor that wrote these files would split
        folder = altered("videoscore", {"preprocessor_config.json": {"do_image_splitting": said}})
        with pytest.raises(ValueError, match="does not say do_image_splitting false"):
            Idefics2Regressor(folder).prepare(rgb, "a")
    folder = altered("videoscore", {"processor_config.json": {"image_seq_len": 9}})
    with pytest.raises(ValueError, match="gives a frame 9 tokens, but config.json's resampler makes 8"):
        Idefics2Regressor(folder).prepare(rgb, "a")
    folder = altered("videoscore", {"config.json": {"image_token_id": 380}})
    with pytest.raises(ValueError, match="does not have the token <image> as 380"):
        Idefics2Regressor(folder).prepare(rgb, "a")


@pytest.mark.shared
def test_prompts_that_would_pass_for_structure_or_are_too_long(checkpoint, templates, framed, picture) -> None:
    model = ready(checkpoint, templates)
    rgb = picture(1, 2, 50, 60)
    for token in ("<image>", "<fake_token_around_image>", "</s>", "<end_of_utterance>"):
        with pytest.raises(ValueError, match=f"the prompt contains '{token}', a special token of this model"):
            framed(model, rgb, f"a {token} fox")
    with pytest.raises(ValueError, match="the prompt is too long: with 2 frames it makes .* this model has 32768"):
        framed(model, rgb, "unforgettably " * 5000)
    scores = model.score([framed(model, rgb, "a fox runs " * 800), framed(model, rgb, "a {curly} fox {")])
    assert np.isfinite(scores.values).all()
    assert scores.notes[0].endswith("tokens; the model was trained on at most 4096")
    assert scores.notes[1] == ""


@pytest.mark.system
@pytest.mark.shared
def test_a_prompt_of_five_thousand_words_is_not_scored_in_silence(checkpoint, templates, shared, capfd) -> None:
    clip = min((shared / "golden" / "videos").glob("*.mp4"), key=lambda file: file.stat().st_size)
    words = ["score", str(clip), "--prompt", "a fox " * 2500, "--plugin", "videoscore", "--weights", str(checkpoint)]
    words += ["--weights", f"templates={templates}", "--device", "cpu", "--dtype", "float32", "--format", "json"]
    words += ["--option", "num_frames=2"]
    code = main(words)
    printed = capfd.readouterr()
    (row,) = json.loads(printed.out)
    if code == 0:  # by how many tokens this checkpoint's tokenizer makes of it
        assert "tokens; the model was trained on at most 4096" in printed.err
        assert row["scores"]["overall"] is not None
    else:
        assert "the prompt is too long" in row["error"]


@pytest.mark.shared
def test_values_that_are_not_finite_are_an_error_not_a_score(checkpoint, templates, framed, picture) -> None:
    model = ready(checkpoint, templates)
    assert isinstance(model, VideoScore)
    item = framed(model, picture(1, 2, 50, 60), "a fox")
    model._regressor._network.score.bias[0] = float("nan")
    assert model.score([item]).errors == ["the model returned values that are not finite"]


@pytest.mark.shared
def test_a_gpu_with_too_little_room_is_refused_before_loading(checkpoint, templates, monkeypatch) -> None:
    asked = {}

    def refuse(device: str, needed: int, what: str, advice: str) -> None:
        asked.update(device=device, needed=needed, advice=advice)
        raise ValueError("too little")

    monkeypatch.setattr("rewardbench_videoscore.idefics2.require_memory", refuse)
    with pytest.raises(ValueError, match="too little"):
        ready(checkpoint, templates)
    numbers = sum(value.size for value in load_file(checkpoint / "model.safetensors").values())
    assert 4 * numbers <= asked["needed"] + 4 * 65 * 5
    assert "--device cpu" in asked["advice"]
