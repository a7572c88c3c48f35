"""AnimeReward's consistency models: trained from and to the published layout, scored by the plugin."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch

import rewardbench
from rewardbench.errors import InputError
from rewardbench.reward_training.settings import TrainingSettings
from rewardbench.reward_training.training import train
from rewardbench.video import write_video
from rewardbench_plugin import Clip


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Six prompts with two flat clips each; the clip that has the image's colour is rated 1, the other 0."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("consistency")
    rows = []
    for n in range(6):
        image = np.full((32, 32, 3), (40 * n, 120, 255 - 40 * n), np.uint8)
        Image.fromarray(image).save(folder / f"{n}.png")
        for side, picture in (("a", image), ("b", 255 - image)):
            write_video(folder / f"{n}{side}.mp4", np.repeat(picture[None], 2, axis=0), 2.0)
            rows.append({"video": f"{n}{side}.mp4", "prompt": f"colour {n}", "image": f"{n}.png",
                         "rating_image_video": str(int(side == "a")), "rating_text_video": "0.5"})  # fmt: skip
    with (folder / "ratings.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "ratings.csv"


def settings(table, base, out, **changes):
    chosen = {"data": table, "base": base, "out": out, "objective": "regression", "dimensions": ("image_video",)}
    chosen |= {"language": "frozen", "learning_rate": 1e-3, "epochs": 2, "batch_size": 4, "device": "cpu"}
    return TrainingSettings(**(chosen | {"validation_share": 0.34} | changes))


@pytest.mark.shared
def test_the_plugin_scores_as_training_did(shared, table, tmp_path):
    base = shared / "golden" / "blip" / "img_video" / "checkpoint_06.pth"
    result = train(settings(table, base, tmp_path / "run"))
    file = tmp_path / "run" / result["checkpoint"]
    loaded = rewardbench.load_reward(
        "animereward:released", weights={"image_video": str(file)}, dimensions=["image_video"], device="cpu"
    )
    scores = []
    for n in range(6):
        for side in "ab":
            folder = table.parent
            scores.append(Clip("c", str(folder / f"{n}{side}.mp4"), f"colour {n}", str(folder / f"{n}.png")))
    values = loaded.score(scores)[:, 0]
    held_out = result["examples"]["validation"]
    stated = result["normalisation"]["image_video"]
    # the validation clips are some whole prompts: the stated mean is that of one such choice
    means = [values.reshape(6, 2)[[i, j]].mean() for i in range(6) for j in range(i)] + list(
        values.reshape(6, 2).mean(1)
    )
    assert held_out in (2, 4)
    assert min(abs(stated["mean"] - m) for m in means) < 1e-5
    assert (values > 0).all()
    assert (values < 1).all()


@pytest.mark.shared
def test_names_stay_and_only_what_is_trained_moves(shared, table, tmp_path):
    base = shared / "golden" / "blip" / "img_video" / "checkpoint_06.pth"
    before = torch.load(base, weights_only=True)["model"]
    result = train(settings(table, base, tmp_path / "heads", vision="frozen"))
    after = torch.load(tmp_path / "heads" / result["checkpoint"], weights_only=True)["model"]
    assert after.keys() == before.keys()
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"img_proj", "img_key_proj", "head_diff"}


@pytest.mark.shared
def test_the_text_model_is_trained_on_prompts(shared, table, tmp_path):
    golden = shared / "golden" / "blip"
    bert = next(golden.rglob("vocab.txt")).parent
    base = golden / "text_video" / "checkpoint_05.pth"
    chosen = {"dimensions": ("text_video",), "language": "full", "bert": bert}
    result = train(settings(table, base, tmp_path / "text", **chosen))
    before = torch.load(base, weights_only=True)["model"]
    after = torch.load(tmp_path / "text" / result["checkpoint"], weights_only=True)["model"]
    changed = {name.split(".")[0] for name in before if name in after and not torch.equal(before[name], after[name])}
    assert {"text_encoder", "visual_encoder", "head_diff"} <= changed
    assert json.loads((tmp_path / "text" / "model" / "arch.json").read_text()) == json.loads(
        (golden / "arch.json").read_text()
    )
    with pytest.raises(InputError, match="add --bert FOLDER"):
        train(settings(table, base, tmp_path / "other", dimensions=("text_video",)))


@pytest.mark.shared
def test_wrong_choices_are_one_sentence(shared, table, tmp_path):
    base = tmp_path / "checkpoint_06.pth"
    shutil.copyfile(shared / "golden" / "blip" / "img_video" / "checkpoint_06.pth", base)
    with pytest.raises(InputError, match="each for text_video or image_video alone"):
        train(settings(table, base, tmp_path / "a", dimensions=None))
    with pytest.raises(InputError, match="--language lora is for a Qwen2-VL"):
        train(settings(table, base, tmp_path / "b", language="lora"))
    base.write_bytes(base.read_bytes()[:1000])
    with pytest.raises(InputError, match="half downloaded"):
        train(settings(table, base, tmp_path / "c"))


@pytest.mark.shared
def test_ratings_outside_the_models_range_are_refused(shared, table, tmp_path):
    base = shared / "golden" / "blip" / "img_video" / "checkpoint_06.pth"
    text = table.read_text().replace(",1,", ",5,")
    (table.parent / "five.csv").write_text(text)
    with pytest.raises(InputError, match="ratings from 0 to 5"):
        train(settings(table.parent / "five.csv", base, tmp_path / "run"))
