"""Columns that say what a row is about and where it comes from."""

from __future__ import annotations

OF_A_ROW: dict[str, str] = {
    "schema_version": "version of this layout of rows",
    "study": "name of the study",
    "cell": "key of a point of the grid: the hash of all its settings",
    "training": "key of a training, which cells share that differ only in how they are measured",
    "checkpoint": "name of the checkpoint",
    "epoch": "epoch after which it was taken",
    "step": "optimizer steps before it",
    "tokens": "tokens that it was trained on before",
    "n_params": "parameters of the model",
    "layer": "layer whose features are measured; null for what the head reads",
    "attack": "attack on the samples; null for clean ones",
    "precision": "precision that the weights and activations were brought to",
    "quantized_layers": "names of the rounded weights, as a list in JSON",
    "tied_embedding_changed": "whether an embedding that shares the head's weights was rounded",
    "measured_from": "checkpoint whose equal weights were measured in place of these",
    "seconds": "time that the measurement took",
    "device": "device that measured",
    "host": "computer that measured",
    "git_sha": "commit of the code that measured",
    "finished_at": "when it was measured, in UTC",
}
"""Column -> what its values are."""
