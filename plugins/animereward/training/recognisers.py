"""Train the recognisers: where the person is, and what the head, the body and the whole picture show."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from attributes import VALUES
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

OUTPUTS: dict[str, dict[str, int]] = {
    "place": {"person": 3},
    "head": {k: len(VALUES[k]) for k in ("person", "hair_style", "hair_colour", "eye_colour", "accessory")},
    "body": {k: len(VALUES[k]) for k in ("person", "outfit", "outfit_colour")},
    "full": {"background": len(VALUES["background"])},
}
WIDTHS = {"place": (24, 48, 64), "head": (24, 48, 64, 96), "body": (24, 48, 64, 96), "full": (24, 48, 64)}
SIZE = {"place": 32, "head": 64, "body": 64, "full": 32}
EPOCHS = {"place": 12, "head": 8, "body": 6, "full": 6}
SOURCE = {"place": "full", "head": "head", "body": "body", "full": "full"}


class Recogniser(nn.Module):
    """Stride-2 convolutions, one hidden layer, one linear head per output; see ``networks.recognise``."""

    def __init__(self, widths: tuple[int, ...], outputs: dict[str, int], size: int = 64, channels: int = 3) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, 3, stride=2, padding=1) for i, o in zip((channels, *widths), widths, strict=False)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(o) for o in widths)
        self.hidden = nn.Linear(widths[-1] * (size // 2 ** len(widths)) ** 2, 96)
        self.head = nn.ModuleDict({name: nn.Linear(96, k) for name, k in outputs.items()})

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = functional.relu(norm(conv(x)))
        hidden = functional.dropout(functional.relu(self.hidden(x.flatten(1))), 0.2, self.training)
        return {name: head(hidden) for name, head in self.head.items()}

    def export(self) -> dict[str, NDArray[np.float32]]:
        """Tensors for ``networks.recognise``, with batch normalisation folded into the convolutions."""
        out = {}
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            out[f"conv{i}.weight"] = conv.weight * factor[:, None, None, None]
            out[f"conv{i}.bias"] = (conv.bias - norm.running_mean) * factor + norm.bias
        for name, layer in {"hidden": self.hidden, **{f"head.{k}": v for k, v in self.head.items()}}.items():
            out[f"{name}.weight"], out[f"{name}.bias"] = layer.weight, layer.bias
        return {k: v.detach().numpy().astype(np.float32) for k, v in out.items()}


def augment(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Colour and detail changes of pictures (N, 3, S, S) in [0, 1]: stand-ins for drawing styles not seen."""
    n = len(x)

    def draw(low: float, high: float) -> torch.Tensor:
        return (low + (high - low) * torch.rand(n, 1, 1, generator=generator)).clamp(min=0)

    # saturation, then a mix with white, with a random tint and with black: one affine map of the colours per picture
    luma = torch.tensor([0.299, 0.587, 0.114]).expand(3, 3)
    saturation, lift, tint, gain = draw(0.7, 1.4), draw(-0.1, 0.22), draw(-0.05, 0.18), draw(0.8, 1.1)
    colours = (luma + saturation * (torch.eye(3) - luma)) * (1 - lift) * (1 - tint) * gain
    offset = (lift * (1 - tint) + tint * torch.rand(n, 3, 1, generator=generator)) * gain
    x = torch.baddbmm(offset, colours, x.flatten(2)).view_as(x)
    kind = float(torch.rand((), generator=generator))
    if kind < 0.15:
        x = (
            x
            + (functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False) - x) * draw(0, 0.9)[..., None]
        )
    elif kind < 0.25:
        x = x - (functional.max_pool2d(-x, 3, stride=1, padding=1) + x) * draw(0, 0.5)[..., None]
    elif kind < 0.5:
        x = x + torch.randn(x.shape, generator=generator) * draw(-0.02, 0.06)[..., None]
    return x.clamp(0, 1)


def windows(pictures: NDArray[np.uint8], rng: np.random.Generator, size: int = 64) -> NDArray[np.uint8]:
    """One randomly placed and scaled crop (N, size, size, 3) of each stored picture, as an imperfect locator gives."""
    n, stored = pictures.shape[:2]
    scale = rng.uniform(0.92, 1.1, (n, 1))
    offset = rng.uniform(-4, 4, (n, 2)) + (stored - 1) / 2
    grid = (np.arange(size) - (size - 1) / 2)[None]
    rows = np.clip(np.rint(offset[:, :1] + grid * scale), 0, stored - 1).astype(int)
    columns = np.clip(np.rint(offset[:, 1:] + grid * scale), 0, stored - 1).astype(int)
    return pictures[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]


