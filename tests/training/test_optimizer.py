"""timm's optimisers as training uses them."""

import pytest
import torch
from timm.optim import list_optimizers
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from stillroom.params import Train
from stillroom.training.optimizer import create_optimizer


class Products(TorchDispatchMode):
    """Notes the types of numbers that matrices were multiplied in."""

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: set[torch.dtype] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket in (torch.ops.aten.addmm, torch.ops.aten.baddbmm, torch.ops.aten.mm):
            self.dtypes |= {one.dtype for one in tree_iter((args, kwargs)) if isinstance(one, torch.Tensor)}
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", [name for name in map(str, list_optimizers()) if "muon" in name])
def test_on_a_cpu_muon_multiplies_in_float32(name):
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Flatten(), torch.nn.Linear(32, 5))
    optimizer, _ = create_optimizer(net, Train(epochs=1, opt=name, warmup_epochs=0), 1)
    net(torch.randn(2, 3, 4, 4)).square().sum().backward()
    with Products() as products:
        optimizer.step()
    assert products.dtypes == {torch.float32}
