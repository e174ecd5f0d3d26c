"""Parquet files that carry the SHA-256 of their own bytes, to notice damage."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_SEAL = b"collapse-study-sha256:"
_SEALED = re.compile(_SEAL + rb"([0-9a-f]{64})")


def seal(
    rows: Sequence[Mapping[str, Any]], types: Mapping[str, type], metrics: Mapping[str, Any]
) -> bytes:
    """A sealed file of rows.

    `types` are those of columns where known, `metrics` the metadata of metrics.
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    arrow = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    fields = []
    for column in columns:
        kind = types.get(column) or next(
            (type(row[column]) for row in rows if row.get(column) is not None), None
        )
        fields.append(pa.field(column, pa.null() if kind is None else arrow[kind]))
    return seal_table(
        pa.Table.from_pylist([dict(row) for row in rows], schema=pa.schema(fields)), metrics
    )


def seal_table(table: pa.Table, metrics: Mapping[str, Any]) -> bytes:
    """A sealed file of a table.

    The digest is taken with its own place zeroed. Raises ValueError if a value holds a seal.
    """
    floats = [field.name for field in table.schema if pa.types.is_floating(field.type)]
    others = [name for name in table.column_names if name not in floats]
    metadata = {b"metrics": json.dumps(metrics).encode(), b"seal": _SEAL + b"0" * 64}
    buffer = BytesIO()
    # Values of a metric hardly repeat, but the leading bytes of neighbours do, once set apart.
    pq.write_table(
        table.replace_schema_metadata(metadata),
        buffer,
        compression="zstd",
        compression_level=9,
        use_dictionary=others,
        use_byte_stream_split=floats,
    )
    content = buffer.getvalue()
    digest = hashlib.sha256(content).hexdigest().encode()
    if content.count(_SEAL) != 1:
        raise ValueError("a value of the rows holds the text of the store's seal")
    return content.replace(_SEAL + b"0" * 64, _SEAL + digest)


def intact(content: bytes) -> bool:
    """Whether sealed bytes are those that were written."""
    seals = _SEALED.findall(content)
    if len(seals) != 1:
        return False
    zeroed = content.replace(_SEAL + seals[0], _SEAL + b"0" * 64)
    return bool(hashlib.sha256(zeroed).hexdigest() == seals[0].decode())


def metrics_of(source: pa.Schema) -> dict[str, dict[str, Any]]:
    """Metadata of the metric columns of a sealed file."""
    metadata = source.metadata or {}
    metrics: dict[str, dict[str, Any]] = json.loads(metadata.get(b"metrics", b"{}"))
    return metrics
