"""Who has no network does without torch: two seconds and half a gigabyte for each process of the service."""

import subprocess
import sys

import pytest

REFUSING = """
import sys
class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise AssertionError(f"{name} is imported")
sys.meta_path.insert(0, Refusing())
import MODULE
"""


@pytest.mark.parametrize("module", ["ingress", "controller", "shards", "app", "parts"])
def test_the_service_but_for_its_embedders_imports_no_torch(module: str) -> None:
    script = REFUSING.replace("MODULE", f"visnet.serve.{module}")
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


def test_the_client_imports_no_torch_and_no_ray() -> None:
    script = REFUSING.replace('"torch"', '"torch" or name == "ray"').replace("MODULE", "visnet.platform.client")
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
