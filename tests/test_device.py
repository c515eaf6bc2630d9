"""The machine: memory of large tensors is kept."""

import subprocess
import sys

import pytest

CODE = """
import resource, sys
import torch
from stillroom.device import keep_memory
if sys.argv[1] == "keep":
    keep_memory()
from torch.nn import GELU, Conv2d
net = torch.nn.Sequential(Conv2d(3, 48, 3), GELU(), Conv2d(48, 24, 3), GELU())
images = torch.ones(16, 3, 128, 128)
with torch.inference_mode():
    for _ in range(3):
        net(images)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        net(images)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is asked")
@pytest.mark.slow
def test_a_warm_forward_pass_costs_no_page_faults() -> None:
    """Activations of 48 and 24 MB are tens of thousands of faults a pass if they go back each time."""

    def faults(word: str) -> int:
        done = subprocess.run([sys.executable, "-c", CODE, word], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert faults("keep") * 10 < faults("default")
