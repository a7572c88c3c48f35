"""Source of a third-party plugin that scores mean brightness, and misbehaves on request."""

SOURCE = '''
import os, time
from pathlib import Path
import numpy as np
from rewardbench_plugin import (
    Dimension, FrameSpec, Item, RewardCard, RewardManifest, RewardModel, Sampling, Scores, hookimpl)

SPEC = FrameSpec(sampling=Sampling("count", 4))


class Brightness(RewardModel):
    """Mean pixel value over 255; options make it misbehave on clips whose path contains `at`."""

    card = RewardCard(
        name="brightness", version="1.0",
        dimensions=(Dimension("brightness", 0.0, 1.0), Dimension("darkness", 0.0, 1.0)),
        inputs={"brightness": SPEC, "darkness": SPEC}, default_score="brightness")
    option_names = ("fault", "at", "log", "room")

    def load(self, device, dtype, weights, options):
        if options.get("fault") == "load":
            raise ValueError("the weights are broken")
        self.device = device

    def prepare(self, clip, frames):
        if self.options.get("fault") == "prepare" and self.options["at"] in clip.video:
            raise RuntimeError("cannot prepare")
        if self.options.get("fault") == "decode-hang" and self.options["at"] in clip.video:
            time.sleep(600)
        if self.options.get("fault") == "decode-die" and self.options["at"] in clip.video:
            os._exit(7)
        return {"mean": np.array([frames[SPEC].rgb.mean() / 255])}

    def score(self, batch):
        fault, at = self.options.get("fault"), self.options.get("at", "")
        if "log" in self.options:
            with open(self.options["log"], "a") as stream:
                stream.write("".join(item.clip.clip_id + "\\n" for item in batch))
        if fault == "memory" and len(batch) > int(self.options["room"]):
            raise MemoryError("no room")
        hit = [at in item.clip.video for item in batch]
        if any(hit):
            if fault == "raise":
                raise RuntimeError("bad\\nclip")
            if fault == "hang":
                time.sleep(600)
            if fault == "die":
                os._exit(9)
            if fault == "kill":
                os.kill(os.getpid(), 9)
        values = np.array([[item.data["mean"][0], 1 - item.data["mean"][0]] for item in batch])
        values = values[:, [self.card.dimension_names.index(d) for d in self.dimensions]]
        if fault == "shape":
            return Scores(values[:, 0])
        if fault == "range":
            values[hit] = 7.0
        if fault == "nan":
            values[hit] = np.nan
        if fault == "inf":
            values[hit] = np.inf
        errors = [("no, not this one" if h else None) for h in hit] if fault == "error" else ()
        print("chatter on stdout")
        return Scores(values, errors=errors)


@hookimpl
def rewardbench_rewards():
    return [RewardManifest(name="brightness", version="1.0", target=f"{__name__}:Brightness")]
'''
