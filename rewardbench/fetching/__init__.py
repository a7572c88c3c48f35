"""``plugins fetch``: weights and prompt templates from where they are published, pinned, resumable, checked."""

from __future__ import annotations

from rewardbench.fetching.assets import Fetched, fetch

__all__ = ["Fetched", "fetch"]
