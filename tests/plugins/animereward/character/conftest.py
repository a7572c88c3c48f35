"""Small random models in the published layout, and drawn clips whose character masks are known."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rewardbench.synth import world
from rewardbench.synth.scene import Scene

WIDTH, EMBEDDING = 64, 12


@dataclass(frozen=True)
class Models:
    """Paths of the weights parts ``character`` and ``gallery``."""

    character: Path
    gallery: Path

    @property
    def weights(self) -> dict[str, Path]:
        return {"character": self.character, "gallery": self.gallery}


def recogniser_state(width: int = WIDTH, embedding: int = EMBEDDING, depth: int = 1, seed: int = 0) -> dict[str, Any]:
    """A random recogniser's tensors, written out name by name."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "visual_encoder.cls_token": (1, 1, width),
        "visual_encoder.pos_embed": (1, 197, width),
        "visual_encoder.patch_embed.proj.weight": (width, 3, 16, 16),
        "visual_encoder.patch_embed.proj.bias": (width,),
        "visual_encoder.norm.weight": (width,),
        "visual_encoder.norm.bias": (width,),
        "vision_proj.weight": (embedding, width),
        "vision_proj.bias": (embedding,),
    }
    for i in range(depth):
        block = f"visual_encoder.blocks.{i}."
        for norm in ("norm1", "norm2"):
            shapes |= {f"{block}{norm}.weight": (width,), f"{block}{norm}.bias": (width,)}
        layers = {"attn.qkv": (3 * width, width), "attn.proj": (width, width)}
        layers |= {"mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)}
        for name, shape in layers.items():
            shapes |= {f"{block}{name}.weight": shape, f"{block}{name}.bias": shape[:1]}
    state = {name: torch.randn(shape, generator=generator) * 0.1 for name, shape in shapes.items()}
    return {name: value + 1.0 if "norm" in name and "weight" in name else value for name, value in state.items()}


@pytest.fixture(scope="session")
def make_recogniser() -> Callable[..., dict[str, Any]]:
    return recogniser_state


def write_gallery(folder: Path, names: list[str], seed: int = 0) -> Path:
    """Random pictures of odd sizes, one for each name."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for i, name in enumerate(names):
        coarse = rng.integers(0, 256, (4, 3, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((50 + i, 60), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
        entries.append({"image": f"{i}.png", "caption": name})
    (folder / "gallerys.json").write_text(json.dumps(entries))
    return folder


@pytest.fixture(scope="session")
def make_gallery() -> Callable[..., Path]:
    return write_gallery


def sam2_config(side: int = 64) -> Any:
    """A small SAM 2.1 with few channels in the trunk; the widths of its decoder are the published ones."""
    from transformers import (
        Sam2HieraDetConfig,
        Sam2VideoConfig,
        Sam2VideoMaskDecoderConfig,
        Sam2VideoPromptEncoderConfig,
        Sam2VisionConfig,
    )

    grid = side // 16
    backbone = Sam2HieraDetConfig(
        hidden_size=8,
        num_attention_heads=1,
        embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 2, 4, 8],
        blocks_per_stage=[1, 1, 2, 1],
        global_attention_blocks=[3],
        window_size_per_stage=[8, 4, 4, 2],
        window_positional_embedding_background_size=[7, 7],
        image_size=[side, side],
    )
    return Sam2VideoConfig(
        vision_config=Sam2VisionConfig(
            backbone_config=backbone,
            backbone_channel_list=[64, 32, 16, 8],
            backbone_feature_sizes=[[4 * grid] * 2, [2 * grid] * 2, [grid] * 2],
        ),
        prompt_encoder_config=Sam2VideoPromptEncoderConfig(image_size=side),
        mask_decoder_config=Sam2VideoMaskDecoderConfig(mlp_dim=32),
        num_maskmem=3,
        memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=32,
        memory_attention_rope_feat_sizes=[grid, grid],
        image_size=side,
    )


def sam2_model(side: int = 64, seed: int = 0) -> Any:
    """Random weights, large enough that every part of the model has a say in the masks."""
    import torch
    from transformers import Sam2VideoModel

    torch.manual_seed(seed)
    model = Sam2VideoModel(sam2_config(side)).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim > 1 or "embed" in name or "scale" in name:
                value.add_(torch.randn_like(value) * (0.3 if "embed" in name or value.shape[0] == 1 else 0.03))
        model.mask_decoder.pred_obj_score_head.proj_out.bias.add_(5)  # the object is there
        shared = model.prompt_encoder.shared_embedding.positional_embedding  # one tensor in SAM 2's own layout
        model.shared_image_embedding.positional_embedding.copy_(shared)
    return model


@pytest.fixture(scope="session")
def sam2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SAM 2 folder of transformers with random weights."""
    folder = tmp_path_factory.mktemp("sam2")
    sam2_model().save_pretrained(folder)
    return folder


def grounding_dino_folder(folder: Path) -> Path:
    """A GroundingDINO folder with random weights, a tokenizer of a few words and a small picture size."""
    import torch
    from transformers import (
        BertConfig,
        BertTokenizerFast,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessor,
        GroundingDinoProcessor,
        SwinConfig,
    )

    torch.manual_seed(0)
    words = [f"[unused{i}]" for i in range(1100)]
    for position, word in {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 1012: "."}.items():
        words[position] = word
    words[1029], words[1030] = "?", "character"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"))
    config = GroundingDinoConfig(
        backbone_config=SwinConfig(
            image_size=64,
            embed_dim=12,
            depths=[1, 1, 1, 1],
            num_heads=[2, 2, 2, 2],
            window_size=4,
            out_features=["stage2", "stage3", "stage4"],
        ),
        text_config=BertConfig(
            vocab_size=1100, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
        ),
        d_model=32,
        encoder_layers=1,
        encoder_ffn_dim=32,
        encoder_attention_heads=4,
        decoder_layers=2,
        decoder_ffn_dim=32,
        decoder_attention_heads=4,
        num_queries=12,
        max_text_len=16,
        disable_custom_kernels=True,
    )
    GroundingDinoForObjectDetection(config).save_pretrained(folder)
    pictures = GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    GroundingDinoProcessor(pictures, tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def grounding_dino(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return grounding_dino_folder(tmp_path_factory.mktemp("dino"))


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, sam2: Path, grounding_dino: Path) -> Models:
    """The published layout with random weights; the gallery knows three characters by six pictures."""
    import torch

    root = tmp_path_factory.mktemp("IP_checkpoints")
    (root / "blip_checkpoints").mkdir()
    torch.save({"model": recogniser_state()}, root / "blip_checkpoints" / "animate_recoginzer.pth")
    (root / "grouding-dino-base").symlink_to(grounding_dino)
    (root / "sam2").symlink_to(sam2)
    names = ["Alice", "alice", "Bob", "bob", "carol", "BOB"]
    return Models(root, write_gallery(tmp_path_factory.mktemp("gallery"), names))


@dataclass(frozen=True)
class DrawnClip:
    """A drawn clip, frames uint8 (T, H, W, 3), and where its person is, bool (T, H, W)."""

    frames: np.ndarray
    person: np.ndarray


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Callable[..., DrawnClip]:
    """Draw a scene; the person is what does not change when everything behind is painted in another colour."""

    def draw(scene: Scene, height: int = 96, width: int = 144, frames: int = 10) -> DrawnClip:
        clips = []
        for colour in ((255, 0, 255), (0, 255, 0)):
            plain = Image.new("RGB", (width, height), colour)
            with monkeypatch.context() as patch:
                patch.setattr(world, "_seen", lambda *_, plain=plain: plain)
                clips.append(world.draw_clip(scene, frames=frames, height=height, width=width))
        person = (clips[0] == clips[1]).all(axis=-1)
        return DrawnClip(clips[0], person)

    return draw


@pytest.fixture(scope="session")
def overlap() -> Callable[[np.ndarray, np.ndarray], float]:
    """Intersection over union of two bool arrays."""

    def measure(one: np.ndarray, other: np.ndarray) -> float:
        return float((one & other).sum() / max(1, (one | other).sum()))

    return measure
