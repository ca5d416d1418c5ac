"""A program for `test_devices`: one of several processes fails in mid-run; what do the others do, and when?"""

import json
import os
import sys
import time
from datetime import timedelta

import torch
from shared_flux import PLAN, Flux, by_weights

from spectral_forecast.adapters.diffusers import accelerate, restore

SECONDS = 4.0  # the process group's patience
AT = 3  # the step after which one process fails: a forecast, and the next one is too


def fail(kind, pipe):
    """What the one process does that fails."""
    if kind == "raises":
        raise ValueError("out of memory, say")
    if kind == "leaves":
        pipe._interrupt = True
    if kind == "sleeps":
        time.sleep(3.0 * SECONDS)


def main(rank, world, rendezvous, kind):
    """Meet the other processes, sample, and tell how that ended."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world, timeout=timedelta(seconds=SECONDS)
    )
    flux, steps = Flux(world, by_weights(world)), []
    accelerate(flux.model, PLAN)

    def callback(pipe, step, _time, kept):
        steps.append(step)
        if rank == 1 and step == AT:
            fail(kind, pipe)
        return kept

    error, begun = None, time.perf_counter()
    try:
        flux.run(callback)
    except Exception as caught:
        error = type(caught).__name__
    seconds = time.perf_counter() - begun
    restore(flux.model)
    plain = "forward" not in vars(flux.network) and not hasattr(flux.network, "_diffusers_hook")
    print(json.dumps({"error": error, "seconds": seconds, "steps": len(steps), "plain": plain}), flush=True)
    if kind == "leaves" and rank == 1:
        time.sleep(2.0 * SECONDS)  # it has something else to do; its connections stay open
    os._exit(0)  # the group cannot be taken down in order any more


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), os.path.abspath(sys.argv[3]), sys.argv[4])
