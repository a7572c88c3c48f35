"""What a plugin says about itself."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Mapping, Optional, Tuple

from rewardbench_plugin.assets import HubFiles, Template, WebFile
from rewardbench_plugin.clip import PATH, FrameSpec, InputSpec


@dataclass(frozen=True)
class Dimension:
    """One score of a reward model.

    Attributes:
        name: canonical name, e.g. ``smoothness`` or ``VQ``.
        low, high: declared range of the values (either may be infinite). The host refuses values outside it.
        higher_is_better: orientation; margins are negated where it is False.
        description: one sentence on what is scored.
    """

    name: str
    low: float = -math.inf
    high: float = math.inf
    higher_is_better: bool = True
    description: str = ""


@dataclass(frozen=True)
class NativeTieRule:
    """The model's own rule: a tie is predicted where ``|score(A) - score(B)| <= threshold``.

    ``source`` names where the rule is stated (paper and equation). Thresholds are in units of the reported score.
    """

    thresholds: Mapping[str, float]
    source: str


@dataclass(frozen=True)
class RewardCard:
    """Everything a reader of a result must know of the model behind it.

    Attributes:
        name, version: of the plugin; both stand in every score's key.
        dimensions: scores in output order, ``overall`` last where there is one.
        inputs: for each dimension the frames it needs. Dimensions with equal specs share one decode; a dimension
            computed from others only (``overall``) may be left out.
        overall_rule: how ``overall`` follows from the other dimensions, in words.
        needs_prompt, needs_image: the plugin cannot score a clip without it (such a clip fails with a sentence).
            A plugin that merely abstains (NaN) where it is missing leaves this False.
        uses_image: the plugin looks at the clip's first-frame image where there is one (implied by ``needs_image``).
            Only then is the image part of a score's key, and only then does an unreadable image fail the clip.
        default_score: the score that answers a label no dimension is named after (e.g. ``overall``), or None.
        weights_parts: names of the weights parts ``--weights PART=PATH`` may set.
        environment: ``host`` (runs with the host's packages) or ``isolated`` (own environment).
        requires: requirement strings of the isolated environment, or extras beyond the host's.
        python: Python of the isolated environment, as uv takes it (``3.11``, ``>=3.9,<3.12``; None: the host's own).
        native_tie_rule: see :class:`NativeTieRule`, or None.
        training_data: what it was trained on; states plainly where a benchmark overlaps.
        code_licence, weights_licence: SPDX identifiers or a short statement.
        citation: paper, or where the model is described.
        parameters: number of weights, None where it has none.
        memory: bytes of GPU memory that scoring takes at the default settings, None where unknown.
        evaluation_rules: benchmark name to the rule its authors score this model by there.
        deviations: one sentence for each point where paper and released code differ, saying which this preset follows.
        templates: prompt templates it reads, each with its SHA-256 and where it is published.
        sources: where its weights are published.
        files: single files published outside the hub that it reads.
        after_fetch: one sentence on what is left to do once all that is fetched; ``{folder}`` stands for its folder.
        notes: limits a user must know (what the model is not).
    """

    name: str
    version: str
    dimensions: Tuple[Dimension, ...]
    inputs: Mapping[str, InputSpec] = field(default_factory=dict)
    summary: str = ""
    overall_rule: str = ""
    needs_prompt: bool = False
    needs_image: bool = False
    uses_image: bool = False
    default_score: Optional[str] = None
    weights_parts: Tuple[str, ...] = ()
    environment: str = "host"
    requires: Tuple[str, ...] = ()
    python: Optional[str] = None
    native_tie_rule: Optional[NativeTieRule] = None
    training_data: str = "unknown"
    code_licence: str = "unknown"
    weights_licence: str = "none"
    citation: str = ""
    parameters: Optional[int] = None
    memory: Optional[int] = None
    evaluation_rules: Mapping[str, str] = field(default_factory=dict)
    deviations: Tuple[str, ...] = ()
    templates: Tuple[Template, ...] = ()
    sources: Tuple[HubFiles, ...] = ()
    files: Tuple[WebFile, ...] = ()
    after_fetch: str = ""
    notes: str = ""

    def __post_init__(self) -> None:
        names = [d.name for d in self.dimensions]
        if not names:
            raise ValueError(f"card of {self.name!r}: at least one dimension is needed")
        if len(set(names)) != len(names):
            raise ValueError(f"card of {self.name!r}: dimension names repeat")
        for name, spec in self.inputs.items():
            if name not in names:
                raise ValueError(f"card of {self.name!r}: inputs name the unknown dimension {name!r}")
            if not isinstance(spec, FrameSpec) and spec is not PATH:
                raise ValueError(f"card of {self.name!r}: inputs[{name!r}] must be a FrameSpec or PATH")
        if self.environment not in ("host", "isolated"):
            raise ValueError(f"card of {self.name!r}: environment must be 'host' or 'isolated'")

    @property
    def dimension_names(self) -> Tuple[str, ...]:
        return tuple(d.name for d in self.dimensions)

    def dimension(self, name: str) -> Dimension:
        for d in self.dimensions:
            if d.name == name:
                return d
        raise KeyError(name)

    def frame_specs(self, dimensions: Optional[Tuple[str, ...]] = None) -> Tuple[FrameSpec, ...]:
        """Distinct frame specs that the given dimensions (all, if None) need, in card order."""
        return tuple(dict.fromkeys(spec for spec in self.inputs_of(dimensions) if isinstance(spec, FrameSpec)))

    def inputs_of(self, dimensions: Optional[Tuple[str, ...]] = None) -> Tuple[InputSpec, ...]:
        """What the given dimensions read, in card order; a dimension derived from the others reads what all read."""
        derived = dimensions is None or any(name not in self.inputs for name in dimensions)
        return tuple(spec for name, spec in self.inputs.items() if derived or name in (dimensions or ()))
