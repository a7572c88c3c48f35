"""``plugins fetch``: from a card to a folder that the plugin can read, and what is said where that fails."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from rewardbench.cli import main
from rewardbench.errors import InputError
from rewardbench.fetching import Fetched, fetch
from rewardbench.fetching.assets import default_folder
from rewardbench.registry import instantiate, load_registry, resolve_spec
from rewardbench_plugin import Template
from rewardbench_plugin.assets import read_template
from rewardbench_plugin.digests import hash_path

COMMIT = "1234567890abcdef1234567890abcdef12345678"
SOURCE = b'''
QUERY = """
Rate the video made from "{text_prompt}".  
"""

def ask(text_prompt):
    PROMPTS = [f"large: {text_prompt}", "still"]
'''
QUERY = b'\nRate the video made from "{text_prompt}".  \n'
LARGE = b"large: {text_prompt}"
KNOWN = b"[1]"
LIST = b"one?\ntwo?"
MODEL = bytes(range(256)) * 400
PLUGIN = """
from dataclasses import replace
from rewardbench_plugin import (
    Dimension, HubFiles, RewardCard, RewardManifest, RewardModel, Template, WebFile, hookimpl)

URL = {url!r}
TEMPLATES = (
    Template("query.txt", {query!r}, URL + "/prompts.py", "QUERY"),
    Template("large.txt", {large!r}, URL + "/prompts.py", "PROMPTS[0]"),
    Template("list.txt", {list!r}, URL + "/list.txt"),
)
SOURCES = (
    HubFiles("lab/model", patterns=("*.json", "weights/*")),
    HubFiles("lab/base", revision={commit!r}, part="base", folder="base"),
)


class Needy(RewardModel):
    card = RewardCard(name="needy", version="1.0", dimensions=(Dimension("x"),), weights_parts=("base",),
                      templates=TEMPLATES, sources=SOURCES,
                      files=(WebFile("lists/known.json", {known!r}, URL + "/known.json", part="base"),),
                      after_fetch="Unpack {{folder}}/a.tar.")

    def configure(self, **choices):
        super().configure(**choices)
        if self.preset == "bare":
            self.card = replace(self.card, templates=(), sources=(), files=(), notes="Bring your own.")


@hookimpl
def rewardbench_rewards():
    target = f"{{__name__}}:Needy"
    return [RewardManifest(name="needy", version="1.0", target=target, presets={{"bare": target, "full": target}})]
"""


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def needy(place, install_plugin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The published place of a plugin that needs two kinds of templates and two repositories."""
    place.files |= {"prompts.py": SOURCE, "list.txt": LIST, "known.json": KNOWN}
    place.repositories["lab/model"] = {
        "config.json": b"{}",
        "weights/a.safetensors": MODEL,
        "readme.md": b"not wanted",
        "weights/small.txt": b"small",
    }
    place.repositories["lab/base"] = {"vocab.txt": b"a\nb\n"}
    install_plugin(
        "needy",
        PLUGIN.format(
            url=place.url, query=sha(QUERY), large=sha(LARGE), list=sha(LIST), known=sha(KNOWN), commit=COMMIT
        ),
    )
    monkeypatch.setenv("REWARDBENCH_CACHE", str(tmp_path / "cache"))
    return place


def contents(folder: Path) -> dict[str, bytes]:
    """Everything in a folder but hidden files."""
    files = {p.relative_to(folder): p for p in folder.rglob("*") if p.is_file()}
    shown = {name: p for name, p in files.items() if not any(part.startswith(".") for part in name.parts)}
    return {name.as_posix(): p.read_bytes() for name, p in shown.items()}


WHOLE = {
    "templates/query.txt": QUERY,
    "templates/large.txt": LARGE,
    "templates/list.txt": LIST,
    "config.json": b"{}",
    "weights/a.safetensors": MODEL,
    "weights/small.txt": b"small",
    "base/vocab.txt": b"a\nb\n",
    "lists/known.json": KNOWN,
}


def test_all_a_card_names_arrives_in_the_published_layout(needy, tmp_path: Path) -> None:
    said: list[str] = []
    folder = tmp_path / "w"
    found = fetch("needy", folder, tell=said.append)
    assert contents(folder) == WHOLE
    assert found == Fetched(
        "needy",
        folder,
        (str(folder), f"base={folder / 'base'}"),
        {"lab/model": COMMIT, "lab/base": COMMIT},
        tuple(sorted(WHOLE)),
        f"Unpack {folder}/a.tar.",
    )
    template = Template("query.txt", sha(QUERY), needy.url, "QUERY")
    assert read_template(folder, template).encode() == QUERY
    assert any("'main' of lab/model can change; this folder keeps commit 1234567890" in line for line in said)
    assert not any("lab/base can change" in line for line in said), "a commit is pinned"
    assert len(needy.asked("prompts.py")) == 1, "one download for both texts of it"
    record = json.loads((folder / ".fetched.json").read_text())
    assert record["sources"]["model/lab/model"]["commit"] == COMMIT
    assert record["sources"]["model/lab/model"]["files"]["weights/a.safetensors"]["digest"] == sha(MODEL)
    assert record["templates"]["large.txt"]["sha256"] == sha(LARGE)


