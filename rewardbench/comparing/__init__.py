"""Finished runs on one benchmark held against each other: which model agrees better with people, and how sure is that.

Reads run folders only; nothing is scored. ``docs/compare.md`` explains every number.
"""

from rewardbench.comparing.comparison import RULES, compare_runs
from rewardbench.comparing.record import Comparison

__all__ = ["RULES", "Comparison", "compare_runs"]
