"""Source of an isolated plugin that misbehaves on request, also below the level of Python."""

SOURCE = '''
import os, signal, sys, time
from pathlib import Path
import numpy as np
from rewardbench_plugin import PATH, Dimension, RewardCard, RewardManifest, RewardModel, Scores, hookimpl


class Faulty(RewardModel):
    """File size over a million; `fault` happens on clips whose path contains `at`."""

    card = RewardCard(
        name="faulty", version="1.0", dimensions=(Dimension("size", 0.0, 1.0), Dimension("python", 0.0, 99.0)),
        inputs={"size": PATH, "python": PATH}, environment="isolated", requires=("numpy",))
    option_names = ("fault", "at", "seconds")

    def load(self, device, dtype, weights, options):
        self.pipe = int(sys.argv[1])
        if options.get("fault") == "refused":
            raise ValueError("no such luck")
        if options.get("fault") == "slow-load":
            time.sleep(float(options["seconds"]))
        if options.get("fault") == "stopped-load":
            os.kill(os.getpid(), signal.SIGSTOP)

    def score(self, batch):
        fault, at = self.options.get("fault"), self.options.get("at", "")
        if fault == "prints":
            print("to standard output", flush=True)
            os.write(1, b"to descriptor 1\\\\n" * 10000)
        if any(at in item.clip.video for item in batch):
            if fault == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if fault == "exits":
                os._exit(5)
            if fault == "hangs":
                while True:
                    time.sleep(0.05)
            if fault == "slow":
                time.sleep(float(self.options["seconds"]))
            if fault == "stopped":
                os.kill(os.getpid(), signal.SIGSTOP)
            if fault == "garbage":
                os.write(self.pipe, b"Segmentation fault (core dumped)\\\\n")
            if fault == "half":
                os.write(self.pipe, b"rbw\\\\x02\\\\x00\\\\x00\\\\x10\\\\x00" + bytes(8) + b"{")
                time.sleep(600)
            if fault == "pickle":
                import pickle
                os.write(self.pipe, pickle.dumps({"ok": True, "id": 2}))
            if fault == "another-answer":
                self._answer({"op": "x", "id": 77, "ok": True})
            if fault == "no-answer":
                self._answer({"hello": "world"})
            if fault == "closes":
                os.close(self.pipe)
                time.sleep(600)
            if fault == "objects":
                return Scores(np.array([[object(), object()]] * len(batch)))
            if fault == "nothing":
                return None
        sizes = [[os.path.getsize(item.clip.video) / 1e6, float(sys.version_info[1])] for item in batch]
        values = np.array(sizes)[:, [self.card.dimension_names.index(d) for d in self.dimensions]]
        return Scores(values, notes=[f"{os.getcwd()}|{np.__version__}" for _ in batch])

    def _answer(self, message):
        import json, struct
        text = json.dumps({"message": message, "arrays": []}).encode()
        os.write(self.pipe, struct.pack("!4sIQ", b"rbw\\\\x02", len(text), 0) + text)
        time.sleep(600)


@hookimpl
def rewardbench_rewards():
    return [RewardManifest(name="faulty", version="1.0", target=f"{__name__}:Faulty")]
'''.replace("\\\\", "\\")
