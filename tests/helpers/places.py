"""Where things lie that several tests read."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""
HELPERS = ROOT / "tests" / "helpers"
SEARCH_SPACES = ROOT / "search_spaces"
SHARED = ROOT.parent / "shared" / "data"
"""Data that a test reads where they are, and skips otherwise."""
PUBLISHED = Path(os.environ.get("LINGUISTIC_COLLAPSE", SHARED / "lc-2024_10_24.csv"))
"""The measurements that Wu & Papyan published, wherever the variable says that they are."""
