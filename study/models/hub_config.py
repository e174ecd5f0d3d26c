"""Settings of models that start from a checkpoint; no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from study.models.checkpoint_files import parameters_in, stored_tensors
from study.models.config import ModelError, ModelSettings, Reads


class PretrainedModel(ModelSettings):
    """A checkpoint in the Hugging Face layout.

    `path` is a folder (relative to the YAML file), or `hub:NAME` or `hub:NAME@REVISION`.
    """

    reads: ClassVar[Reads | None] = None
    builder: ClassVar[str] = "study.models.hub:build"
    kind: Literal["pretrained"] = "pretrained"
    path: Annotated[str, Field(min_length=1)]

    def count(
        self, *, classes: int, input_shape: tuple[int, ...], base: Path = Path()
    ) -> int | None:
        return None if self.path.startswith("hub:") else _stored_parameters(base / self.path)


def _stored_parameters(folder: Path) -> int | None:
    """Elements of all tensors in the safetensors files of `folder`.

    Only the headers of the files are read.
    """
    if not folder.is_dir():
        raise ModelError(f"model.path: no such folder: {folder}")
    return parameters_in(stored_tensors(folder)) or None
