"""HunyuanVideo against diffusers' own pipelines: what they feed their network, how they scale, sample and load."""

from __future__ import annotations

import inspect
import json
import math
import re
import runpy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, HunyuanVideoPipeline, HunyuanVideoTransformer3DModel
from diffusers.pipelines.hunyuan_video import pipeline_hunyuan_video, pipeline_hunyuan_video_image2video
from peft import LoraConfig
from PIL import Image

from rewardbench.align.families.base import ClipShape
from rewardbench.align.families.hunyuanvideo import HunyuanVideoFamily
from rewardbench.align.losses import preference_loss, sample_error
from rewardbench.align.noise import add_noise
from rewardbench.align.sampling import SamplingSettings, noise, sample
from rewardbench.errors import InputError

TINY = runpy.run_path(str(Path(__file__).with_name("tiny.py")))
TINY_HUNYUAN = runpy.run_path(str(Path(__file__).with_name("tiny_hunyuanvideo.py")))
KINDS: tuple[str | None, ...] = TINY_HUNYUAN["KINDS"]
IMAGE_KINDS = ("latent_concat", "token_replace")
PROMPTS = ["a cat runs over the snow", "a red ball"]
CLIP = ClipShape(TINY_HUNYUAN["FRAMES"], TINY_HUNYUAN["SIDE"], TINY_HUNYUAN["SIDE"], TINY_HUNYUAN["FPS"])
WIDE = ClipShape(13, 16, 32, 24.0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str | None, Path]:
    root = tmp_path_factory.mktemp("hunyuanvideo")
    return {kind: TINY_HUNYUAN["save_tiny_hunyuanvideo"](root / str(kind), kind) for kind in KINDS}


@pytest.fixture(params=KINDS)
def folder(request: pytest.FixtureRequest, folders: dict[str | None, Path]) -> Path:
    return folders[request.param]


def load(
    folder: Path, clip: ClipShape | None = CLIP, dtype: torch.dtype = torch.float32, **options: str
) -> HunyuanVideoFamily:
    return HunyuanVideoFamily.load(str(folder), device="cpu", dtype=dtype, clip=clip, options=options)


def pipeline_of(folder: Path) -> Any:
    pipeline = DiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clips(family: HunyuanVideoFamily, n: int = 2) -> torch.Tensor:
    shape = (n, family.clip.frames, family.clip.height, family.clip.width, 3)
    return torch.randint(0, 256, shape, generator=seeded(1)) / 127.5 - 1


def pictures(family: HunyuanVideoFamily) -> list[Image.Image]:
    """First frames of the clips, as somebody would hand them to the pipeline."""
    return [Image.fromarray(x) for x in ((clips(family)[:, 0] + 1) * 127.5).round().numpy().astype(np.uint8)]


def condition_of(family: HunyuanVideoFamily) -> dict[str, torch.Tensor]:
    images = clips(family)[:, 0] if family.needs_image else None
    return family.encode_condition(PROMPTS, images, seeded())


def arguments_of(family: HunyuanVideoFamily) -> dict[str, Any]:
    image = {"image": pictures(family)} if family.needs_image else {}
    size = {"height": family.clip.height, "width": family.clip.width, "num_frames": family.clip.frames}
    return {"prompt": PROMPTS, **size, **image}


@pytest.mark.parametrize("clip", [CLIP, WIDE])
def test_network_is_fed_what_the_pipeline_feeds_it(folder: Path, clip: ClipShape) -> None:
    family = load(folder, clip, guidance="1")
    calls = TINY["transformer_calls"](
        pipeline_of(folder), num_inference_steps=3, generator=seeded(2), **arguments_of(family)
    )
    condition = condition_of(family)
    listener = TINY["Listener"](family.transformer)
    assert len(calls) == 3
    for given, answer in calls:
        x_t = given["hidden_states"][:, : family.latent_shape[0]].clone()
        if family.config.image_condition_type == "token_replace":
            x_t[:, :, 0] = 99.0  # what stands in the first frame must not matter
        with torch.no_grad():
            mine = family.predict(listener, x_t, family.schedule.at(given["timestep"] / 1000), condition)
        TINY["assert_same_inputs"](listener.given, given)
        torch.testing.assert_close(mine, answer, rtol=1e-4, atol=1e-5)