def test_a_second_call_fetches_nothing_and_changes_nothing(needy, tmp_path: Path) -> None:
    folder = tmp_path / "w"
    first = fetch("needy", folder)
    before = hash_path(str(folder))
    needy.requests.clear()
    assert fetch("needy", folder) == first
    assert [path for path, _ in needy.requests if "/api/" not in path] == []
    assert hash_path(str(folder)) == before


def test_a_damaged_file_is_fetched_again_alone(needy, tmp_path: Path) -> None:
    folder = tmp_path / "w"
    fetch("needy", folder)
    (folder / "weights" / "a.safetensors").write_bytes(MODEL[:-1] + b"!")
    (folder / "templates" / "query.txt").write_bytes(QUERY.strip())
    needy.requests.clear()
    fetch("needy", folder)
    assert contents(folder) == WHOLE
    assert sorted(path for path, _ in needy.requests if "/api/" not in path) == [
        f"/lab/model/resolve/{COMMIT}/weights/a.safetensors",
        "/prompts.py",
    ]


def test_an_interrupted_model_goes_on_with_a_range(needy, tmp_path: Path) -> None:
    """The hub's client writes blocks of 10 MiB, so half of 24 MiB leaves one of them."""
    large = MODEL * (24 * 2**20 // len(MODEL))
    needy.repositories["lab/model"] = {"weights/large.bin": large}
    needy.breaks["weights/large.bin"] = 1
    fetch("needy", tmp_path / "w", parts=["weights"])
    assert contents(tmp_path / "w") == {"weights/large.bin": large}
    starts = [int((span or "bytes=0-").removeprefix("bytes=").partition("-")[0]) for span in needy.asked("large.bin")]
    assert len(starts) == 2
    assert starts[0] == 0
    assert 0 < starts[1] <= len(large) // 2


@pytest.mark.parametrize("name", ["weights/a.safetensors", "weights/small.txt"])
def test_a_file_that_is_not_what_the_hub_says_is_refused_and_removed(needy, tmp_path: Path, name: str) -> None:
    true = needy.repositories["lab/model"][name]
    needy.lies[name] = true[:-1] + b"!"
    with pytest.raises(InputError, match=f"{name} of lab/model did not arrive as published .*removed"):
        fetch("needy", tmp_path / "w")
    assert not (tmp_path / "w" / name).exists()
    del needy.lies[name]
    fetch("needy", tmp_path / "w")
    assert contents(tmp_path / "w") == WHOLE


def test_a_template_that_is_another_text_is_refused_and_not_left_in_place(needy, tmp_path: Path) -> None:
    needy.files["prompts.py"] = SOURCE.replace(b"Rate", b"Judge")
    with pytest.raises(InputError, match="QUERY in .*prompts.py is not the published template query.txt"):
        fetch("needy", tmp_path / "w", parts=["templates"])
    assert not (tmp_path / "w" / "templates" / "query.txt").exists()
    needy.files["prompts.py"] = SOURCE
    needy.files["list.txt"] = LIST + b"\n"
    with pytest.raises(InputError, match="list.txt is not the published file"):
        fetch("needy", tmp_path / "w", parts=["templates"])
    assert set(contents(tmp_path / "w")) == {"templates/query.txt", "templates/large.txt"}


def test_a_single_file_that_is_another_is_refused_and_a_damaged_one_replaced(needy, tmp_path: Path) -> None:
    folder = tmp_path / "w"
    needy.files["known.json"] = b"[2]"
    with pytest.raises(InputError, match="known.json is not the published file"):
        fetch("needy", folder, parts=["base"])
    assert not (folder / "lists" / "known.json").exists()
    needy.files["known.json"] = KNOWN
    assert fetch("needy", folder, parts=["base"]).remaining == ""
    (folder / "lists" / "known.json").write_bytes(b"[3]")
    fetch("needy", folder)
    assert contents(folder) == WHOLE


def test_parts_alone(needy, tmp_path: Path) -> None:
    fetch("needy", tmp_path / "t", parts=["templates"])
    assert set(contents(tmp_path / "t")) == {name for name in WHOLE if name.startswith("templates/")}
    fetch("needy", tmp_path / "b", parts=["base"])
    assert contents(tmp_path / "b") == {"base/vocab.txt": b"a\nb\n", "lists/known.json": KNOWN}
    fetch("needy", tmp_path / "b", parts=["weights"])
    assert "weights/a.safetensors" in contents(tmp_path / "b")
    with pytest.raises(InputError, match="publishes no part 'bases'; did you mean 'base'?"):
        fetch("needy", tmp_path / "b", parts=["bases"])


def test_without_a_connection_one_sentence_says_what_goes_where(
    needy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "w"
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError) as caught:
        fetch("needy", folder)
    sentence = str(caught.value)
    for said in (
        "http://127.0.0.1:9/lab/model/tree/main cannot be reached",
        f"run `rewardbench plugins fetch needy --to DIR` and copy DIR to {folder}",
        f"*.json, weights/* of http://127.0.0.1:9/lab/model/tree/main into {folder}",
        f"http://127.0.0.1:9/lab/base/tree/{COMMIT} into {folder / 'base'}",
        f"from {needy.url}/prompts.py QUERY as query.txt, PROMPTS[0] as large.txt into {folder / 'templates'}",
        f"from {needy.url}/list.txt it as list.txt",
        f"{needy.url}/known.json as {folder / 'lists' / 'known.json'}",
    ):
        assert said in sentence, said
    assert "\n" not in sentence


def test_what_is_complete_needs_no_connection(needy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "w"
    first = fetch("needy", folder)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    said: list[str] = []
    assert fetch("needy", folder, tell=said.append) == first
    assert any(f"is complete as of commit {COMMIT}" in line for line in said)
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match="cannot be reached"):
        fetch("needy", folder)


def test_other_sentences(needy, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'needy:bare' names nothing to fetch.*Bring your own"):
        fetch("needy:bare", tmp_path / "w")
    fetch("needy", tmp_path / "w", parts=["templates"])
    with pytest.raises(InputError, match="holds what was fetched for needy; name another folder"):
        fetch("needy:full", tmp_path / "w", parts=["templates"])
    del needy.repositories["lab/base"]
    with pytest.raises(InputError, match=r"lab/base/tree/\w+ is not there, or needs a permission"):
        fetch("needy", tmp_path / "v", parts=["base"])
    needy.repositories["lab/model"] = {"readme.md": b""}
    with pytest.raises(InputError, match=r"has no file like \*.json, weights/\*"):
        fetch("needy", tmp_path / "v", parts=["weights"])


def test_a_name_that_leads_out_of_the_folder_is_not_fetched(needy, tmp_path: Path) -> None:
    needy.repositories["lab/base"] = {"../../evil.txt": b"x"}
    with pytest.raises(InputError, match="leads out of"):
        fetch("needy", tmp_path / "w", parts=["base"])
    assert not list(tmp_path.rglob("evil.txt"))


def test_a_full_disk_is_said_before_anything_is_fetched(needy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    full = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr("rewardbench.fetching.hub.shutil.disk_usage", lambda _: full)
    with pytest.raises(InputError, match="0.0 GB are free; name another place with --to DIR"):
        fetch("needy", tmp_path / "w", parts=["weights"])
    assert contents(tmp_path / "w") == {}


def test_the_command(needy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "fetch", "needy"]) == 0
    folder = default_folder("needy", None)
    assert contents(folder) == WHOLE
    printed = capsys.readouterr()
    assert f"--plugin needy --weights {folder} --weights base={folder / 'base'}" in printed.out
    assert f"lab/model at {COMMIT}" in printed.out
    assert printed.out.endswith(f"Unpack {folder}/a.tar.\n")
    assert "fetching query.txt, large.txt from" in printed.err
    words = ["plugins", "fetch", "needy", "--to", str(tmp_path / "w"), "--part", "templates", "--format", "json"]
    assert main(words) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["folder"] == str(tmp_path / "w")
    assert facts["files"] == ["templates/large.txt", "templates/list.txt", "templates/query.txt"]
    assert main(["plugins", "fetch", "random"]) == 2
    assert "names nothing to fetch" in capsys.readouterr().err


def test_every_template_of_our_plugins_is_pinned() -> None:
    """A raw address at a commit, and a path of names where the file is Python source."""
    pinned = re.compile(r"https://raw\.githubusercontent\.com/[^/]+/[^/]+/[0-9a-f]{40}/.+")
    seen = 0
    for name, manifest in load_registry().rewards.items():
        for preset in manifest.presets or (None,):
            _, _, target = resolve_spec(name if preset is None else f"{name}:{preset}")
            model = instantiate(name, target)
            try:
                model.configure(preset=preset)
            except ValueError:
                continue  # recorded tables need their file
            for file in model.card.files:
                assert pinned.fullmatch(file.url), (name, file)
                assert re.fullmatch(r"[0-9a-f]{64}", file.sha256), (name, file)
            for template in model.card.templates:
                seen += 1
                assert pinned.fullmatch(template.url), (name, template)
                assert bool(template.literal) == template.url.endswith(".py"), (name, template)
                assert re.fullmatch(r"[0-9a-f]{64}", template.sha256), (name, template)
    assert seen
