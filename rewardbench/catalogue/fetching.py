"""``benchmarks fetch``: the files of a card, from where they are published, resumable and checked."""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rewardbench.benchmark import Benchmark
from rewardbench.catalogue.card import MEDIA, BenchmarkCard, CardFile, HubSource, need_card
from rewardbench.catalogue.folders import data_folder, remember_folder
from rewardbench.catalogue.unpacking import unpack
from rewardbench.errors import InputError
from rewardbench.fetching import hub
from rewardbench.fetching.download import UnreachableError, download
from rewardbench.registry import find_benchmark, nearest
from rewardbench_plugin.assets import HubFiles

Tell = Callable[[str], None]


@dataclass(frozen=True)
class FetchedBenchmark:
    """What :func:`fetch_benchmark` left.

    Attributes:
        folder: where the files lie.
        parts: those that are complete now.
        files: how many files were checked.
        commits: hub repository to the commit its files are of.
        remaining: one sentence each on what is still missing, and on what was taken without a checksum.
    """

    name: str
    folder: Path
    parts: tuple[str, ...]
    files: int
    commits: dict[str, str] = field(default_factory=dict)
    remaining: tuple[str, ...] = ()


def fetch_benchmark(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    parts: Sequence[str] = (),
    media: bool = False,
    tell: Tell = lambda _: None,
) -> FetchedBenchmark:
    """Bring what a registered benchmark's card names; files that are there and right stay.

    Args:
        data_dir: a folder of your own; later commands find the benchmark there. If its loader can read it, it is used
            as it is; else what is missing is fetched into it.
        parts: only these (``labels``, ``scores``, ``prompts``, ``media``); all but ``media`` where none is named.
        media: bring the clips and images too.
        tell: is given a line for each thing that is fetched.

    Raises:
        InputError: an unknown part, a file that is not the published one; or, where the published place cannot be
            reached, what to download by hand and where to put it.
    """
    card = need_card(name)
    folder = data_folder(card.name, data_dir)
    said = _said_of(card, folder) if data_dir is not None and not parts and not media else None
    if said is not None:
        remember_folder(card.name, folder)
        return FetchedBenchmark(card.name, folder, (), 0, remaining=said)
    found = fetch_card(card, folder, parts=parts, media=media, tell=tell)
    if data_dir is not None:
        remember_folder(card.name, found.folder)
    return found


def _said_of(card: BenchmarkCard, folder: Path) -> tuple[str, ...] | None:
    """What there is to say of a folder whose benchmark the loader reads, so that nothing is downloaded; else None."""
    from rewardbench.catalogue.identity import identify
    from rewardbench.catalogue.prompts import read_suite

    used = f"{folder} is used as it is; `rewardbench benchmarks verify {card.name}` checks it"
    try:
        if card.kind == "prompts":
            return (used,) if read_suite(card.name, folder) else None
        found = load_from(card.name, None, folder)
    except InputError:
        return None
    return tuple(filter(None, [used, identify(card, "", found).sentence]))


def load_from(name: str, variant: str | None, folder: Path) -> Benchmark:
    """A registered benchmark, read from this folder.

    Raises:
        InputError: what its loader refuses.
    """
    module, _, attribute = find_benchmark(name).target.partition(":")
    loader = getattr(importlib.import_module(module), attribute)
    found = loader(name=name, variant=variant, data_dir=folder)
    assert isinstance(found, Benchmark), "loaders of the catalogue read into memory"
    return found


def fetch_card(
    card: BenchmarkCard,
    folder: Path,
    *,
    parts: Sequence[str] = (),
    media: bool = False,
    tell: Tell = lambda _: None,
) -> FetchedBenchmark:
    """The same for a card and a folder. Raises: as :func:`fetch_benchmark`."""
    for part in parts:
        if part not in card.parts:
            raise InputError(f"benchmark {card.name!r} has no part {part!r}{nearest(part, card.parts)}")
    wanted = tuple(parts) or tuple(part for part in card.parts if part != MEDIA)
    if media and MEDIA in card.parts:
        wanted = tuple(dict.fromkeys([*wanted, MEDIA]))
    if not card.parts:
        raise InputError(f"benchmark {card.name!r} cannot be fetched: {card.by_hand}; put it into {folder}")
    files = [file for file in card.files if file.part in wanted]
    sources = [source for source in card.hub if source.part in wanted]
    remaining: list[str] = []
    commits: dict[str, str] = {}
    unchecked = 0
    try:
        for file in files:
            unchecked += _bring(file, folder, tell)
        for source in sources:
            commits[source.repo] = _bring_from_hub(source, folder, tell)
    except UnreachableError as error:
        raise InputError(_by_hand(str(error), card, files, sources, folder)) from None
    if unchecked:
        remaining.append(f"{unchecked} files have no known checksum and were taken as they came")
    left = [part for part in card.parts if part not in wanted]
    if left:
        more = f"--part {left[0]}" if left != [MEDIA] else "--media"
        sizes = ", ".join(source.size for source in card.hub if source.part in left and source.size)
        remaining.append(f"not fetched: {', '.join(left)}{f' ({sizes})' if sizes else ''}; add {more}")
    if card.by_hand and (media or not card.hub):
        remaining.append(card.by_hand)
    return FetchedBenchmark(card.name, folder, wanted, len(files), commits, tuple(remaining))


