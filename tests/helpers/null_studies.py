"""Studies in which metric and response follow the axes and are otherwise independent."""

from __future__ import annotations

import numpy as np
import polars as pl

from analysis.reading.table import Metric, Roles, Table

WIDTHS = (32, 64, 128, 256)
EPOCHS = (1, 3, 10)


def null_study(
    seed: int,
    *,
    seeds: int = 3,
    widths: tuple[int, ...] = WIDTHS,
    epochs: tuple[int, ...] = EPOCHS,
    link: float = 0.0,
) -> Table:
    """Trainings at fp32 and int4 with checkpoints at 0, 1, ... epochs.

    All columns follow log epochs and log width; what is left has a spread that falls tenfold
    from the first to the last number of epochs. `link` is the share of `nc1_ratio` in what is
    left of the damage, and of the loss.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for width in widths:
        for total in epochs:
            spread = 10 ** (-np.log(total) / np.log(max(epochs)))
            for replicate in range(seeds):
                own = rng.standard_normal(6)
                own[1:3] += link * own[0]
                for epoch in sorted({0, 1, *epochs}):
                    if epoch > total:
                        continue
                    course = np.log1p(epoch) + 0.1 * np.log(width) * np.log1p(epoch)
                    noise = own + 0.3 * rng.standard_normal(6)
                    noise[1:3] += 0.3 * link * (noise[0] - own[0])
                    x = 2 - 0.5 * course + 0.1 * spread * noise[0]
                    loss = 4 - course + 0.1 * spread * noise[1]
                    damage = 0.05 * course**2 + 0.02 * spread * noise[2]
                    for precision in ("fp32", "int4"):
                        there = precision == "int4"
                        rows.append(
                            {
                                "training": f"{width}-{total}-{replicate}",
                                "width": width,
                                "epochs": total,
                                "seed": replicate,
                                "epoch": epoch,
                                "precision": precision,
                                "val_loss": loss + there * damage,
                                "train_loss": loss - 0.2 + 0.1 * spread * noise[3],
                                "weight_error": (0.1 + 0.01 * noise[5]) if there else None,
                                "nc1_ratio": x + there * 0.05 * (course + spread * noise[4]),
                                "nc4_agreement": 0.5 + 0.1 * course + 0.1 * spread * noise[5],
                            }
                        )
    roles = Roles(
        response="val_loss",
        responses={"val_loss": "lower"},
        metrics={
            "nc1_ratio": Metric("nc1_ratio", "NC1", "lower"),
            "nc4_agreement": Metric("nc4_agreement", "NC4", "higher"),
        },
        axes=("width", "epochs"),
        architecture=("width",),
        unit="training",
        order="epoch",
        seed="seed",
        precision="precision",
    )
    return Table(pl.DataFrame(rows), roles, "made up")
