"""Run by the Python of vbench's environment: writes random weights in vbench's layout, or scores as vbench itself does.

python vbench_reference.py weights FOLDER            sizes are as small as the package's own classes let them be
python vbench_reference.py scores FOLDER CLIPS OUT   the package's evaluation of a folder of clips, to OUT
"""

import json
import os
import sys
from pathlib import Path

DIMENSIONS = (
    "background_consistency",
    "temporal_flickering",
    "motion_smoothness",
    "dynamic_degree",
    "aesthetic_quality",
    "imaging_quality",
)


def write_weights(folder: Path) -> None:
    import torch
    import vbench
    from clip.model import CLIP
    from easydict import EasyDict
    from omegaconf import OmegaConf
    from pyiqa.archs.musiq_arch import MUSIQ
    from vbench.third_party.amt.utils.build_utils import build_from_cfg
    from vbench.third_party.RAFT.core.raft import RAFT

    def place(name: str) -> str:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        return str(folder / name)

    torch.manual_seed(0)
    raft = RAFT(EasyDict(small=False, mixed_precision=False, alternate_corr=False)).state_dict()
    torch.save({f"module.{key}": value for key, value in raft.items()}, place("raft_model/models/raft-things.pth"))
    config = Path(vbench.__file__).parent / "third_party/amt/cfgs/AMT-S.yaml"
    amt = build_from_cfg(OmegaConf.load(config).network).state_dict()
    torch.save({"state_dict": amt}, place("amt_model/amt-s.pth"))
    musiq = MUSIQ(pretrained=False).state_dict()
    torch.save(musiq, place("pyiqa_model/musiq_spaq_ckpt-358bb6af.pth"))
    head = torch.nn.Linear(768, 1).state_dict()
    torch.save(head, place("aesthetic_model/emb_reader/sa_0_4_vit_l_14_linear.pth"))
    for name, embedding, patch in (("ViT-B-32", 64, 32), ("ViT-L-14", 768, 14)):
        model = CLIP(embedding, 224, 2, 64, patch, 77, 49408, 64, 1, 2).eval()
        inputs = (torch.zeros(1, 3, 224, 224), torch.zeros(1, 77, dtype=torch.long))
        torch.jit.trace(model, inputs).save(place(f"clip_model/{name}.pt"))  # published as TorchScript archives


def write_scores(folder: Path, clips: Path, out: Path) -> None:
    os.environ["VBENCH_CACHE_DIR"] = str(folder)
    import vbench

    listed = str(Path(vbench.__file__).parent / "VBench_full_info.json")
    reference = vbench.VBench("cpu", listed, str(out.parent / "vbench"))
    reference.evaluate(str(clips), "all", dimension_list=list(DIMENSIONS), local=True, mode="custom_input")
    results = json.loads((out.parent / "vbench" / "all_eval_results.json").read_text())
    scores: dict = {}
    for dimension, (_, rows) in results.items():
        for row in rows:
            value = float(row["video_results"]) / (100 if dimension == "imaging_quality" else 1)
            scores.setdefault(Path(row["video_path"]).name, {})[dimension] = value
    out.write_text(json.dumps(scores))


if __name__ == "__main__":
    if sys.argv[1] == "weights":
        write_weights(Path(sys.argv[2]))
    else:
        write_scores(*map(Path, sys.argv[2:5]))
