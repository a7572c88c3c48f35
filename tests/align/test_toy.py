"""The shipped toy: what its code, patches and words promise, and that it has learned more than a linear guess knows."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from rewardbench.align.families import load_family
from rewardbench.align.noise import add_noise
from rewardbench.align.toy.checkpoint import BUILT_IN
from rewardbench.align.toy.codec import BLOCK, BlockCodec, fit_codec
from rewardbench.align.toy.drawn import PARTS, drawn_prompt
from rewardbench.align.toy.network import cells, patches
from rewardbench.align.toy.words import UNKNOWN, encode
from rewardbench.errors import InputError
from rewardbench.synth.splits import TRAIN_SEEDS

KINDS = ["flow", "v"]


@pytest.fixture(scope="module", params=KINDS)
def family(request):
    return load_family(f"toy:{request.param}")


def test_both_toys_together_are_at_most_ten_megabytes() -> None:
    assert sum(f.stat().st_size for f in BUILT_IN.rglob("*") if f.is_file()) <= 10e6


def test_what_is_coded_twice_stays_the_same(family) -> None:
    clips = np.stack([drawn_prompt("evaluate", i).clip() for i in range(16)])
    clip = torch.from_numpy(clips).float() / 127.5 - 1.0
    once = family._codec.encode(clip)
    torch.testing.assert_close(family._codec.encode(family._codec.decode(once)), once, rtol=1e-4, atol=1e-4)
    assert float((family.decode_latents(once) - clip).square().mean()) < 0.05 * float(
        (clip - clip.mean()).square().mean()
    )


def test_a_codec_of_all_components_loses_nothing() -> None:
    clips = torch.rand(3, 4, 16, 24, 3) * 2 - 1
    plain = BlockCodec(
        torch.full((BLOCK,), 0.1), torch.linalg.qr(torch.randn(BLOCK, BLOCK))[0], torch.rand(BLOCK) + 0.5
    )
    torch.testing.assert_close(plain.decode(plain.encode(clips)), clips, rtol=1e-4, atol=1e-4)
    assert plain.encode(clips).shape == (3, BLOCK, 2, 2, 3)


def test_components_are_principal() -> None:
    """Against numpy's singular values of the blocks, cut out by hand."""
    clips = torch.rand(2, 2, 16, 16, 3)
    codec, kept = fit_codec(clips, 5)
    blocks = np.stack(
        [clips[b, :, y : y + 8, x : x + 8].numpy().ravel() for b in range(2) for y in (0, 8) for x in (0, 8)]
    )
    singular = np.linalg.svd(blocks - blocks.mean(0), compute_uv=False)
    assert kept == pytest.approx((singular[:5] ** 2).sum() / (singular**2).sum(), rel=1e-4)
    assert float(codec.encode(clips).square().mean()) == pytest.approx(1.0, rel=1e-3)  # mean variance, about the mean


def test_odd_sizes_are_refused(family) -> None:
    with pytest.raises(ValueError, match="an even number of frames"):
        family._codec.encode(torch.zeros(1, 3, 16, 16, 3))


def test_patches_and_cells_are_inverses() -> None:
    x = torch.randn(2, 3, 4, 6, 8)
    assert torch.equal(cells(patches(x), (3, 4, 6, 8)), x)
    # token 1 of the first frame is the patch to the right of the first
    assert torch.equal(patches(x)[0, 1].reshape(3, 2, 2), x[0, :, 0, :2, 2:4])


def test_parts_of_the_seeds_are_disjoint_training_seeds() -> None:
    ranges = sorted(PARTS.values(), key=lambda r: r.start)
    assert ranges[0].start == TRAIN_SEEDS.start
    assert ranges[-1].stop == TRAIN_SEEDS.stop
    assert all(a.stop == b.start for a, b in pairwise(ranges))
    seeds = {part: {drawn_prompt(part, i).scene.seed for i in range(50)} for part in PARTS}
    assert all(seed in PARTS[part] for part, found in seeds.items() for seed in found)


def test_the_vocabulary_knows_every_word_of_the_captions(family) -> None:
    captions = [drawn_prompt("evaluate", i).caption for i in range(300)]
    ids = encode(captions, family._words)
    assert not bool((ids == UNKNOWN).any())
    assert bool((ids[:, -1] == 0).all())  # none is cut


def test_words_that_are_not_known_and_no_caption(family) -> None:
    ids = encode(["zebra girl", ""], family._words)
    assert int(ids[0, 0]) == UNKNOWN
    assert int(ids[0, 1]) > UNKNOWN
    assert not bool(ids[1].any())


@pytest.mark.parametrize("t", [0.3, 0.6, 0.9])
def test_the_network_is_better_than_its_linear_guess_on_scenes_it_has_not_seen(family, t) -> None:
    prompts = [drawn_prompt("evaluate", i) for i in range(12)]
    clips = torch.from_numpy(np.stack([p.clip() for p in prompts])).float() / 127.5 - 1.0
    x0 = family.encode_video(clips)
    condition = family.encode_text([p.caption for p in prompts]) | family.encode_image(
        clips[:, 0], 12, torch.Generator()
    )
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
    time = family.schedule.at(torch.full((12,), t))
    x_t, target = add_noise(x0, eps, time), family.schedule.target(x0, eps, time)
    network = family.transformer
    with torch.no_grad():
        learned = (family.predict(network, x_t, time, condition) - target).square().mean()
        kept = [p.detach().clone() for p in network.patch_out.parameters()]
        for p in network.patch_out.parameters():
            p.zero_()
        guess = (family.predict(network, x_t, time, condition) - target).square().mean()
        for p, old in zip(network.patch_out.parameters(), kept, strict=True):
            p.copy_(old)
    assert float(learned) < 0.9 * float(guess)


def test_the_caption_matters(family) -> None:
    """With captions of other scenes the error grows: the network reads them."""
    n = 24
    prompts = [drawn_prompt("evaluate", i) for i in range(n)]
    clips = torch.from_numpy(np.stack([p.clip() for p in prompts])).float() / 127.5 - 1.0
    x0 = family.encode_video(clips)
    image = family.encode_image(clips[:, 0], n, torch.Generator())
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
    time = family.schedule.at(torch.full((n,), 0.7))
    x_t, target = add_noise(x0, eps, time), family.schedule.target(x0, eps, time)
    captions = [p.caption for p in prompts]
    found = []
    for texts in (captions, captions[7:] + captions[:7]):
        with torch.no_grad():
            v = family.predict(family.transformer, x_t, time, family.encode_text(texts) | image)
        found.append(float((v - target).square().mean()))
    assert found[0] < found[1]


@pytest.mark.parametrize("model", ["toy:none", "toy:/nowhere"])
def test_a_folder_that_is_no_toy_is_refused(model) -> None:
    with pytest.raises(InputError, match="not a checkpoint of the toy generator"):
        load_family(model)


def test_a_size_it_cannot_make_is_refused(family) -> None:
    from rewardbench.align.families import ClipShape

    with pytest.raises(InputError, match="clips of one size"):
        load_family("toy", clip=ClipShape(8, 32, 32, 8.0))
    with pytest.raises(InputError, match="no option speed"):
        load_family("toy", options={"speed": "1"})


def test_weights_lie_where_the_package_looks() -> None:
    assert {p.name for p in Path(BUILT_IN).iterdir() if p.is_dir()} == set(KINDS)
