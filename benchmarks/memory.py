"""What does it cost to hold features in fewer bytes? Samples of three small models, with rows of other dtypes.

Measuring takes minutes on two cores and is kept in a JSON file; from that file the page is written at once.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from spectral_forecast.adapters.diffusers import accelerate, report
from spectral_forecast.benchmarks import kept, tables
from spectral_forecast.benchmarks.fine_grids import CLASSES, EVALUATIONS, MODELS, NAMED, STEPS, psnr

__all__ = ["DTYPES", "measure", "page"]

ROWS = Path(__file__).parent / "results" / "memory.json"
DTYPES = {"float32": None, "bfloat16": torch.bfloat16, "float8_e4m3fn": torch.float8_e4m3fn}


def measure(cell: tuple[str, float]) -> dict[str, dict[str, Any]]:
    """Return PSNR against the full run, sample by sample, and bytes held, for each place and dtype."""
    name, guidance = cell
    model = MODELS[name]
    full = model.sample(model.pipeline(), CLASSES, steps=STEPS, guidance=guidance)
    found = {}
    for at in ("output", "features"):
        for words, dtype in DTYPES.items():
            pipe = accelerate(model.pipeline(), evaluations=EVALUATIONS, at=at, dtype=dtype)
            samples = model.sample(pipe, CLASSES, steps=STEPS, guidance=guidance)
            if report(pipe).events:
                raise RuntimeError(f"{cell}, {at}, {words}: {report(pipe).events}")
            found[f"{at}, {words}"] = {"psnr": psnr(samples, full), "bytes": report(pipe).peak_bytes}
    return found


def page(rows: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Return the page in Markdown."""
    methods = list(next(iter(rows.values())))
    lines = [["PSNR / dB", *rows, "KiB"]]
    for method in methods:
        scores = [f"{np.mean(rows[cell][method]['psnr']):.1f}" for cell in rows]
        held = sum(rows[cell][method]["bytes"] for cell in rows) / len(rows) / 1024
        lines.append([f"{method}", *scores, f"{held:.0f}"])
    return f"""# Memory

Written by `python -m spectral_forecast.benchmarks.memory`; do not edit by hand. This page's code needs the
extra `torch` ([installing](start.md#installing)).

What kept features take is known before the run. `Plan.memory` tells it from a feature's shape and dtype, and a run
holds as much to the byte, for every guidance branch:

```python
import numpy as np
import torch
from spectral_forecast import Newton, make_plan, schedules, spectrum

evaluate = schedules.growing(50)
flux = torch.empty(1, 4096, 3072, dtype=torch.bfloat16, device="meta")  # what FLUX's last block gives at 1024 x 1024
line = make_plan(Newton(1), np.arange(50), evaluate)
fit = make_plan(spectrum(), np.arange(50), evaluate, span=(0, 50))
assert line.memory(flux) == 2 * flux.nbytes  # a plan holds what its weights reach back to
assert fit.memory(flux) == 14 * flux.nbytes
```

`accelerate` and `Accelerator` hold features in one block of that size, and take three options:

* `max_bytes=`: the bytes that features may take on the network's device, all branches together. Where they would take
  more they are held by the host; where the network is there itself, fewer are held, but not fewer than two and not of a
  plan that was given; then outputs are taken in place of features; then nothing is forecast. `report(pipe)` says which.
  How many branches there are is known after the first run only, which may begin a branch anew.
  It bounds what forecasts are made from. Taking skipped steps again (`corrector=`) needs outputs besides, one for each
  step since the newest evaluation and three more; `report(pipe).corrector_bytes` tells how many bytes that was.
* `offload=True`: hold them in the host's pinned memory. Sums are made there, and only forecasts are sent to the device:
  of steps skipped one after another the next one by a thread and a stream of its own, while the device works on this
  one. Two forecasts are on the device then.
* `dtype=`: hold them in another dtype, whatever that of the network is. Sums are in float32 all the same.

On a CPU, a sum of more than two features takes an index besides: 1.6 % of their size for bfloat16, 0.4 % for float32.
It is kept for later sums like it, and at most four are.

A fit to all features need not keep them. `streamed` finds the few sums of features that later forecasts ask for, and
what a new feature does to them; these are held in float32:

```python
from spectral_forecast import streamed

short = streamed(fit)
assert (fit.kept, short.kept) == (14, 5)  # the degree, and one more
assert short.memory(flux) == 5 * 2 * flux.nbytes
assert short.defect < 1e-12  # the forecasts are the same
```

`{DTYPES["float8_e4m3fn"]}` has 3 bits after the leading one, so that a row is off by 2 or 3 %, and a forecast by more.
{len(CLASSES)} samples of each of three small models, {EVALUATIONS} of {STEPS} steps evaluated by default, against the
full run, guided from no class:

{tables.markdown(lines)}

{_summary(rows)}
"""


def _summary(rows: dict[str, dict[str, dict[str, Any]]]) -> str:
    lines = []
    for at in ("output", "features"):
        for words in list(DTYPES)[1:]:
            losses = [
                np.mean(row[f"{at}, float32"]["psnr"]) - np.mean(row[f"{at}, {words}"]["psnr"]) for row in rows.values()
            ]
            lines.append(f"* At {at}, {words} costs {np.mean(losses):.1f} dB on average, {max(losses):.1f} dB at most.")
    return "\n".join(lines)


if __name__ == "__main__":
    kept.main(__doc__, measure, NAMED, page, rows=ROWS, out=Path("docs/memory.md"))
