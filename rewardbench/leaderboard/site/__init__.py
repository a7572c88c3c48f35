"""The board as static pages: ``write_site`` makes a folder that opens from the disk and from any host."""

from rewardbench.leaderboard.site.pages import write_site

__all__ = ["write_site"]
