"""The dimensions, computed by the package's own functions. Runs in the plugin's environment only.

Models are built as the package's ``compute_*`` functions build them, once, and its per-video functions are then called
with one clip at a time. Nothing is downloaded: what is missing was refused before.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rewardbench_plugin.clip import Clip
from rewardbench_vbench.dimensions import BY_NAME, DINO_CODE, DINO_FOLDER

Function = Callable[[str, Clip], float]


class Abstains(Exception):  # noqa: N818 (what happened, not what broke)
    """A dimension has no value for this clip; the text says why."""


def build(name: str, folder: Path, device: str) -> Function:
    """The function that scores one clip (a path the package accepts, and the clip behind it) in one dimension.

    Raises:
        ValueError: if weights are not what the dimension needs.
    """
    os.environ["VBENCH_CACHE_DIR"] = str(folder)  # read when vbench.utils is imported
    import torch

    measure = BY_NAME[name]
    try:
        function = _BUILDERS[name](folder, device)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        files = ", ".join(measure.files) or "nothing"
        raise ValueError(f"{name} cannot be loaded from {files} in {folder} ({reason})") from error

    def scored(video: str, clip: Clip) -> float:
        if measure.prompt and not clip.prompt:
            raise Abstains("the clip has no prompt")
        if measure.image and not clip.image:
            raise Abstains("the clip has no first-frame image")
        try:
            with torch.no_grad():
                value = float(function(video, clip))
        except ZeroDivisionError:
            raise Abstains("the clip has one frame only") from None
        if math.isnan(value):
            raise ValueError("vbench computed no number (NaN)")
        return value

    return scored


def link(clip: Clip, folder: Path) -> str:
    """A link to the clip under a name the package accepts: it goes by the ending, and for actions by the whole name."""
    suffix = ".gif" if clip.video.lower().endswith(".gif") else ".mp4"
    path = folder / f"{_action(clip.prompt) or 'clip'}-0{suffix}"
    path.symlink_to(os.path.abspath(clip.video))
    return str(path)


def _action(prompt: str | None) -> str:
    """The part of a prompt that VBench takes for its action, introduced as in VBench's file names; or nothing."""
    words = (prompt or "").lower().split("-")[0]
    if "person is " not in words:
        return ""
    action = words.split("person is ")[-1].split("_")[0].strip()
    short = (
        action.replace("/", " ").encode()[:150].decode(errors="ignore")
    )  # no action is as long, and names have limits
    return f"A person is {short}"


def _value(results: list[Mapping[str, Any]]) -> float:
    """The one clip's entry in a list of per-video results.

    Raises:
        ValueError: if the package left the clip out.
    """
    if not results:
        raise ValueError("vbench could not read a frame of it")
    return float(results[0]["video_results"])


def _temporal_flickering(folder: Path, device: str) -> Function:
    from vbench.temporal_flickering import cal_score

    def score(video: str, clip: Clip) -> float:
        try:
            value = float(cal_score(video))
        except AssertionError:
            raise ValueError("vbench could not read a frame of it") from None
        if math.isnan(value):  # the mean of no differences
            raise Abstains("the clip has one frame only")
        return value

    return score


def published_code(folder: Path) -> Path:
    """The folder of DINO's code, after a look at every file of it that is run.

    Raises:
        ValueError: if one is not the published file.
    """
    repository = folder / DINO_FOLDER
    for name, expected in DINO_CODE.items():
        file = repository / name
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != expected:
            raise ValueError(f"{file} is not the file of facebookresearch/dino at 7c446df; nothing else is run")
    return repository


def _dino(folder: Path, device: str) -> Any:
    import torch

    model = torch.hub.load(str(published_code(folder)), "dino_vitb16", source="local", pretrained=False)
    _load(model, _tensors(folder / "dino_model/dino_vitbase16_pretrain.pth"), "DINO ViT-B/16")
    return model.to(device)


def _subject_consistency(folder: Path, device: str) -> Function:
    from vbench.subject_consistency import subject_consistency

    model = _dino(folder, device)
    return lambda video, clip: _value(subject_consistency(model, [video], device, False)[1])


