"""What a plugin's card names, brought into one folder in the published layout."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rewardbench.cache import cache_folder
from rewardbench.errors import InputError
from rewardbench.fetching import hub
from rewardbench.fetching.download import UnreachableError, download
from rewardbench.fetching.literals import literal_text
from rewardbench.registry import instantiate, nearest, resolve_spec
from rewardbench_plugin.assets import HubFiles, Template, WebFile
from rewardbench_plugin.card import RewardCard

RECORD = ".fetched.json"
TEMPLATES, WEIGHTS = "templates", "weights"
"""What ``--part`` calls the prompt templates, and the weights that belong to no named part."""
MOST_SOURCE = 16 << 20
"""Bytes of a published source file; prompt files have a few thousand."""


@dataclass(frozen=True)
class Fetched:
    """What :func:`fetch` left.

    Attributes:
        folder: what ``--weights`` takes.
        weights: the ``--weights`` words that name everything fetched.
        commits: repository to the commit its files are of.
        files: paths inside ``folder``.
        remaining: one sentence on what is left to do by hand; empty where nothing is.
    """

    plugin: str
    folder: Path
    weights: tuple[str, ...]
    commits: dict[str, str] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    remaining: str = ""


def fetch(
    spec: str,
    to: Path | None = None,
    parts: Sequence[str] = (),
    tell: Callable[[str], None] = lambda _: None,
    revisions: Mapping[str, str] | None = None,
) -> Fetched:
    """Fetch weights and templates of ``NAME[:PRESET]`` from where its card says they are published.

    What is in the folder already and is the published file stays; what is not is replaced. The commit of every
    repository and the digest of every file stand in ``.fetched.json``.

    Args:
        to: folder (``~/.cache/rewardbench/weights/NAME[/PRESET]`` if None).
        parts: only these: ``templates``, ``weights`` (what belongs to no named part) or a part's name.
        tell: is given a line for each thing that is fetched.
        revisions: repository to the revision wanted of it, where that is not the card's.

    Raises:
        InputError: nothing to fetch, an unknown part, a file that is not the published one; or, where the published
            place cannot be reached, what to download and where to put it.
    """
    name, preset, card = _card(spec)
    folder = (to or default_folder(name, preset)).absolute()
    published = [source.part or WEIGHTS for source in card.sources] + [file.part or WEIGHTS for file in card.files]
    known = dict.fromkeys([TEMPLATES] * bool(card.templates) + published)
    if not known:
        where = f"; {card.notes}" if card.notes else ""
        raise InputError(
            f"plugin {spec!r} names nothing to fetch: it ships with rewardbench or takes your own weights{where}"
        )
    for part in parts:
        if part not in known:
            raise InputError(f"plugin {spec!r} publishes no part {part!r}{nearest(part, known)}")
    templates = card.templates if not parts or TEMPLATES in parts else ()
    sources = [
        replace(source, revision=(revisions or {}).get(source.repo, source.revision))
        for source in card.sources
        if not parts or (source.part or WEIGHTS) in parts
    ]
    files = [file for file in card.files if not parts or (file.part or WEIGHTS) in parts]
    record = _read_record(folder, name, preset)
    try:
        _bring_templates(templates, folder, record, tell)
        for file in files:
            _bring_file(file, folder, record, tell)
        for source in sources:
            _bring_source(source, folder, record, tell)
    except UnreachableError as error:
        raise InputError(_by_hand(str(error), spec, templates, sources, files, folder)) from None
    remaining = card.after_fetch.replace("{folder}", shlex.quote(str(folder))) if not parts else ""
    return _result(name, folder, sources, record, remaining)


def default_folder(name: str, preset: str | None) -> Path:
    """Where a plugin's files go if the user names no place."""
    home = cache_folder() / "weights" / name
    return home if preset is None else home / preset


