"""The demo in JAX: sixteen digits by the same trained transformer in Flax NNX, each run one ``lax.scan``.

``spectral-forecast demo --backend jax``. Every sampler starts from the PyTorch demo's noise and is judged by its
samples, against those of the full run.
"""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from spectral_forecast import Plan, TaylorSeer, make_plan, metrics, schedules, spectrum
from spectral_forecast.adapters.jax import flow_euler, from_nnx
from spectral_forecast.benchmarks import digits, digits_jax
from spectral_forecast.benchmarks.tables import markdown
from spectral_forecast.plot import plot_samples

__all__ = ["BLOCKS", "run"]

STEPS = 50
COUNT = 16
BLOCKS: dict[str, Callable[..., Any]] = {
    # Stand-ins return what the blocks return: both streams, or the one that joins them.
    "transformer_blocks": lambda x, text, _temb, _rotary: (x, text),
    "single_transformer_blocks": lambda x, _temb, _rotary: x,
}


@dataclass
class Method:
    """One row of the table: a sampler, and what was measured of it."""

    name: str
    sample: Callable[[], Any]
    evaluations: int
    ring: int = 0  # bytes
    first: float = 0.0  # seconds of the call that compiles
    seconds: list[float] = field(default_factory=list)
    samples: Any = None


def samplers(guidance: float) -> tuple[Any, Any, Any]:
    """Return the network's state, and two jitted samplers: one that forecasts, and a plain one."""
    model, state = from_nnx(digits_jax.transformer(), blocks=BLOCKS, head="norm_out")
    model = digits_jax.guided(model, guidance)

    def forecast(plan: Plan, x: Any, sigmas: Any, *args: Any, at: str) -> Any:
        network = model if at == "features" else lambda *args: model(*args)[0]
        return flow_euler(network, plan, x, sigmas, *args, at=at)

    def plain(x: Any, sigmas: Any, *args: Any) -> Any:
        def step(x: Any, pair: Any) -> tuple[Any, None]:
            return x + (pair[1] - pair[0]) * model(x, pair[0], *args)[0], None

        return jax.lax.scan(step, x, jnp.stack([sigmas[:-1], sigmas[1:]], axis=1))[0]

    return state, jax.jit(forecast, static_argnames="at"), jax.jit(plain)


def methods(guidance: float, seed: int) -> tuple[list[Method], Any]:
    """List the rows of the table, and the jitted sampler that the plans share."""
    state, forecast, plain = samplers(guidance)
    x = jnp.asarray(digits.noise(COUNT, seed=seed).numpy())
    classes = np.arange(COUNT) % digits.CLASSES
    args = (state, digits_jax.embed(classes), digits_jax.embed(np.full(COUNT, digits.CLASSES)))
    sigmas = jnp.asarray(digits_jax.sigmas(STEPS))
    width = state["proj_out"]["kernel"].shape[0]
    features = {
        "features": jax.ShapeDtypeStruct((2 * COUNT, x.shape[1], width), x.dtype),
        "output": jax.ShapeDtypeStruct(x.shape, x.dtype),
    }
    slow, fast = schedules.growing(STEPS), schedules.growing(STEPS, 2, 3.0)
    rows = [
        ("Spectrum, w = 1", spectrum(1.0), slow, "features"),
        ("Spectrum, w = 0.5", spectrum(0.5), slow, "features"),
        ("free low degrees, w = 0.5", spectrum(0.5, mode="free"), slow, "features"),
        ("Spectrum, w = 1", spectrum(1.0), fast, "features"),
        ("Spectrum, w = 0.5", spectrum(0.5), fast, "features"),
        ("TaylorSeer, order 2", TaylorSeer(2), schedules.every(STEPS, 4, warmup=5), "features"),
        ("Spectrum, w = 0.5, on outputs", spectrum(0.5), slow, "output"),
        ("free low degrees, w = 0.5, on outputs", spectrum(0.5, mode="free"), slow, "output"),
    ]
    few = jnp.asarray(digits_jax.sigmas(14))
    listed = [Method("full run: Euler", lambda: plain(x, sigmas, *args), STEPS)]
    for name, rule, evaluate, at in rows:
        plan = make_plan(rule, np.arange(STEPS), evaluate, span=(0, STEPS))
        memory = plan.memory(features[at], scratch=True)
        sample = lambda plan=plan, at=at: forecast(plan, x, sigmas, *args, at=at)  # noqa: E731
        listed.append(Method(name, sample, plan.evaluations, memory))
    listed.append(Method("Euler, fewer steps", lambda: plain(x, few, *args), 14))
    return listed, forecast


