"""What the columns of a model depend on, as a hash: its weights, not its history."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import torch

from study.config import MeasureConfig
from study.config.measuring import WHEN
from study.data.base import Dataset
from study.data.config import DataSettings
from study.models import description
from study.models.base import FeatureModel
from study.settings.schema import canonical, plain
from study.store.provenance import hardware, versions
from study.training.devices import device_name


def subject_digest(
    model: FeatureModel,
    data: Dataset,
    config: DataSettings,
    measure: MeasureConfig,
    device: torch.device,
) -> str:
    """Hash of all that the columns of a model at any precision depend on.

    Weights and architecture, data, what is measured, and what the last bit depends on: code,
    versions, processor and threads.
    """
    own = {name: value for name, value in description(model).items() if not name.startswith("_")}
    measured = {name: value for name, value in plain(measure).items() if name not in WHEN}
    arithmetic = [versions(), hardware()["processor"], device_name(device), torch.get_num_threads()]
    parts = [
        weights_digest(model),
        repr(sorted(own.items(), key=lambda item: item[0])),
        data.fingerprint,
        *(probe.fingerprint for _, probe in sorted(data.probes.items())),
        canonical(plain(config)),
        canonical(measured),
        canonical(arithmetic),
        code_digest(),
    ]
    return _hash(*(part.encode() for part in parts))


def key_of(subject: str, *settings: Any) -> str:
    """Hash of a subject with settings of its precision."""
    return _hash(subject.encode(), canonical(settings).encode())[:32]


def weights_digest(model: FeatureModel) -> str:
    """Hash of all tensors of a model, by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        values = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(values.view(torch.uint8).numpy().data)
    return digest.hexdigest()


@cache
def code_digest() -> str:
    """Hash of this package: other code may measure otherwise."""
    folder = Path(__file__).resolve().parents[1]
    return _hash(*(path.read_bytes() for path in sorted(folder.rglob("*.py"))))


def _hash(*parts: bytes) -> str:
    lengths = b" ".join(str(len(part)).encode() for part in parts)
    return hashlib.sha256(lengths + b"".join(parts)).hexdigest()
