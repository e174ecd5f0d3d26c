"""A made-up study as the report reads it, with an association of known strength."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import polars as pl

from analysis.reading.table import Metric

METRICS = {
    "nc1_cdnv": Metric("nc1_cdnv", "NC1", "lower", heavy_tailed=True),
    "nc1_cdnv_galanti": Metric("nc1_cdnv_galanti", "NC1", "lower", heavy_tailed=True),
    "nc2_log_norm_mean": Metric("nc2_log_norm_mean", "NC2"),
    "nc2_equinorm": Metric("nc2_equinorm", "NC2", "lower"),
    "nc3_distance": Metric("nc3_distance", "NC3", "lower"),
    "nc4_agreement": Metric("nc4_agreement", "NC4", "higher"),
}


def write_study(path: Path, strength: float) -> Path:
    """4 architectures x 6 seeds, three checkpoints, three precisions.

    `strength` ties nc3_distance to the loss.
    """
    rng = np.random.default_rng(19)
    rows = []
    for number in range(24):
        width, depth = (32, 64)[number % 2], (1, 2)[number // 2 % 2]
        base = rng.standard_normal(6)
        noise = rng.standard_normal()
        for precision, bits in (("fp32", 32.0), ("int8", 8.1), ("int2", 2.1)):
            for epoch in (0, 1, 2):
                m = base + 0.05 * rng.standard_normal(6) - 0.3 * epoch
                late = 0.4 if number % 4 == 0 and epoch == 2 else 0.0  # these overfit
                loss = 4 - 0.2 * epoch + late + strength * (base[4] - 0.5 * base[2]) + 0.4 * noise
                rows.append(
                    {
                        "training": f"t{number:02}",
                        "width": width,
                        "depth": depth,
                        "seed": number // 4,
                        "precision": precision,
                        "epoch": epoch,
                        "bits_per_weight": bits,
                        "model_bytes": int(bits * 1000),
                        "val_loss": loss + (0.3 + 0.01 * base[0] if precision == "int2" else 0.0),
                        "train_loss": loss - 0.5 + 0.1 * rng.standard_normal(),
                        "generalization_gap": 0.5 + 0.1 * rng.standard_normal(),
                        "nc1_cdnv": float(np.exp(m[0])),
                        "nc1_cdnv_galanti": float(np.exp(m[1])),
                        "nc2_log_norm_mean": m[2],
                        "nc2_equinorm": m[3],
                        "nc3_distance": m[4],
                        "nc4_agreement": m[5],
                    }
                )
    metadata = {"metrics": json.dumps({name: asdict(metric) for name, metric in METRICS.items()})}
    pl.DataFrame(rows).write_parquet(path, metadata=metadata)
    return path
