"""The report as one HTML file that needs nothing else: a leaderboard, details, comparisons, tables and figures."""

from .build import build_page, write_page

__all__ = ["build_page", "write_page"]
