"""LoRA files: what they say of themselves, and that equal ones are equal byte for byte."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from rewardbench.align.adapters import FILE, POLICY, adapter_parameters, attach, load_adapter, save_adapter, strength_of
from rewardbench.align.lora_header import prediction_of, rank_and_alpha, settle_header
from rewardbench.align.recipe import Recipe
from rewardbench.errors import InputError
from tests.align.conftest import load_toy

RECIPE = replace(Recipe(), lora_rank=4, lora_alpha=6)


def written(toy: Path, folder: Path) -> Path:
    """A LoRA of rank 4 and alpha 6 whose weights are not 0."""
    family = load_toy(toy)
    attach(family, RECIPE)
    with torch.no_grad():
        for number, parameter in enumerate(adapter_parameters(family.transformer, POLICY).values()):
            parameter.fill_(0.01 * (number + 1))
    folder.mkdir()
    return save_adapter(family, folder)


def shuffled(path: Path) -> None:
    """The same file with the header's keys the other way round, as another process could have written it."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    metadata = dict(reversed(header.pop("__metadata__").items()))
    config = dict(reversed(json.loads(metadata["lora_adapter_metadata"]).items()))
    metadata["lora_adapter_metadata"] = json.dumps(config, indent=2)
    text = json.dumps({**dict(reversed(header.items())), "__metadata__": metadata}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


def test_equal_adapters_have_files_of_one_digest_in_whatever_order_the_library_wrote_them(tiny_toy, tmp_path) -> None:
    path = written(tiny_toy, tmp_path / "lora")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    tensors = {name: value.clone() for name, value in load_file(path).items()}  # not the file's own memory
    shuffled(path)
    assert hashlib.sha256(path.read_bytes()).hexdigest() != digest
    settle_header(path)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    again = load_file(path)
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[name], value) for name, value in tensors.items())
    assert [p.name for p in path.parent.iterdir()] == [FILE]


def test_a_settled_file_loads_with_its_rank_and_alpha(tiny_toy, tmp_path) -> None:
    path = written(tiny_toy, tmp_path / "lora")
    family = load_toy(tiny_toy)
    load_adapter(family, path.parent, POLICY)
    config = family.transformer.peft_config[POLICY]
    assert (config.r, config.lora_alpha) == (4, 6)
    with safe_open(path, "pt") as file:
        assert file.metadata()["format"] == "pt"


def test_rank_and_alpha_of_a_lora_to_start_from_are_read_from_its_file(tiny_toy, tmp_path) -> None:
    folder = written(tiny_toy, tmp_path / "lora").parent
    assert strength_of(folder) == {"lora_rank": 4, "lora_alpha": 6}
    attach(load_toy(tiny_toy), replace(RECIPE, **strength_of(folder)), folder)


@pytest.mark.parametrize("changes", [{"lora_rank": 64}, {"lora_alpha": 12}])
def test_a_recipe_of_another_rank_or_alpha_is_refused(tiny_toy, tmp_path, changes) -> None:
    folder = written(tiny_toy, tmp_path / "lora").parent
    with pytest.raises(InputError, match="has rank 4 and alpha 6, and the recipe says"):
        attach(load_toy(tiny_toy), replace(RECIPE, **changes), folder)


def test_without_a_configuration_rank_is_the_tensors_and_alpha_the_rank(tiny_toy, tmp_path) -> None:
    """As diffusers reads such a file."""
    path = written(tiny_toy, tmp_path / "lora")
    save_file(load_file(path), path)
    assert rank_and_alpha(path) == (4, 4.0)
    family = load_toy(tiny_toy)
    load_adapter(family, path.parent, POLICY)
    config = family.transformer.peft_config[POLICY]
    assert (config.r, config.lora_alpha) == (4, 4)
    assert prediction_of(path) is None


def test_a_lora_of_a_base_that_predicts_something_else_is_refused(tiny_toy, tiny_toy_v, tmp_path) -> None:
    """Its tensors fit all the same."""
    path = written(tiny_toy, tmp_path / "lora")
    with pytest.raises(InputError, match="trained on one that predicts flow velocity"):
        load_adapter(load_toy(tiny_toy_v), path.parent, POLICY)
    save_file(load_file(path), path)  # of another program: nothing is known of its base
    load_adapter(load_toy(tiny_toy_v), path.parent, POLICY)


@pytest.mark.parametrize("data", [b"", b"\xff" * 8, b"\x02" + b"\0" * 7 + b"[]", b"\x03" + b"\0" * 7 + b"abc"])
def test_a_broken_file_is_refused(tmp_path, data) -> None:
    (tmp_path / FILE).write_bytes(data)
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        strength_of(tmp_path)


def test_a_file_without_a_lora_is_refused(tmp_path) -> None:
    save_file({"x": torch.zeros(2)}, tmp_path / FILE)
    with pytest.raises(InputError, match="holds no LoRA"):
        strength_of(tmp_path)
