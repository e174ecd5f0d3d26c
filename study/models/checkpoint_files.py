"""What the files of a checkpoint hold, read from their headers; no torch."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from study.models.config import ModelError

CONFIG, WEIGHTS = "config.json", "model.safetensors"
LONGEST_MESSAGE = 480
_LFS = b"version https://git-lfs"
_LONGEST_HEADER = 100_000_000  # the limit of the safetensors format
_FLOATS = ("F64", "F32", "F16", "BF16")
_BUFFERS = re.compile(
    r"(^|\.)(attn|attention|self_attn)\.((attention|self)\.)?(bias|masked_bias)$"
    r"|(^|\.)(rotary_emb|rotary_pos_emb|rope)\.(inv_freq|cos_cached|sin_cached)$"
    r"|(^|\.)position_ids$"
)


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a file: its type, as safetensors names it, and its shape."""

    dtype: str
    shape: tuple[int, ...]


def error_of(file: Path | str, problem: object, remedy: str) -> ModelError:
    """The error of a file that cannot be read, of at most 500 characters."""
    first = " ".join(str(problem).split()) or type(problem).__name__
    if isinstance(problem, KeyError):
        first = f"{first} is missing"
    room = max(60, LONGEST_MESSAGE - len(str(file)) - len(remedy))
    short = first if len(first) <= room else first[: room - 3] + "..."
    return ModelError(f"{file} cannot be read: {short.rstrip('.')}: {remedy}")


def listed(names: Iterable[str], shown: int = 4) -> str:
    """The first of some names, and how many more there are."""
    ordered = sorted(names)
    rest = f" and {len(ordered) - shown} more" if len(ordered) > shown else ""
    return ", ".join(name[:80] for name in ordered[:shown]) + rest


def read_config(folder: Path) -> dict[str, Any]:
    """`config.json` of a folder. Raises ModelError where it is none."""
    path = folder / CONFIG
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ModelError(f"{folder} is no checkpoint: {path} does not exist") from error
    except OSError as error:
        raise error_of(path, error, "give a folder that can be read") from error
    check_whole(path, content)
    try:
        config = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"{folder} cannot be read: {CONFIG} is no JSON ({str(error)[:200]}): copy it again "
            "from the original checkpoint"
        ) from error
    if not isinstance(config, dict):
        raise ModelError(
            f"{path} holds a {type(config).__name__}, not settings by name: copy it again from the "
            "original checkpoint"
        )
    return config


def check_whole(path: Path, content: bytes) -> None:
    """Raise ModelError where Git LFS left a pointer in the place of a file."""
    if content.startswith(_LFS):
        raise ModelError(
            f"{path} is a pointer of Git LFS, not the file itself: run `git lfs pull` in its "
            "repository, or download the file"
        )


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint: one, or those of its index.

    Raises ModelError where the index is damaged or names a file that is missing.
    """
    single, index = folder / WEIGHTS, folder / f"{WEIGHTS}.index.json"
    if single.exists() or not index.exists():
        return [single] if single.exists() else []
    try:
        content = index.read_bytes()
        check_whole(index, content)
        names = sorted(set(json.loads(content)["weight_map"].values()))
        files = [folder / name for name in names]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise error_of(index, error, "copy it again from the original checkpoint") from error
    for file in files:
        if file.parent != folder or not file.is_file():
            raise error_of(index, f"{file.name} is missing", "copy all files of the checkpoint")
    return files


def stored_tensors(folder: Path) -> dict[str, StoredTensor]:
    """Every tensor in the safetensors files of a checkpoint, from their headers.

    Raises ModelError where a file is damaged.
    """
    tensors: dict[str, StoredTensor] = {}
    for file in weight_files(folder):
        tensors |= _header(file)
    return tensors


def _header(file: Path) -> dict[str, StoredTensor]:
    remedy = "copy it again from the original checkpoint"
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            start = stream.read(8)
            check_whole(file, start + stream.read(len(_LFS)))
            if len(start) < 8:
                raise error_of(file, f"it ends after {size} bytes", remedy)
            (length,) = struct.unpack("<Q", start)
            if length > min(_LONGEST_HEADER, size):
                raise error_of(file, f"its header has {length} bytes, the file {size}", remedy)
            stream.seek(8)
            entries = json.loads(stream.read(length))
        tensors = {
            name: StoredTensor(str(entry["dtype"]), tuple(int(n) for n in entry["shape"]))
            for name, entry in entries.items()
            if name != "__metadata__"
        }
        ends = [int(entry["data_offsets"][1]) for n, entry in entries.items() if n in tensors]
    except ModelError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise error_of(file, f"its header is damaged ({error})", remedy) from error
    except RecursionError as error:
        raise error_of(file, "its header is damaged", remedy) from error
    if ends and 8 + length + max(ends) != size:
        raise error_of(
            file, f"it has {size} bytes, its header describes {8 + length + max(ends)}", remedy
        )
    return tensors


def parameters_in(tensors: dict[str, StoredTensor]) -> int:
    """Elements of all tensors."""
    return sum(prod(tensor.shape) for tensor in tensors.values())


def is_buffer(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor is a mask or a table that models make themselves.

    Masks of attention are (1, 1, n, n) or a number; frequencies and positions are vectors.
    """
    if not _BUFFERS.search(name):
        return False
    if name.endswith(".bias"):
        return len(shape) == 4 and shape[:2] == (1, 1) and shape[2] == shape[3]
    return True


def check_types(folder: Path, tensors: dict[str, StoredTensor]) -> None:
    """Raise ModelError where matrices are stored as integers or in 8 bits.

    They are codes, whose scales lie elsewhere.
    """
    codes = [
        name
        for name, tensor in tensors.items()
        if tensor.dtype not in _FLOATS
        and len(tensor.shape) > 1
        and not is_buffer(name, tensor.shape)
    ]
    if codes:
        raise ModelError(
            f"{folder} holds quantized weights ({tensors[sorted(codes)[0]].dtype}): "
            f"{listed(codes)}: codes are no weights; load it with the library that wrote it, call "
            "`.dequantize()` and save that, or take the original checkpoint"
        )