def commits_of(folder: Path) -> dict[str, str]:
    """Repository to the commit that :func:`fetch` recorded in ``folder``; empty where it did not fill it."""
    try:
        found = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return {str(one["repo"]): str(one["commit"]) for one in found["sources"].values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _card(spec: str) -> tuple[str, str | None, RewardCard]:
    name, preset, target = resolve_spec(spec)
    model = instantiate(name, target)
    try:
        model.configure(preset=preset)
    except ValueError as error:
        raise InputError(f"plugin {spec!r}: {error}") from None
    return name, preset, model.card


def _bring_templates(
    templates: Sequence[Template], folder: Path, record: dict[str, Any], tell: Callable[[str], None]
) -> None:
    """Templates of one published file are taken from one download of it."""
    place = folder / TEMPLATES
    missing: dict[str, list[Template]] = {}
    for template in templates:
        if not _is(_inside(place, template.name), template.sha256):
            missing.setdefault(template.url, []).append(template)
    for url, wanted in missing.items():
        tell(f"fetching {', '.join(one.name for one in wanted)} from {url}")
        copy = place / f".{hashlib.sha256(url.encode()).hexdigest()[:16]}"
        whole = [one for one in wanted if not one.literal]
        try:
            download(url, copy, sha256=whole[0].sha256 if whole else None, most=MOST_SOURCE)
            data = copy.read_bytes()
        finally:
            copy.unlink(missing_ok=True)
        for one in wanted:
            _write(place / one.name, _text_of(one, data), one)
    for template in templates:
        record["templates"][template.name] = {
            "url": template.url,
            "literal": template.literal,
            "sha256": template.sha256,
        }
    if templates:
        _write_record(folder, record)


def _bring_file(file: WebFile, folder: Path, record: dict[str, Any], tell: Callable[[str], None]) -> None:
    path = _inside(folder, file.path)
    if not _is(path, file.sha256):
        tell(f"fetching {file.path} from {file.url}")
        download(file.url, path, sha256=file.sha256, most=MOST_SOURCE)
    record["files"][file.path] = {"url": file.url, "sha256": file.sha256}
    _write_record(folder, record)


def _text_of(template: Template, data: bytes) -> bytes:
    if not template.literal:
        return data
    try:
        source = data.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{template.url} is not UTF-8 text") from None
    try:
        return literal_text(source, template.literal).encode("utf-8")
    except InputError as error:
        raise InputError(f"{template.url}: {error}") from None


def _write(path: Path, data: bytes, template: Template) -> None:
    digest = hashlib.sha256(data).hexdigest()
    if digest != template.sha256:
        named = f"{template.literal} in {template.url}" if template.literal else template.url
        raise InputError(
            f"{named} is not the published template {template.name}: its SHA-256 is {digest[:16]}…, expected "
            f"{template.sha256[:16]}…; nothing was kept of it"
        )
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(data)
    os.replace(partial, path)


def _bring_source(source: HubFiles, folder: Path, record: dict[str, Any], tell: Callable[[str], None]) -> None:
    """The files of one repository. The commit that was recorded first stays, so that one folder has one version."""
    place = _inside(folder, source.folder)
    key = "/".join(part for part in (source.repo_type, source.repo, source.part, source.folder) if part)
    known = record["sources"].get(key, {})
    same = (known.get("revision"), known.get("patterns")) == (source.revision, list(source.patterns))
    try:
        commit, files = hub.listing(source, known["commit"] if same else source.revision)
    except UnreachableError as error:
        if not (same and _is_complete(place, known)):
            raise
        tell(f"{error}; {place} is complete as of commit {known['commit']}")
        return
    for file in files:
        _inside(place, file.path)
    size = sum(file.size for file in files) / 1e9
    tell(f"fetching {len(files)} files, {size:.2f} GB, of {source.repo} at {commit[:12]} into {place}")
    if not (same or hub.pinned(source)):
        tell(f"{source.revision!r} of {source.repo} can change; this folder keeps commit {commit}")
    record["sources"][key] = {
        "repo": source.repo,
        "revision": source.revision,
        "patterns": list(source.patterns),
        "commit": commit,
        "part": source.part,
        "folder": source.folder,
        "files": {
            file.path: {"size": file.size, "digest": file.digest} for file in sorted(files, key=lambda one: one.path)
        },
    }
    _write_record(folder, record)
    hub.bring_files(source, commit, files, place)


def _is_complete(place: Path, known: Mapping[str, Any]) -> bool:
    """Whether all that was recorded is there."""
    return all(
        hub.matches(place / path, hub.HubFile(path, one["size"], one["digest"])) for path, one in known["files"].items()
    )


def _inside(folder: Path, name: str) -> Path:
    """``folder / name``, which must not lead out of ``folder``."""
    path = Path(os.path.normpath(folder / name))
    if path != Path(os.path.normpath(folder)) and Path(os.path.normpath(folder)) not in path.parents:
        raise InputError(f"{name!r} leads out of {folder}; it is not fetched")
    return path


def _is(path: Path, sha256: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def _read_record(folder: Path, name: str, preset: str | None) -> dict[str, Any]:
    fresh: dict[str, Any] = {"plugin": name, "preset": preset, "templates": {}, "files": {}, "sources": {}}
    try:
        found = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return fresh
    if not isinstance(found, dict) or not all(isinstance(found.get(key), dict) for key in ("templates", "sources")):
        return fresh
    if (found.get("plugin"), found.get("preset")) != (name, preset):
        other = ":".join(str(part) for part in (found.get("plugin"), found.get("preset")) if part)
        raise InputError(f"{folder} holds what was fetched for {other}; name another folder with --to DIR")
    return {**fresh, **found}


def _write_record(folder: Path, record: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{RECORD}.partial"
    partial.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(partial, folder / RECORD)


def _by_hand(
    reason: str,
    spec: str,
    templates: Sequence[Template],
    sources: Sequence[HubFiles],
    files: Sequence[WebFile],
    folder: Path,
) -> str:
    """One sentence: what to download and where to put it."""
    steps = []
    for source in sources:
        wanted = f"{', '.join(source.patterns)} of " if source.patterns else ""
        steps.append(f"{wanted}{hub.page(source)} into {_inside(folder, source.folder)}")
    steps += [f"{file.url} as {_inside(folder, file.path)}" for file in files]
    by_url: dict[str, list[str]] = {}
    for template in templates:
        name = f"{template.literal} as {template.name}" if template.literal else f"it as {template.name}"
        by_url.setdefault(template.url, []).append(name)
    for url, names in by_url.items():
        steps.append(f"from {url} {', '.join(names)} into {folder / TEMPLATES}")
    return (
        f"{reason}; where there is a connection, run `rewardbench plugins fetch {spec} --to DIR` and copy DIR to "
        f"{folder}, or by hand put {'; '.join(steps)}"
    )


def _result(
    name: str, folder: Path, sources: Sequence[HubFiles], record: dict[str, Any], remaining: str = ""
) -> Fetched:
    weights = [str(folder)]
    files = [*(f"{TEMPLATES}/{one}" for one in record["templates"]), *record["files"]]
    commits = {}
    for source in sources:
        if source.part and source.folder:
            weights.append(f"{source.part}={_inside(folder, source.folder)}")
    for one in record["sources"].values():
        commits[str(one["repo"])] = str(one["commit"])
        files += [str(Path(one["folder"]) / path) for path in one["files"]]
    return Fetched(name, folder, tuple(weights), commits, tuple(sorted(files)), remaining)
