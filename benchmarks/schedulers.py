"""With which schedulers does forecasting pay? ``python -m spectral_forecast.benchmarks.schedulers`` writes a page.

The digits model is sampled with each scheduler in full, with fewer steps, and with forecasts on several schedules.
Every row is judged against the full run of its own scheduler.
"""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    UniPCMultistepScheduler,
)
from tqdm import tqdm

from spectral_forecast import LinearRule, Newton, make_plan, metrics, schedules, spectrum
from spectral_forecast.adapters.diffusers import accelerate, restore
from spectral_forecast.benchmarks import digits

STEPS = 50
FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": digits.SHIFT}


def _shifted(kind: Any, **options: Any) -> Any:
    """A multistep solver with the shift that `FluxPipeline` would compute for it from the number of tokens."""
    scheduler = kind(solver_order=2, use_dynamic_shifting=True, time_shift_type="exponential", **FLOW, **options)
    scheduler.register_to_config(base_shift=math.log(digits.SHIFT), max_shift=math.log(digits.SHIFT))
    return scheduler


SCHEDULERS: dict[str, Callable[[], Any]] = {
    "Euler": lambda: FlowMatchEulerDiscreteScheduler(shift=digits.SHIFT),
    "UniPC, order 2": lambda: UniPCMultistepScheduler(solver_order=2, **FLOW),
    "DPM++ 2M": lambda: _shifted(DPMSolverMultistepScheduler),
    "DEIS, order 2": lambda: _shifted(DEISMultistepScheduler),
    "Euler with noise": lambda: FlowMatchEulerDiscreteScheduler(shift=digits.SHIFT, stochastic_sampling=True),
    "DPM++ 2M SDE": lambda: _shifted(DPMSolverMultistepScheduler, algorithm_type="sde-dpmsolver++"),
}
MASKS = {
    "growing": schedules.growing(STEPS),
    "growing, last 2 evaluated": schedules.growing(STEPS, tail=2),
    "every 4th": schedules.every(STEPS, 4, warmup=3),
    "every 4th, last 2 evaluated": schedules.every(STEPS, 4, warmup=3, tail=2),
    "even": schedules.even(STEPS, 14),
    "every 2nd": schedules.every(STEPS, 2, warmup=3),
}
RULES: dict[str, LinearRule] = {"linear": Newton(1), "blend": spectrum(0.5, mode="free")}


def quality(name: str, network: torch.nn.Module, guidance: float) -> dict[str, float]:
    """Return the PSNR in dB of each way to save evaluations, against the scheduler's own full run."""
    pipe = digits.pipeline(network)

    def draw(steps: int = STEPS) -> torch.Tensor:
        torch.manual_seed(0)  # for the schedulers that draw noise: the same for every way
        pipe.scheduler = SCHEDULERS[name]()
        return digits.sample(pipe, np.arange(10), steps=steps, guidance=guidance, seed=0).clamp(-1, 1)

    full = draw()
    found = {"14 steps": metrics.psnr(draw(14), full, data_range=2.0)}
    for rule_name, rule in RULES.items():
        for mask_name, mask in MASKS.items():
            accelerate(pipe, make_plan(rule, np.arange(STEPS), mask, span=(0, STEPS)))
            found[f"{rule_name}, {mask_name} ({mask.sum()})"] = metrics.psnr(draw(), full, data_range=2.0)
            restore(pipe)
    return found


def page(rows: dict[str, dict[str, float]], guidance: float) -> str:
    """Return the page in Markdown."""
    ways = list(next(iter(rows.values())))
    head = "| | " + " | ".join(rows) + " |\n|---" + "|---:" * len(rows) + "|"
    lines = [f"| {way} | " + " | ".join(f"{row[way]:.1f}" for row in rows.values()) + " |" for way in ways]
    return f"""# Schedulers

Written by `python -m spectral_forecast.benchmarks.schedulers`: PSNR in dB against the full run of {STEPS} steps *of the
same scheduler*, ten digits, guidance {guidance:g}, outputs forecast; evaluations in brackets. "linear" is `Newton(1)`,
"blend" is `spectrum(0.5, mode="free")`.

{head}
{chr(10).join(lines)}

"even" evaluates the first two and the last two steps and spreads the others; it is what
`accelerate(pipe, evaluations=14)` does. Evaluating the last steps is worth more than any other change.

With the last two schedulers, which add noise at every step, no row comes near the full run, and most are worse than
taking 14 steps; the adapter therefore evaluates every step there, unless it is given a plan.
"""


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/schedulers.md"))
    parser.add_argument("--guidance", type=float, default=2.0)
    options = parser.parse_args()
    network = digits.transformer()
    rows = {name: quality(name, network, options.guidance) for name in tqdm(SCHEDULERS, unit="scheduler")}
    options.out.write_text(page(rows, options.guidance))
    print(options.out.read_text())


if __name__ == "__main__":
    main()
