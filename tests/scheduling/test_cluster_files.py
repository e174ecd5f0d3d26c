"""What a user hands to Kubernetes and to `ray up`, as these read it."""

from __future__ import annotations

import copy
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from kuberay_manifests import HeadGroup, PodSpec, RayJob, VolumeClaim
from places import SEARCH_SPACES
from pydantic import ValidationError
from ray.autoscaler._private.util import prepare_config, validate_config

from study.launch import parser

CLUSTER = SEARCH_SPACES / "cluster"


def manifests() -> tuple[dict[str, Any], dict[str, Any]]:
    """The claim and the job of the file."""
    claim, job = yaml.safe_load_all((CLUSTER / "kuberay.yaml").read_text(encoding="utf-8"))
    return claim, job


def pods(job: RayJob) -> list[PodSpec]:
    cluster = job.spec.ray_cluster_spec
    groups: list[HeadGroup] = [cluster.head_group_spec, *cluster.worker_group_specs]
    return [group.template.spec for group in groups]


def test_the_manifests_have_known_fields_alone() -> None:
    claim, job = manifests()
    claimed, stated = VolumeClaim.model_validate(claim), RayJob.model_validate(job)
    assert len(pods(stated)) == 2
    for pod in pods(stated):
        (container,) = pod.containers
        volumes = {volume.name: volume for volume in pod.volumes}
        assert {mount.name for mount in container.volume_mounts} == set(volumes)
        assert volumes["runs"].persistent_volume_claim.claim_name == claimed.metadata.name
        assert container.resources.requests == container.resources.limits
    for group in stated.spec.ray_cluster_spec.worker_group_specs:
        assert group.min_replicas <= group.replicas <= group.max_replicas


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("apiVersion",), "ray.io/v1alpha1"),
        (("spec", "entryPoint"), "collapse-study"),
        (("spec", "rayClusterSpec", "rayVersion"), 2.6),
        (("spec", "rayClusterSpec", "workerGroupSpecs"), []),
        (("spec", "rayClusterSpec", "headGroupSpec", "rayStartParams"), {"num-cpus": 0}),
    ],
)
def test_a_manifest_that_kuberay_would_refuse_is_refused(
    path: tuple[str, ...], value: object
) -> None:
    job = copy.deepcopy(manifests()[1])
    *parents, last = path
    target = job
    for name in parents:
        target = target[name]
    target[last] = value
    with pytest.raises(ValidationError):
        RayJob.model_validate(job)


def test_the_job_of_kubernetes_is_a_launch_on_its_own_volumes() -> None:
    job = RayJob.model_validate(manifests()[1])
    name, door, *arguments = shlex.split(job.spec.entrypoint)
    assert (name, door) == ("collapse-study", "launch")
    options = parser().parse_intermixed_args(arguments)
    assert options.address == "auto" and options.overrides == ["resources.gpus=1"]
    for pod in pods(job):
        mounts = [Path(mount.mount_path) for mount in pod.containers[0].volume_mounts]
        assert Path(options.runs) in mounts and Path(options.study).parent in mounts


@pytest.mark.long
def test_the_pods_hold_against_the_whole_schema_of_kubernetes() -> None:
    """Against the published schema of pods and claims, which is large."""
    kubernetes_validate = pytest.importorskip(
        "kubernetes_validate", reason="pip install kubernetes-validate has the schema"
    )
    claim, job = manifests()
    newest = kubernetes_validate.latest_version()
    kubernetes_validate.validate(claim, newest, strict=True)
    cluster = job["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, **group["template"]}
        kubernetes_validate.validate(pod, newest, strict=True)
        pod["spec"]["containers"][0]["imagee"] = "x"
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(pod, newest, strict=True)


@pytest.mark.parametrize("name", ["ray_cluster.yaml", "ray_cluster_local.yaml"])
def test_ray_up_takes_the_cluster(name: str) -> None:
    """By the parser of `ray up`, without a provider."""
    content = yaml.safe_load((CLUSTER / name).read_text(encoding="utf-8"))
    config = prepare_config(copy.deepcopy(content))
    validate_config(config)
    types = config["available_node_types"]
    assert config["head_node_type"] in types
    assert sum(kind["max_workers"] for kind in types.values()) > 0
    with pytest.raises(Exception, match="head_nodetype"):
        validate_config(config | {"head_nodetype": "head"})
