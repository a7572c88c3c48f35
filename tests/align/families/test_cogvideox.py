"""CogVideoX against diffusers' own pipelines: what they feed their network, how they scale, what they load again."""

from __future__ import annotations

import math
import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import CogVideoXDDIMScheduler, CogVideoXTransformer3DModel, DiffusionPipeline
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from peft import LoraConfig

from rewardbench.align.families.base import ClipShape
from rewardbench.align.families.cogvideox import CogVideoXFamily, add_image_noise
from rewardbench.align.losses import preference_loss, sample_error
from rewardbench.align.noise import add_noise, column, split_velocity
from rewardbench.errors import InputError

TINY = runpy.run_path(str(Path(__file__).with_name("tiny.py")))
VARIANTS = ("t2v 2b", "t2v 1.0", "t2v 1.5", "i2v 1.0", "i2v 1.5")
PROMPTS = ["A cat runs over snow.", ""]
CLIP = ClipShape(9, 32, 48, 8.0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("cogvideox")
    return {variant: TINY["tiny_cogvideox"](root / variant, *variant.split()) for variant in VARIANTS}


@pytest.fixture(params=VARIANTS)
def folder(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Path:
    return folders[request.param]


def load(
    folder: Path, clip: ClipShape | None = None, dtype: torch.dtype = torch.float32, **options: str
) -> CogVideoXFamily:
    return CogVideoXFamily.load(str(folder), device="cpu", dtype=dtype, clip=clip, options=options)


def pipeline_of(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    return DiffusionPipeline.from_pretrained(folder, dtype=dtype)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clips(family: CogVideoXFamily, n: int = 2) -> torch.Tensor:
    shape = (n, family.clip.frames, family.clip.height, family.clip.width, 3)
    return torch.rand(shape, generator=seeded(1)) * 2 - 1


def condition_of(family: CogVideoXFamily, n: int = 2) -> dict[str, torch.Tensor]:
    images = clips(family, n)[:, 0] if family.needs_image else None
    return family.encode_text(PROMPTS[:n]) | family.encode_image(images, n, seeded())


@pytest.fixture
def mean_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pipeline draws latents of its images; let it take their mean, as the family does."""
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mean)


def feed_both(family: CogVideoXFamily, pipeline: Any) -> list[tuple[Any, Any]]:
    """((our inputs, our answer), (the pipeline's inputs, its answer)) at every step of three."""
    latents = torch.randn(2, *family.latent_shape, generator=seeded(2))
    images = clips(family)[:, 0]
    arguments = {"image": images.permute(0, 3, 1, 2)} if family.needs_image else {}
    calls = TINY["transformer_calls"](
        pipeline,
        prompt=PROMPTS,
        height=family.clip.height,
        width=family.clip.width,
        num_frames=family.clip.frames,
        num_inference_steps=3,
        latents=latents.to(pipeline.dtype),
        **arguments,
    )
    listener = TINY["Listener"](family.transformer)
    condition = condition_of(family)
    pairs = []
    for step, (given, answer) in enumerate(calls):
        x_t = latents if step == 0 else given["hidden_states"][:, :, : family.latent_shape[1]]
        time = family.schedule.at(given["timestep"] / 999)
        with torch.no_grad():
            mine = family.predict(listener, x_t, time, condition)
        pairs.append(((listener.given, mine), (given, answer)))
    return pairs


def assert_fed_alike(pairs: list[tuple[Any, Any]], tolerance: float = 1e-5) -> None:
    assert len(pairs) == 3
    for (ours, mine), (theirs, answer) in pairs:
        TINY["assert_same_inputs"](ours, theirs, tolerance)
        torch.testing.assert_close(mine, answer.float(), rtol=10 * tolerance, atol=tolerance)


def test_network_is_fed_what_the_pipeline_feeds_it(folder: Path, mean_of_images: None) -> None:
    assert_fed_alike(feed_both(load(folder, image_noise="off"), pipeline_of(folder)))


def test_half_precision_reaches_the_network_as_the_pipelines(folders: dict[str, Path], mean_of_images: None) -> None:
    family = load(folders["i2v 1.5"], dtype=torch.bfloat16, image_noise="off")
    # convolutions of the VAE in bfloat16 do not repeat to the last bits; what is asked here is who is cast to what
    assert_fed_alike(feed_both(family, pipeline_of(folders["i2v 1.5"], torch.bfloat16)), tolerance=0.05)


def test_network_that_was_cast_for_full_training_is_fed_its_own_dtype(folders: dict[str, Path]) -> None:
    family = load(folders["i2v 1.5"], dtype=torch.bfloat16)
    condition = condition_of(family)
    family.transformer.float()
    listener = TINY["Listener"](family.transformer)
    x_t = torch.randn(2, *family.latent_shape, generator=seeded())
    velocity = family.predict(listener, x_t, family.schedule.at(torch.tensor([0.2, 0.7])), condition)
    assert torch.equal(listener.given["hidden_states"][:, :, :4], x_t)
    assert velocity.dtype == torch.float32


@pytest.mark.parametrize("variant", ["t2v 2b", "t2v 1.0"])
def test_other_sizes_get_the_pipelines_position_codes(folders: dict[str, Path], variant: str) -> None:
    family = load(folders[variant], ClipShape(17, 48, 32, 8.0))
    assert_fed_alike(feed_both(family, pipeline_of(folders[variant])))


def test_smaller_clips_of_1_5_get_a_part_of_the_largest_grid(folders: dict[str, Path]) -> None:
    family = load(folders["t2v 1.5"], ClipShape(17, 32, 32, 16.0))
    assert_fed_alike(feed_both(family, pipeline_of(folders["t2v 1.5"])))


def test_text_is_the_pipelines(folder: Path) -> None:
    theirs, _ = pipeline_of(folder).encode_prompt(PROMPTS, do_classifier_free_guidance=False)
    mine = load(folder).encode_text(PROMPTS)["text"]
    assert mine.shape == (2, 226, 16)
    torch.testing.assert_close(mine, theirs)
    assert not torch.allclose(mine[0], mine[1])


def test_latents_are_the_scaled_mean_and_1_5_repeats_the_first(folder: Path) -> None:
    family, pipeline = load(folder), pipeline_of(folder)
    pixels = clips(family)
    latents = family.encode_video(pixels)
    mean = pipeline.vae.encode(pixels.permute(0, 4, 1, 2, 3)).latent_dist.mean.permute(0, 2, 1, 3, 4) * 0.7
    assert latents.shape == (2, *family.latent_shape)
    extra = family.latent_shape[0] - mean.shape[1]
    assert extra == (1 if "1.5" in folder.name else 0)
    torch.testing.assert_close(latents[:, extra:], mean)
    if extra:
        assert torch.equal(latents[:, 0], latents[:, 1])


def test_clips_are_decoded_as_the_pipeline_decodes_what_it_sampled(folder: Path) -> None:
    family, pipeline = load(folder), pipeline_of(folder)
    latents = torch.randn(2, *family.latent_shape, generator=seeded(3)) * 3
    extra = family.latent_shape[0] - 3
    theirs = pipeline.video_processor.postprocess_video(pipeline.decode_latents(latents[:, extra:]), output_type="pt")
    mine = family.decode_latents(latents)
    assert mine.shape == (2, 9, 32, 48, 3)
    assert mine.dtype == torch.float32
    assert float(mine.abs().max()) <= 1.0
    torch.testing.assert_close((mine + 1) / 2, theirs.permute(0, 1, 3, 4, 2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", ["i2v 1.0", "i2v 1.5"])
def test_image_latents_are_the_pipelines_without_training_noise(
    folders: dict[str, Path], variant: str, mean_of_images: None
) -> None:
    family, pipeline = load(folders[variant], image_noise="off"), pipeline_of(folders[variant])
    images = clips(family)[:, 0]
    frames = 9 + 4 * (variant == "i2v 1.5")
    _, theirs = pipeline.prepare_latents(
        images.permute(0, 3, 1, 2), 2, 4, frames, 32, 48, torch.float32, torch.device("cpu"), seeded()
    )
    mine = family.encode_image(images, 2, seeded())["image"]
    assert theirs.shape == (2, *family.latent_shape)
    torch.testing.assert_close(mine, theirs[:, 0])
    assert not theirs[:, 1:].any()


def test_image_noise_follows_the_generator_and_not_the_batch(folders: dict[str, Path]) -> None:
    family = load(folders["i2v 1.0"])
    images = clips(family)[:, 0]
    together = family.encode_image(images, 2, seeded(5))["image"]
    one_generator = seeded(5)
    alone = [family.encode_image(images[i : i + 1], 1, one_generator)["image"] for i in (0, 1)]
    torch.testing.assert_close(together, torch.cat(alone))
    assert not torch.allclose(together, family.encode_image(images, 2, seeded(6))["image"])
    family.image_noise = False
    clean = family.encode_image(images, 2, seeded(5))["image"]
    assert not torch.allclose(together, clean)
    assert torch.equal(clean, load(folders["i2v 1.0"], image_noise="off").encode_image(images, 2, seeded(7))["image"])


def test_image_noise_is_log_normal_with_mean_minus_three_and_deviation_a_half() -> None:
    images = torch.zeros(800, 16, 16, 3)
    log_strength = add_image_noise(images, seeded()).flatten(1).std(1).log()
    # of 800 draws the mean is known to 0.018 and the deviation to 0.0125; four of these
    assert abs(float(log_strength.mean()) + 3.0) < 0.075
    assert abs(float(log_strength.std()) - 0.5) < 0.055


def test_noise_table_and_one_sampling_step_are_the_schedulers(folder: Path) -> None:
    scheduler = CogVideoXDDIMScheduler.from_pretrained(folder, subfolder="scheduler")
    schedule = load(folder).schedule
    torch.testing.assert_close(schedule.alphas_cumprod, scheduler.alphas_cumprod.double(), rtol=1e-6, atol=1e-9)
    assert float(schedule.alphas_cumprod[-1]) == 0.0
    scheduler.set_timesteps(4)
    assert (schedule.steps(4)[:-1] * 999).round().long().tolist() == scheduler.timesteps.tolist()
    x_t, velocity = torch.randn(2, 2, 3, 4, 2, 2, generator=seeded(4))
    for step, following in zip(scheduler.timesteps, schedule.steps(4)[1:], strict=True):
        time = schedule.at(step.repeat(2) / 999)
        assert time.native.tolist() == [int(step)] * 2
        theirs = scheduler.step(velocity, step, x_t, eta=0.0)
        x0, eps = split_velocity(velocity, x_t, time, schedule.kind)
        torch.testing.assert_close(x0, theirs.pred_original_sample.float(), rtol=1e-5, atol=1e-5)
        alpha, sigma = (1.0, 0.0) if following == 0 else (
            float(getattr(schedule.at(following.reshape(1)), name)) for name in ("alpha", "sigma")
        )  # fmt: skip
        torch.testing.assert_close(alpha * x0 + sigma * eps, theirs.prev_sample.float(), rtol=1e-4, atol=1e-5)


def test_target_is_the_velocity_of_the_scheduler(folders: dict[str, Path]) -> None:
    scheduler = CogVideoXDDIMScheduler.from_pretrained(folders["t2v 2b"], subfolder="scheduler")
    schedule = load(folders["t2v 2b"]).schedule
    steps = torch.tensor([0, 3, 500, 998, 999])
    x0, eps = torch.randn(2, 5, 3, 4, generator=seeded())
    time = schedule.at(steps / 999)
    torch.testing.assert_close(
        schedule.target(x0, eps, time), scheduler.get_velocity(x0, eps, steps), rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(add_noise(x0, eps, time), scheduler.add_noise(x0, eps, steps), rtol=1e-4, atol=1e-5)
    assert torch.equal(column(time.alpha, x0)[-1], torch.zeros(1, 1))


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
    assert len(second) == 4 * len(family.blocks(network)) == 8
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
        pipeline = pipeline_of(folder)
        pipeline.load_lora_weights(tmp_path / "adapter")
        again = family.predict(pipeline.transformer, x_t, time, condition)
    assert not torch.allclose(plain, adapted, atol=1e-3)
    torch.testing.assert_close(again, adapted, rtol=1e-6, atol=1e-7)


def test_whole_network_comes_back_through_from_pretrained(folders: dict[str, Path], tmp_path: Path) -> None:
    family = load(folders["i2v 1.5"])
    with torch.no_grad():
        family.transformer.proj_out.weight.add_(0.125)
    again = CogVideoXTransformer3DModel.from_pretrained(family.save_full(tmp_path / "full"))
    ours, theirs = family.transformer.state_dict(), again.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_released_encoders_are_loaded_again_when_asked(folders: dict[str, Path]) -> None:
    family = load(folders["t2v 1.0"])
    pixels = clips(family)
    before = family.encode_video(pixels), family.encode_text(PROMPTS)["text"]
    family.release_encoders()
    assert not family._encoders
    assert torch.equal(before[0], family.encode_video(pixels))
    assert torch.equal(before[1], family.encode_text(PROMPTS)["text"])


def test_fingerprint_is_of_encoders_and_sizes_and_not_of_the_network(folders: dict[str, Path], tmp_path: Path) -> None:
    def copy(name: str) -> Path:
        return Path(shutil.copytree(folders["i2v 1.0"], tmp_path / name))

    def spoil(file: Path) -> None:
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(bytes(data))

    first = load(folders["i2v 1.0"]).fingerprint()
    assert load(copy("same")).fingerprint() == first
    network = copy("network")
    spoil(network / "transformer" / "diffusion_pytorch_model.safetensors")
    assert load(network).fingerprint() == first
    others = [load(folders["i2v 1.0"], image_noise="off").fingerprint()]
    for part, file in (("vae", "diffusion_pytorch_model"), ("text_encoder", "model")):
        changed = copy(part)
        spoil(changed / part / f"{file}.safetensors")
        others.append(load(changed).fingerprint())
    sizes = [load(folders["t2v 1.0"], ClipShape(frames, 32, 48, 8.0)).fingerprint() for frames in (9, 17)]
    assert len({first, *others, *sizes}) == 6


def test_description_says_what_decides_a_run(folders: dict[str, Path]) -> None:
    said = load(folders["i2v 1.5"]).describe()
    assert said["snr_shift"] == 1.0
    assert said["zero_terminal_snr"] is True
    assert said["inverted_image_scaling"] is True
    assert said["repeated_frames"] == 1
    assert said["image_noise"] == [-3.0, 0.5]
    assert load(folders["t2v 2b"]).describe()["snr_shift"] == 3.0


def test_usual_clip_is_the_checkpoints(folders: dict[str, Path], tmp_path: Path) -> None:
    assert load(folders["t2v 1.0"]).clip == ClipShape(9, 32, 48, 8.0)
    assert load(folders["t2v 1.5"]).clip == ClipShape(9, 32, 48, 16.0)
    # 1.5-5B-I2V names the largest grid of its codes, 300 x 300, and was trained at 768 x 1360
    sizes = {"sample_height": 300, "sample_width": 300, "sample_frames": 81}
    large = load(TINY["tiny_cogvideox"](tmp_path / "large", "i2v", "1.5", transformer=sizes))
    assert large.clip == ClipShape(81, 768, 1360, 16.0)
    assert large.latent_shape == (22, 4, 96, 170)


@pytest.mark.parametrize(
    ("variant", "clip", "sentence"),
    [
        ("t2v 1.0", ClipShape(12, 32, 48, 8.0), "clips of 8n + 1 frames, not of 12"),
        ("t2v 1.0", ClipShape(13, 32, 48, 8.0), "clips of 8n + 1 frames, not of 13"),
        ("t2v 1.0", ClipShape(9, 40, 48, 8.0), "a multiple of 16 pixels high, not 40"),
        ("t2v 1.0", ClipShape(9, 32, 50, 8.0), "a multiple of 16 pixels wide, not 50"),
        ("i2v 1.0", ClipShape(9, 48, 48, 8.0), "learned for 9 frames of 32 x 48 pixels only"),
        ("t2v 1.5", ClipShape(9, 48, 48, 8.0), "end at 32 x 48 pixels"),
    ],
)
def test_sizes_it_cannot_make_are_refused(
    folders: dict[str, Path], variant: str, clip: ClipShape, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence.replace("+", r"\+")) as error:
        load(folders[variant], clip)
    assert "\n" not in str(error.value)


def test_folders_of_others_and_broken_ones_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    def refused(folder: Path | str, sentence: str, **options: str) -> None:
        with pytest.raises(InputError, match=sentence) as error:
            CogVideoXFamily.load(str(folder), device="cpu", dtype=torch.float32, clip=None, options=options)
        assert "\n" not in str(error.value)

    good = folders["t2v 1.0"]
    refused("", "has no built-in weights")
    refused(tmp_path / "nowhere", "is not a folder")
    refused(tmp_path, "is not a pipeline that diffusers wrote")
    wan = TINY["tiny_wan"](tmp_path / "wan")
    refused(wan, "holds a WanPipeline, where one of CogVideoX")
    for part in ("vae", "text_encoder", "scheduler"):
        broken = Path(shutil.copytree(good, tmp_path / f"without {part}"))
        shutil.rmtree(broken / part)
        refused(broken, f"lacks {part}/")
    empty = Path(shutil.copytree(good, tmp_path / "empty"))
    (empty / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    refused(empty, "transformer of .* cannot be loaded")
    refused(good, "has no option shift", shift="3")
    refused(good, "image_noise is on or off, not 'perhaps'", image_noise="perhaps")
    refused(
        TINY["tiny_cogvideox"](tmp_path / "eps", "t2v", scheduler={"prediction_type": "epsilon"}), "predicts epsilon"
    )
    cosine = {"beta_schedule": "squaredcos_cap_v2"}
    refused(TINY["tiny_cogvideox"](tmp_path / "cosine", "t2v", scheduler=cosine), "not squaredcos_cap_v2")
    refused(TINY["tiny_cogvideox"](tmp_path / "wide", "t2v", transformer={"in_channels": 8}), "takes 8 channels")


def test_hub_ids_are_fetched_whole(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(DiffusionPipeline, "download", lambda name: asked.append(name) or str(folders["t2v 2b"]))
    assert load(Path("owner/name")).clip == CLIP
    assert asked == ["owner/name"]

    def offline(name: str) -> str:
        raise OSError("no connection\nand a paragraph of advice")

    monkeypatch.setattr(DiffusionPipeline, "download", offline)
    with pytest.raises(InputError, match="could not be fetched from the hub: no connection$"):
        load(Path("owner/name"))


def test_what_is_encoded_has_the_generators_size(folders: dict[str, Path]) -> None:
    family = load(folders["i2v 1.0"])
    with pytest.raises(InputError, match="needs a first-frame image"):
        family.encode_image(None, 2, seeded())
    with pytest.raises(InputError, match=r"shape \(1, 32, 48, 3\), where the generator needs \(2, 32, 48, 3\)"):
        family.encode_image(clips(family, 1)[:, 0], 2, seeded())
    with pytest.raises(InputError, match=r"\(5, 32, 48, 3\), where the generator's are \(9, 32, 48, 3\)"):
        family.encode_video(clips(family)[:, :5])
    assert load(folders["t2v 1.0"]).encode_image(None, 2, seeded()) == {}


def test_only_what_can_be_loaded_again_is_saved(folders: dict[str, Path], tmp_path: Path) -> None:
    family = load(folders["t2v 2b"])
    with pytest.raises(ValueError, match="no LoRA adapter to save"):
        family.save_adapter(tmp_path / "adapter")
    family.transformer.add_adapter(LoraConfig(r=2, target_modules=list(family.adapter_targets)))
    with pytest.raises(ValueError, match="is saved as an adapter"):
        family.save_full(tmp_path / "full")
