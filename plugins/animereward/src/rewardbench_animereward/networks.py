"""The two kinds of network in ``mini``, evaluated in numpy: small convolutional recognisers and ensembles of MLPs.

numpy alone keeps decode workers free of torch, and gives the same numbers whatever the batch: every clip is evaluated
by itself.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

Weights = Mapping[str, np.ndarray]


def part(weights: Weights, prefix: str) -> dict[str, np.ndarray]:
    """The tensors under ``prefix.``, without it, as float32."""
    cut = len(prefix) + 1
    return {k[cut:]: np.asarray(v, np.float32) for k, v in weights.items() if k.startswith(prefix + ".")}


def recognise(weights: Weights, pictures: np.ndarray) -> dict[str, np.ndarray]:
    """Outputs of a recogniser.

    Args:
        weights: ``conv<i>.weight`` (out, in, 3, 3) and ``.bias``: stride 2, padding 1, ReLU; ``hidden.weight`` and
            ``.bias`` on the flattened last map, ReLU; then ``head.<name>.weight`` and ``.bias`` for every output.
        pictures: uint8 (N, S, S, 3).

    Returns:
        name -> float32 (N, K) before any softmax, and ``hidden`` (N, H).
    """
    x = np.asarray(pictures, np.float32).transpose(0, 3, 1, 2) / 127.5 - 1.0
    layer = 0
    while f"conv{layer}.weight" in weights:
        x = np.maximum(_convolve(x, weights[f"conv{layer}.weight"], weights[f"conv{layer}.bias"]), 0)
        layer += 1
    hidden = np.maximum(x.reshape(len(x), -1) @ weights["hidden.weight"].T + weights["hidden.bias"], 0)
    out = {"hidden": hidden}
    for key in weights:
        if key.startswith("head.") and key.endswith(".weight"):
            name = key[5:-7]
            out[name] = hidden @ weights[key].T + weights[f"head.{name}.bias"]
    return out


def _convolve(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """3 x 3 convolution of (N, C, H, W) with stride 2 and one pixel of zero padding."""
    n, c, h, w = x.shape
    p = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    oh, ow = (h + 1) // 2, (w + 1) // 2
    columns = np.empty((n, c, 3, 3, oh, ow), np.float32)
    for i in range(3):
        for j in range(3):
            columns[:, :, i, j] = p[:, :, i : i + 2 * oh - 1 : 2, j : j + 2 * ow - 1 : 2]
    out = np.matmul(kernel.reshape(len(kernel), -1), columns.reshape(n, c * 9, oh * ow))
    return np.asarray(out.reshape(n, len(kernel), oh, ow) + bias[None, :, None, None], np.float32)


def log_softmax(x: np.ndarray) -> np.ndarray:
    x = x - x.max(axis=-1, keepdims=True)
    return np.asarray(x - np.log(np.exp(x).sum(axis=-1, keepdims=True)))


def regress(weights: Weights, features: np.ndarray) -> float:
    """Mean rating of an ensemble of MLPs with a sigmoid output, in [0, 1].

    Args:
        weights: ``mean``, ``scale`` (F,) of the features; for member m: ``<m>.w0`` (F, H), ``b0``, ``w1`` (H, G),
            ``b1``, ``w2`` (G, 1), ``b2``. Standardised features are cut at +-4, so that a clip unlike anything in
            training cannot carry one feature away.
        features: float32 (F,).
    """
    logits = np.array([out[0] for out in _members(weights, features)], np.float64)
    return float(np.mean(1.0 / (1.0 + np.exp(-np.clip(logits, -30, 30)))))


def classify(weights: Weights, features: np.ndarray) -> np.ndarray:
    """Mean log-probabilities (K,) of an ensemble of MLPs with K outputs; tensors as for :func:`regress`."""
    return np.asarray(np.mean([log_softmax(out) for out in _members(weights, features)], axis=0), np.float32)


def _members(weights: Weights, features: np.ndarray) -> list[np.ndarray]:
    x = np.clip((features - weights["mean"]) / weights["scale"], -4.0, 4.0).astype(np.float32)
    outputs: list[np.ndarray] = []
    while f"{len(outputs)}.w0" in weights:
        m = len(outputs)
        hidden = np.tanh(x @ weights[f"{m}.w0"] + weights[f"{m}.b0"])
        hidden = np.tanh(hidden @ weights[f"{m}.w1"] + weights[f"{m}.b1"])
        outputs.append(hidden @ weights[f"{m}.w2"] + weights[f"{m}.b2"])
    return outputs
