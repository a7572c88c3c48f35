"""LTX-Video against diffusers' own pipelines: what they feed their network, how they scale, sample and load again."""

from __future__ import annotations

import inspect
import json
import math
import re
import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline, LTXPipeline, LTXVideoTransformer3DModel
from peft import LoraConfig

from rewardbench.align.families.base import ClipShape
from rewardbench.align.families.ltx import LTXFamily
from rewardbench.align.losses import preference_loss, sample_error
from rewardbench.align.noise import add_noise
from rewardbench.align.sampling import SamplingSettings, noise, sample
from rewardbench.errors import InputError

TINY = runpy.run_path(str(Path(__file__).with_name("tiny.py")))
TINY_LTX = runpy.run_path(str(Path(__file__).with_name("tiny_ltx.py")))
VARIANTS = ("t2v", "i2v")
PROMPTS = ["a cat runs over the snow", ""]
CLIP = ClipShape(TINY_LTX["FRAMES"], TINY_LTX["SIDE"], TINY_LTX["SIDE"], TINY_LTX["FPS"])
WIDE = ClipShape(5, 32, 64, 12.0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("ltx")
    return {variant: TINY_LTX["save_tiny_ltx"](root / variant, image=variant == "i2v") for variant in VARIANTS}


@pytest.fixture(params=VARIANTS)
def folder(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Path:
    return folders[request.param]


def load(folder: Path, clip: ClipShape | None = CLIP, dtype: torch.dtype = torch.float32, **options: str) -> LTXFamily:
    return LTXFamily.load(str(folder), device="cpu", dtype=dtype, clip=clip, options=options)


def pipeline_of(folder: Path) -> Any:
    pipeline = DiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clips(family: LTXFamily, n: int = 2) -> torch.Tensor:
    shape = (n, family.clip.frames, family.clip.height, family.clip.width, 3)
    return torch.rand(shape, generator=seeded(1)) * 2 - 1


def condition_of(family: LTXFamily, seed: int = 0) -> dict[str, torch.Tensor]:
    images = clips(family)[:, 0] if family.needs_image else None
    return family.encode_condition(PROMPTS, images, seeded(seed))


def arguments_of(family: LTXFamily) -> dict[str, Any]:
    image = {"image": clips(family)[:, 0].permute(0, 3, 1, 2)} if family.needs_image else {}
    size = {"height": family.clip.height, "width": family.clip.width, "num_frames": family.clip.frames}
    return {"prompt": PROMPTS, "frame_rate": family.clip.fps, **size, **image}


def unpacked(tokens: torch.Tensor, family: LTXFamily) -> torch.Tensor:
    latents: torch.Tensor = LTXPipeline._unpack_latents(tokens, *family.latent_shape[1:])
    return latents


@pytest.mark.parametrize("clip", [CLIP, WIDE])
def test_network_is_fed_what_the_pipeline_feeds_it(folder: Path, clip: ClipShape) -> None:
    family = load(folder, clip)
    calls = TINY["transformer_calls"](
        pipeline_of(folder), num_inference_steps=3, generator=seeded(2), **arguments_of(family)
    )
    condition = condition_of(family, 2)
    listener = TINY["Listener"](family.transformer)
    assert len(calls) == 3
    for given, answer in calls:
        x_t = unpacked(given["hidden_states"], family).clone()
        if family.needs_image:
            x_t[:, :, 0] = 99.0  # what stands in the first frame must not matter
        time = family.schedule.at(given["timestep"].reshape(2, -1).amax(1) / 1000)
        with torch.no_grad():
            mine = family.predict(listener, x_t, time, condition)
        TINY["assert_same_inputs"](listener.given, given)
        torch.testing.assert_close(mine, unpacked(answer, family), rtol=1e-4, atol=1e-5)


def test_half_precision_is_fed_what_the_pipeline_feeds_in_half_precision(folder: Path) -> None:
    family = load(folder, dtype=torch.bfloat16)
    pipeline = DiffusionPipeline.from_pretrained(folder, torch_dtype=torch.bfloat16)
    given, _ = TINY["transformer_calls"](pipeline, num_inference_steps=2, generator=seeded(2), **arguments_of(family))[
        0
    ]
    listener = TINY["Listener"](family.transformer)
    x_t = unpacked(given["hidden_states"], family).float()
    with torch.no_grad():
        mine = family.predict(listener, x_t, family.schedule.at(torch.ones(2)), condition_of(family, 2))
    TINY["assert_same_inputs"](listener.given, given)
    assert mine.dtype == torch.float32


def test_time_is_per_token_for_images_and_zero_in_the_first_frame(folders: dict[str, Path]) -> None:
    times = {}
    for variant in VARIANTS:
        family = load(folders[variant])
        listener = TINY["Listener"](family.transformer)
        x_t = torch.randn(2, *family.latent_shape, generator=seeded())
        with torch.no_grad():
            family.predict(listener, x_t, family.schedule.at(torch.tensor([0.25, 1.0])), condition_of(family))
        times[variant] = listener.given["timestep"]
    assert times["t2v"].tolist() == [250.0, 1000.0]
    assert times["i2v"].shape == (2, 3 * 64)
    assert not times["i2v"][:, :64].any()
    assert torch.equal(times["i2v"][:, 64:], torch.tensor([[250.0], [1000.0]]).expand(2, 128))


def test_sampling_ends_where_the_pipeline_ends(folder: Path) -> None:
    family, pipeline = load(folder), pipeline_of(folder)
    condition = condition_of(family)
    start = family.prepare_latents(noise(family.latent_shape, [3, 4]), condition)
    settings = SamplingSettings(steps=4)
    mine = sample(family, condition, {}, [3, 4], settings)
    packed = LTXPipeline._pack_latents(start)
    theirs = pipeline(
        latents=packed, num_inference_steps=4, guidance_scale=1.0, output_type="latent", **arguments_of(family)
    ).frames
    torch.testing.assert_close(mine, unpacked(theirs, family), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "scheduler",
    [
        None,
        {"use_dynamic_shifting": True},
        {"use_dynamic_shifting": True, "time_shift_type": "linear", "shift_terminal": 0.05},
        {"shift": 3.0},
        {"shift": 3.0, "shift_terminal": 0.2},
    ],
)
@pytest.mark.parametrize("clip", [CLIP, WIDE])
def test_sampling_times_are_the_pipelines(tmp_path: Path, scheduler: dict[str, Any] | None, clip: ClipShape) -> None:
    folder = TINY_LTX["save_tiny_ltx"](tmp_path / "ltx", scheduler=scheduler)
    family, pipeline = load(folder, clip), pipeline_of(folder)
    for steps in (2, 7):
        pipeline(num_inference_steps=steps, guidance_scale=1.0, output_type="latent", **arguments_of(family))
        torch.testing.assert_close(family.schedule.steps(steps), pipeline.scheduler.sigmas, rtol=1e-5, atol=1e-6)


def test_a_single_step_starts_at_noise(folders: dict[str, Path]) -> None:
    assert load(folders["t2v"]).schedule.steps(1).tolist() == [1.0, 0.0]


def test_text_is_the_pipelines(folder: Path) -> None:
    theirs, mask, _, _ = pipeline_of(folder).encode_prompt(PROMPTS, do_classifier_free_guidance=False)
    mine = load(folder).encode_text(PROMPTS)
    assert mine["text"].shape == (2, 128, 16)
    torch.testing.assert_close(mine["text"], theirs)
    assert torch.equal(mine["text_mask"], mask)
    assert mine["text_mask"].sum(1).tolist() == [7, 1]


def test_latents_are_normalised_per_channel_and_scaled(folder: Path) -> None:
    family, pipeline = load(folder), pipeline_of(folder)
    pixels = clips(family)
    mean = pipeline.vae.encode(pixels.permute(0, 4, 1, 2, 3)).latent_dist.mean
    theirs = pipeline._normalize_latents(
        mean, pipeline.vae.latents_mean, pipeline.vae.latents_std, pipeline.vae.config.scaling_factor
    )
    mine = family.encode_video(pixels)
    assert mine.shape == (2, *family.latent_shape) == (2, *TINY_LTX["LATENT"])
    assert mine.dtype == torch.float32
    torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("told", [None, "0", "0.05"])
def test_clips_are_decoded_as_the_pipeline_decodes_what_it_sampled(tmp_path: Path, told: str | None) -> None:
    folder = TINY_LTX["save_tiny_ltx"](tmp_path / "ltx", timestep_conditioning=told is not None)
    family, pipeline = load(folder, **({"decode_timestep": told} if told else {})), pipeline_of(folder)
    given = {**arguments_of(family), "num_inference_steps": 2, "guidance_scale": 1.0}
    if told:
        given |= {"decode_timestep": float(told), "decode_noise_scale": 0.0}
    latents = pipeline(generator=seeded(), output_type="latent", **given).frames
    theirs = pipeline(generator=seeded(), output_type="pt", **given).frames
    mine = family.decode_latents(unpacked(latents, family))
    assert mine.shape == (2, CLIP.frames, CLIP.height, CLIP.width, 3)
    assert float(mine.abs().max()) <= 1.0
    torch.testing.assert_close((mine + 1) / 2, theirs.permute(0, 1, 3, 4, 2), rtol=1e-4, atol=1e-5)


def test_decoder_hears_the_time_it_is_told(tmp_path: Path) -> None:
    folder = TINY_LTX["save_tiny_ltx"](tmp_path / "ltx", timestep_conditioning=True)
    latents = torch.randn(1, *TINY_LTX["LATENT"], generator=seeded())
    early, late = (load(folder, decode_timestep=told).decode_latents(latents) for told in ("0", "0.9"))
    assert not torch.allclose(early, late, atol=1e-4)


def test_image_latents_are_the_pipelines_from_the_same_generator(folders: dict[str, Path]) -> None:
    family, pipeline = load(folders["i2v"]), pipeline_of(folders["i2v"])
    images = clips(family)[:, 0]
    size = (CLIP.height, CLIP.width, CLIP.frames)
    latents, given = pipeline.prepare_latents(
        images.permute(0, 3, 1, 2), 2, 8, *size, torch.float32, torch.device("cpu"), seeded(5)
    )
    condition = family.encode_image(images, 2, seeded(5))
    torch.testing.assert_close(condition["image"], unpacked(latents, family)[:, :, 0])
    assert not torch.allclose(condition["image"], family.encode_image(images, 2, seeded(6))["image"])
    mask = family.loss_mask(condition)
    assert mask is not None
    frames = unpacked(1 - given.unsqueeze(-1), family)
    assert torch.equal(mask.expand_as(frames), frames)


def test_known_first_frame_is_put_in_and_nothing_else_is_changed(folders: dict[str, Path]) -> None:
    family = load(folders["i2v"])
    condition = condition_of(family)
    x_t = torch.randn(2, *family.latent_shape, generator=seeded())
    ready = family.prepare_latents(x_t, condition)
    assert torch.equal(ready[:, :, 0], condition["image"])
    assert torch.equal(ready[:, :, 1:], x_t[:, :, 1:])
    assert torch.equal(family.prepare_latents(ready, condition), ready)
    plain = load(folders["t2v"])
    assert torch.equal(plain.prepare_latents(x_t, {}), x_t)
    assert plain.loss_mask({}) is None


def test_either_folder_does_both_tasks(folders: dict[str, Path]) -> None:
    text, image = load(folders["i2v"], image_to_video="off"), load(folders["t2v"], image_to_video="on")
    assert (text.needs_image, image.needs_image) == (False, True)
    x_t, time = torch.randn(2, *text.latent_shape, generator=seeded()), text.schedule.at(torch.tensor([0.3, 0.8]))
    for other, variant in ((text, "t2v"), (image, "i2v")):
        usual = load(folders[variant])
        with torch.no_grad():
            mine = other.predict(other.transformer, x_t, time, condition_of(other))
            theirs = usual.predict(usual.transformer, x_t, time, condition_of(usual))
        assert torch.equal(mine, theirs)


def losses_of(family: LTXFamily, network: Any, first: float = 0.0) -> torch.Tensor:
    """Errors of two clips under the same noise; ``first`` is added to the first latent frame of both."""
    x0 = torch.randn(2, *family.latent_shape, generator=seeded(8))
    x0[:, :, 0] += first
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
    second = [p.grad for name, p in network.named_parameters() if "lora_B" in name]
    # two blocks with self- and cross-attention of four projections each
    assert len(second) == 4 * 2 * len(family.blocks(network)) == 16
    assert all(grad is not None and bool(grad.abs().sum() > 0) for grad in second)


def test_first_frame_counts_in_the_loss_only_where_it_is_generated(folder: Path) -> None:
    family = load(folder)
    with torch.no_grad():
        equal = torch.equal(losses_of(family, family.transformer), losses_of(family, family.transformer, first=3.0))
    assert equal == family.needs_image


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
    again = LTXVideoTransformer3DModel.from_pretrained(family.save_full(tmp_path / "full"))
    ours, theirs = family.transformer.state_dict(), again.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_fingerprint_is_of_encoders_and_sizes_and_not_of_the_network(folders: dict[str, Path], tmp_path: Path) -> None:
    def spoilt(part: str, file: str) -> Path:
        copy = Path(shutil.copytree(folders["i2v"], tmp_path / part))
        data = bytearray((copy / part / f"{file}.safetensors").read_bytes())
        data[-1] ^= 1
        (copy / part / f"{file}.safetensors").write_bytes(bytes(data))
        return copy

    first = load(folders["i2v"]).fingerprint()
    assert load(spoilt("transformer", "diffusion_pytorch_model")).fingerprint() == first
    others = [
        load(spoilt("vae", "diffusion_pytorch_model")).fingerprint(),
        load(spoilt("text_encoder", "model")).fingerprint(),
        load(folders["i2v"], WIDE).fingerprint(),
        load(folders["i2v"], vae_tiling="on").fingerprint(),
        load(folders["i2v"], image_to_video="off").fingerprint(),
    ]
    assert len({first, *others}) == 6


def test_description_says_what_decides_a_run(folders: dict[str, Path]) -> None:
    said = load(folders["i2v"]).describe()
    # 192 tokens on the line from (64, 0.95) to (256, 2.05)
    assert said["sampling_shift"] == pytest.approx(math.exp(0.95 + 1.1 * (192 - 64) / (256 - 64)))
    assert said["sampling_terminal"] == 0.1
    assert said["scaling_factor"] == TINY_LTX["SCALING"]
    assert said["needs_image"] is True
    assert said["fps"] == CLIP.fps
    assert json.loads(json.dumps(said)) == said


def test_usual_clip_is_the_pipelines(tmp_path: Path) -> None:
    usual = inspect.signature(LTXPipeline.__call__).parameters
    sizes = [usual[name].default for name in ("num_frames", "height", "width", "frame_rate")]
    assert load(TINY_LTX["save_tiny_ltx"](tmp_path / "ltx", scheduler={}), None).clip == ClipShape(*sizes)


@pytest.mark.parametrize(
    ("clip", "options", "sentence"),
    [
        (ClipShape(8, 32, 32, 8.0), {}, "ltx makes clips of 4n + 1 frames, not of 8"),
        (ClipShape(9, 30, 32, 8.0), {}, "ltx makes clips a multiple of 4 pixels high, not 30"),
        (CLIP, {"guidance": "3"}, "the ltx family has no option guidance"),
        (CLIP, {"image_to_video": "yes"}, "option image_to_video is on or off, not 'yes'"),
        (CLIP, {"decode_timestep": "2"}, "option decode_timestep is a number from 0 to 1, not '2'"),
        (CLIP, {"decode_timestep": "soon"}, "option decode_timestep is a number from 0 to 1, not 'soon'"),
    ],
)
def test_wrong_choices_are_refused_in_a_sentence(
    folders: dict[str, Path], clip: ClipShape, options: dict[str, str], sentence: str
) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        load(folders["t2v"], clip, **options)


def rewritten(folder: Path, copy: Path, file: str, **changes: Any) -> Path:
    shutil.copytree(folder, copy)
    path = copy / file
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return copy


@pytest.mark.parametrize(
    ("file", "changes", "sentence"),
    [
        ("model_index.json", {"_class_name": "LTXConditionPipeline"}, "holds a LTXConditionPipeline, where one of"),
        ("model_index.json", {"vae": [None, None]}, "lacks vae/, which a LTXPipeline needs"),
        ("transformer/config.json", {"in_channels": 16}, "transformer of .* cannot be loaded"),
        (
            "scheduler/scheduler_config.json",
            {"use_karras_sigmas": True},
            "has use_karras_sigmas, which is not supported",
        ),
        ("scheduler/scheduler_config.json", {"_class_name": "UniPCMultistepScheduler"}, "is a UniPCMultistepScheduler"),
    ],
)
def test_unfit_folders_are_refused_in_a_sentence(
    folders: dict[str, Path], tmp_path: Path, file: str, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        load(rewritten(folders["t2v"], tmp_path / "copy", file, **changes))


def test_network_of_other_latents_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["t2v"], tmp_path / "copy"))
    config = json.loads((folder / "transformer" / "config.json").read_text())
    LTXVideoTransformer3DModel.from_config({**config, "in_channels": 16}).save_pretrained(folder / "transformer")
    with pytest.raises(InputError, match="takes 16 channels, and its VAE's latents have 8"):
        load(folder)


def test_clips_and_images_of_another_size_or_none_are_refused(folders: dict[str, Path]) -> None:
    family = load(folders["i2v"])
    with pytest.raises(InputError, match="every prompt needs a first-frame image"):
        family.encode_image(None, 1, seeded())
    with pytest.raises(InputError, match="first-frame images have the shape"):
        family.encode_image(torch.zeros(1, 16, 32, 3), 1, seeded())
    with pytest.raises(InputError, match="clips have frames x height x width"):
        family.encode_video(torch.zeros(1, 5, 32, 32, 3))
    assert load(folders["t2v"]).encode_image(None, 2, seeded()) == {}
