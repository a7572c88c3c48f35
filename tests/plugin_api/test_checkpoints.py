"""Weights files: read without running code, loaded without passing anything over."""

from __future__ import annotations

import argparse
import json
import pickle
import re

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from rewardbench_plugin.checkpoints import load_strict, read_tensors

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.tensor([1.0, 2.0])}


def same(found: dict) -> bool:
    return set(found) == set(STATE) and all(torch.equal(found[name], STATE[name]) for name in STATE)


@pytest.mark.parametrize("nest", [None, "state_dict", "model"])
@pytest.mark.parametrize("old_format", [False, True])
def test_torch_files(tmp_path, nest, old_format) -> None:
    content = STATE if nest is None else {nest: STATE, "epoch": 3}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=not old_format)
    assert same(read_tensors(tmp_path / "a.pth"))


def test_safetensors_single_and_sharded(tmp_path) -> None:
    save_file(STATE, tmp_path / "model.safetensors")
    assert same(read_tensors(tmp_path / "model.safetensors"))
    assert same(read_tensors(tmp_path))
    sharded = tmp_path / "sharded"
    sharded.mkdir()
    shards = {"a.weight": "one.safetensors", "a.bias": "two.safetensors"}
    for name, shard in shards.items():
        save_file({name: STATE[name]}, sharded / shard)
    (sharded / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    assert same(read_tensors(sharded))
    (sharded / "two.safetensors").unlink()
    with pytest.raises(ValueError, match=r"is incomplete: two\.safetensors of 2 shards not there"):
        read_tensors(sharded)


class Evil:
    def __reduce__(self):
        return (open, ("evil-was-here", "w"))


def test_no_pickled_code_is_run(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Evil()}, "evil.pth")
    (tmp_path / "plain.bin").write_bytes(pickle.dumps({"a": Evil()}))
    for name in ("evil.pth", "plain.bin"):
        with pytest.raises(ValueError, match="never unpickled") as caught:
            read_tensors(tmp_path / name)
        assert not re.search("weights_only|[Rr]e-running|safe_globals", str(caught.value)), "no advice to run it"
    assert "(" in str(caught.value)
    assert not (tmp_path / "evil-was-here").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "a.pth"])
def test_half_a_download(tmp_path, name) -> None:
    path = tmp_path / name
    if name.endswith("pth"):
        torch.save(STATE, path)
    else:
        save_file(STATE, path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="half downloaded"):
        read_tensors(path)


@pytest.mark.parametrize("content", [[1, 2], {"a": 3}])
def test_something_else_than_a_state_dict(tmp_path, content) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="holds no state dict"):
        read_tensors(tmp_path / "a.pth")


def test_nothing_there(tmp_path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        read_tensors(tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"neither model\.safetensors nor"):
        read_tensors(tmp_path)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 2)


def test_every_name_with_its_shape_is_loaded() -> None:
    module = Small()
    load_strict(module, STATE, "a file")
    assert torch.equal(module.a.weight, STATE["a.weight"])


def test_what_is_missing_unexpected_or_misshapen_is_listed_and_nothing_is_loaded() -> None:
    module = Small()
    before = module.a.weight.clone()
    with pytest.raises(ValueError, match="is not a checkpoint of") as caught:
        load_strict(module, {"a.weight": torch.zeros(3, 3), "b": torch.zeros(1)}, "that.pth")
    assert str(caught.value) == (
        "that.pth is not a checkpoint of Small: 1 missing: a.bias; 1 unexpected: b; "
        "1 of another shape: a.weight (3, 3) instead of (2, 3)"
    )
    assert torch.equal(module.a.weight, before)


def test_a_module_can_be_named() -> None:
    with pytest.raises(ValueError, match=r"^that\.pth is not a checkpoint of the small model: 2 missing: a\.weight, a"):
        load_strict(Small(), {}, "that.pth", name="the small model")


def test_what_torch_objects_to_is_said(tmp_path) -> None:
    torch.save({"args": argparse.Namespace(a=1)}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"never unpickled \(.*argparse\.Namespace\)$") as caught:
        read_tensors(tmp_path / "a.pth")
    assert "add_safe_globals" not in str(caught.value)


def test_names_that_may_be_absent() -> None:
    module = Small()
    load_strict(module, {"a.weight": STATE["a.weight"]}, "that.pth", allow_missing=["a.bias"])
    assert torch.equal(module.a.weight, STATE["a.weight"])