def test_half_precision_is_fed_what_the_pipeline_feeds_in_half_precision(folder: Path) -> None:
    family = load(folder, dtype=torch.bfloat16, guidance="1")
    pipeline = DiffusionPipeline.from_pretrained(folder, torch_dtype=torch.bfloat16)
    given, _ = TINY["transformer_calls"](pipeline, num_inference_steps=1, generator=seeded(2), **arguments_of(family))[
        0
    ]
    listener = TINY["Listener"](family.transformer)
    x_t = given["hidden_states"][:, : family.latent_shape[0]].float()
    with torch.no_grad():
        mine = family.predict(listener, x_t, family.schedule.at(given["timestep"] / 1000), condition_of(family))
    TINY["assert_same_inputs"](listener.given, given)
    assert mine.dtype == torch.float32


def test_networks_without_distilled_guidance_are_told_none(tmp_path: Path) -> None:
    folder = TINY_HUNYUAN["save_tiny_hunyuanvideo"](tmp_path / "plain", "latent_concat", guidance_embeds=False)
    family = load(folder)
    given, _ = TINY["transformer_calls"](pipeline_of(folder), num_inference_steps=1, **arguments_of(family))[0]
    listener = TINY["Listener"](family.transformer)
    x_t = torch.randn(2, *family.latent_shape, generator=seeded())
    with torch.no_grad():
        family.predict(listener, x_t, family.schedule.at(torch.ones(2)), condition_of(family))
    assert listener.given["guidance"] is None
    assert given["guidance"] is None
    assert family.describe()["guidance"] is None


@pytest.mark.parametrize("options", [{}, {"guidance": "3.5"}])
def test_guidance_is_the_pipelines_default_or_what_is_chosen(folder: Path, options: dict[str, str]) -> None:
    family, pipeline = load(folder, **options), pipeline_of(folder)
    told: list[torch.Tensor] = []
    pipeline.transformer.register_forward_pre_hook(lambda m, a, k: told.append(k["guidance"]), with_kwargs=True)
    chosen = {"guidance_scale": float(options["guidance"])} if options else {}
    pipeline(num_inference_steps=1, output_type="latent", **chosen, **arguments_of(family))
    listener = TINY["Listener"](family.transformer)
    with torch.no_grad():
        x_t = torch.randn(2, *family.latent_shape, generator=seeded())
        family.predict(listener, x_t, family.schedule.at(torch.ones(2)), condition_of(family))
    assert torch.equal(listener.given["guidance"], told[0])


