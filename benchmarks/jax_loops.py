"""What does the form of the loop cost in JAX? Seconds and memory of a scan, a loop in Python, and of no forecasting.

``python -m spectral_forecast.benchmarks.jax_loops`` prints a Markdown table for the device that JAX finds. The digits
transformer samples a batch with 50 Euler steps; every form starts from the same noise.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from spectral_forecast import Plan, make_plan, metrics, schedules, spectrum
from spectral_forecast.adapters.jax import flow_euler, forecasted, from_nnx
from spectral_forecast.benchmarks import digits_jax
from spectral_forecast.benchmarks.demo_jax import BLOCKS, STEPS

__all__ = ["main", "measure"]


def forms(batch: int) -> list[tuple[str, Callable[[], Any], Any]]:
    """Name, sampler and compiled program (where there is one for the whole run) of each form."""
    model, state = from_nnx(digits_jax.transformer(), blocks=BLOCKS, head="norm_out")
    x = jax.random.normal(jax.random.key(0), (batch, 64, 4), jnp.float32)
    sigmas = jnp.asarray(digits_jax.sigmas(STEPS))
    args = (state, digits_jax.embed(np.arange(batch) % 10))
    plan = make_plan(spectrum(0.5), np.arange(STEPS), schedules.growing(STEPS), span=(0, STEPS))

    def network(x: Any, sigma: Any, state: Any, condition: Any, *, feature: Any = None) -> Any:
        return model(state, x, sigma, condition, feature=feature)

    def plain(x: Any, sigmas: Any, *args: Any) -> Any:
        pairs = jnp.stack([sigmas[:-1], sigmas[1:]], axis=1)
        return jax.lax.scan(lambda x, pair: (euler(x, pair, network(x, pair[0], *args)[0]), None), x, pairs)[0]

    def euler(x: Any, pair: Any, velocity: Any) -> Any:
        return x + (pair[1] - pair[0]) * velocity

    def scanned(plan: Plan, loop: str) -> Any:
        return jax.jit(lambda plan, x: flow_euler(network, plan, x, sigmas, *args, loop=loop)).lower(plan, x).compile()

    def in_python(step: Callable[..., Any], ring: Any, x: Any) -> Any:
        for i in range(STEPS):
            x, ring = step(ring, i, x)
        return x

    once = jax.jit(lambda x, i: euler(x, (sigmas[i], sigmas[i + 1]), network(x, sigmas[i], *args)[0]))
    forecast = forecasted(network, plan, steps=STEPS)

    def apply(ring: Any, i: Any, x: Any) -> Any:
        velocity, ring = forecast.apply(ring, i, x, sigmas[i], *args)
        return euler(x, (sigmas[i], sigmas[i + 1]), velocity), ring

    start = jax.jit(lambda x: forecast.init(x, sigmas[0], *args))
    donated = jax.jit(apply, donate_argnums=0)
    full = jax.jit(plain).lower(x, sigmas, *args).compile()
    scan, fori = scanned(plan, "scan"), scanned(plan, "fori_loop")
    return [
        ("no forecasting, one scan", lambda: full(x, sigmas, *args), full),
        ("no forecasting, Python loop", lambda: in_python(lambda _, i, x: (once(x, i), None), None, x), None),
        ("14 evaluations, one scan", lambda: scan(plan, x), scan),
        ("14 evaluations, one fori_loop", lambda: fori(plan, x), fori),
        ("14 evaluations, Python loop, ring donated", lambda: in_python(donated, start(x), x), None),
    ]


def measure(batch: int, repeats: int) -> str:
    """Return the table; seconds are medians of ``repeats`` runs that go round all forms, after one that compiles."""
    rows = forms(batch)
    seconds: dict[str, list[float]] = {name: [] for name, _, _ in rows}
    samples: dict[str, Any] = {}
    for turn in tqdm(range(repeats + 1), desc="sampling", unit="round", disable=None):
        for name, sample, _ in rows:
            start = time.perf_counter()
            samples[name] = np.asarray(sample())
            if turn:
                seconds[name].append(time.perf_counter() - start)
    lines = ["| form | seconds | temporary memory / MB | relative error |", "|---|---:|---:|---:|"]
    for name, _, program in rows:
        memory = f"{program.memory_analysis().temp_size_in_bytes / 1e6:.1f}" if program else "–"
        error = metrics.relative_error(samples[name], samples[rows[0][0]])
        lines.append(f"| {name} | {statistics.median(seconds[name]):.3f} | {memory} | {error:.4f} |")
    return f"{jax.devices()[0].device_kind}, batch {batch}, {STEPS} steps\n\n" + "\n".join(lines)


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print(measure(options.batch, options.repeats))


if __name__ == "__main__":
    main()
