"""The order of the suite: what takes longest begins first, so that no process waits for it."""

from __future__ import annotations

import pytest

LONGEST = (
    "test_ray_tune",
    "test_contributing",
    "test_chaos",
    "test_edges",
    "test_disk_faults",
    "test_faults",
    "test_tune",
    "test_calibration",
    "test_processes",
)
"""Files that take more than ten seconds, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort tests by when their file begins, and else leave them in order."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))
