"""Wan 2.1 against diffusers' own pipelines: what they feed their network, how they normalise, what they load again."""

from __future__ import annotations

import json
import math
import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKLWan,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    UniPCMultistepScheduler,
    WanTransformer3DModel,
)
from diffusers.pipelines.wan.pipeline_wan import prompt_clean
from peft import LoraConfig
from PIL import Image
from transformers import CLIPVisionModel

from rewardbench.align.families.base import ClipShape
from rewardbench.align.families.wan import WanFamily, clean_prompt
from rewardbench.align.losses import preference_loss, sample_error
from rewardbench.align.noise import Time, add_noise, shifted, split_velocity
from rewardbench.errors import InputError

TINY = runpy.run_path(str(Path(__file__).with_name("tiny.py")))
KINDS = ("t2v", "i2v")
PROMPTS = ["A  cat &amp;amp; a dog\n run.", ""]
CLIP = ClipShape(9, 32, 48, 16.0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("wan")
    return {kind: TINY["tiny_wan"](root / kind, kind) for kind in KINDS}


@pytest.fixture(params=KINDS)
def folder(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Path:
    return folders[request.param]


def load(folder: Path, clip: ClipShape = CLIP, dtype: torch.dtype = torch.float32, **options: str) -> WanFamily:
    return WanFamily.load(str(folder), device="cpu", dtype=dtype, clip=clip, options=options)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(n: int, clip: ClipShape = CLIP) -> list[Image.Image]:
    pixels = torch.randint(0, 256, (n, clip.height, clip.width, 3), generator=seeded(1), dtype=torch.uint8)
    return [Image.fromarray(image.numpy()) for image in pixels]


def as_pixels(images: list[Image.Image]) -> torch.Tensor:
    size = images[0].size[::-1]
    return torch.stack([torch.tensor(list(i.tobytes())).reshape(*size, 3) / 127.5 - 1.0 for i in images])


def clips(n: int = 2) -> torch.Tensor:
    return torch.rand((n, CLIP.frames, CLIP.height, CLIP.width, 3), generator=seeded(1)) * 2 - 1


def condition_of(family: WanFamily, prompts: list[str] = PROMPTS) -> dict[str, torch.Tensor]:
    images = as_pixels(pictures(len(prompts), family.clip)) if family.needs_image else None
    return family.encode_text(prompts) | family.encode_image(images, len(prompts), seeded())


def feed_both(family: WanFamily, pipeline: Any, prompts: list[str]) -> list[tuple[Any, Any]]:
    """((our inputs, our answer), (the pipeline's inputs, its answer)) at every step of three."""
    latents = torch.randn(len(prompts), *family.latent_shape, generator=seeded(2))
    arguments = {"image": pictures(1, family.clip)[0]} if family.needs_image else {}
    calls = TINY["transformer_calls"](
        pipeline,
        prompt=prompts,
        height=family.clip.height,
        width=family.clip.width,
        num_frames=family.clip.frames,
        num_inference_steps=3,
        latents=latents.clone(),
        **arguments,
    )
    listener = TINY["Listener"](family.transformer)
    condition = condition_of(family, prompts)
    pairs = []
    for step, (given, answer) in enumerate(calls):
        x_t = latents if step == 0 else given["hidden_states"][:, : family.latent_shape[0]].float()
        t = given["timestep"] / 1000
        with torch.no_grad():
            # UniPC rounds its steps to whole numbers, which is a matter of its sampling and not of the network
            mine = family.predict(listener, x_t, Time(t, given["timestep"], 1.0 - t, t), condition)
        pairs.append(((listener.given, mine), (given, answer)))
    return pairs


def assert_fed_alike(pairs: list[tuple[Any, Any]], tolerance: float = 1e-5) -> None:
    assert len(pairs) == 3
    for (ours, mine), (theirs, answer) in pairs:
        TINY["assert_same_inputs"](ours, theirs, tolerance)
        torch.testing.assert_close(mine, answer.float(), rtol=10 * tolerance, atol=tolerance)


def test_network_is_fed_what_the_pipeline_feeds_it(folder: Path) -> None:
    # the image pipeline takes one image a call
    prompts = PROMPTS if folder.name == "t2v" else PROMPTS[:1]
    assert_fed_alike(feed_both(load(folder), DiffusionPipeline.from_pretrained(folder), prompts))


def test_half_precision_reaches_the_network_as_the_pipelines(folder: Path) -> None:
    family = load(folder, ClipShape(13, 48, 32, 16.0), torch.bfloat16)
    pipeline = DiffusionPipeline.from_pretrained(folder, dtype=torch.bfloat16)
    # as its publishers run it
    pipeline.register_modules(vae=AutoencoderKLWan.from_pretrained(folder, subfolder="vae"))
    if family.needs_image:
        pipeline.register_modules(image_encoder=CLIPVisionModel.from_pretrained(folder, subfolder="image_encoder"))
    assert pipeline.text_encoder.dtype == torch.bfloat16
    assert_fed_alike(feed_both(family, pipeline, PROMPTS[:1]), tolerance=1e-6)


def test_sensitive_parts_stay_in_float32(folders: dict[str, Path]) -> None:
    family = load(folders["i2v"], dtype=torch.bfloat16)
    kinds = {name: p.dtype for name, p in family.transformer.named_parameters()}
    kept = ("time_embedder", "scale_shift_table", "norm1", "norm2", "norm3")
    assert any("time_embedder" in name for name in kinds)
    for name, dtype in kinds.items():
        assert dtype == (torch.float32 if any(part in name for part in kept) else torch.bfloat16), name
    assert family.transformer.rope.freqs_cos.dtype != torch.bfloat16
    assert family.encode_text(PROMPTS)["text"].dtype == torch.bfloat16
    condition = condition_of(family)
    assert condition["image"].dtype == condition["image_tokens"].dtype == torch.float32
    assert family.encode_video(clips()).dtype == torch.float32


def test_network_that_was_cast_for_full_training_is_fed_its_own_dtype(folder: Path) -> None:
    family = load(folder, dtype=torch.bfloat16)
    condition = condition_of(family)
    family.transformer.float()
    listener = TINY["Listener"](family.transformer)
    x_t = torch.randn(2, *family.latent_shape, generator=seeded())
    velocity = family.predict(listener, x_t, family.schedule.at(torch.tensor([0.2, 0.7])), condition)
    assert torch.equal(listener.given["hidden_states"][:, : family.latent_shape[0]], x_t)
    assert velocity.dtype == torch.float32


def test_time_reaches_the_network_as_a_thousand_t(folders: dict[str, Path]) -> None:
    family = load(folders["t2v"])
    listener = TINY["Listener"](family.transformer)
    time = family.schedule.at(torch.tensor([0.25, 0.5004]))
    family.predict(listener, torch.zeros(2, *family.latent_shape), time, condition_of(family))
    torch.testing.assert_close(listener.given["timestep"], torch.tensor([250.0, 500.4]))


def test_text_is_the_pipelines_with_zeros_after_its_end(folder: Path) -> None:
    pipeline = DiffusionPipeline.from_pretrained(folder)
    theirs, _ = pipeline.encode_prompt(PROMPTS, do_classifier_free_guidance=False, max_sequence_length=512)
    mine = load(folder).encode_text(PROMPTS)["text"]
    assert mine.shape == (2, 512, 16)
    torch.testing.assert_close(mine, theirs)
    lengths = (mine != 0).any(-1).sum(1).tolist()
    # "A cat & a dog run." letter by letter with marks of spaces, and the end of the text; only the end
    assert lengths == [len(pipeline.tokenizer("A cat & a dog run.").input_ids), 1]


@pytest.mark.parametrize(
    "text",
    [
        "  two\t spaces\n",
        "fish &amp;amp; chips &lt;b&gt;",
        "<b> &amp;amp; <i>",
        "sch\u00c3\u00b6n",
        "\u201cquoted\u201d",
        "",
        "\ufb01n\u00a0e",
    ],
)
def test_prompts_are_cleaned_as_the_pipeline_cleans_them(text: str) -> None:
    assert clean_prompt(text) == prompt_clean(text)


def test_latents_are_normalised_per_channel_with_the_vaes_numbers(folder: Path) -> None:
    family, vae = load(folder), DiffusionPipeline.from_pretrained(folder).vae
    pixels = clips()
    mean = vae.encode(pixels.permute(0, 4, 1, 2, 3)).latent_dist.mean
    latents = family.encode_video(pixels)
    assert latents.shape == (2, *family.latent_shape) == (2, 4, 3, 4, 6)
    for channel, (middle, spread) in enumerate(zip((-0.3, -0.1, 0.1, 0.4), (0.5, 0.8, 1.2, 2.0), strict=True)):
        torch.testing.assert_close(latents[:, channel], (mean[:, channel] - middle) / spread)


def test_clips_are_decoded_as_the_pipeline_decodes_what_it_sampled(folders: dict[str, Path]) -> None:
    family = load(folders["t2v"])
    pipeline = DiffusionPipeline.from_pretrained(folders["t2v"])
    pipeline.set_progress_bar_config(disable=True)
    latents = torch.randn(2, *family.latent_shape, generator=seeded(3))
    arguments: dict[str, Any] = {"height": 32, "width": 48, "num_frames": 9, "num_inference_steps": 2}
    arguments |= {"prompt": PROMPTS, "guidance_scale": 1.0, "latents": latents}
    sampled = pipeline(output_type="latent", **arguments).frames
    theirs = pipeline(output_type="pt", **arguments).frames
    mine = family.decode_latents(sampled)
    assert mine.shape == (2, 9, 32, 48, 3)
    torch.testing.assert_close((mine + 1) / 2, theirs.permute(0, 1, 3, 4, 2), rtol=1e-4, atol=1e-5)


def test_image_condition_is_the_pipelines(folders: dict[str, Path]) -> None:
    family, pipeline = load(folders["i2v"]), DiffusionPipeline.from_pretrained(folders["i2v"])
    images = pictures(2)
    mine = family.encode_image(as_pixels(images), 2, seeded())
    tokens = pipeline.encode_image(images)
    torch.testing.assert_close(mine["image_tokens"], tokens, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(tokens[0], tokens[1])
    for i, image in enumerate(images):
        pixels = pipeline.video_processor.preprocess(image, height=32, width=48)
        _, theirs = pipeline.prepare_latents(pixels, 1, 4, 32, 48, 9, torch.float32, torch.device("cpu"), seeded())
        assert theirs.shape == (1, 8, 3, 4, 6)
        torch.testing.assert_close(mine["image"][i], theirs[0, 4:], rtol=1e-4, atol=1e-5)
    assert load(folders["t2v"]).encode_image(None, 2, seeded()) == {}


def test_image_condition_does_not_depend_on_the_batch(folders: dict[str, Path]) -> None:
    family = load(folders["i2v"])
    images = as_pixels(pictures(2))
    together = family.encode_image(images, 2, seeded())
    second = family.encode_image(images[1:], 1, seeded(7))
    for name in ("image", "image_tokens"):
        torch.testing.assert_close(together[name][1:], second[name])


def test_velocity_means_what_the_schedulers_take_it_for(folders: dict[str, Path]) -> None:
    schedule = load(folders["t2v"]).schedule
    x_t, velocity = torch.randn(2, 1, 4, 3, 2, 2, generator=seeded(4))
    unipc = UniPCMultistepScheduler.from_pretrained(folders["t2v"], subfolder="scheduler")
    unipc.set_timesteps(5)
    euler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    euler.set_timesteps(5)
    for index, step in enumerate(euler.timesteps):
        now, following = euler.sigmas[index : index + 1], float(euler.sigmas[index + 1])
        x0, eps = split_velocity(velocity, x_t, schedule.at(now), schedule.kind)
        theirs = euler.step(velocity, step, x_t).prev_sample
        torch.testing.assert_close((1.0 - following) * x0 + following * eps, theirs, rtol=1e-5, atol=1e-6)
    for index in range(5):
        unipc._step_index = index
        x0, _ = split_velocity(velocity, x_t, schedule.at(unipc.sigmas[index : index + 1]), schedule.kind)
        torch.testing.assert_close(x0, unipc.convert_model_output(velocity, sample=x_t), rtol=1e-5, atol=1e-6)


def test_sampling_steps_are_shifted_as_the_checkpoint_says(folders: dict[str, Path], tmp_path: Path) -> None:
    schedule = load(folders["t2v"]).schedule
    assert (schedule.shift, schedule.scale) == (3.0, 1000.0)
    unipc = UniPCMultistepScheduler.from_pretrained(folders["t2v"], subfolder="scheduler")
    unipc.set_timesteps(4)
    # UniPC starts a thousandth short of noise
    unshifted = torch.linspace(1.0, 0.001, 5).flip(0)[1:].flip(0)
    torch.testing.assert_close(shifted(unshifted, schedule.shift), unipc.sigmas[:4], rtol=2e-3, atol=2e-3)
    folder = Path(shutil.copytree(folders["t2v"], tmp_path / "euler"))
    FlowMatchEulerDiscreteScheduler(shift=5.0).save_pretrained(folder / "scheduler")
    index = json.loads((folder / "model_index.json").read_text())
    index["scheduler"] = ["diffusers", "FlowMatchEulerDiscreteScheduler"]
    (folder / "model_index.json").write_text(json.dumps(index))
    assert load(folder).schedule.shift == 5.0


def test_loss_of_a_new_adapter_is_exactly_ln_2_and_reaches_every_adapted_layer(folder: Path) -> None:
    family = load(folder)
    network = family.transformer
    assert not any(p.requires_grad for p in network.parameters())
    network.add_adapter(LoraConfig(r=2, target_modules=list(family.adapter_targets)))
    x0 = torch.randn(2, *family.latent_shape, generator=seeded(8))
    eps = torch.randn(1, *family.latent_shape, generator=seeded(9)).expand_as(x0)
    time = family.schedule.at(torch.tensor([0.6, 0.6]))
    x_t, target, condition = add_noise(x0, eps, time), family.schedule.target(x0, eps, time), condition_of(family)
    network.disable_adapters()
    with torch.no_grad():
        reference = sample_error(family.predict(network, x_t, time, condition), target)
    network.enable_adapters()
    policy = sample_error(family.predict(network, x_t, time, condition), target)
    loss = preference_loss(policy[0], policy[1], reference[0], reference[1], beta=5000.0).loss
    assert torch.equal(loss.detach(), torch.tensor(math.log(2.0), dtype=loss.dtype))
    loss.backward()
    gradients = {name: p.grad for name, p in network.named_parameters() if p.requires_grad}
    second = [grad for name, grad in gradients.items() if "lora_B" in name]
    assert len(second) == 8 * len(family.blocks(network)) == 16
    assert all(grad is not None and bool(grad.abs().sum() > 0) for grad in second)


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
        pipeline = DiffusionPipeline.from_pretrained(folder)
        pipeline.load_lora_weights(tmp_path / "adapter")
        again = family.predict(pipeline.transformer, x_t, time, condition)
    assert not torch.allclose(plain, adapted, atol=1e-3)
    torch.testing.assert_close(again, adapted, rtol=1e-6, atol=1e-7)


def test_whole_network_comes_back_through_from_pretrained(folder: Path, tmp_path: Path) -> None:
    family = load(folder)
    with torch.no_grad():
        family.transformer.proj_out.weight.add_(0.125)
    again = WanTransformer3DModel.from_pretrained(family.save_full(tmp_path / "full"))
    ours, theirs = family.transformer.state_dict(), again.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_fingerprint_is_of_encoders_and_sizes_and_not_of_the_network(folders: dict[str, Path], tmp_path: Path) -> None:
    def copy(name: str) -> Path:
        return Path(shutil.copytree(folders["i2v"], tmp_path / name))

    def spoil(file: Path) -> None:
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(bytes(data))

    first = load(folders["i2v"]).fingerprint()
    assert load(copy("same")).fingerprint() == first
    network = copy("network")
    spoil(network / "transformer" / "diffusion_pytorch_model.safetensors")
    assert load(network).fingerprint() == first
    others = [
        load(folders["i2v"], ClipShape(13, 32, 48, 16.0)).fingerprint(),
        load(folders["i2v"], dtype=torch.bfloat16).fingerprint(),
        load(folders["i2v"], vae_tiling="on").fingerprint(),
    ]
    for part, file in (("vae", "diffusion_pytorch_model"), ("text_encoder", "model"), ("image_encoder", "model")):
        changed = copy(part)
        spoil(changed / part / f"{file}.safetensors")
        others.append(load(changed).fingerprint())
    assert len({first, *others}) == 7


def test_usual_clip_is_81_frames_of_480_x_832(folders: dict[str, Path]) -> None:
    family = WanFamily.load(str(folders["t2v"]), device="cpu", dtype=torch.float32, clip=None, options={})
    assert family.clip == ClipShape(81, 480, 832, 16.0)
    assert family.latent_shape == (4, 21, 60, 104)


@pytest.mark.parametrize(
    ("clip", "sentence"),
    [
        (ClipShape(10, 32, 48, 16.0), r"clips of 4n \+ 1 frames, not of 10"),
        (ClipShape(9, 24, 48, 16.0), "a multiple of 16 pixels high, not 24"),
        (ClipShape(9, 32, 40, 16.0), "a multiple of 16 pixels wide, not 40"),
        (ClipShape(9, 0, 48, 16.0), "a multiple of 16 pixels high, not 0"),
    ],
)
def test_sizes_it_cannot_make_are_refused(folders: dict[str, Path], clip: ClipShape, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        load(folders["t2v"], clip)


def test_folders_of_others_and_other_wans_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    def refused(folder: Path, sentence: str) -> None:
        with pytest.raises(InputError, match=sentence) as error:
            load(folder)
        assert "\n" not in str(error.value)

    def indexed(name: str, **changes: Any) -> Path:
        folder = Path(shutil.copytree(folders["t2v"], tmp_path / name))
        path = folder / "model_index.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
        return folder

    refused(TINY["tiny_cogvideox"](tmp_path / "cogvideox", "t2v"), "holds a CogVideoXPipeline, where one of Wan")
    refused(indexed("two networks", transformer_2=["diffusers", "WanTransformer3DModel"]), "is a Wan 2.2")
    refused(indexed("ti2v", expand_timesteps=True), "is a Wan 2.2")
    refused(indexed("foreign", vae=["someones_code", "VAE"]), "vae of this pipeline is a someones_code.VAE")
    refused(indexed("future", vae=["diffusers", "AutoencoderKLWan9"]), "which the installed diffusers does not have")
    refused(indexed("image", _class_name="WanImageToVideoPipeline"), "lacks image_encoder/")
    refused(TINY["tiny_wan"](tmp_path / "eps", scheduler={"prediction_type": "epsilon"}), "predicts epsilon")
    refused(TINY["tiny_wan"](tmp_path / "control", transformer={"in_channels": 8}), "takes 8 channels")
    two_images = {"pos_embed_seq_len": 2 * 5}
    refused(TINY["tiny_wan"](tmp_path / "flf", "i2v", transformer=two_images), "needs a last frame")
    spoilt = indexed("spoilt")
    (spoilt / "model_index.json").write_text("{")
    refused(spoilt, "is not a pipeline that diffusers wrote: model_index.json")


def test_what_is_encoded_has_the_generators_size(folders: dict[str, Path]) -> None:
    family = load(folders["i2v"])
    with pytest.raises(InputError, match="needs a first-frame image"):
        family.encode_image(None, 2, seeded())
    with pytest.raises(InputError, match=r"shape \(1, 32, 48, 3\), where the generator needs \(2, 32, 48, 3\)"):
        family.encode_image(as_pixels(pictures(1)), 2, seeded())
    with pytest.raises(InputError, match=r"\(5, 32, 48, 3\), where the generator's are \(9, 32, 48, 3\)"):
        family.encode_video(clips()[:, :5])