def run(out: Path, *, guidance: float = 2.0, seed: int = 0, repeats: int = 3) -> str:
    """Sample with every method, write a picture and a report to ``out``, and return the report's table.

    Parameters
    ----------
    out : Path
        Folder, made if it is missing.
    guidance : float
        Classifier-free guidance scale; both branches are computed as one batch.
    seed : int
        Of the starting noise.
    repeats : int
        How often each method runs after the call that compiles it; times are medians.
    """
    if repeats < 1:
        raise ValueError(f"`repeats` is {repeats}; write 1 or more.")
    out.mkdir(parents=True, exist_ok=True)
    rows, forecast = methods(guidance, seed)
    with tqdm(total=(repeats + 1) * len(rows), desc="sampling", unit="run", disable=None) as bar:
        for turn in range(repeats + 1):
            for row in rows:
                bar.set_postfix_str(row.name)
                start = time.perf_counter()
                row.samples = digits_jax.images(np.asarray(row.sample()))
                seconds = time.perf_counter() - start
                if turn:
                    row.seconds.append(seconds)
                else:
                    row.first = seconds
                bar.update()
    table = _table(rows)
    plot_samples({f"{row.name}\n{row.evaluations} evaluations": row.samples for row in rows}, path=out / "samples.png")
    (out / "report.md").write_text(f"""# Sixteen digits in JAX, full and accelerated

The digits transformer in Flax NNX on {jax.devices()[0].platform}, {STEPS} Euler steps, guidance {guidance:g}, seed
{seed}. Everything is compared with the full run, at the sample. Seconds are medians of {repeats} whole runs, each one
`lax.scan`; the first call compiles, unless another plan with as many evaluations was there before: the
{len(rows) - 2} plans share {forecast._cache_size()} executables.

{table}

![samples](samples.png)
""")
    (out / "report.json").write_text(json.dumps([_numbers(row, rows[0]) for row in rows], indent=1) + "\n")
    return f"{table}\n\nwrote {out / 'samples.png'} and {out / 'report.md'}"


def _table(rows: list[Method]) -> str:
    """The comparison, as a Markdown table."""
    lines = [
        ["method", "evaluations", "first call / s", "seconds", "speed-up", "ring / MB", "PSNR / dB", "relative error"]
    ]
    formats = ["", "d", ".2f", ".3f", ".2f", ".2f", ".1f", ".4f"]
    for row in rows:
        numbers = _numbers(row, rows[0]).values()
        words = ["–" if x is None else format(x, how) for x, how in zip(numbers, formats, strict=True)]
        lines.append([*words[:4], f"{words[4]}×", *words[5:]])
    return markdown(lines)


def _numbers(row: Method, full: Method) -> dict[str, Any]:
    """What was measured of a row against the full run; None where there is nothing to measure."""
    clipped = [np.clip(item.samples, -1.0, 1.0) for item in (row, full)]
    middle = statistics.median(row.seconds)
    return {
        "method": row.name,
        "evaluations": row.evaluations,
        "first_call_seconds": row.first,
        "seconds": middle,
        "speedup": statistics.median(full.seconds) / middle,
        "ring_megabytes": row.ring / 1e6 if row.ring else None,
        "psnr": None if row is full else float(metrics.psnr(*clipped, data_range=2.0)),
        "relative_error": None if row is full else float(metrics.relative_error(row.samples, full.samples)),
    }
