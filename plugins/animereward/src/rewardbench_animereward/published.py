"""Where the released AnimeReward keeps its files: the published layout, and the templates it was trained with.

``--weights DIR`` names the published folder, either the whole repository (with ``reward/`` inside) or ``reward``
itself; ``--weights base=DIR`` a second one that is looked in after it. Every part can also be named alone (``--weights
motion=FILE``), or lie in the folder under its own name (``DIR/PART``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rewardbench_plugin import HubFiles, Template, WebFile

COMMIT = "171fe63409792bf7f0bd9d825f83c20fe8ec5477"
CODE = f"https://raw.githubusercontent.com/bilibili/Index-anisora/{COMMIT}/reward"
SCRIPT = f"{CODE}/reward_infer.py"

REGRESSION = Template(
    "regression.txt",
    "70c787b31179b969f2b4c25d6594f9dc242fa1874e45589ba092b6be66a72e92",
    SCRIPT,
    "REGRESSION_QUERY_PROMPT",
)
MOTION_LARGE = Template(
    "motion_large.txt", "34ec8a1e217ab5d0e2a13f5d3cc8633cbf14bdc47c588dce6690d020f5983fc0", SCRIPT, "PROMPTs[0]"
)
MOTION_STILL = Template(
    "motion_still.txt", "be6b2e9b48921838bc38a0ea52a98abab6c91618876b14c96db8511c16b8d86d", SCRIPT, "PROMPTs[1]"
)
TEMPLATES = (REGRESSION, MOTION_LARGE, MOTION_STILL)
SOURCES = (
    HubFiles("IndexTeam/Index-anisora", patterns=("reward/weights/*", "reward/IP_checkpoints/*")),
    HubFiles("IndexTeam/Index-anisora", patterns=("reward/videos.tar.gz",), part="gallery"),
    HubFiles(
        "google-bert/bert-base-uncased",
        patterns=("vocab.txt", "config.json", "tokenizer_config.json"),
        part="bert",
        folder="reward/weights/bert-base-uncased",
    ),
)
FILES = (
    WebFile(
        "reward/character/BLIP/data/gallerys.json",
        "36f0bc4c3980fe379e3e32908ed9f7483ca8d53a23886271f4bb00c43ab5ac76",
        f"{CODE}/character/BLIP/data/gallerys.json",
        part="gallery",
    ),
)
AFTER_FETCH = (
    "Before the dimension character can be scored, unpack its gallery: "
    "tar -xzf {folder}/reward/videos.tar.gz -C {folder}/reward/character (the pictures belong in videos/ there); "
    "GroundingDINO and SAM 2 came with reward/IP_checkpoints, nothing else has to be fetched for them."
)

PLACES: Mapping[str, tuple[str, ...]] = {
    "smoothness": ("weights/mantis-8b-idefics2-video-eval-24frame-benchmark-1epoch_4096_regression/checkpoint-final",),
    "motion": ("weights/testvl-pre76-top187-rec69.pth",),
    "appeal": ("weights/mantis-8b-idefics2-video-eval-24frame-quality_4096_regression/checkpoint-final",),
    "text_video": ("weights/Pretrain_text_humangt_meanvideo_trainset_wGT_random_samescore/checkpoint_05.pth",),
    "image_video": ("weights/Pretrain_humangt_meanvideo_trainset_wGT/checkpoint_06.pth",),
    "character": ("IP_checkpoints", "character/IP_checkpoints"),
    "gallery": ("character", "gallery"),
    "bert": ("weights/bert-base-uncased", "bert-base-uncased"),
    "siglip": (),
    "aesthetic": ("aesthetic.safetensors", "aesthetic.pth"),
    "templates": (),
}
"""Weights parts and where the published ``reward`` folder has them; ``siglip`` and ``aesthetic`` are not published."""
WHAT: Mapping[str, str] = {
    "smoothness": "the smoothness regressor (an Idefics2 folder)",
    "motion": "the motion model (ActionCLIP)",
    "appeal": "the appeal regressor (an Idefics2 folder)",
    "text_video": "the text-video regressor (BLIP)",
    "image_video": "the image-video regressor (BLIP)",
    "character": "the character models (IP_checkpoints)",
    "gallery": "the gallery of known characters",
    "bert": "the vocabulary of bert-base-uncased",
    "siglip": "a SigLIP folder (config.json, preprocessor_config.json, model.safetensors)",
    "aesthetic": "an aesthetic head for that SigLIP (linear layers, .safetensors or .pth)",
    "templates": "its prompt templates",
}
CHECKPOINTS = (".pth", ".pt", ".bin", ".safetensors")


def find(weights: Mapping[str, str], part: str, near: Iterable[Path] = ()) -> Path:
    """Path of one weights part: as named, else in the weights folder, else beside the parts in ``near``.

    A named folder that holds exactly one checkpoint stands for that checkpoint where the part is a file.

    Raises:
        ValueError: one sentence naming the part and where it was looked for.
    """
    named = weights.get(part)
    if named is not None:
        path = Path(named)
        if not path.exists():
            raise ValueError(f"--weights {part}={named} does not exist")
        return _checkpoint_in(path, part)
    tried = _candidates(weights, part, near)
    for path in tried:
        if path.exists():
            return _checkpoint_in(path, part)
    if not tried:
        raise ValueError(
            f"animereward needs {WHAT[part]}: add --weights DIR (published layout) or --weights {part}=PATH; "
            "`rewardbench plugins fetch animereward:released` brings the published files, or says where they are"
        )
    raise ValueError(
        f"animereward needs {WHAT[part]}: {tried[0]} is not there; put it there, add --weights {part}=PATH, or ask "
        "for other dimensions with --dimension"
    )


def _candidates(weights: Mapping[str, str], part: str, near: Iterable[Path]) -> list[Path]:
    folders: list[Path] = []
    for root in (Path(weights[name]) for name in ("", "base") if name in weights):
        if not root.is_dir():
            raise ValueError(f"--weights {root} is not a folder; name a part as --weights PART=PATH, e.g. motion=FILE")
        folders += [root / "reward", root] if (root / "reward").is_dir() else [root]
    found = [folder / place for folder in folders for place in PLACES[part]] + [folder / part for folder in folders]
    if part in ("bert", "templates"):  # belong to a checkpoint, and are looked for beside it
        names = (part, "bert-base-uncased", "weights/bert-base-uncased") if part == "bert" else (part,)
        found += [p / name for file in near for p in list(file.parents)[:2] for name in names]
    return found


def _checkpoint_in(path: Path, part: str) -> Path:
    """The one checkpoint file of a folder, for parts that are files."""
    if part not in ("motion", "text_video", "image_video", "aesthetic") or not path.is_dir():
        return path
    files = sorted(file for file in path.iterdir() if file.suffix in CHECKPOINTS)
    if len(files) != 1:
        raise ValueError(f"{path} holds {len(files)} checkpoints: name the file, --weights {part}=FILE")
    return files[0]


def read_arch(checkpoint: Path) -> dict[str, Any]:
    """``arch.json`` beside a checkpoint or one folder up: sizes that shapes do not tell; empty where there is none.

    Keys read: ``vision_heads``, ``text_heads``, ``adapter_heads``, ``image_size``, and ``bert_config`` (path of a BERT
    configuration, relative to the file), whose content is given as ``bert``.

    Raises:
        ValueError: the file is not a JSON object.
    """
    for folder in (checkpoint.parent, checkpoint.parent.parent):
        file = folder / "arch.json"
        if file.is_file():
            arch = read_json(file)
            bert = arch.get("bert_config")
            if isinstance(bert, str) and (folder / bert).is_file():
                arch["bert"] = read_json(folder / bert)
            return arch
    return {}


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ValueError: the file is missing or no JSON object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as JSON ({' '.join(str(error).split())})") from None
    if not isinstance(data, dict):
        raise ValueError(f"{path} is not a JSON object")
    return data


def shape(state: Mapping[str, Any], name: str, source: Path) -> tuple[int, ...]:
    """Shape of a tensor that a checkpoint of this model always has.

    Raises:
        ValueError: the checkpoint lacks it.
    """
    if name not in state:
        raise ValueError(f"{source} is not a checkpoint of this model: it has no {name}")
    return tuple(int(n) for n in state[name].shape)


def layers(state: Mapping[str, Any], prefix: str) -> int:
    """How many numbered blocks ``PREFIX.N.…`` a state dict has."""
    return len({name[len(prefix) + 1 :].split(".", 1)[0] for name in state if name.startswith(prefix + ".")})
