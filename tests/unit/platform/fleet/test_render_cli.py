"""`visnet cluster render`."""

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from visnet.platform.fleet.cli import cluster

FILE = str(Path(__file__).parents[4] / "cluster.yaml")
STORE = ("--store", "s3://bucket/visnet")


def render(*arguments: str) -> Result:
    return CliRunner().invoke(cluster, ["render", *arguments, "--cluster-file", FILE])


def kinds(text: str) -> list[str]:
    return [document["kind"] for document in yaml.safe_load_all(text)]


def test_a_cluster_on_standard_output() -> None:
    result = render("--kuberay", "--image", "visnet:1", *STORE)
    assert result.exit_code == 0, result.output
    assert kinds(result.stdout) == ["ConfigMap", "NetworkPolicy", "RayCluster"]
    assert result.stdout.startswith("# visnet on Kubernetes: the cluster of cluster.yaml (visnet)")
    assert result.stdout == render("--kuberay", "--image", "visnet:1", *STORE).stdout


def test_a_service_of_one_pool_in_a_folder(tmp_path: Path) -> None:
    options = (
        "--what",
        "service",
        "--pool",
        "serve",
        "--name",
        "shop",
        "--namespace",
        "prod",
        "--out",
        str(tmp_path / "k"),
    )
    result = render("--kuberay", "--image", "visnet:1", *options, *STORE)
    assert result.exit_code == 0, result.output
    text = (tmp_path / "k" / "shop-service.yaml").read_text()
    *_, service = yaml.safe_load_all(text)
    assert (service["kind"], service["metadata"]["namespace"]) == ("RayService", "prod")
    assert [group["groupName"] for group in service["spec"]["rayClusterConfig"]["workerGroupSpecs"]] == ["serve"]


def test_secrets_that_must_exist_are_named_first() -> None:
    given = ("--journal", "postgresql://visnet@db/visnet", "--journal-secret", "journal", "--token-secret", "token")
    head = render("--kuberay", "--image", "visnet:1", *given, *STORE).stdout.split("---")[0]
    assert "create secret generic journal --from-file=password=FILE" in head
    assert "create secret generic token --from-file=auth_token=FILE" in head


def test_a_job_with_the_arguments_of_its_command() -> None:
    ran = CliRunner().invoke(
        cluster, ["render", "--kuberay", "--what", "job", "--cluster-file", FILE, "--", "train", "--catalog", "a shop"]
    )
    assert ran.exit_code == 0, ran.output
    (job,) = yaml.safe_load_all(ran.stdout)
    assert job["spec"]["entrypoint"] == "python -m visnet.train --catalog 'a shop'"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "--kuberay"),
        (("--kuberay", *STORE), "--image is needed"),
        (("--kuberay", "--image", "visnet:1"), "--store-claim"),
        (("--kuberay", "--what", "job"), "COMMAND one of train, detector"),
        (("--kuberay", "--what", "job", "fly"), "COMMAND one of train, detector"),
        (("--kuberay", "--image", "visnet:1", "train", *STORE), "unexpected train"),
        (("--kuberay", "--image", "visnet:1", "--kuberey", *STORE), "unexpected --kuberey"),
    ],
)
def test_what_is_wrong_is_said(arguments: tuple[str, ...], told: str) -> None:
    result = render(*arguments)
    assert result.exit_code != 0
    assert told in result.output
