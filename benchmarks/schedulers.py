"""With which schedulers does forecasting pay? ``python -m spectral_forecast.benchmarks.schedulers`` writes a page.

The digits model is sampled with every scheduler in full, with fewer steps, and with forecasts on several schedules.
Every row is judged against the full run of its own scheduler. The limits that the adapter keeps to are those of this
page, and are printed beside what was measured.
"""

import argparse
import json
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from spectral_forecast import make_plan, metrics, schedules, spectrum
from spectral_forecast.adapters.diffusers import accelerate, restore
from spectral_forecast.benchmarks import digits
from spectral_forecast.benchmarks.any_scheduler import SCHEDULERS, draw, network_for
from spectral_forecast.benchmarks.listing import scheduler_limits

CALLS = 50
CLASSES = (0, 2, 4, 6, 8)
SKIPS = (1, 2, 3, 5, 8, 11)
TAILS = (0, 1, 2, 3)
FLOOR = 38
UNKNOWN = (
    "without noise, three forecasts in a row; with noise, one; with noise in two stages, or drawn anew at every step,\n"
    "none."
)
RULE = spectrum(0.5, mode="free")


def masks(calls: int) -> dict[str, schedules.Mask]:
    """Return the schedules that are tried in a run of ``calls`` calls."""
    count = round(0.28 * calls)
    tried = {
        "growing": schedules.growing(calls),
        "even": schedules.even(calls, count),
        **{f"{skip} in a row": schedules.every(calls, skip + 1, warmup=3, tail=2) for skip in SKIPS},
    }
    return tried | {f"3 in a row, tail {tail}": schedules.every(calls, 4, warmup=3, tail=tail) for tail in TAILS}


def quality(name: str) -> dict[str, float]:
    """Return the PSNR in dB of each way to save evaluations with a scheduler, against its own full run."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    kind, velocity = SCHEDULERS[name], digits.transformer()
    steps = kind.steps_for(CALLS)

    def sample(count: int, mask: schedules.Mask | None = None) -> torch.Tensor:
        scheduler = kind.make()
        network = network_for(kind, velocity, scheduler)
        if mask is not None:
            scheduler.set_timesteps(**kind.set_up(count))
            length = len(scheduler.timesteps)
            evaluate = schedules.mask(length, np.flatnonzero(mask))
            accelerate(network, make_plan(RULE, np.arange(length), evaluate, span=(0, length)), scheduler=scheduler)
        images = draw(kind, network, scheduler, CLASSES, steps=count).clamp(-1, 1)
        restore(network)
        return images

    full, found = sample(steps), {}
    for way, mask in masks(kind.calls(steps)).items():
        found[way] = float(metrics.psnr(sample(steps, mask), full, data_range=2.0))
        if "tail" not in way and way != "growing":
            fewer = kind.steps_for(int(mask.sum()))
            found[f"{way}: fewer steps"] = float(metrics.psnr(sample(fewer), full, data_range=2.0))
    return found


def limits_table() -> str:
    """Return what the adapter keeps to with every scheduler, in Markdown."""
    lines = ["| scheduler | class | forecasts in a row | last steps evaluated | why |", "|---|---|---:|---:|---|"]
    for limit in scheduler_limits():
        skip = {None: "any number", 0: "none"}.get(limit["max_skip"], f"{limit['max_skip']}")
        tail = "all" if limit["max_skip"] == 0 else "balanced" if limit["tail"] is None else str(limit["tail"])
        lines.append(f"| {limit['name']} | `{limit['class']}` | {skip} | {tail} | {limit['why']} |")
    return "\n".join(lines)


def _table(rows: dict[str, dict[str, float]], ways: list[str]) -> str:
    """Return the measured ways, each with what fewer steps give where that was measured."""
    lines = ["| scheduler | " + " | ".join(ways) + " |", "|---" + "|---:" * len(ways) + "|"]
    for name, row in rows.items():
        cells = [
            f"{row[way]:.1f}" + (f" / {row[f'{way}: fewer steps']:.1f}" if f"{way}: fewer steps" in row else "")
            for way in ways
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def page(rows: dict[str, dict[str, float]]) -> str:
    """Return the page in Markdown."""
    first = ["growing", "even", *(f"{skip} in a row" for skip in SKIPS)]
    counts = {way: int(mask.sum()) for way, mask in masks(CALLS).items()}
    tails = _table(rows, [f"3 in a row, tail {tail}" for tail in TAILS])
    return f"""# Schedulers

Written by `python -m spectral_forecast.benchmarks.schedulers`. What `accelerate(evaluations=)` keeps to, by
`adapters.diffusers.limits(scheduler)`; where that needs more evaluations than were asked for, the report says so. A
plan is followed whatever the scheduler. Where any number of forecasts in a row is allowed, the schedule is balanced
over the scheduler's noise levels, if these fall from step to step, and decides by itself which last steps to evaluate.

{limits_table()}

A scheduler that is not in the table is judged by its flags (`algorithm_type`, `stochastic_sampling`, `order`, the
words of its name):
{UNKNOWN}

`eta` of DDIM is an argument of every step that the adapter does not see: with `eta` above 0, ask for half of the steps
or give a plan.

## What was measured

PSNR in dB against the full run of the same scheduler, {CALLS} calls of the network (with two stages a step,
{CALLS - 1}), {len(CLASSES)} digits, guidance 2, outputs forecast by `spectrum(0.5, mode="free")`. Schedulers whose
networks predict noise call the same network, its velocity turned into the noise at their point
(`benchmarks/any_scheduler.py`). After the stroke: the same scheduler with as many evaluations in fewer steps; where it
draws noise, it draws another.

"even" is `schedules.even`, what `accelerate(pipe, evaluations=14)` does without noise levels; "growing" is the
published schedule; "n in a row" evaluates the first three steps, the last two, and every (n + 1)-th between.
Evaluations: {", ".join(f"{way} {counts[way]}" for way in first)}.

{_table(rows, first)}

Forecasts are allowed as long as they are nearer to the full run than fewer steps are and, where noise is drawn, at
{FLOOR} dB or more (fewer steps draw other noise there, and say little). How many last steps are evaluated, with three
forecasts in a row:

{tails}

* Evaluating the last two steps is worth several dB with nearly every scheduler that may forecast; a third gains little.
* Schedulers that add the noise of one step (DDPM, Euler ancestral, DDIM with eta, the SDE forms of DPM++) bear a single
  forecast between evaluations.
* Those that draw the sample anew from noise at every step (LCM, TCD, SCM, stochastic Euler) bear none, nor do those
  that add noise in two stages (DPM++ SDE, KDPM2 ancestral).
* LMS, which itself extrapolates four steps, loses more by forecasts than by taking fewer steps.
"""


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/schedulers.md"))
    parser.add_argument("--rows", type=Path, help="JSON of what was measured; if it is there, only the page is written")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    if options.rows is not None and options.rows.exists():
        rows = json.loads(options.rows.read_text())
    else:
        with ProcessPoolExecutor(options.processes) as pool:
            rows = dict(
                zip(SCHEDULERS, tqdm(pool.map(quality, SCHEDULERS), total=len(SCHEDULERS), disable=None), strict=True)
            )
        if options.rows is not None:
            options.rows.write_text(json.dumps(rows, indent=1))
    options.out.write_text(page(rows))


if __name__ == "__main__":
    main()
