"""What a reader of a probe must be told beside the numbers, a sentence each."""

from __future__ import annotations

from rewardbench.probing import statistics
from rewardbench.probing.record import ProbeRecord


def notes_of(record: ProbeRecord) -> list[str]:
    """Sentences on what could not be asked, decided or compared."""
    return [*_on_power(record), *_on_dimensions(record), *_on_clips(record)]


def _on_power(record: ProbeRecord) -> list[str]:
    n = record.clips.n
    tested = sum(cell.p_holm is not None for cell in record.cells)
    if n == 1:
        return [
            "One clip has no spread and no interval: changes are given in the model's own units, and only what did not "
            "change at all is decided."
        ]
    said = []
    if n < statistics.FEWEST_CLIPS:
        said.append(
            f"{n} clips are too few to decide anything but exact equality; {statistics.FEWEST_CLIPS} are the least."
        )
    if tested and statistics.smallest_p(n) * tested > statistics.ALPHA:
        needed = next((k for k in range(n, 64) if statistics.smallest_p(k) * tested <= statistics.ALPHA), None)
        remedy = "probe fewer families" if needed is None else f"{needed} clips are the fewest with which one can"
        said.append(
            f"With {n} clips none of the {tested} tested cells can reach p ≤ {statistics.ALPHA:g} after Holm’s "
            f"correction, so that a fall is “likely” at best; {remedy}."
        )
    return said


def _on_dimensions(record: ProbeRecord) -> list[str]:
    said = []
    silent = [d.name for d in record.dimensions if not record.is_judge and d.n == 0]
    some = [d for d in record.dimensions if not record.is_judge and d.n and d.n_abstained]
    if silent:
        said.append(f"The model abstains on every clip in {', '.join(silent)}.")
    said += [f"The model abstains on {d.n_abstained} of {d.n + d.n_abstained} clips in {d.name}." for d in some]
    floored = [d for d in record.dimensions if not record.is_judge and d.n > 1 and (d.spread or 0.0) < (d.unit or 0.0)]
    if floored:
        said.append(
            f"These clips score nearly alike in {', '.join(d.name for d in floored)}: their spread is below 1 % of the "
            "declared range, which is the unit there instead."
        )
    alike = [d.name for d in record.dimensions if not record.is_judge and d.n > 1 and d.unit == 0]
    if alike:
        said.append(
            f"All clips score the same in {', '.join(alike)}, so that there is no spread to measure changes in; "
            "any change counts as large there."
        )
    unknown = [d.name for d in record.dimensions if d.meaning is None]
    if unknown:
        names = "its name" if len(unknown) == 1 else "their names"
        said.append(f"What {', '.join(unknown)} should do is not known from {names}; --meaning NAME=MEANING says it.")
    return said


def _on_clips(record: ProbeRecord) -> list[str]:
    clips, said = record.clips, []
    if clips.n_first_frames:
        said.append(
            f"{clips.n_first_frames} of {clips.n} clips came without a first-frame image; their own first frame stands "
            "for it."
        )
    if clips.n_shrunk:
        said.append(
            f"Working copies of {clips.n_shrunk} of {clips.n} clips are cut to {record.settings.most_frames} frames or "
            f"scaled to {record.settings.short_side} pixels on the short side; “against the file” shows what that did."
        )
    if clips.n_failed:
        said.append(f"{clips.n_failed} clip{'s' if clips.n_failed > 1 else ''} could not be used; see the failures.")
    return said
