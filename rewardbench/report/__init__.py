"""What the user sees of a result: the self-contained page ``report.html`` and the table on the terminal."""

from rewardbench.report.page import write_report
from rewardbench.report.terminal import print_table, render_table

__all__ = ["print_table", "render_table", "write_report"]