def test_sampling_ends_where_the_pipeline_ends(folder: Path) -> None:
    """Latents and decoded clips; the pipeline is handed a start that undoes its own mixing with the image."""
    family, pipeline = load(folder, guidance="1"), pipeline_of(folder)
    condition = condition_of(family)
    start = noise(family.latent_shape, [3, 4])
    latents = sample(family, condition, {}, [3, 4], SamplingSettings(steps=4))
    if family.needs_image:
        start = (start - 0.001 * condition["image"].unsqueeze(2)) / 0.999
    given = {**arguments_of(family), "num_inference_steps": 4, "guidance_scale": 1.0}
    ended = pipeline(latents=start, output_type="latent", **given).frames
    kept = 1 if family.config.image_condition_type == "latent_concat" else 0
    torch.testing.assert_close(latents[:, :, kept:], ended, rtol=1e-3, atol=1e-4)
    theirs = pipeline(latents=start, output_type="pt", **given).frames.permute(0, 1, 3, 4, 2)
    mine = family.decode_latents(latents)
    assert mine.shape == (2, CLIP.frames, CLIP.height, CLIP.width, 3)
    assert float(mine.abs().max()) <= 1.0
    torch.testing.assert_close((mine[:, 4 * kept :] + 1) / 2, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("scheduler", [None, {"shift": 1.0}, {"shift": 5.0, "shift_terminal": 0.1}])
def test_sampling_times_are_the_pipelines(tmp_path: Path, scheduler: dict[str, Any] | None) -> None:
    folder = TINY_HUNYUAN["save_tiny_hunyuanvideo"](tmp_path / "t2v", scheduler=scheduler)
    family, pipeline = load(folder), pipeline_of(folder)
    for steps in (2, 7):
        pipeline(num_inference_steps=steps, output_type="latent", **arguments_of(family))
        torch.testing.assert_close(family.schedule.steps(steps), pipeline.scheduler.sigmas, rtol=1e-5, atol=1e-6)


def test_text_is_the_pipelines(folders: dict[str | None, Path]) -> None:
    family = load(folders[None])
    text, pooled, mask = pipeline_of(folders[None]).encode_prompt([*PROMPTS, ""])
    mine = family.encode_text([*PROMPTS, ""])
    assert mine["text"].shape == (3, 256, 16)
    torch.testing.assert_close(mine["text"], text)
    torch.testing.assert_close(mine["pooled"], pooled)
    assert torch.equal(mine["text_mask"], mask.bool())
    assert not torch.allclose(mine["text"][0], mine["text"][1])
    assert mine["text_mask"].any(1).all()


def test_text_is_cut_out_of_the_installed_template(folders: dict[str | None, Path]) -> None:
    """By hand: the third state from the end, from the template's crop on."""
    family, pipeline = load(folders[None]), pipeline_of(folders[None])
    template = pipeline_hunyuan_video.DEFAULT_PROMPT_TEMPLATE
    crop = template["crop_start"]
    tokens = pipeline.tokenizer(
        template["template"].format(PROMPTS[0]), padding="max_length", max_length=256 + crop, return_tensors="pt"
    )
    with torch.no_grad():
        states = pipeline.text_encoder(**tokens, output_hidden_states=True).hidden_states[-3]
    mine = family.encode_text(PROMPTS[:1])
    torch.testing.assert_close(mine["text"], states[:, crop:])
    assert family.describe()["prompt_template"] == template


@pytest.mark.parametrize("kind", IMAGE_KINDS)
def test_text_with_an_image_is_the_pipelines(folders: dict[str | None, Path], kind: str) -> None:
    family, pipeline = load(folders[kind]), pipeline_of(folders[kind])
    interleave = {"latent_concat": 2, "token_replace": 4}[kind]
    with torch.no_grad():
        text, pooled, mask = pipeline.encode_prompt(
            image=pictures(family), prompt=PROMPTS, image_embed_interleave=interleave
        )
    mine = condition_of(family)
    torch.testing.assert_close(mine["text"], text, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mine["pooled"], pooled)
    assert torch.equal(mine["text_mask"], mask.bool())
    # the four tokens that announce the answer are cut out of the 256 for the caption
    assert mine["text"].shape[1] == mine["text_mask"].shape[1] == 576 // interleave + 256 - 4
    template = pipeline_hunyuan_video_image2video.DEFAULT_PROMPT_TEMPLATE
    assert family.describe()["prompt_template"] == template


@pytest.mark.parametrize("kind", IMAGE_KINDS)
def test_captions_hear_of_the_image_and_cannot_be_encoded_apart(folders: dict[str | None, Path], kind: str) -> None:
    family = load(folders[kind])
    images = clips(family)[:, 0]
    one = family.encode_condition(PROMPTS, images, seeded())
    other = family.encode_condition(PROMPTS, images.flip(0), seeded())
    words = 576 // {"latent_concat": 2, "token_replace": 4}[kind]
    assert not torch.allclose(one["text"][:, words:], other["text"][:, words:], atol=1e-5)
    assert torch.equal(one["pooled"], other["pooled"])
    with pytest.raises(InputError, match="reads caption and first frame together"):
        family.encode_text(PROMPTS)


@pytest.mark.parametrize("kind", IMAGE_KINDS)
def test_captions_that_fill_the_template_are_cut_in_any_batch(folders: dict[str | None, Path], kind: str) -> None:
    """The pipeline's way to find a caption's end works in a batch of one only, where it overflows."""
    family, pipeline = load(folders[kind]), pipeline_of(folders[kind])
    long = " ".join(["a cat runs over the snow"] * 60)
    mine = family.encode_condition([long, long], clips(family)[:, 0], seeded())
    interleave = {"latent_concat": 2, "token_replace": 4}[kind]
    with torch.no_grad():
        text, _, mask = pipeline.encode_prompt(
            image=pictures(family)[1], prompt=long, image_embed_interleave=interleave
        )
    torch.testing.assert_close(mine["text"][1:], text, rtol=1e-4, atol=1e-5)
    assert torch.equal(mine["text_mask"][1:], mask.bool())


def test_latents_are_the_scaled_mean(folder: Path) -> None:
    family, pipeline = load(folder), pipeline_of(folder)
    pixels = clips(family)
    mean = pipeline.vae.encode(pixels.permute(0, 4, 1, 2, 3)).latent_dist.mean
    mine = family.encode_video(pixels)
    assert mine.shape == (2, *family.latent_shape) == (2, *TINY_HUNYUAN["LATENT"])
    assert mine.dtype == torch.float32
    torch.testing.assert_close(mine, mean * TINY_HUNYUAN["SCALING"])


@pytest.mark.parametrize("kind", IMAGE_KINDS)
def test_image_latents_are_the_pipelines(folders: dict[str | None, Path], kind: str) -> None:
    family, pipeline = load(folders[kind]), pipeline_of(folders[kind])
    images = clips(family)[:, 0]
    _, theirs = pipeline.prepare_latents(
        images.permute(0, 3, 1, 2), 2, 4, CLIP.height, CLIP.width, CLIP.frames, torch.float32, torch.device("cpu"),
        seeded(), image_condition_type=kind,
    )  # fmt: skip
    torch.testing.assert_close(family.encode_image(images, 2, seeded())["image"], theirs[:, :, 0])


def test_only_a_replaced_first_frame_is_put_in_and_left_out_of_the_loss(folder: Path) -> None:
    family = load(folder)
    condition = condition_of(family)
    x_t = torch.randn(2, *family.latent_shape, generator=seeded())
    ready, mask = family.prepare_latents(x_t, condition), family.loss_mask(condition)
    if family.config.image_condition_type != "token_replace":
        assert torch.equal(ready, x_t)
        assert mask is None
        return
    assert torch.equal(ready[:, :, 0], condition["image"])
    assert torch.equal(ready[:, :, 1:], x_t[:, :, 1:])
    assert mask is not None
    kept = mask.expand_as(x_t)
    assert not kept[:, :, 0].any()
    assert bool((kept[:, :, 1:] == 1).all())


def losses_of(family: HunyuanVideoFamily, network: Any) -> torch.Tensor:
    x0 = torch.randn(2, *family.latent_shape, generator=seeded(8))
    eps = torch.randn(1, *family.latent_shape, generator=seeded(9)).expand_as(x0)
    time, condition = family.schedule.at(torch.tensor([0.6, 0.6])), condition_of(family)
    x_t = family.prepare_latents(add_noise(x0, eps, time), condition)
    target = family.schedule.target(x0, eps, time)
    return sample_error(family.predict(network, x_t, time, condition), target, mask=family.loss_mask(condition))


def test_loss_of_a_new_adapter_is_exactly_ln_2_and_reaches_every_adapted_layer(folder: Path) -> None:
    family = load(folder)
    network = family.transformer
    assert not any(p.requires_grad for p in network.parameters())
    network.add_adapter(LoraConfig(r=2, target_modules=list(family.adapter_targets)))
    network.disable_adapters()
    with torch.no_grad():
        reference = losses_of(family, network)
    network.enable_adapters()
    policy = losses_of(family, network)
    loss = preference_loss(policy[0], policy[1], reference[0], reference[1], beta=5000.0).loss
    assert loss.item() == float(torch.tensor(math.log(2.0)))
    loss.backward()
    second = {name: p.grad for name, p in network.named_parameters() if "lora_B" in name}
    # four projections of video and of text in a double-stream block, three in a single-stream one, four in the refiner
    places = [sum(name.startswith(place) for name in second) for place in ("transformer_", "single_", "context_")]
    assert places == [8, 3, 4]
    assert all(grad is not None and bool(grad.abs().sum() > 0) for grad in second.values())


def test_blocks_are_both_streams_in_order(folder: Path) -> None:
    network = load(folder).transformer
    assert load(folder).blocks(network) == [network.transformer_blocks[0], network.single_transformer_blocks[0]]


@pytest.mark.parametrize("alpha", [4, 10])
def test_adapter_comes_back_through_the_pipeline_with_its_strength(folder: Path, tmp_path: Path, alpha: int) -> None:
    family = load(folder)
    condition = condition_of(family)
    x_t = torch.randn(2, *family.latent_shape, generator=seeded(3))
    time = family.schedule.at(torch.tensor([0.4, 0.9]))
    with torch.no_grad():
        plain = family.predict(family.transformer, x_t, time, condition)
        torch.manual_seed(0)
        targets = list(family.adapter_targets)
        family.transformer.add_adapter(
            LoraConfig(r=4, lora_alpha=alpha, target_modules=targets, init_lora_weights=False)
        )
        adapted = family.predict(family.transformer, x_t, time, condition)
        assert family.save_adapter(tmp_path / "adapter") == tmp_path / "adapter"
        pipeline = pipeline_of(folder)
        pipeline.load_lora_weights(tmp_path / "adapter")
        again = family.predict(pipeline.transformer, x_t, time, condition)
    assert not torch.allclose(plain, adapted, atol=1e-3)
    torch.testing.assert_close(again, adapted, rtol=1e-6, atol=1e-7)


def test_whole_network_comes_back_through_from_pretrained(folder: Path, tmp_path: Path) -> None:
    family = load(folder)
    with torch.no_grad():
        family.transformer.proj_out.weight.add_(0.125)
    again = HunyuanVideoTransformer3DModel.from_pretrained(family.save_full(tmp_path / "full"))
    ours, theirs = family.transformer.state_dict(), again.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_fingerprint_is_of_encoders_sizes_and_template(
    folders: dict[str | None, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoilt(part: str, file: str) -> Path:
        copy = Path(shutil.copytree(folders[None], tmp_path / part))
        data = bytearray((copy / part / f"{file}.safetensors").read_bytes())
        data[-1] ^= 1
        (copy / part / f"{file}.safetensors").write_bytes(bytes(data))
        return copy

    first = load(folders[None]).fingerprint()
    assert load(spoilt("transformer", "diffusion_pytorch_model")).fingerprint() == first
    assert load(folders[None], guidance="2").fingerprint() == first
    others = [
        load(spoilt("vae", "diffusion_pytorch_model")).fingerprint(),
        load(spoilt("text_encoder", "model")).fingerprint(),
        load(spoilt("text_encoder_2", "model")).fingerprint(),
        load(folders[None], WIDE).fingerprint(),
        load(folders[None], vae_tiling="off").fingerprint(),
        load(folders["token_replace"]).fingerprint(),
    ]
    monkeypatch.setitem(pipeline_hunyuan_video.DEFAULT_PROMPT_TEMPLATE, "crop_start", 94)
    others.append(load(folders[None]).fingerprint())
    assert len({first, *others}) == 8


def test_description_says_what_decides_a_run(folder: Path) -> None:
    said = load(folder).describe()
    assert said["sampling_shift"] == TINY_HUNYUAN["SHIFT"]
    assert said["scaling_factor"] == TINY_HUNYUAN["SCALING"]
    assert said["guidance"] == (6.0 if said["image_condition_type"] is None else 1.0)
    assert json.loads(json.dumps(said)) == said


def test_usual_clip_is_the_pipelines(folder: Path) -> None:
    usual = inspect.signature(HunyuanVideoPipeline.__call__).parameters
    clip = load(folder, None).clip
    assert [clip.frames, clip.height, clip.width] == [usual[n].default for n in ("num_frames", "height", "width")]


@pytest.mark.parametrize(
    ("clip", "options", "sentence"),
    [
        (ClipShape(8, 16, 16, 8.0), {}, "hunyuanvideo makes clips of 4n + 1 frames, not of 8"),
        (ClipShape(9, 16, 20, 8.0), {}, "hunyuanvideo makes clips a multiple of 8 pixels wide, not 20"),
        (CLIP, {"image_to_video": "on"}, "the hunyuanvideo family has no option image_to_video"),
        (CLIP, {"vae_tiling": "1"}, "option vae_tiling is on or off, not '1'"),
        (CLIP, {"guidance": "much"}, "option guidance is a number of at least 0, not 'much'"),
        (CLIP, {"guidance": "nan"}, "option guidance is a number of at least 0, not 'nan'"),
    ],
)
def test_wrong_choices_are_refused_in_a_sentence(
    folders: dict[str | None, Path], clip: ClipShape, options: dict[str, str], sentence: str
) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        load(folders[None], clip, **options)


@pytest.mark.parametrize(
    ("kind", "file", "changes", "sentence"),
    [
        (None, "model_index.json", {"_class_name": "HunyuanVideoFramepackPipeline"}, "holds a HunyuanVideoFramepack"),
        (None, "model_index.json", {"_class_name": "HunyuanVideoImageToVideoPipeline"}, "lacks image_processor/"),
        (None, "model_index.json", {"text_encoder_2": [None, None]}, "lacks text_encoder_2/"),
        (
            "token_replace",
            "model_index.json",
            {"_class_name": "HunyuanVideoPipeline"},
            "has image_condition_type token",
        ),
        (None, "scheduler/scheduler_config.json", {"use_dynamic_shifting": True}, "has use_dynamic_shifting"),
        (None, "scheduler/scheduler_config.json", {"use_beta_sigmas": True}, "has use_beta_sigmas, which"),
        (
            None,
            "vae/config.json",
            {"latent_channels": 6},
            "takes 4 channels, and a HunyuanVideoPipeline over latents of 6",
        ),
        ("latent_concat", "vae/config.json", {"latent_channels": 8}, "takes 9 channels, .* of 8 gives it 17"),
    ],
)
def test_unfit_folders_are_refused_in_a_sentence(
    folders: dict[str | None, Path], tmp_path: Path, kind: str | None, file: str, changes: dict[str, Any], sentence: str
) -> None:
    copy = Path(shutil.copytree(folders[kind], tmp_path / "copy"))
    path = copy / file
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(InputError, match=sentence) as error:
        load(copy)
    assert "\n" not in str(error.value)


def test_clips_and_images_of_another_size_or_none_are_refused(folders: dict[str | None, Path]) -> None:
    family = load(folders["latent_concat"])
    with pytest.raises(InputError, match="every prompt needs a first-frame image"):
        family.encode_condition(["a cat"], None, seeded())
    with pytest.raises(InputError, match="first-frame images have the shape"):
        family.encode_condition(PROMPTS, torch.zeros(1, 16, 16, 3), seeded())
    with pytest.raises(InputError, match="clips have frames x height x width"):
        family.encode_video(torch.zeros(1, 5, 16, 16, 3))
    assert load(folders[None]).encode_image(None, 2, seeded()) == {}
