"""The Kubernetes manifests: their schema, the rights of their pods, and a config that Syncer takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import destinations
from syncer.config import load
from syncer.delivery import STOP_SECONDS
from tests.deploy.dockerfile import stages
from tests.workplace import PROJECT

FOLDER = PROJECT / "examples" / "deploy" / "kubernetes"
VERSION = "1.34"
OWN = ("ServiceMonitor", "Kustomization")
"""Kinds that Kubernetes itself does not know."""
SECRETS = "/run/syncer/secrets"


def manifests(*names: str) -> Iterator[dict[str, Any]]:
    for file in [FOLDER / name for name in names] or sorted(FOLDER.glob("*.yaml")):
        yield from yaml.safe_load_all(file.read_text())


def pods() -> list[Any]:
    """(kind, pod) of everything that runs."""
    found = []
    for one in manifests():
        if one["kind"] == "Deployment":
            found.append(pytest.param(one["spec"]["template"]["spec"], id=f"deployment-{one['spec']['replicas']}"))
        elif one["kind"] == "CronJob":
            found.append(pytest.param(one["spec"]["jobTemplate"]["spec"]["template"]["spec"], id="cronjob"))
    return found


def test_manifests_are_what_kubernetes_takes() -> None:
    """Each manifest is valid by the schema of Kubernetes, without one field that it does not know."""
    validator = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed: make lint")

    for one in manifests():
        if one["kind"] not in OWN:
            validator.validate(one, VERSION, strict=True)


@pytest.mark.parametrize("pod", pods())
def test_pods_have_few_rights(pod: dict[str, Any]) -> None:
    """Pods run as the image's user, read-only but for state and /tmp, without capabilities or the cluster's API."""
    image = stages()[-1]
    (container,) = pod["containers"]

    (user,) = image.all("USER")
    assert user == f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}"
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert {"type": "RuntimeDefault"} == pod["securityContext"]["seccompProfile"]
    assert pod["automountServiceAccountToken"] is False
    assert {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    } == container["securityContext"]
    writable = {one["mountPath"] for one in container["volumeMounts"] if not one.get("readOnly")}
    assert {image.all("WORKDIR")[0], "/tmp"} == writable
    assert pod["terminationGracePeriodSeconds"] > STOP_SECONDS
    assert "env" not in container, "secrets are files, which change without a restart"


@pytest.mark.parametrize("pod", pods())
def test_pods_find_what_they_name(pod: dict[str, Any]) -> None:
    """Each volume that is mounted exists, and what it is made of is a manifest here, or the Secret that people make."""
    existing = {(one["kind"], one["metadata"]["name"]) for one in manifests() if one["kind"] not in OWN}
    volumes = {one["name"]: one for one in pod["volumes"]}

    assert {one["name"] for one in pod["containers"][0]["volumeMounts"]} == volumes.keys()
    assert ("ServiceAccount", pod["serviceAccountName"]) in existing
    for volume in volumes.values():
        if "configMap" in volume:
            (config,) = [one for one in manifests() if one["kind"] == "ConfigMap"]
            assert config["metadata"]["name"] == volume["configMap"]["name"]
            assert config["data"].keys() == {one["key"] for one in volume["configMap"]["items"]}
        elif "persistentVolumeClaim" in volume:
            assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in existing
        elif "secret" in volume:
            assert "syncer-secrets" == volume["secret"]["secretName"]


def test_daemons_are_probed_where_they_answer() -> None:
    """Liveness and readiness are asked of the port that the config of the ConfigMap listens on."""
    for one in manifests("deployment.yaml", "standby.yaml"):
        if one["kind"] != "Deployment":
            continue
        (container,) = one["spec"]["template"]["spec"]["containers"]
        paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}

        assert {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"} == paths
        assert [{"name": "http", "containerPort": 8080}] == container["ports"]


@pytest.mark.parametrize("standby", [False, True])
def test_the_config_is_one_that_syncer_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, standby: bool) -> None:
    """What the ConfigMap holds, with the Secret's files, loads without a problem; so does the stand-by's."""
    (config,) = [one for one in manifests() if one["kind"] == "ConfigMap"]
    (deployment,) = [one for one in manifests("deployment.yaml") if one["kind"] == "Deployment"]
    volumes = deployment["spec"]["template"]["spec"]["volumes"]
    paths = {item["key"]: item["path"] for item in volumes[0]["configMap"]["items"]}
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for name in ("token", "customerio_site_id", "customerio_api_key"):
        (secrets / name).write_text("secret")
    (secrets / "control_url").write_text("postgresql://syncer:secret@127.0.0.1/syncer")
    for key, text in config["data"].items():
        file = tmp_path / paths[key]
        file.parent.mkdir(exist_ok=True)
        if standby and key == "config.toml":
            text = text.replace('[state]\npath = "/var/lib/syncer"\n', standby_state())
            assert 'type = "bigquery"\ndataset' in text
        file.write_text(text.replace(SECRETS, str(secrets)))

    made = load(tmp_path / "config.toml", destinations.adapter, destinations.kinds)

    assert ["customerio.people"] == [sync.name for sync in made.syncs]
    assert 8080 == made.service.port
    assert stages()[-1].all("WORKDIR") == [str(made.state.path)]


def standby_state() -> str:
    """The section [state] that the comment of standby.yaml has."""
    lines = [line[4:] for line in (FOLDER / "standby.yaml").read_text().splitlines() if line.startswith("#   ")]
    return "\n".join(lines) + "\n"