def _clip_model(folder: Path, name: str, device: str) -> Any:
    import clip

    return clip.load(str(folder / "clip_model" / f"{name}.pt"), device=device)


def _background_consistency(folder: Path, device: str) -> Function:
    from vbench.background_consistency import background_consistency

    model, preprocess = _clip_model(folder, "ViT-B-32", device)
    return lambda video, clip: _value(background_consistency(model, preprocess, [video], device, False)[1])


def _motion_smoothness(folder: Path, device: str) -> Function:
    import vbench
    from vbench.motion_smoothness import MotionSmoothness

    config = Path(vbench.__file__).parent / "third_party/amt/cfgs/AMT-S.yaml"
    model = MotionSmoothness(str(config), str(folder / "amt_model/amt-s.pth"), device)
    # The package's own values for the CPU: with them frames are never shrunk to fit the card.
    model.anchor_resolution, model.anchor_memory, model.anchor_memory_bias, model.vram_avail = 8192 * 8192, 1, 0, 1

    def score(video: str, clip: Clip) -> float:
        try:
            return float(model.motion_score(video))
        except AssertionError:
            raise Abstains("the clip has fewer than three readable frames") from None

    return score


def _dynamic_degree(folder: Path, device: str) -> Function:
    from easydict import EasyDict
    from vbench.dynamic_degree import DynamicDegree

    path = str(folder / "raft_model/models/raft-things.pth")
    model = DynamicDegree(EasyDict(model=path, small=False, mixed_precision=False, alternate_corr=False), device)

    def score(video: str, clip: Clip) -> float:
        try:
            return float(model.infer(video))
        except AssertionError:
            raise ValueError("vbench could not read a frame of it") from None

    return score


def _aesthetic_quality(folder: Path, device: str) -> Function:
    from vbench.aesthetic_quality import get_aesthetic_model, laion_aesthetic

    head = get_aesthetic_model(str(folder / "aesthetic_model/emb_reader")).to(device)
    model, _ = _clip_model(folder, "ViT-L-14", device)
    return lambda video, clip: _value(laion_aesthetic(head, model, [video], device)[1])


def _imaging_quality(folder: Path, device: str) -> Function:
    from pyiqa.archs.musiq_arch import MUSIQ
    from vbench.imaging_quality import technical_quality

    model = MUSIQ(pretrained_model_path=str(folder / "pyiqa_model/musiq_spaq_ckpt-358bb6af.pth")).to(device)
    model.training = False
    return lambda video, clip: _value(technical_quality(model, [video], device)[1]) / 100


def _human_action(folder: Path, device: str) -> Function:
    import vbench.human_action as module

    path = str(folder / "umt_model/l16_ptk710_ftk710_ftk400_f16_res224.pth")
    # The package's function builds the model anew at each call, and this one calls it for each clip.
    module.create_model = functools.lru_cache(maxsize=1)(module.create_model)

    def score(video: str, clip: Clip) -> float:
        if not _action(clip.prompt):
            raise Abstains('the prompt names no action ("a person is …")')
        return _value(module.human_action(path, [video], device)[1])

    return score


def _scene(folder: Path, device: str) -> Function:
    from vbench.scene import scene, tag2text_caption

    before = os.getcwd()
    os.chdir(folder)  # the package asks for "bert-base-uncased", which transformers looks for here first
    try:
        pretrained = str(folder / "caption_model/tag2text_swin_14m.pth")
        model = tag2text_caption(pretrained=pretrained, image_size=384, vit="swin_b").eval().to(device)
    finally:
        os.chdir(before)
    return lambda video, clip: _value(scene(model, [_listed("scene", video, clip)], device)[1])


def _appearance_style(folder: Path, device: str) -> Function:
    from vbench.appearance_style import appearance_style

    model, _ = _clip_model(folder, "ViT-B-32", device)
    return lambda video, clip: _value(appearance_style(model, [_listed("appearance_style", video, clip)], device)[1])


