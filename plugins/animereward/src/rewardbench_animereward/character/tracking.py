"""Following characters through a clip with SAM 2.

The released code tracks with SAMURAI, which is SAM 2.1 with a Kalman filter on the boxes and a choice of the memories
worth keeping. `transformers` has plain SAM 2, so this is an approximation: where characters cross or are hidden for
long, the two may follow different pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from rewardbench_animereward.character.pretrained import load_folder

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Sam2Tracker:
    """Masks of several objects by a SAM 2 video model, from one box each in the first frame.

    Memory does not grow with the clip beyond the masks: frames are brought to the model's size one at a time, and
    large outputs of past frames are dropped.

    Args:
        path: a SAM 2 folder of `transformers`, or SAM 2's own ``.pt`` checkpoint.
        dtype: None is float32, and float16 autocast on a GPU.

    Raises:
        ValueError: where the weights are missing or not those of the model.
    """

    def __init__(self, path: Path, device: str, dtype: str | None = None) -> None:
        import torch

        try:
            from transformers import Sam2VideoModel
        except ImportError:
            raise ValueError("the character dimension needs SAM 2 of transformers 4.56 or later; upgrade it") from None
        if path.suffix == ".pt":
            from rewardbench_animereward.character.sam2_layout import load_original

            self._model = load_original(path, device)
        else:
            self._model = load_folder(Sam2VideoModel, path, "SAM 2", device, torch.float32)
        self._device = device
        precision = dtype or ("float32" if device == "cpu" else "float16")
        self._autocast = None if precision == "float32" else getattr(torch, precision)
        self._side = int(self._model.config.image_size)

    def masks(self, frames: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """uint8 (T, H, W): 0 is background, k object k; where objects overlap the later one stands.

        Numbers run without gaps: an object that is nowhere seen has none.

        Args:
            frames: uint8 (T, H, W, 3).
            boxes: (N, 4), x0, y0, x1, y1 in pixels of the first frame; N at least 1.
        """
        return stack_masks(self._each_frame(frames, whole_pixels(boxes)), len(boxes))

    def _each_frame(self, frames: np.ndarray, boxes: np.ndarray) -> Iterator[np.ndarray]:
        """For each frame the objects' masks, bool (N, H, W)."""
        import torch
        from torch.nn.functional import interpolate

        height, width = frames.shape[1:3]
        session = self._session(frames, boxes)
        autocast = torch.autocast(self._device.split(":")[0], self._autocast) if self._autocast else nullcontext()
        with torch.inference_mode(), autocast:
            for index in range(len(frames)):
                outputs = self._model(session, frame_idx=index)
                logits = interpolate(outputs.pred_masks.float(), (height, width), mode="bilinear", align_corners=False)
                yield (logits[:, 0] > 0).cpu().numpy()
                _widen(session, index)
                _forget(session, index, self._model.config.num_maskmem)

    def _session(self, frames: np.ndarray, boxes: np.ndarray) -> Any:
        import torch
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

        session: Any = Sam2VideoInferenceSession(
            video_height=frames.shape[1],
            video_width=frames.shape[2],
            inference_device=self._device,
            inference_state_device=self._device,
            video_storage_device=self._device,
            dtype=torch.float32,
        )
        session.processed_frames = _Pixels(frames, self._side, self._device)
        scale = self._side / np.array([frames.shape[2], frames.shape[1]])
        for number, box in enumerate(boxes):
            corners = torch.from_numpy((box.reshape(1, 1, 2, 2) * scale).astype(np.float32))
            labels = torch.tensor([[[2, 3]]], dtype=torch.int32)  # SAM's labels of a box's two corners
            position = session.obj_id_to_idx(number + 1)
            session.add_point_inputs(position, 0, {"point_coords": corners, "point_labels": labels})
        session.obj_with_new_inputs = list(range(1, len(boxes) + 1))
        return session


class _Pixels(Mapping[int, Any]):
    """Frames at the model's size, made when they are asked for."""

    def __init__(self, frames: np.ndarray, side: int, device: str) -> None:
        self._frames, self._side, self._device = frames, side, device

    def __len__(self) -> int:
        return len(self._frames)

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self._frames)))

    def __getitem__(self, index: int) -> Any:
        """float32 (3, side, side), ImageNet mean and deviation, resized as an 8-bit picture (bilinear, antialiased)."""
        import torch
        from torchvision.transforms.functional import InterpolationMode, resize

        rgb = torch.from_numpy(np.array(self._frames[index])).permute(2, 0, 1)
        small = resize(rgb, [self._side, self._side], interpolation=InterpolationMode.BILINEAR, antialias=True)
        mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
        return ((small.float().div(255) - mean) / std).to(self._device)


def _widen(session: Any, index: int) -> None:
    """Keep this frame's memory, rounded to bfloat16, as float32: autocast to float16 cannot join the two half types."""
    for outputs in session.output_dict_per_obj.values():
        for frames in outputs.values():
            if "maskmem_features" in frames.get(index, {}):
                frames[index]["maskmem_features"] = frames[index]["maskmem_features"].float()


def _forget(session: Any, index: int, memories: int) -> None:
    """Drop what no later frame reads: the full-size masks of this frame, and the memory of the frame that has just left
    the window of ``memories`` frames. The first frame's memory and all object pointers stay."""
    for outputs in session.output_dict_per_obj.values():
        for frames in outputs.values():
            frames.get(index, {}).pop("high_res_masks", None)
        past = outputs["non_cond_frame_outputs"].get(index - memories, {})
        for large in ("pred_masks", "maskmem_features", "maskmem_pos_enc"):
            past.pop(large, None)


def whole_pixels(boxes: np.ndarray) -> np.ndarray:
    """Boxes (N, 4) as the released code hands them on: corner and size each rounded (half to even)."""
    corner, size = np.rint(boxes[:, :2]), np.rint(boxes[:, 2:] - boxes[:, :2])
    return np.concatenate([corner, corner + size], axis=1)


def stack_masks(masks: Iterator[np.ndarray], count: int) -> np.ndarray:
    """uint8 (T, H, W) with the numbers of objects, from each frame's bool (``count``, H, W).

    Objects are written in order, later over earlier; one that is empty in every frame leaves its number to the next.
    """
    seen = np.zeros(count, bool)
    volume = []
    for frame in masks:
        numbers = np.zeros(frame.shape[1:], np.uint8)
        for number, mask in enumerate(frame):
            numbers[mask] = number + 1
            seen[number] |= mask.any()
        volume.append(numbers)
    renumber = np.concatenate([[0], np.cumsum(seen)]).astype(np.uint8)
    return renumber[np.stack(volume)]
