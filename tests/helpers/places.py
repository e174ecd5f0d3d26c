"""Where things lie that several tests read."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""
HELPERS = ROOT / "tests" / "helpers"
SEARCH_SPACES = ROOT / "search_spaces"
SHARED = ROOT.parent / "shared" / "data"
"""Data that a test reads where they are, and skips otherwise."""
