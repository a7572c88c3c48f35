"""What VBench measures: for each dimension its range, the files it needs, and where they are published.

File names are those of the ``vbench`` package's own cache folder (``~/.cache/vbench``).
"""

from __future__ import annotations

from dataclasses import dataclass

from rewardbench_plugin.assets import HubFiles
from rewardbench_plugin.card import Dimension

INFINITE = float("inf")
COSINE = 1.0 + 1e-5
"""Highest cosine of two float32 vectors: rounding takes it a little above 1."""


@dataclass(frozen=True)
class Measure:
    """One dimension.

    Attributes:
        name, low, high, description: as in the card.
        files: what it reads from the weights folder (a trailing slash marks a folder).
        prompt: what the clip's prompt must be: ``""`` (not used), ``any``, ``action`` (a sentence with "person is"),
            or ``listed`` (one of VBench's own prompts, which say what is to be found).
        image: whether it compares with the first-frame image.
        barred: why it cannot be computed here, whatever the weights.
    """

    name: str
    description: str
    files: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 1.0
    prompt: str = ""
    image: bool = False
    barred: str = ""

    @property
    def dimension(self) -> Dimension:
        return Dimension(self.name, self.low, self.high, True, self.description)


_CLIP_B = "clip_model/ViT-B-32.pt"
_CLIP_L = "clip_model/ViT-L-14.pt"
DINO_FOLDER = "dino_model/facebookresearch_dino_main/"
"""Holds code, which is run only where the user trusts it and it is the one of :data:`DINO_CODE`."""
_DINO = ("dino_model/dino_vitbase16_pretrain.pth", DINO_FOLDER)
_VICLIP = ("ViCLIP/ViClip-InternVid-10M-FLT.pth", "ViCLIP/bpe_simple_vocab_16e6.txt.gz")
_DREAMSIM = (
    "dreamsim/dino_vitb16_pretrain.pth",
    "dreamsim/open_clip_vitb16_pretrain.pth.tar",
    "dreamsim/clip_vitb16_pretrain.pth.tar",
    "dreamsim/ensemble_lora/",
)
_GRIT = ("grit_model/grit_b_densecap_objectdet.pth",)
_NO_DETECTRON = "it needs detectron2, which the package index does not carry and vbench does not declare"
_NO_TRACKER = "the wheel of vbench 0.1.5 lacks the tracking code it imports (vbench2_beta_i2v/third_party)"

MEASURES: tuple[Measure, ...] = (
    Measure("subject_consistency", "DINO similarity of each frame to the one before and the first", _DINO, high=COSINE),
    Measure("background_consistency", "the same with CLIP ViT-B/32", (_CLIP_B,), high=COSINE),
    Measure("temporal_flickering", "1 minus the mean absolute difference of successive frames over 255"),
    Measure(
        "motion_smoothness", "the same for every second frame against AMT's interpolation", ("amt_model/amt-s.pth",)
    ),
    Measure(
        "dynamic_degree",
        "1 where RAFT sees enough strong motion, else 0 (motion is a trade-off, not a virtue)",
        ("raft_model/models/raft-things.pth",),
    ),
    Measure(
        "aesthetic_quality",
        "LAION's aesthetic head on CLIP ViT-L/14, over 10; a regressor, so not bounded by construction",
        (_CLIP_L, "aesthetic_model/emb_reader/sa_0_4_vit_l_14_linear.pth"),
        low=-INFINITE,
        high=INFINITE,
    ),
    Measure(
        "imaging_quality",
        "MUSIQ trained on SPAQ, over 100; a regressor, so not bounded by construction",
        ("pyiqa_model/musiq_spaq_ckpt-358bb6af.pth",),
        low=-INFINITE,
        high=INFINITE,
    ),
    Measure(
        "object_class", "share of frames in which GRiT finds the object", _GRIT, prompt="listed", barred=_NO_DETECTRON
    ),
    Measure("multiple_objects", "the same for two objects", _GRIT, prompt="listed", barred=_NO_DETECTRON),
    Measure(
        "human_action",
        "1 where UMT names the action of the prompt among its five most likely with at least 0.85, else 0",
        ("umt_model/l16_ptk710_ftk710_ftk400_f16_res224.pth",),
        prompt="action",
    ),
    Measure(
        "color",
        "share of the frames with the object in which it has its colour",
        _GRIT,
        prompt="listed",
        barred=_NO_DETECTRON,
    ),
    Measure(
        "spatial_relationship",
        "how far two objects stand as the prompt says",
        _GRIT,
        prompt="listed",
        barred=_NO_DETECTRON,
    ),
    Measure(
        "scene",
        "share of frames whose Tag2Text caption names the scene",
        ("caption_model/tag2text_swin_14m.pth", "bert-base-uncased/"),
        prompt="listed",
    ),
    Measure("appearance_style", "CLIP ViT-B/32 similarity to the style", (_CLIP_B,), -COSINE, COSINE, prompt="listed"),
    Measure("temporal_style", "ViCLIP similarity to the prompt", _VICLIP, -COSINE, COSINE, prompt="any"),
    Measure("overall_consistency", "ViCLIP similarity to the prompt", _VICLIP, -COSINE, COSINE, prompt="any"),
    Measure("i2v_subject", "DINO similarity to the image and of successive frames", _DINO, high=COSINE, image=True),
    Measure("i2v_background", "the same with DreamSim", _DREAMSIM, high=COSINE, image=True),
    Measure("camera_motion", "whether the camera moves as the prompt says", prompt="any", barred=_NO_TRACKER),
)
BY_NAME: dict[str, Measure] = {measure.name: measure for measure in MEASURES}

