"""What do processes say to each other? Every collective of PyTorch's, with how many numbers it carries."""

import torch
from torch.distributed.tensor import DTensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

SILENT = {"wait_tensor", "_wrap_tensor_autograd", "barrier", "monitored_barrier_"}


class Collectives(TorchDispatchMode):
    """Within it, `said` grows by ("all_reduce", 1) and the like."""

    def __init__(self):
        super().__init__()
        self.said = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if DTensor in types:  # it comes back as what it is made of, collectives among it
            return NotImplemented
        name = function._schema.name.split("::")
        if name[0] in ("c10d", "_c10d_functional") and name[1] not in SILENT:
            given = args[1:2] if name[0] == "c10d" and "gather" in name[1] else args[:1]
            numbers = sum(x.numel() for x in pytree.tree_leaves(given) if isinstance(x, torch.Tensor))
            self.said.append((name[1].rstrip("_").replace("allreduce", "all_reduce"), numbers))
        return function(*args, **kwargs or {})

    def taken(self):
        """What was said since the last time."""
        said, self.said = self.said, []
        return said