def halved(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Means of 2 x 2 pixels, uint8, as Pillow's box filter gives them."""
    n, h, w = pictures.shape[:3]
    mean = pictures.reshape(n, h // 2, 2, w // 2, 2, 3).mean(axis=(2, 4), dtype=np.float32)
    return np.asarray(np.floor(mean + 0.5), np.uint8)


def load(folder: Path) -> dict[str, NDArray[np.generic]]:
    shards = [np.load(p) for p in sorted(folder.glob("attributes-???.npz"))]
    return {name: np.concatenate([s[name] for s in shards]) for name in shards[0].files}


def train(
    name: str, data: dict[str, NDArray[np.generic]], epochs: int, seed: int
) -> tuple[Recogniser, dict[str, float]]:
    """Train one recogniser; the last tenth of the scenes measures it."""
    torch.manual_seed(seed)
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    model = Recogniser(WIDTHS[name], OUTPUTS[name], SIZE[name]).to(memory_format=torch.channels_last)
    pictures, n = data[SOURCE[name]], len(data["labels"])
    if SIZE[name] == 32:
        pictures = np.concatenate([halved(pictures[i : i + 2000]) for i in range(0, n, 2000)])
    cut = n * 9 // 10 // 3 * 3
    facts = list(VALUES)
    steps = epochs * (cut // 64)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps + 1, pct_start=0.2)
    for epoch in range(epochs):
        model.train()
        order, total = rng.permutation(cut), 0.0
        for start in range(0, cut - 63, 64):
            rows = order[start : start + 64]
            batch = pictures[rows] if name in ("place", "full") else windows(pictures[rows], rng)
            x = augment(torch.from_numpy(batch.transpose(0, 3, 1, 2).astype(np.float32) / 255), generator) * 2 - 1
            x = x.contiguous(memory_format=torch.channels_last)
            loss = loss_of(name, model(x), data, rows, facts)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item()
        if epoch % 2 == 1 or epoch == epochs - 1:
            print(name, epoch, round(total / (cut // 64), 4), measure(name, model, pictures, data, cut), flush=True)
    return model, measure(name, model, pictures, data, cut)


def loss_of(name: str, out: dict[str, torch.Tensor], data: dict[str, NDArray[np.generic]], rows: NDArray[np.int64],
            facts: list[str]) -> torch.Tensor:  # fmt: skip
    if name == "place":
        return functional.smooth_l1_loss(out["person"], torch.from_numpy(data["person"][rows]), beta=0.02)
    total = torch.zeros(())
    for fact, logits in out.items():
        target = torch.from_numpy(data["labels"][rows][:, facts.index(fact)].astype(np.int64))
        total = total + functional.cross_entropy(logits, target, label_smoothing=0.02)
    return total


@torch.no_grad()
def measure(
    name: str, model: Recogniser, pictures: NDArray[np.uint8], data: dict[str, NDArray[np.generic]], cut: int
) -> dict[str, float]:
    model.eval()
    pictures = pictures[cut:]
    size = SIZE[name]
    margin = (pictures.shape[1] - size) // 2
    pictures = pictures[:, margin : margin + size, margin : margin + size]
    out = model(torch.from_numpy(pictures.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1))
    if name == "place":
        error = np.abs(out["person"].numpy() - data["person"][cut:]).mean(axis=0)
        return dict(zip("xyu", error.round(4).tolist(), strict=True))
    truth = data["labels"][cut:]
    return {
        fact: round(float((logits.argmax(1).numpy() == truth[:, list(VALUES).index(fact)]).mean()), 4)
        for fact, logits in out.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of attributes-*.npz")
    parser.add_argument("--out", type=Path, required=True, help="folder the tensors go to")
    parser.add_argument("--epochs", type=int, help="of every recogniser; by default those of EPOCHS")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=tuple(OUTPUTS), action="append")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # the sums, and so the weights, do not depend on the number of cores
    data = load(options.data)
    for name in options.only or OUTPUTS:
        if (options.out / f"recogniser-{name}.json").exists() and not options.only:
            continue
        model, measured = train(name, data, options.epochs or EPOCHS[name], options.seed)
        np.savez(options.out / f"recogniser-{name}.npz", **model.export())  # type: ignore[arg-type]
        (options.out / f"recogniser-{name}.json").write_text(json.dumps(measured))


if __name__ == "__main__":
    main()
