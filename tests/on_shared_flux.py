"""A program for `test_devices`: one network on several processes, by its tokens or its weights; prints findings."""

import json
import os
import sys
import time

import torch
from shared_flux import PLAN, Flux, by_tokens, by_weights, talk, told

from spectral_forecast import Newton
from spectral_forecast.adapters.diffusers import accelerate, record, restore

KINDS = {"plan": {"plan": PLAN}, "default": {"evaluations": 5}, "tolerance": {"tolerance": 0.05}}


def compare(make, heads, at):
    """Results and decisions against those of one process, and what the processes said to each other."""
    plain, found = make(), {}
    full = plain.run()
    for name, options in KINDS.items():
        alone, shared = Flux(heads), make()
        accelerate(alone.model, at=at, **options)
        accelerate(shared.model, at=at, **options)
        expected, results = alone.run(), [shared.run() for _ in range(2)]
        found[name] = {
            "errors": [float((result - expected).abs().max()) for result in results],
            "again": bool(torch.equal(*results)),
            "effect": float((expected - full).abs().max()),
            "told": told(shared),
            "alone": told(alone)["evaluated"],
            "talk": talk(shared, plain.said[1]),
        }
        restore(shared.model)
        found[name]["restored"] = float((shared.run() - full).abs().max())
    return found


def spoil(rank, at, make):
    """One process's part is not a number: of an evaluation, of the proof that blocks can be skipped, of forecasts."""
    found = {}
    for kind in ("evaluation", "gated", "proof", "forecast"):
        flux, calls, step = make(), [], [0]

        def once(_module, _inputs, output, kind=kind, calls=calls, step=step):
            calls.append(None)
            spoilt = len(calls) == 2 if kind == "proof" else kind in ("evaluation", "gated") and step[0] == 3
            return tuple(torch.nan * x for x in output) if spoilt and rank == 1 else None

        def count(_pipe, number, _time, kept, step=step):
            step[0] = number + 1
            return kept

        # In the last block, after which the processes hear no more of each other than what they make of it.
        last, rule = flux.network.single_transformer_blocks[-1], None
        last.register_forward_hook(once)
        if kind == "forecast":  # too large for the dtype of features that are large themselves
            rule = 1e37 * Newton(1) - 1e37 * Newton(0)
            if rank == 1 or at == "output":  # outputs are whole in every process
                large = flux.network.proj_out if at == "output" else last.proj_out
                large.register_forward_hook(lambda _module, _inputs, output: 1e4 * output)
        asked = {"tolerance": 0.05} if kind == "gated" else {"evaluations": 5, "forecaster": rule}
        accelerate(flux.model, at=at, **asked)
        result = flux.run(count)
        found[kind] = told(flux) | {"finite": bool(result.isfinite().all())}
    return found


def delay(rank, at, make):
    """One process is slow at some steps."""
    results = []
    for seconds in (0.0, 0.2):
        flux = make()
        block = flux.network.transformer_blocks[0]
        block.register_forward_hook(lambda *_, seconds=seconds: time.sleep(seconds) if rank == 1 else None)
        accelerate(flux.model, PLAN, at=at)
        results.append(flux.run())
    return told(flux) | {"same": bool(torch.equal(*results))}


def break_off(at, make):
    """All processes' callbacks break the run off; the next run is as if nothing had been."""
    flux = make()
    accelerate(flux.model, PLAN, at=at)
    expected = flux.run()

    def stop(pipe, step, _time, kept):
        pipe._interrupt = step >= 3
        return kept

    flux.run(stop)
    held = flux.session.streams
    return {"same": bool(torch.equal(flux.run(), expected)), "held": len(held)} | told(flux)


def recorded(at, make):
    """How many numbers a recorded evaluation adds up over the processes, beside the vote."""
    plain, flux = make(), make()
    plain.run()
    with record(flux.model, at=at):
        flux.run()
    usual = list(plain.said[1])
    return [sorted(one for one in said if one not in usual) for said in flux.said]


def main(rank, world, rendezvous, how):
    """Meet the other processes, and compare."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world)
    share = {"tokens": by_tokens, "weights": by_weights}[how](world)

    def make():
        return Flux(world, share)

    print(
        json.dumps(
            {
                at: compare(make, world, at)
                | {"spoilt": spoil(rank, at, make), "slow": delay(rank, at, make), "stopped": break_off(at, make)}
                | {"recorded": recorded(at, make)}
                for at in ("output", "features")[world > 2 :]  # of many processes the one place that is split
            }
        )
    )
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), os.path.abspath(sys.argv[3]), sys.argv[4])
