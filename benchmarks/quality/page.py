"""What do the results say? The committed JSON, the pictures, and docs/quality.md, all made from the measurements."""

import json
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from spectral_forecast.benchmarks.quality import closer
from spectral_forecast.benchmarks.quality.fields import MODELS
from spectral_forecast.benchmarks.quality.methods import ALIKE, DEFAULTS, METHODS
from spectral_forecast.benchmarks.quality.paired import (
    EULER,
    LEAST,
    SPECTRUM,
    Paired,
    Statement,
    section,
    statements,
)
from spectral_forecast.benchmarks.tables import items, markdown
from spectral_forecast.plot import plot_quality

__all__ = ["RESULTS", "compact", "page", "pictures", "read"]

RESULTS = Path(__file__).parents[1] / "results" / "quality.json"
CHOSEN_ON = ("digits", "photographs", "digits_ddim")
UNIPC, DPM = "UniPC, order 2", "DPM++ 2M"


@dataclass(frozen=True)
class Row:
    """The numbers of a method with a budget: means over the samples, and their standard deviations."""

    method: str
    budget: int
    psnr: float
    psnr_spread: float
    fine: float
    fine_spread: float
    error: float
    error_spread: float
    error_fine: float
    error_fine_spread: float
    ssim: float
    ssim_spread: float
    accepted: float
    seconds: float
    rmse: tuple[float, ...] = ()


@dataclass(frozen=True)
class Measured:
    """A cell's full run and rows."""

    full: dict[str, Any]
    rows: dict[tuple[str, int], Row]
    hard: bool = False  # whether published Spectrum with 14 evaluations is between 10 and 28 dB

    @property
    def model(self) -> str:
        """The model's name."""
        return str(self.full["model"])

    @property
    def name(self) -> str:
        """The cell in words."""
        return str(self.full["name"])

    @property
    def long(self) -> bool:
        """Whether it is a run of 50 steps."""
        return bool(self.full["steps"] == 50)

    def budgets(self, method: str) -> list[int]:
        """The budgets that a method was measured with."""
        return sorted(budget for name, budget in self.rows if name == method)


