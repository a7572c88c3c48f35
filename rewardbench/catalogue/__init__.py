"""The benchmarks people cite: what their cards say, where their files lie, and whether they are the published ones."""

from __future__ import annotations

from rewardbench.catalogue.card import BenchmarkCard, find_card
from rewardbench.catalogue.fetching import FetchedBenchmark, fetch_benchmark
from rewardbench.catalogue.verification import Verification, verify_benchmark

__all__ = [
    "BenchmarkCard",
    "FetchedBenchmark",
    "Verification",
    "fetch_benchmark",
    "find_card",
    "verify_benchmark",
]
