"""What lies on disk: paths, rows, leases, provenance. Knows no other room."""

from study.store.cells import SCHEMA_VERSION, SUBJECTS, VOLATILE, DataRecord, Store, is_main
from study.store.errors import StoreError
from study.store.paths import RunPaths

HEAD_INPUT = "head input"
"""Name of the layer that the head reads; in stored rows, whose subject it is, `layer` is null."""

__all__ = [
    "HEAD_INPUT",
    "SCHEMA_VERSION",
    "SUBJECTS",
    "VOLATILE",
    "DataRecord",
    "RunPaths",
    "Store",
    "StoreError",
    "is_main",
]