def _viclip(folder: Path, device: str, dimension: str) -> Function:
    import importlib

    module = importlib.import_module(f"vbench.{dimension}")
    tokenizer = module.SimpleTokenizer(str(folder / "ViCLIP/bpe_simple_vocab_16e6.txt.gz"))
    model = module.ViCLIP(tokenizer=tokenizer, pretrain=str(folder / "ViCLIP/ViClip-InternVid-10M-FLT.pth")).to(device)
    function = getattr(module, dimension)

    def score(video: str, clip: Clip) -> float:
        entry = {"prompt": clip.prompt, "video_list": [video]}
        return _value(function(model, [entry], tokenizer, device)[1])

    return score


def _i2v_subject(folder: Path, device: str) -> Function:
    from vbench2_beta_i2v.i2v_subject import i2v_subject

    model = _dino(folder, device)
    return lambda video, clip: _value(i2v_subject(model, [(_rgb(clip, video), video)], device)[1])


def _i2v_background(folder: Path, device: str) -> Function:
    from dreamsim import dreamsim
    from vbench2_beta_i2v.i2v_background import i2v_background

    model, _ = dreamsim(pretrained=True, device=device, cache_dir=str(folder / "dreamsim"))
    return lambda video, clip: _value(i2v_background(model, [(_rgb(clip, video), video)], device)[1])


_BUILDERS: dict[str, Callable[[Path, str], Function]] = {
    "subject_consistency": _subject_consistency,
    "background_consistency": _background_consistency,
    "temporal_flickering": _temporal_flickering,
    "motion_smoothness": _motion_smoothness,
    "dynamic_degree": _dynamic_degree,
    "aesthetic_quality": _aesthetic_quality,
    "imaging_quality": _imaging_quality,
    "human_action": _human_action,
    "scene": _scene,
    "appearance_style": _appearance_style,
    "temporal_style": functools.partial(_viclip, dimension="temporal_style"),
    "overall_consistency": functools.partial(_viclip, dimension="overall_consistency"),
    "i2v_subject": _i2v_subject,
    "i2v_background": _i2v_background,
}


def _listed(dimension: str, video: str, clip: Clip) -> dict[str, Any]:
    """The entry of VBench's own list for the clip's prompt, which says what is to be found.

    Raises:
        Abstains: if the prompt is not on the list for this dimension.
    """
    found = _standard_prompts().get((dimension, (clip.prompt or "").strip().lower()))
    if found is None:
        raise Abstains("the prompt is not one of VBench's own for this dimension")
    return {"prompt": clip.prompt, "video_list": [video], "auxiliary_info": found}


@functools.lru_cache(maxsize=1)
def _standard_prompts() -> dict[Any, Any]:
    import vbench

    entries = json.loads((Path(vbench.__file__).parent / "VBench_full_info.json").read_text(encoding="utf-8"))
    return {
        (dimension, entry["prompt_en"].strip().lower()): entry["auxiliary_info"][dimension]
        for entry in entries
        for dimension in entry["dimension"]
        if dimension in entry.get("auxiliary_info", {})
    }


def _rgb(clip: Clip, video: str) -> str:
    """The clip's image as the package can read it: three channels (it passes on whatever the file has)."""
    from PIL import Image

    assert clip.image is not None, "checked before"
    with Image.open(clip.image) as image:
        if image.mode == "RGB":
            return clip.image
        copy = str(Path(video).with_name("image.png"))
        image.convert("RGB").save(copy)
        return copy


def _tensors(path: Path) -> dict[str, Any]:
    import torch

    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict):
        raise ValueError(f"{path} is no state dict")
    return state


def _load(model: Any, state: Mapping[str, Any], what: str) -> None:
    """Load every key, or say which are missing or too many."""
    own = model.state_dict()
    missing, unexpected = sorted(set(own) - set(state)), sorted(set(state) - set(own))
    if missing or unexpected:
        raise ValueError(f"not the weights of {what}: missing {missing[:5]}, unexpected {unexpected[:5]}")
    model.load_state_dict(state)
