"""A program for `test_devices`: a model of one's own whose weights are shared out, under `Accelerator`."""

import json
import os
import sys

import torch
from collectives import Collectives
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from spectral_forecast.adapters.torch import Accelerator

STEPS = 12
DTENSORS = {"use_local_output": False}
LAYOUTS = {  # what the feature, or the output, is
    "plain tensors": {"up": ColwiseParallel(), "down": RowwiseParallel()},
    "replicated features": {
        "up": ColwiseParallel(),
        "down": RowwiseParallel(**DTENSORS),
        "head": ColwiseParallel(output_layouts=Replicate()),
    },
    "sharded features": {
        "up": ColwiseParallel(),
        "down": RowwiseParallel(output_layouts=Shard(-1), **DTENSORS),
        "head": RowwiseParallel(),
    },
    "replicated outputs": {"head": ColwiseParallel(output_layouts=Replicate(), **DTENSORS)},
    "sharded outputs": {"up": ColwiseParallel(), "down": RowwiseParallel(), "head": ColwiseParallel(**DTENSORS)},
    "parts": {"up": ColwiseParallel(), "head": RowwiseParallel()},  # plain tensors, of which each process has its own
}


class Model(torch.nn.Module):
    """Resumable, two matrices before its head."""

    def __init__(self, spoilt=()):
        super().__init__()
        torch.manual_seed(0)
        self.up, self.down, self.head = (torch.nn.Linear(*sizes) for sizes in ((8, 16), (16, 8), (8, 8)))
        self.spoilt, self.calls = spoilt, 0

    def forward(self, x, t, feature=None):
        if feature is None:
            self.calls += 1
            feature = self.down(torch.tanh(self.up(x) + t))
            feature = torch.nan * feature if self.calls in self.spoilt else feature
        return self.head(feature), feature


class Parts(Model):
    """Without the second matrix, so that the feature is a part of the whole."""

    def __init__(self, spoilt=()):
        super().__init__(spoilt)
        self.down, self.head = torch.nn.Identity(), torch.nn.Linear(16, 8)


@torch.no_grad()
def run(model, at):
    """A run's result, the report of it, and what each step said."""
    accelerated = Accelerator(model if at == "features" else _outputs(model), evaluations=6, steps=STEPS, at=at)
    x, said = torch.linspace(-1, 1, 32).reshape(4, 8), []
    with Collectives() as collectives:
        for i in range(STEPS):
            out = accelerated(x, torch.tensor(1.0 - i / STEPS))
            said.append(collectives.taken())
            out = out.full_tensor() if isinstance(out, DTensor) else out
            collectives.taken()
            x = x - 0.1 * torch.nan_to_num(out)
    return x, accelerated.report, said


def _outputs(model):
    return lambda x, t: model(x, t)[0]


def compare(mesh, name, at):
    """A model that is shared out against the same in one piece."""
    kind = Parts if name == "parts" else Model
    expected, alone, _ = run(kind(), at)
    x, report, said = run(parallelize_module(kind(), mesh, LAYOUTS[name]), at)
    plain = parallelize_module(kind(), mesh, LAYOUTS[name])
    with torch.no_grad(), Collectives() as collectives:
        _, feature = plain(x, torch.tensor(0.5))
        whole = collectives.taken()
        plain(x, torch.tensor(0.5), feature=feature)
        head = collectives.taken()
    steps = report.forecast["call 0"]
    return {
        "error": float((x - expected).abs().max()),
        "evaluated": report.evaluated["call 0"],
        "alone": alone.evaluated["call 0"],
        "events": report.events,
        "forecasts": [said[step] for step in steps],
        "head": head if at == "features" else [],
        "more": [said[step][len(whole) :] for step in report.evaluated["call 0"][1:]],
    }


def spoilt(mesh, rank, name):
    """Which steps are evaluated when one process's part of the feature is not a number once."""
    kind = Parts if name == "parts" else Model
    model = parallelize_module(kind(spoilt=(3,) if rank == 1 else ()), mesh, LAYOUTS[name])
    return run(model, "features")[1].evaluated["call 0"]


def stored_in_parts(mesh, rank):
    """The same with weights that are put together for every evaluation (FSDP), of items that each has its own of."""
    model = Model(spoilt=(3,) if rank == 1 else ())
    for part in (model.up, model):  # those of the whole stay together after the first evaluation
        fully_shard(part, mesh=mesh)
    return run(model, "features")[1].evaluated["call 0"]


def main(rank, world, rendezvous):
    """Meet the other processes, and compare."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world)
    mesh = init_device_mesh("cpu", (world,))
    found = {name: {at: compare(mesh, name, at) for at in ("output", "features")} for name in LAYOUTS}
    found["spoilt"] = {name: spoilt(mesh, rank, name) for name in ("plain tensors", "sharded features", "parts")}
    found["spoilt"]["stored in parts"] = stored_in_parts(mesh, rank)
    print(json.dumps(found))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), os.path.abspath(sys.argv[3]))
