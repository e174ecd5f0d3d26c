"""`python -m study.pack runs/NAME TARGET`: a small copy of a run to publish."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from study.settings.doors import at_door, refused


@at_door
def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 the copy is there, 1 it could not be made, 2 the request is wrong."""
    from study.launching.units import size_text
    from study.store import Store, StoreError
    from study.store.packing import pack
    from study.store.usage import folder_size

    parser = argparse.ArgumentParser(
        prog="python -m study.pack",
        description="Copy a run without weights and logs, with all rows in one file.",
    )
    parser.add_argument("run", type=Path, help="folder of a run, such as runs/quickstart")
    parser.add_argument("target", type=Path, help="folder to make; it may not exist yet")
    options = parser.parse_args(arguments)
    try:
        pack(options.run, options.target)
    except (StoreError, FileExistsError) as error:
        return refused(error)
    store = Store(options.target)
    planned = set(store.planned()["cell"])
    done, size = len(store.keys() & planned), size_text(folder_size(options.target))
    print(f"{done} of {len(planned)} cells, {size}: {options.target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
