"""The four rules: pixels in, one number from 0 to 1 out, higher is better; NaN where a rule does not apply."""

from __future__ import annotations

import re

import numpy as np

from rewardbench_drawn_rules.motion import Flow, follow, from_middle, own_motion, smoothed

OUTFIT_COLOURS = {
    "red": (208, 48, 52),
    "blue": (52, 92, 190),
    "green": (58, 146, 86),
    "white": (240, 240, 244),
    "black": (52, 50, 60),
    "yellow": (246, 208, 66),
    "pink": (246, 156, 182),
    "purple": (126, 76, 172),
}
"""Colours of cloth before a drawing style changes them (saturation, lift towards white, tint)."""
OUTFITS = ("school uniform", "kimono", "hoodie", "armor", "dress", "coat")
LUMA = np.array([0.299, 0.587, 0.114], np.float32)

STYLED = 60.0
"""How far a style may move a colour, in the units of :func:`_colour`, for a pixel to count as cloth of that colour."""
NEAR = 30.0
"""A pixel counts wholly up to half of this distance from the image's own cloth, and not at all from 1.5 times it."""
FEWEST = 20
"""Pixels of cloth that the first-frame image has to show."""
MOST = 2.0
"""Cloth may grow by this factor (the camera comes nearer) before it counts as too much."""
FLICKER_SCALE = 4.0
"""Grey levels of alternation that leave 1/e of the flicker score."""
AMPLITUDE_SCALE = 0.2
"""Shorter sides per second at which the amplitude score is 1 - 1/e."""
CALMEST = 0.75
"""Share of the pixels that flicker is averaged over: where people move, cover and uncover, no displacement explains."""

_STATED = re.compile(rf"\b({'|'.join(OUTFIT_COLOURS)})\s+(?:{'|'.join(OUTFITS)})\b")


def stated_colour(caption: str | None) -> str | None:
    """The colour word before the outfit's, or None where there is none or two differ."""
    found = set(_STATED.findall(" ".join((caption or "").lower().split())))
    return found.pop() if len(found) == 1 else None


def luma(rgb: np.ndarray) -> np.ndarray:
    """float32 (..., H, W), 0..255, of uint8 (..., H, W, 3)."""
    return np.asarray(rgb, np.float32) @ LUMA


def outfit_colour(frames: np.ndarray, image: np.ndarray, colour: str) -> float:
    """Mean over frames of min(1, r, 2 / r), with r the cloth in the frame relative to the cloth in the image.

    Cloth is counted where a standing person wears it. Its colour is the median of the image's pixels that are near the
    stated colour, so that the drawing style does not matter.

    Args:
        frames: uint8 (T, H, W, 3).
        image: uint8 (H, W, 3), the first-frame image.
        colour: a key of :data:`OUTFIT_COLOURS`.

    Returns:
        0 to 1; NaN where the image shows fewer than 20 pixels of that colour.
    """
    down, right = from_middle(*image.shape[:2])
    place = np.exp(-((right / 0.2) ** 2) - ((down - 0.1) / 0.25) ** 2)
    shown = _colour(image)
    cloth = (_distance(shown, _colour(np.array(OUTFIT_COLOURS[colour]))) < STYLED) & (place > 0.3)
    if cloth.sum() < FEWEST:
        return float("nan")
    own = np.median(shown[cloth], axis=0)

    def amount(picture: np.ndarray) -> float:
        return float((np.clip(1.5 - _distance(_colour(picture), own) / NEAR, 0, 1) * place).sum())

    before = amount(image)
    if before == 0.0:  # the median of two quite different colours is near neither
        return float("nan")
    ratios = np.array([amount(frame) for frame in frames]) / before
    return float(np.minimum(np.minimum(1.0, ratios), MOST / np.maximum(ratios, 1e-9)).mean())


def flicker(y: np.ndarray, flow: Flow) -> float:
    """exp(-A / 4), with A the alternation of brightness in grey levels that motion does not explain.

    A is a quarter of the absolute second difference of block means along the paths of :func:`match`: brightness that
    goes up and down by a from frame to frame has A = a, an even change has none. It is the mean over the frames, and in
    each frame over the three quarters of the pixels where it is smallest.

    Args:
        y: luma (T, H, W), 0..255.
        flow: displacements between these frames.

    Returns:
        0 to 1, 1 where nothing flickers; NaN with fewer than three frames.
    """
    if len(y) < 3:
        return float("nan")
    level = smoothed(y)
    change = follow(level[1:], flow) - level[:-1]
    second = np.abs(follow(change[1:], flow) - change[:-1]) / 4
    values = np.sort(second.reshape(len(second), -1), axis=1)
    calm = values[:, : max(1, int(CALMEST * values.shape[1]))]
    return float(np.exp(-calm.mean() / FLICKER_SCALE))


def flow_amplitude(flow: Flow, rate: float) -> float:
    """1 - exp(-x / 0.2), with x the mean speed of the person in shorter frame sides per second.

    The mean is over the pixels whose displacement is determined, weighted by how likely the person stands there; the
    camera's shift and zoom are taken out (:func:`own_motion`).

    Args:
        flow: displacements between frames.
        rate: frames per second.

    Returns:
        0 to 1, 0 where nothing moves; NaN with fewer than two frames.
    """
    if len(flow.dy) == 0:
        return float("nan")
    down, right = from_middle(*flow.dy.shape[1:])
    weight = np.exp(-((right / 0.2) ** 2) - ((down - 0.05) / 0.35) ** 2) * flow.seen
    total = float(weight.sum())
    pixels = float((own_motion(flow) * weight).sum()) / total if total > 0 else 0.0
    return float(1.0 - np.exp(-pixels / min(flow.dy.shape[1:]) * rate / AMPLITUDE_SCALE))


def sharpness(y: np.ndarray, image: np.ndarray) -> float:
    """Mean over frames of min(1, V / V0), with V the variance of the frame's Laplacian and V0 of the image's.

    Args:
        y: luma (T, H, W), 0..255.
        image: luma (H, W) of the first-frame image.

    Returns:
        0 to 1; NaN where the image has no detail (V0 below 1e-3).
    """
    reference = float(_detail(image[None])[0])
    if reference < 1e-3:
        return float("nan")
    return float(np.minimum(1.0, _detail(y) / reference).mean())


def _detail(y: np.ndarray) -> np.ndarray:
    """Variance (T,) of the Laplacian over four neighbours, inside the border."""
    y = y.astype(np.float64)
    laplacian = y[:, :-2, 1:-1] + y[:, 2:, 1:-1] + y[:, 1:-1, :-2] + y[:, 1:-1, 2:] - 4 * y[:, 1:-1, 1:-1]
    return np.asarray(laplacian.var(axis=(1, 2)))


def _colour(rgb: np.ndarray) -> np.ndarray:
    """float64 (..., 3): three quarters of the luma, and the blue and red differences: shadow counts less than hue."""
    x = np.asarray(rgb, np.float64)
    y = x @ LUMA.astype(np.float64)
    return np.stack([0.75 * y, x[..., 2] - y, x[..., 0] - y], axis=-1)


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(np.sqrt(((a - b) ** 2).sum(axis=-1)))
