"""The manifests of search_spaces/cluster/kuberay.yaml as KubeRay and Kubernetes define them.

A schema of our own: only the fields that are used, under the names and with the types that
`ray-operator/apis/ray/v1` of KubeRay 1.x and the core API of Kubernetes give them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Quantity = Annotated[str, Field(pattern=r"^\d+(\.\d+)?(m|Ki|Mi|Gi|Ti)?$")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]


class Strict(BaseModel):
    """Part of a manifest: a field that Kubernetes would not know is an error."""

    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)


class Meta(Strict):
    name: Name


class VolumeMount(Strict):
    name: Name
    mount_path: Annotated[str, Field(pattern="^/")]


class Resources(Strict):
    requests: dict[str, Quantity]
    limits: dict[str, Quantity] = Field(default_factory=dict)


class Container(Strict):
    name: Name
    image: str
    resources: Resources
    volume_mounts: list[VolumeMount]


class Claim(Strict):
    claim_name: Name


class Memory(Strict):
    medium: Literal["Memory"]
    size_limit: Quantity


class Volume(Strict):
    name: Name
    persistent_volume_claim: Claim | None = None
    config_map: Meta | None = None
    empty_dir: Memory | None = None


class SecurityContext(Strict):
    fs_group: int


class PodSpec(Strict):
    security_context: SecurityContext
    containers: Annotated[list[Container], Field(min_length=1)]
    volumes: list[Volume]


class Template(Strict):
    spec: PodSpec


class HeadGroup(Strict):
    ray_start_params: dict[str, str]
    template: Template


class WorkerGroup(HeadGroup):
    group_name: Name
    replicas: Annotated[int, Field(ge=0)]
    min_replicas: Annotated[int, Field(ge=0)]
    max_replicas: Annotated[int, Field(ge=0)]


class RayCluster(Strict):
    ray_version: str
    head_group_spec: HeadGroup
    worker_group_specs: Annotated[list[WorkerGroup], Field(min_length=1)]


class RayJobSpec(Strict):
    entrypoint: str
    shutdown_after_job_finishes: bool
    ttl_seconds_after_finished: int
    ray_cluster_spec: RayCluster


class RayJob(Strict):
    """A Ray cluster for one command."""

    api_version: Literal["ray.io/v1"]
    kind: Literal["RayJob"]
    metadata: Meta
    spec: RayJobSpec


class ClaimSpec(Strict):
    access_modes: list[Literal["ReadWriteMany"]]
    resources: Resources


class VolumeClaim(Strict):
    api_version: Literal["v1"]
    kind: Literal["PersistentVolumeClaim"]
    metadata: Meta
    spec: ClaimSpec