def bringing_clips(card: BenchmarkCard) -> str:
    """How the clips of a benchmark come here, as the end of a sentence."""
    ways = [f"`rewardbench benchmarks fetch {card.name} --media` brings them"] if MEDIA in card.parts else []
    ways += [card.by_hand] if card.by_hand else []
    return ", or ".join(ways) or "they are not published with the labels, so only recorded scores and verdicts fit"


def is_published(path: Path, file: CardFile) -> bool:
    """Whether ``path`` holds the published file; any file does where no checksum is known."""
    if not path.is_file():
        return False
    if not file.sha256:
        return True
    if path.stat().st_size != file.bytes:
        return False
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256


def _bring(file: CardFile, folder: Path, tell: Tell) -> int:
    """Bring one file; 1 where it could not be checked."""
    path = folder / file.path
    if not is_published(path, file):
        tell(f"fetching {file.path} from {file.url}")
        download(file.url, path, sha256=file.sha256 or None, most=file.bytes or None)
    return 0 if file.sha256 else 1


def _bring_from_hub(source: HubSource, folder: Path, tell: Tell) -> str:
    """Bring the files of one repository and unpack its archives; the commit they are of."""
    wanted = HubFiles(source.repo, _whole_revision(source), source.patterns, repo_type="dataset")
    commit, files = hub.listing(wanted, wanted.revision)
    size = sum(file.size for file in files) / 1e9
    place = folder / source.folder
    tell(f"fetching {len(files)} files, {size:.2f} GB, of {source.repo} at {commit[:12]} into {place}")
    if not source.pinned:
        tell(f"{source.revision!r} of {source.repo} can change; the commit that came is {commit}")
    hub.bring_files(wanted, commit, files, place)
    for name in source.unpack:
        archive = place / name
        if archive.is_file():
            tell(f"unpacking {archive}")
            unpack(archive, place)
    return commit


def _whole_revision(source: HubSource) -> str:
    """The full commit: the hub answers to whole ones only, and pages show the first 7 digits.

    Raises:
        InputError: the repository has no such commit any more.
        UnreachableError: the hub does not answer.
    """
    if not source.pinned or len(source.revision) == 40:
        return source.revision
    from huggingface_hub import HfApi, errors

    hub.need_name(_page(source))
    try:
        with hub.quiet():
            commits = HfApi(endpoint=hub.endpoint()).list_repo_commits(source.repo, repo_type="dataset")
    except errors.RepositoryNotFoundError:
        raise InputError(f"{source.repo} is not on the hub, or needs a permission (HF_TOKEN)") from None
    except Exception as error:  # whichever HTTP library the hub's client uses
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UnreachableError(f"{_page(source)} cannot be reached ({reason})") from None
    found = [commit.commit_id for commit in commits if commit.commit_id.startswith(source.revision)]
    if len(found) != 1:
        raise InputError(
            f"{source.repo} has {len(found)} commits that begin with {source.revision}; its card is out of date"
        )
    return str(found[0])


def _page(source: HubSource) -> str:
    return hub.page(HubFiles(source.repo, source.revision, repo_type="dataset"))


def _by_hand(
    reason: str, card: BenchmarkCard, files: Sequence[CardFile], sources: Sequence[HubSource], folder: Path
) -> str:
    """One sentence: what to download and where to put it."""
    missing = [file for file in files if not is_published(folder / file.path, file)]
    steps = [f"{file.url} as {folder / file.path}" for file in missing[:3]]
    if len(missing) > 3:
        steps.append(f"{len(missing) - 3} more (`rewardbench benchmarks show {card.name} --format json` lists them)")
    steps += [
        f"{', '.join(source.patterns) or 'all'} of {_page(source)} into {folder / source.folder}" for source in sources
    ]
    return (
        f"{reason}; where there is a connection, run `rewardbench benchmarks fetch {card.name} --data-dir DIR`, copy "
        f"DIR here and name it with --data-dir, or put by hand {'; '.join(steps)}"
    )
