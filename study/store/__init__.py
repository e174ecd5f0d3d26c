"""What lies on disk: paths, rows, leases, provenance. Imports nothing else of the study."""

from study.store.cells import SCHEMA_VERSION, VOLATILE, DataRecord, Store, StoreError
from study.store.paths import RunPaths

__all__ = ["SCHEMA_VERSION", "VOLATILE", "DataRecord", "RunPaths", "Store", "StoreError"]
