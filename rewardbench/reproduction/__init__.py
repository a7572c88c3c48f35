"""Published rows, computed again: what the paper printed, what comes out here, and by how much they differ."""

from __future__ import annotations

from rewardbench.reproduction.manifest import Manifest, find_manifest, manifests
from rewardbench.reproduction.reproducing import Reproduction, reproduce

__all__ = ["Manifest", "Reproduction", "find_manifest", "manifests", "reproduce"]
