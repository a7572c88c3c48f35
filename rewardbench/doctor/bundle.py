"""The drawn clips every install is examined on. They are bundled as files, so that decoding is examined too.

``python -m rewardbench.doctor.bundle FOLDER`` draws them again.
"""

from __future__ import annotations

import hashlib
import sys
from importlib import resources
from pathlib import Path
from typing import Any

from rewardbench_plugin.clip import Clip

FRAMES, HEIGHT, WIDTH, FPS = 26, 192, 320, 8.0
SCENES: dict[str, dict[str, Any]] = {
    "walk": {"seed": 11, "action": "walk", "background": "night city", "outfit": "coat", "camera": "pan right"},
    "wave": {
        "seed": 12,
        "action": "wave",
        "background": "seaside",
        "hair_style": "bob",
        "outfit": "kimono",
        "size": 1.15,
    },
    "jump": {"seed": 13, "action": "jump", "background": "forest", "person": "boy", "hair_style": "spiky"},
}
SHA256 = {
    "walk.mp4": "3cfcad5093773a990b266985b1edff918ce9effd5ae0a850acb688ede59f6f5c",
    "wave.mp4": "5807fe3e08ab053bf8a00022afd10284eadebe869300dcf5626067288b52d056",
    "jump.mp4": "68a0d9cb5b5c321083c50ccf2e3ee9f7320e96fdfbfa496f132230e35657dd99",
}
"""The bundled videos; reference scores hold for these bytes only."""


def bundled_clips() -> list[Clip]:
    """Three drawn clips of 3.25 s, 320x192 at 8 frames per second, each with its prompt and its first frame.

    Raises:
        FileNotFoundError: if the install lacks them.
    """
    folder = Path(str(resources.files("rewardbench.doctor"))) / "clips"
    return [
        Clip(
            name,
            str(folder / f"{name}.mp4"),
            (folder / f"{name}.txt").read_text(encoding="utf-8"),
            str(folder / f"{name}.png"),
            {"name": f"{name}.mp4"},
        )
        for name in SCENES
    ]


def altered() -> list[str]:
    """Names of bundled videos whose bytes are not those the reference scores were made with."""
    found = {
        Path(clip.video).name: hashlib.sha256(Path(clip.video).read_bytes()).hexdigest() for clip in bundled_clips()
    }
    return [name for name, digest in found.items() if digest != SHA256[name]]


def draw(folder: Path) -> None:
    """Draw the clips, their first frames and their prompts into ``folder``."""
    from PIL import Image

    from rewardbench.synth.caption import caption
    from rewardbench.synth.scene import Scene
    from rewardbench.synth.world import draw_clip
    from rewardbench.video import write_video

    folder.mkdir(parents=True, exist_ok=True)
    for name, fields in SCENES.items():
        scene = Scene(**fields)
        frames = draw_clip(scene, frames=FRAMES, height=HEIGHT, width=WIDTH, fps=FPS)
        write_video(folder / f"{name}.mp4", frames, FPS)
        Image.fromarray(frames[0]).save(folder / f"{name}.png", optimize=True)
        (folder / f"{name}.txt").write_text(caption(scene), encoding="utf-8")


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