def compact(measured: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the results as they are committed: rows of numbers in the order of `Row`."""
    cells = []
    for item in measured:
        rows = []
        for row in item["rows"]:
            if row["evaluations"] != row["budget"]:
                raise ValueError(f"{row['method']} spent {row['evaluations']} evaluations, not {row['budget']}.")
            numbers = [row["method"], row["budget"]]
            for name in ("psnr", "fine", "error", "error_fine", "ssim"):
                numbers += row[name]
            numbers += [row["accepted"], row["seconds"]]
            rows.append(numbers + ([row["rmse"]] if row["budget"] in (7, 14) and "rmse" in row else []))
        cells.append({"full": item["cell"], "rows": rows})
    return {"columns": [field.name for field in fields(Row)], "cells": cells}


def read(results: dict[str, Any]) -> list[Measured]:
    """Return the cells of committed results."""
    hard = {cell.name for cell in _paired(results) if cell.hard}
    cells = []
    for cell in results["cells"]:
        rows = {(name, budget): Row(name, budget, *rest) for name, budget, *rest in cell["rows"]}
        for method in METHODS:  # what flow matching forecasts is a velocity
            same = {key: row for key, row in rows.items() if key[0] == method.name.replace(", velocity", "")}
            rows |= {
                (method.name, budget): row for (_, budget), row in same.items() if (method.name, budget) not in rows
            }
        cells.append(Measured(cell["full"], rows, hard=cell["full"]["name"] in hard))
    return cells


def _paired(results: dict[str, Any]) -> list[Paired]:
    return [Paired(**cell) for cell in results["paired"]]


def default(cells: list[Measured]) -> str:
    """Return the candidate with the best mean PSNR on the models that it is chosen on, all cells and budgets alike."""
    chosen = [cell for cell in cells if cell.model in CHOSEN_ON]
    return max(DEFAULTS, key=lambda name: _mean(_all(chosen, name)))


def pictures(results: dict[str, Any], folder: Path) -> None:
    """Draw quality against evaluations, a panel for each cell: against the full run, and against the finer one."""
    cells = [cell for cell in read(results) if cell.long]
    ours = default(cells)
    shown = dict.fromkeys([EULER, UNIPC, DPM, SPECTRUM, ours.replace(", corrector", ""), ours])
    folder.mkdir(parents=True, exist_ok=True)
    for value, title in (("psnr", "the 50-step run"), ("fine", "the 400-step run")):
        panels: dict[str, dict[str, Any]] = {}
        for cell in cells:
            panels[cell.name.replace(", 50 steps", "")] = {
                name: [
                    (budget, getattr(row, value), getattr(row, f"{value}_spread"))
                    for budget, row in ((budget, cell.rows[name, budget]) for budget in cell.budgets(name))
                ]
                for name in shown
            }
        full = {name: cell.full["fine"][0] for name, cell in zip(panels, cells, strict=True)} if value == "fine" else {}
        figure = plot_quality(
            panels, levels=full, level="the 50-step run itself", quantity=f"PSNR against {title} / dB"
        )
        figure.savefig(folder / f"quality_{value}.png", dpi=90)


def page(results: dict[str, Any]) -> str:
    """Return docs/quality.md."""
    cells, paired = read(results), _paired(results)
    ours = default(cells)
    plain = ours.replace(", corrector", "")
    long = [cell for cell in cells if cell.long]
    hard = [cell for cell in cells if cell.hard]
    parts = [
        _HEAD.format(
            samples=cells[0].full["samples"],
            cells=len(cells),
            hard=len(hard),
            long=len(long),
            ours=ours,
            chosen=", ".join(CHOSEN_ON),
        ),
        "## What holds and what does not\n\n" + _done(cells, ours, paired),
        "## With other noise\n\n" + section(paired),
        *(
            ["## What that leaves open\n\n" + closer.section(results["closer"], paired)]
            if results.get("closer")
            else []
        ),
        "## Which forecaster, where, which schedule\n\n" + _findings(long),
        "## Where the default loses\n\n" + _losses(cells, ours, plain),
        "## Which default\n\n" + _choice(cells, ours),
        "## Forecaster, schedule, corrector, place\n\n" + _ablation(long, hard),
        "## By cell\n\n" + "\n\n".join(_by_cell(cells, model) for model in _models(cells)),
        "## Other measures\n\n" + _others(long, ours),
        "## The error on the way\n\n" + _by_step(long, ours),
        "![against the 50-step run](images/quality_psnr.png)\n\n![against 400 steps](images/quality_fine.png)\n",
    ]
    return "\n\n".join(parts)


def _done(cells: list[Measured], ours: str, paired: list[Paired]) -> str:
    """The acceptance lines that can be read off the results."""
    long = [cell for cell in cells if cell.long]
    flow = [cell for cell in long if cell.model in ("digits", "photographs", "moving_digits")]
    fine = f"{ours}, 200 steps"

    def gain(cell: Measured, budget: int = 14) -> float:
        return cell.rows[ours, budget].psnr - cell.rows[SPECTRUM, 14].psnr

    def eight(cell: Measured) -> float:
        return gain(cell, 8)

    models = _models(long)
    by_model = {name: [cell for cell in long if cell.model == name] for name in models}
    lines: list[Statement] = []

    def line(statement: str, holds: bool, numbers: str) -> None:  # noqa: FBT001
        lines.append((statement, holds, numbers))

    hard, euler, corrector = statements(paired)
    ten = [name for name in models if all(gain(cell) >= 10.0 for cell in by_model[name])]
    mean_gain = {name: _mean(map(gain, by_model[name])) for name in models}
    line(
        "with 14 evaluations 10 dB or more above Spectrum, on every model, mean of its cells",
        all(value >= 10.0 for value in mean_gain.values()),
        "mean gain " + ", ".join(f"{name} {value:.1f}" for name, value in mean_gain.items()) + " dB; in every cell of "
        f"{', '.join(ten) or 'no model'}",
    )
    lines.append(hard)
    better = [name for name in models if all(eight(cell) >= 0.0 for cell in by_model[name])]
    mean_eight = {name: _mean(map(eight, by_model[name])) for name in models}
    line(
        "with 8 evaluations as good as Spectrum with 14, on four models of five, mean of their cells",
        sum(value >= 0.0 for value in mean_eight.values()) >= 4,
        "mean gain " + ", ".join(f"{name} {value:.1f}" for name, value in mean_eight.items()) + " dB; in every cell of "
        f"{', '.join(better) or 'no model'}",
    )
    above = [cell.rows[fine, 14].fine - max(_solvers(cell)) for cell in flow]
    line(
        "against 400 steps, 14 evaluations on a 200-step grid beat UniPC and DPM++ in all flow-matching cells",
        all(value > 0.0 for value in above),
        f"in {_count(value > 0.0 for value in above)}; least {min(above):.1f} dB",
    )
    near = [cell.rows[fine, 14].fine - cell.full["fine"][0] for cell in long]
    closer = {cell.model for cell, value in zip(long, near, strict=True) if value > 0.0}
    line(
        "and the 50-step run itself on two models or more",
        len(closer) >= 2,
        f"in {_count(value > 0.0 for value in near)}, of {', '.join(sorted(closer)) or 'no model'}",
    )
    lines += [euler, corrector]
    count = sum(cell.hard for cell in long)
    line("a third of the cells of 50 steps are hard", 3 * count >= len(long), f"{count} of {len(long)}")
    return (
        _statements(lines)
        + "\n\nThe statements about hard cells, Euler's method and the corrector are of the section after this one, "
        "the others of the tables below. Not measured here: `tolerance=`, the time that planning takes, and forecasts "
        "that are never used, since a full run is one whatever the plan. That the default's rows are what "
        "`accelerate(evaluations=)` does is tested on digits, digits_ddim and digits_unet (tests/test_quality.py)."
    )


def _statements(lines: Iterable[Statement]) -> str:
    rows = [[statement, "yes" if holds else "**no**", numbers] for statement, holds, numbers in lines]
    return markdown([["statement", "holds", "in numbers"], *rows])


def _by_budget(long: list[Measured], names: Iterable[str]) -> str:
    """PSNR with every budget, mean over the easy and over the hard cells."""
    groups = {"easy": [cell for cell in long if not cell.hard], "hard": [cell for cell in long if cell.hard]}
    budgets = long[0].budgets(DEFAULTS[0])
    lines = [["candidate", *(f"{kind}, {budget}" for kind in groups for budget in budgets)]]
    for name in names:
        means = [
            _mean(cell.rows[name, budget].psnr for cell in group) for group in groups.values() for budget in budgets
        ]
        lines.append([name, *(f"{mean:.1f}" for mean in means)])
    return markdown(lines)


def _solvers(cell: Measured) -> list[float]:
    return [cell.rows[name, 14].fine for name in (UNIPC, DPM)]


def _findings(long: list[Measured]) -> str:
    """What each choice is worth, and the candidates by budget."""

    def worth(method: str, other: str, budget: int) -> str:
        gains = [cell.rows[method, budget].psnr - cell.rows[other, budget].psnr for cell in long]
        return f"{_mean(gains):+.1f} dB ({min(gains):+.1f} to {max(gains):+.1f})"

    def both(method: str, other: str) -> str:
        return f"{worth(method, other, 8)} with 8 evaluations, {worth(method, other, 14)} with 14"

    return f"""Mean over the cells of 50 steps, least and largest in brackets:

- schedule, linear forecasts of outputs: balanced instead of even {both("linear, balanced", "linear, even")}; instead of
  growing {both("linear, balanced", "linear, growing")};
- schedule, the default: the last gap counts twice instead of as the others do {both(DEFAULTS[7], ALIKE[1])};
- schedule, Spectrum's forecasts: balanced instead of growing {both("Spectrum, w = 0.5, balanced", SPECTRUM)};
- forecaster, balanced: linear instead of Spectrum's {both("linear, balanced", "Spectrum, w = 0.5, balanced")}; instead
  of the analytic kernel {both("linear, balanced", "analytic kernel, balanced")};
- guard, on velocities: guarded instead of linear {both(DEFAULTS[6], DEFAULTS[4])}; with the corrector
  {both(DEFAULTS[7], DEFAULTS[5])};
- corrector, on velocities: of linear forecasts {both(DEFAULTS[5], DEFAULTS[4])}; of guarded ones
  {both(DEFAULTS[7], DEFAULTS[6])};
- what is forecast of models of noise: the velocity instead of the noise, linear {both(DEFAULTS[4], DEFAULTS[0])};
  guarded, with the corrector {both(DEFAULTS[7], DEFAULTS[3])} (nothing changes in flow matching: 0);
- place: features instead of outputs, linear, no corrector
  {both("linear, balanced, on features", "linear, balanced")} (the U-Net has no features and counts as 0).

PSNR by budget, in dB:

{_by_budget(long, (EULER, UNIPC, SPECTRUM, *DEFAULTS))}"""


def _losses(cells: list[Measured], ours: str, plain: str) -> str:
    """The cells in which the default is not the best choice."""
    words = [
        (EULER, f"Below Euler or DDIM with as many evaluations ({ours}):", ours, 0.0),
        (UNIPC, "Below UniPC:", ours, 0.0),
        (DPM, "Below DPM++ 2M:", ours, 0.0),
        (plain, f"More than {LEAST} dB below itself without the corrector:", f"{plain}, corrector", LEAST),
    ]
    return "\n\n".join(_below(cells, mine, other, title, allowed) for other, title, mine, allowed in words)


def _below(cells: list[Measured], mine: str, other: str, title: str, allowed: float = 0.0) -> str:
    """Where a method is worse than another."""
    lines = []
    for cell in cells:
        for budget in cell.budgets(mine):
            a, b = cell.rows[mine, budget], cell.rows[other, budget]
            if a.psnr < b.psnr - allowed:
                lines.append(f"- {cell.name}, {budget} evaluations: {_pm(a)} against {_pm(b)} dB")
    return items(title, lines)


def _choice(cells: list[Measured], ours: str) -> str:
    """The candidates for the default, on the models that it was chosen on and on the others."""
    lines = [["candidate", "chosen on: mean", "worst gain over Euler", "the others: mean", "worst gain over Euler "]]
    groups = [[cell for cell in cells if (cell.model in CHOSEN_ON) == inside and cell.rows] for inside in (True, False)]
    for name in DEFAULTS:
        numbers = []
        for group in groups:
            gains = [value for cell in group for value in _gains(cell, name, EULER)]
            numbers += [f"{_mean(_all(group, name)):.2f}", f"{min(gains):+.1f}"] if group else ["–", "–"]
        lines.append([f"**{name}**" if name == ours else name, *numbers])
    others = groups[1]
    best = max(DEFAULTS, key=lambda name: _mean(_all(others, name))) if others else ours
    said = "It is the best of the eight on the others, too." if best == ours else f"On the others the best is: {best}."
    noise = {model: [cell for cell in cells if cell.model == model] for model in ("digits_ddim", "digits_unet")}
    means = {model: [_mean(_all(group, DEFAULTS[k])) for k in (3, 7)] for model, group in noise.items()}
    tested = "; ".join(
        f"{model} {old:.2f} dB with noise, {new:.2f} with velocity" for model, (old, new) in means.items()
    )
    return (
        f"PSNR in dB against the full run, mean over all cells and budgets. Chosen on {', '.join(CHOSEN_ON)}: "
        f"**{ours}**. {said} Forecasting velocities of models of noise came in after "
        "the results of digits_ddim had been seen; digits_unet is the test of it. Guarded forecasts with the "
        f"corrector: {tested}.\n\n" + markdown(lines)
    )


def _ablation(long: list[Measured], hard: list[Measured]) -> str:
    """Means over cells of the methods that differ in one thing, and of everything else."""
    lines = [["method", "all, 8", "all, 14", "hard, 8", "hard, 14", "14, 400 steps", "worst, 14"]]
    for method in METHODS:
        row = [method.name]
        for group in (long, hard):
            row += [f"{_mean(cell.rows[method.name, budget].psnr for cell in group):.1f}" for budget in (8, 14)]
        row.append(f"{_mean(cell.rows[method.name, 14].fine for cell in long):.1f}")
        row.append(f"{min(cell.rows[method.name, 14].psnr for cell in long):.1f}")
        lines.append(row)
    return (
        "PSNR in dB, mean over the cells of 50 steps, with 8 and 14 evaluations; the last two columns: against the "
        "400-step run, and the worst cell.\n\n" + markdown(lines)
    )


def _by_cell(cells: list[Measured], model: str) -> str:
    """One model's tables: a row for each method, PSNR with its spread for each cell and budget."""
    parts = []
    for cell in (cell for cell in cells if cell.model == model):
        budgets = sorted({budget for _, budget in cell.rows})
        lines = [["method", *map(str, budgets), "fine: " + str(14 if cell.long else 7)]]
        for method in METHODS:
            if method.velocity and MODELS[model].predicts == "flow":
                continue
            row = [_pm(cell.rows[key]) if (key := (method.name, budget)) in cell.rows else "" for budget in budgets]
            last = cell.rows[method.name, 14 if cell.long else 7]
            lines.append([method.name, *row, f"{last.fine:.1f} ± {last.fine_spread:.1f}"])
        own = f"{cell.full['fine'][0]:.1f} ± {cell.full['fine'][1]:.1f}"
        kind = " (hard)" if cell.hard else ""
        parts.append(f"### {cell.name}{kind}\n\nThe full run against the fine one: {own} dB.\n\n" + markdown(lines))
    return "\n\n".join(parts)


def _others(long: list[Measured], ours: str) -> str:
    """Relative error, structural similarity, acceptance and time at 14 evaluations, by model."""
    lines = [["model, method", "relative error", "against 400 steps", "SSIM", "accepted", "seconds"]]
    for model in _models(long):
        group = [cell for cell in long if cell.model == model]
        full = [cell.full for cell in group]
        accepted, seconds = (_mean(item[name] for item in full) for name in ("accepted", "seconds"))
        fine = _mean(item["error_fine"][0] for item in full)
        lines.append([f"{model}, full run", "0", f"{fine:.4f}", "1", f"{100 * accepted:.0f} %", f"{seconds:.2f}"])
        for name in dict.fromkeys([EULER, UNIPC, DPM, SPECTRUM, ours]):
            rows = [cell.rows[name, 14] for cell in group]
            lines.append(
                [
                    f"{model}, {name}",
                    f"{_mean(row.error for row in rows):.4f} ± {_mean(row.error_spread for row in rows):.4f}",
                    f"{_mean(row.error_fine for row in rows):.4f} ± {_mean(row.error_fine_spread for row in rows):.4f}",
                    f"{_mean(row.ssim for row in rows):.4f} ± {_mean(row.ssim_spread for row in rows):.4f}",
                    f"{100 * _mean(row.accepted for row in rows):.0f} %",
                    f"{_mean(row.seconds for row in rows):.2f}",
                ]
            )
    return (
        "With 14 evaluations, mean over each model's cells of 50 steps. Accepted are samples in which a classifier "
        "reads what was asked for. Seconds are of one processor core that does other things, too.\n\n" + markdown(lines)
    )


def _by_step(long: list[Measured], ours: str) -> str:
    """Root mean squared error of the noisy sample at a fifth, two fifths, ... of the run."""
    lines = [["cell, method", "step 10", "20", "30", "40", "50"]]
    for cell in long:
        for name in dict.fromkeys([SPECTRUM, ours.replace(", corrector", ""), ours]):
            lines.append([f"{cell.name.replace(', 50 steps', '')}, {name}"])
            lines[-1] += [f"{value:.4f}" for value in cell.rows[name, 14].rmse]
    return "RMSE of the sample against the full run after 10, 20, ... steps, 14 evaluations.\n\n" + markdown(lines)


def _models(cells: list[Measured]) -> list[str]:
    return list(dict.fromkeys(cell.model for cell in cells))


def _all(cells: list[Measured], method: str) -> list[float]:
    """PSNR in all cells, with all budgets."""
    return [cell.rows[method, budget].psnr for cell in cells for budget in cell.budgets(method)]


def _gains(cell: Measured, method: str, other: str) -> list[float]:
    """By how much a method is better than another, with every budget."""
    return [cell.rows[method, budget].psnr - cell.rows[other, budget].psnr for budget in cell.budgets(method)]


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return statistics.fmean(found) if found else float("nan")


def _count(holds: Iterable[bool]) -> str:
    found = list(holds)
    return f"{sum(found)} of {len(found)}"


def _pm(row: Row) -> str:
    return f"{row.psnr:.1f} ± {row.psnr_spread:.1f}"


_HEAD = """# Quality

Written by `make bench-quality` from what it measured (benchmarks/results/quality.json); do not edit by hand.

{cells} cells: a model, a shift of its noise levels, a guidance scale and what guidance leads away from, and a number of
steps. Five small trained models ([models.md](models.md), [digits.md](digits.md)), {samples} samples a cell, all of
other classes. {hard} of the {long} cells of 50 steps are *hard*: published Spectrum with 14 evaluations is between 10
and 28 dB there, in the section with other noise.

- Everything is sampled by Euler's method in flow matching, and by DDIM (Euler's method in x / √ᾱ) where the network
  predicts noise or v. v is turned into noise before it is forecast. Models of noise take their steps from the last
  timestep of the training on ("trailing").
- The *full run* evaluates every step, the *fine run* has eight times as many steps. PSNR is of the clipped pictures,
  the mean over the samples ± their standard deviation, not that of the mean; no sample counts more than 100 dB.
- "Euler or DDIM", "UniPC", "DPM++ 2M" and "DEIS" forecast nothing: they take as many steps as there are evaluations,
  the last three by diffusers' own schedulers (order 2, flow sigmas, shift as in the cell).
- The published rules, from FORA to Spectrum, forecast last-block features by the adapter for diffusers, on the clock of
  step numbers; the U-Net cannot be split, and DMD, TC-Padé, the gate and the RACER-style rule need inner products or
  the sample, so that there outputs are forecast. Schedules: Spectrum's grows; FORA's has a fixed interval; the others'
  begins with three evaluations. The gate accumulates the relative change of the sample, looked up in the full run, and
  its threshold is the one that spends the budget: it knows more than it could.
- Ours forecast the guided output on the clock of noise levels (in flow time for models of noise). "linear" is
  `Newton(1)`; "guarded" draws it back to the newest output, sample by sample, as far as the run shows that it errs
  (`Plan.start(limit=0.5)`, and of velocities of models of noise `blind=True`); "balanced" is `schedules.balanced`, with
  `last_gap=1` and no gap longer than 2.5 mean ones where the network predicts noise; "gaps alike" has `last_gap=1`
  everywhere; "velocity" turns the output of a model of noise into noise less data, in which DDIM is Euler's method in
  flow time; "corrector" takes skipped steps again with outputs of `Corrector(degree=2)`, sample by sample with the
  guard at 0.2, as the adapters do. Where a network predicts noise and velocities are guarded, the first gap is
  corrected in full. "200 steps" forecasts on a grid four times as fine.
- AB-Cache and FoCa take forecasts for evaluations in their recursion, which amplifies errors over gaps like these. DEIS
  with flow sigmas is no better in [schedulers.md](schedulers.md).
- "profile of another run": schedule and weights from one full run of the cell with other noise.
- Every method spends exactly its budget; guided, an evaluation is of both branches.

The default, chosen on {chosen}: **{ours}**.
"""


def main() -> None:
    """Write the page and the pictures from the committed results again."""
    results = json.loads(RESULTS.read_text())
    pictures(results, Path("docs/images"))
    Path("docs/quality.md").write_text(page(results), encoding="utf-8")


if __name__ == "__main__":
    main()
