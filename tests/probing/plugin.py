"""Source of a plugin whose answers are known in closed form: detail, brightness, a constant, noise, prompt length."""

SOURCE = '''
import hashlib
import numpy as np
from PIL import Image
from rewardbench_plugin import (
    Dimension, FrameSpec, RewardCard, RewardManifest, RewardModel, Sampling, Scores, hookimpl)

SPEC = FrameSpec(sampling=Sampling("all", None))
NAMES = ("appeal", "smoothness", "character", "motion", "text_video", "image_video", "overall", "mystery")


class Known(RewardModel):
    """appeal: detail; smoothness: detail and prompt length (a leak); character: constant; motion: noise by name and
    seed; text_video: prompt length; image_video: the image's brightness; overall: abstains; mystery: clips together."""

    card = RewardCard(
        name="known", version="1.0", uses_image=True,
        dimensions=tuple(Dimension(name, higher_is_better=name != "mystery") for name in NAMES),
        inputs={name: SPEC for name in NAMES})
    option_names = ("log", "at")

    def prepare(self, clip, frames):
        if self.options.get("at") and self.options["at"] in clip.metadata.get("name", ""):
            raise ValueError("this one cannot be prepared")
        rgb = frames[SPEC].rgb.astype(np.float64)
        image = 0.0 if clip.image is None else np.asarray(Image.open(clip.image).convert("RGB")).mean()
        return {"detail": np.array([np.abs(np.diff(rgb, axis=2)).mean(), image])}

    def score(self, batch):
        if "log" in self.options:
            with open(self.options["log"], "a") as stream:
                stream.write("".join(item.clip.clip_id + "\\n" for item in batch))
        rows = []
        for item in batch:
            detail, image = item.data["detail"]
            length = float(len(item.clip.prompt or ""))
            digest = hashlib.sha256(f"{self.seed} {item.clip.clip_id}".encode()).digest()
            noise = int.from_bytes(digest[:6], "big") / 2**48
            row = dict(zip(NAMES, (detail, detail + length, 0.5, noise, length, image, np.nan, float(len(batch)))))
            rows.append([row[name] for name in self.dimensions])
        return Scores(np.array(rows))


@hookimpl
def rewardbench_rewards():
    return [RewardManifest(name="known", version="1.0", target=f"{__name__}:Known")]
'''

JUDGE = '''
import numpy as np
from rewardbench_plugin import (
    Dimension, FrameSpec, Judgements, PairwiseJudge, RewardCard, RewardManifest, Sampling, hookimpl)

SPEC = FrameSpec(sampling=Sampling("all", None))


class Sharper(PairwiseJudge):
    """The clip with more detail is better with p = .9; the first one shown gets `bias` more."""

    card = RewardCard(name="sharper", version="1.0", dimensions=(Dimension("verdict", -1.0, 1.0),),
                      inputs={"verdict": SPEC})
    option_names = ("bias",)

    def prepare(self, clip, frames):
        return {"detail": np.array([np.abs(np.diff(frames[SPEC].rgb.astype(np.float64), axis=2)).mean()])}

    def compare(self, batch):
        bias = float(self.options.get("bias", "0"))
        rows = []
        for first, second in batch:
            a, b = first.data["detail"][0], second.data["detail"][0]
            p = 0.5 if a == b else 0.8 if a > b else 0.2
            rows.append([p + bias / 2, 0.0, 1 - p - bias / 2])
        return Judgements(np.array(rows))


@hookimpl
def rewardbench_rewards():
    return [RewardManifest(name="sharper", version="1.0", target=f"{__name__}:Sharper")]
'''
