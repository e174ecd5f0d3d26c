"""What a benchmark runs on and with, told by all of them in one way."""

from __future__ import annotations

import os

from study.store.provenance import hardware, versions


def machine(*packages: str, threads: int) -> str:
    """One line: processor, cores, threads, load, and versions of Python and of packages."""
    computer, found = hardware(), versions()
    libraries = ", ".join(f"{name} {found[name]}" for name in ("python", *packages))
    return (
        f"{computer['processor']}, {computer['cores']} cores, threads {threads}, load "
        f"{os.getloadavg()[0]:.1f}; {libraries}"
    )
