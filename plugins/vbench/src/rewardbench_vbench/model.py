"""VBench as a reward model: which dimensions can be computed, and their scores clip by clip."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from rewardbench_plugin.card import RewardCard
from rewardbench_plugin.clip import PATH
from rewardbench_plugin.options import flag
from rewardbench_plugin.reward import Item, RewardModel, Scores
from rewardbench_vbench import VERSION
from rewardbench_vbench.dimensions import BY_NAME, DINO_FOLDER, MEASURES, PUBLISHED, SOURCES, Measure

VBENCH = "0.1.5"

CARD = RewardCard(
    name="vbench",
    version=VERSION,
    summary=f"VBench and VBench-I2V, computed by the vbench package {VBENCH} itself, one clip at a time",
    dimensions=tuple(measure.dimension for measure in MEASURES),
    inputs={measure.name: PATH for measure in MEASURES},
    overall_rule="none; rewardbench_vbench.totals.i2v_totals has the totals of VBench-I2V",
    environment="isolated",
    python="3.11",
    requires=(
        f"vbench=={VBENCH}",
        "numpy<2",
        "torch>=2.6",  # from 2.6 on torch.load runs no pickled code unless told so
        "torchvision>=0.21",
        "opencv-python==4.11.0.86",  # decodes the clips; the last that goes with numpy 1
        "setuptools>=71,<82",  # openai-clip imports pkg_resources from it, and does not say so
        "dreamsim",  # i2v_background imports it, and vbench does not declare it
        "peft==0.6.2",  # dreamsim takes any; later ones need a newer transformers than vbench's 4.33.2
    ),
    training_data=(
        "pretrained parts only: DINO (ImageNet), CLIP (WIT), LAION's aesthetic head (SAC, LOGOS, AVA), MUSIQ (SPAQ), "
        "AMT (Vimeo90K), RAFT (FlyingThings), UMT (Kinetics), ViCLIP (InternVid), Tag2Text; none saw a preference "
        "benchmark of this package"
    ),
    code_licence="Apache-2.0 (vbench; its parts have their own)",
    weights_licence="each part has its own; see docs/vbench.md",
    citation="Huang et al., VBench, CVPR 2024, arXiv:2311.17982; VBench++, arXiv:2411.13503",
    evaluation_rules={"VBench-I2V": "mean over clips of each dimension, then rewardbench_vbench.totals.i2v_totals"},
    deviations=(
        "the package averages the consistency dimensions over frames of all clips; here each clip has its own mean, "
        "as in the package's own per-video results",
        "the package shrinks the frames of motion_smoothness on small GPUs; here they never are, so a score does not "
        "depend on the card",
        "the package reads DINO from torch.hub over the network; here the same code (checked by SHA-256) and weights "
        "are read from the weights folder, with --trust-remote-code",
        "the i2v dimensions leave antialiasing to torchvision, whose default changed with 0.17; here 0.21 or later "
        "smooths",
    ),
    sources=SOURCES,
    notes=(
        "parameters and memory depend on the dimensions asked for (each part is below 1 GB of weights, except "
        "human_action's 1.2 GB); dynamic_degree rewards motion and temporal_flickering rewards "
        "stillness: neither is a quality alone; "
        f"decoding is vbench's own (OpenCV, decord); {len([m for m in MEASURES if m.barred])} dimensions cannot be "
        "computed here and say why when asked for"
    ),
)


class VBench(RewardModel):
    """Scores of single clips by the ``vbench`` package; a dimension abstains where its prompt or image is missing."""

    card = CARD
    option_names = ("trust_remote_code",)

    def configure(
        self,
        *,
        preset: str | None = None,
        weights: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
        dimensions: Sequence[str] | None = None,
        seed: int = 0,
    ) -> None:
        """Take the user's choices. Without ``dimensions``, all that have what they need.

        Raises:
            ValueError: naming the files that a dimension asked for lacks, or why it cannot be computed at all.
        """
        super().configure(preset=preset, weights=weights, options=options, dimensions=dimensions, seed=seed)
        trusted = flag(self.options, "trust_remote_code", False)
        self.options = {}  # whether code is trusted changes no score
        self.folder = weights_folder(self.weights)
        lacking = {measure.name: lack for measure in MEASURES if (lack := _lack(measure, self.folder, trusted))}
        if dimensions:
            refused = [f"{name}: {lacking[name]}" for name in self.dimensions if name in lacking]
            if refused:
                raise ValueError(f"dimension {'; dimension '.join(refused)}")
        else:
            self.dimensions = tuple(name for name in self.card.dimension_names if name not in lacking)
        measures = [BY_NAME[name] for name in self.dimensions]
        self.weights = {file: str(self.folder / file) for measure in measures for file in measure.files}
        self.card = replace(
            CARD,
            needs_prompt=all(measure.prompt for measure in measures),
            needs_image=all(measure.image for measure in measures),
            uses_image=any(measure.image for measure in measures),
        )

    def load(self, device: str, dtype: str | None, weights: Mapping[str, str], options: Mapping[str, str]) -> None:
        if dtype not in (None, "float32"):
            raise ValueError(f"vbench computes in its own precision; leave out --dtype {dtype}")
        from rewardbench_vbench.measuring import build

        self.measures = {name: build(name, self.folder, device) for name in self.dimensions}

    def score(self, batch: Sequence[Item]) -> Scores:
        from rewardbench_vbench.measuring import Abstains, link

        values = np.full((len(batch), len(self.dimensions)), np.nan)
        notes: list[str] = []
        errors: list[str | None] = [None] * len(batch)
        for row, item in enumerate(batch):
            said: dict[str, str] = {}
            with tempfile.TemporaryDirectory(prefix="vbench-") as folder:
                video = link(item.clip, Path(folder))
                for column, name in enumerate(self.dimensions):
                    try:
                        values[row, column] = self.measures[name](video, item.clip)
                    except Abstains as reason:
                        said[name] = str(reason)
                    except (ValueError, OSError) as error:
                        errors[row] = f"{name} of {item.clip.video}: {' '.join(str(error).split())}"
                        break
            notes.append("; ".join(f"{name}: {text}" for name, text in said.items()))
        return Scores(values, notes=notes, errors=errors)

    def close(self) -> None:
        self.measures = {}


def weights_folder(weights: Mapping[str, str]) -> Path:
    """``--weights DIR``, else the package's own: ``$VBENCH_CACHE_DIR`` or ``~/.cache/vbench``.

    Raises:
        ValueError: if the folder named is none.
    """
    named = weights.get("")
    if named is None:
        return Path(os.environ.get("VBENCH_CACHE_DIR") or Path.home() / ".cache" / "vbench")
    if not Path(named).is_dir():
        raise ValueError(f"--weights {named} is no folder; vbench reads a folder laid out as its own cache")
    return Path(named).absolute()


def _lack(measure: Measure, folder: Path, trusted: bool) -> str:
    """Why a dimension cannot be computed, or nothing."""
    if measure.barred:
        return f"cannot be computed here, because {measure.barred}"
    missing = [file for file in measure.files if not _is_there(folder, file)]
    if not missing and DINO_FOLDER in measure.files and not trusted:
        return f"runs the code in {folder / DINO_FOLDER}: add --trust-remote-code (it is checked by SHA-256)"
    if not missing:
        return ""
    where = "; ".join(f"{file} (published at {PUBLISHED[file]})" for file in missing)
    return f"needs {where} in {folder}: put it there, or name the folder that has it with --weights DIR"


def _is_there(folder: Path, file: str) -> bool:
    return (folder / file).is_dir() if file.endswith("/") else (folder / file).is_file()
