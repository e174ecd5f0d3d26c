"""Settings of models that start from a checkpoint; no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from study.models.checkpoint_files import CONFIG, parameters_in, stored_tensors
from study.models.config import ModelError, ModelSettings, Reads
from study.settings.faults import Fault

POSITIONS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len")
"""Names that configurations of transformers have for the number of positions."""


class PretrainedModel(ModelSettings):
    """A checkpoint in the Hugging Face layout.

    `path` is a folder (relative to the YAML file), or `hub:NAME` or `hub:NAME@REVISION`.
    """

    reads: ClassVar[Reads | None] = None
    builder: ClassVar[str] = "study.models.hub:build"
    kind: Literal["pretrained"] = "pretrained"
    path: Annotated[str, Field(min_length=1)]
    """A folder in the Hugging Face layout, or `hub:NAME[@REVISION]`."""

    def count(
        self, *, classes: int, input_shape: tuple[int, ...], base: Path = Path()
    ) -> int | None:
        return None if self.path.startswith("hub:") else _stored_parameters(base / self.path)

    def shape_fault(self, input_shape: tuple[int, ...], *, base: Path) -> Fault | None:
        positions = _positions(base / self.path)
        if len(input_shape) != 1 or positions is None or input_shape[0] <= positions:
            return None
        message = f"has {positions:,} positions, but a chunk has {input_shape[0]:,} inputs"
        fix = f"Set data.context to at most {positions + 1}"
        return Fault("model.path", f"{self.path} {message}", fix)


def _positions(folder: Path) -> int | None:
    """The number of learned positions that a checkpoint's configuration names.

    None where it names none, or positions are no table that ends.
    """
    try:
        config: Any = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # the model's own check says what is wrong with the file
    if not isinstance(config, dict) or any("rope" in key or "rotary" in key for key in config):
        return None
    numbers = [config[name] for name in POSITIONS if isinstance(config.get(name), int)]
    return numbers[0] if numbers and numbers[0] > 0 else None


def _stored_parameters(folder: Path) -> int | None:
    """Elements of all tensors in the safetensors files of `folder`.

    Only the headers of the files are read.
    """
    if not folder.is_dir():
        raise ModelError(f"model.path: no such folder: {folder}")
    return parameters_in(stored_tensors(folder)) or None