PUBLISHED: dict[str, str] = {
    _CLIP_B: "openaipublic.azureedge.net/clip/models/40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
    _CLIP_L: "openaipublic.azureedge.net/clip/models/b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
    _DINO[0]: "dl.fbaipublicfiles.com/dino/dino_vitbase16_pretrain",
    DINO_FOLDER: "github.com/facebookresearch/dino",
    "amt_model/amt-s.pth": "huggingface.co/lalala125/AMT",
    "raft_model/models/raft-things.pth": "github.com/princeton-vl/RAFT (models.zip)",
    "aesthetic_model/emb_reader/sa_0_4_vit_l_14_linear.pth": "github.com/LAION-AI/aesthetic-predictor",
    "pyiqa_model/musiq_spaq_ckpt-358bb6af.pth": "github.com/chaofengc/IQA-PyTorch/releases/v0.1-weights",
    "umt_model/l16_ptk710_ftk710_ftk400_f16_res224.pth": "huggingface.co/OpenGVLab/VBench_Used_Models",
    _VICLIP[0]: "huggingface.co/OpenGVLab/VBench_Used_Models",
    _VICLIP[1]: "github.com/openai/CLIP (clip/)",
    "caption_model/tag2text_swin_14m.pth": "huggingface.co/spaces/xinyu1205/recognize-anything",
    "bert-base-uncased/": "huggingface.co/google-bert/bert-base-uncased",
    **dict.fromkeys(_DREAMSIM, "github.com/ssundaram21/dreamsim/releases (the ensemble's archive)"),
}
"""Where each file is published."""

SOURCES: tuple[HubFiles, ...] = (
    HubFiles("lalala125/AMT", patterns=("amt-s.pth",), folder="amt_model"),
    HubFiles("OpenGVLab/VBench_Used_Models", patterns=("l16_ptk710_ftk710_ftk400_f16_res224.pth",), folder="umt_model"),
    HubFiles("OpenGVLab/VBench_Used_Models", patterns=("ViClip-InternVid-10M-FLT.pth",), folder="ViCLIP"),
    HubFiles(
        "google-bert/bert-base-uncased",
        patterns=("config.json", "vocab.txt", "tokenizer*.json", "pytorch_model.bin"),
        folder="bert-base-uncased",
    ),
)
"""What lies on the Hugging Face hub; the rest is named in :data:`PUBLISHED`."""

DINO_CODE: dict[str, str] = {
    "hubconf.py": "fa80babf82c71d2123e23b05061eb1991a1fbc9877238f250b2a25023e910f72",
    "vision_transformer.py": "b1f998d5f49ab43666b9fc6d007c5f6540c3ead2e8645e144f74045f63ff44d7",
    "utils.py": "962a97e1acda1c986dfd921275325e4083f9016dddadcf018f1ccf03fa600eab",
}
"""SHA-256 of the code that ``torch.hub`` runs from the DINO folder, at facebookresearch/dino 7c446df."""
