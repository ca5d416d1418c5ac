"""How do the forecasters compare on paper? The page docs/comparison.md, made by this module; numbers, no network.

Run ``python -m spectral_forecast.benchmarks.comparison`` at the top of the repository. It needs NumPy only.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import spectral_forecast as sf
from spectral_forecast import bounds

__all__ = ["DATA_DRIVEN", "RULES", "Entry", "amplification", "features_read", "main", "page", "worst_case"]

STEPS = 50
EVALUATED = (0, 1, 2, 4, 8, 12, 16, 20, 24)
HORIZONS = (1, 2, 4, 8)
RHOS = (1.5, 2.0, 3.0)
STEP = 2.0 / STEPS


@dataclass(frozen=True)
class Entry:
    """A rule of class T on the page: what it is called there, and where it comes from."""

    rule: sf.LinearRule
    name: str
    source: str


RULES = (
    Entry(sf.Reuse(), "Reuse", "FORA, 2407.01425"),
    Entry(sf.Newton(1), "Newton(1)", "linear extrapolation"),
    Entry(sf.Newton(2), "Newton(2)", "Newton, Lagrange"),
    Entry(sf.Newton(3), "Newton(3)", "Newton, Lagrange"),
    Entry(sf.TaylorSeer(1), "TaylorSeer(1)", "2503.06923"),
    Entry(sf.TaylorSeer(2), "TaylorSeer(2)", "2503.06923"),
    Entry(sf.Hermite(1), "Hermite(1)", "HiCache, 2508.16984"),
    Entry(sf.Hermite(2), "Hermite(2)", "HiCache, 2508.16984"),
    Entry(sf.AdamsBashforth(2), "AdamsBashforth(2)", "AB-Cache, 2504.10540"),
    Entry(sf.AdamsBashforth(3), "AdamsBashforth(3)", "AB-Cache, 2504.10540"),
    Entry(sf.FoCa(corrector=False), "FoCa(corrector=False)", "FoCa, 2508.16211"),
    Entry(sf.FoCa(), "FoCa()", "FoCa, 2508.16211"),
    Entry(sf.FloaterHormann(1), "FloaterHormann(1)", "Floater and Hormann 2007"),
    Entry(sf.FloaterHormann(3), "FloaterHormann(3)", "Floater and Hormann 2007"),
    Entry(sf.spectrum(), "spectrum()", "Spectrum, 2603.01623"),
    Entry(sf.spectrum(0.5), "spectrum(0.5)", "Spectrum's released code"),
    Entry(sf.spectrum(mode="free"), 'spectrum(mode="free")', "ours: no penalty on lines"),
    Entry(sf.Chebyshev(4, free=1), "Chebyshev(4, free=1)", "ours: no penalty on constants"),
    Entry(sf.AnalyticKernel(1.5), "AnalyticKernel(1.5)", "ours: optimal recovery"),
    Entry(sf.AnalyticKernel(2.0), "AnalyticKernel(2.0)", "ours: optimal recovery"),
    Entry(sf.Blaschke(2.0, 3), "Blaschke(2.0, 3)", "ours: optimal recovery in a disk"),
)

DATA_DRIVEN = (
    # rule, class, what it keeps, features held, inner products, features read a forecast, source
    ("Profile", "T, learned", "constants", "K", "0", "K", "closed form of L2P 2604.26365, DPCache 2602.22654"),
    ("Shanks()", "G", "lines, c + a qᵗ", "3", "4", "2", "Aitken, Shanks 1955"),
    ("Shanks(M)", "G", "lines, c + M powers", "2M + 1", "2M + 2", "M + 1", "Shanks 1955"),
    ("DMD(n)", "G", "its modes", "n", "n + 1", "n - 1", "Tu et al. 2014, Prony"),
    ("Shrink(rule, other)", "G", "constants, if both do", "K", "K + 1", "K", "RACER, 2608.01740"),
    ("TCPade()", "G", "constants", "3", "4", "2", "ours, after 2603.02943"),
    ("TCPadePaper()", "E", "nothing", "3", "3 + 6 gate", "3", "TC-Padé, 2603.02943"),
    ("TCPadeReleased()", "E", "nothing", "5 + input", "6 + 15 gate", "2 + inputs", "TC-Padé's released code"),
)


def _weights(rule: sf.LinearRule, times: np.ndarray, t: float) -> np.ndarray:
    return rule.with_step(STEP).weights(times, t)


def _times() -> np.ndarray:
    return 2.0 * np.array(EVALUATED) / STEPS - 1.0


def _target(horizon: int) -> float:
    return 2.0 * (EVALUATED[-1] + horizon) / STEPS - 1.0


def amplification(rule: sf.LinearRule, horizon: int) -> float:
    """Return the absolute sum of the weights, ``horizon`` steps after the page's evaluations."""
    return float(np.abs(_weights(rule, _times(), _target(horizon))).sum())


def worst_case(rule: sf.LinearRule, times: np.ndarray, t: float, rho: float) -> float:
    """Return the exact worst case of the rule at any times of [-1, 1], by `bounds.worst_case`."""
    return bounds.worst_case(_weights(rule, times, t), times, t, rho=rho)


def features_read(rule: sf.LinearRule) -> int:
    """Return how many of the page's features have a weight that is not zero at some horizon."""
    used = np.zeros(len(EVALUATED), dtype=bool)
    for horizon in HORIZONS:
        used |= _weights(rule, _times(), _target(horizon)) != 0.0
    return int(used.sum())


def _number(value: float) -> str:
    return f"{value:.2e}" if value >= 1000.0 else f"{value:.3g}"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _linear() -> list[str]:
    head = ["rule", "keeps", *(f"Σ\\|w\\|, {k}" for k in HORIZONS), *(f"β, ρ = {rho:g}" for rho in RHOS), "K", "source"]
    lines = [_row(head), _row(["---", *["---:"] * (len(head) - 2), "---"])]
    kept = {-1: "nothing", 0: "constants", 1: "lines"}
    for entry in RULES:
        sums = [_number(amplification(entry.rule, k)) for k in HORIZONS]
        worst = [_number(worst_case(entry.rule, _times(), _target(4), rho)) for rho in RHOS]
        keeps = kept.get(entry.rule.exactness, f"degree {entry.rule.exactness}")
        lines.append(_row([f"`{entry.name}`", keeps, *sums, *worst, str(features_read(entry.rule)), entry.source]))
    return lines


def _data_driven() -> list[str]:
    head = ["rule", "class", "keeps", "features held", "inner products", "read a forecast", "source"]
    lines = [_row(head), _row(["---"] * 3 + ["---:"] * 3 + ["---"])]
    return lines + [_row([f"`{name}`", *rest]) for name, *rest in DATA_DRIVEN]


_PAGE = """\
# Forecasters compared

Made by `python -m spectral_forecast.benchmarks.comparison`; do not edit by hand. Everything here follows from the rules
and the times alone. It says how much a rule can go wrong and what it costs, not how good images get.

## Rules whose weights depend on times only (class T)

The setting: {steps} steps on the clock of the paper (step i is at 2 i / {steps} - 1), steps {evaluated} evaluated,
and a forecast 1, 2, 4 or 8 steps after the last of them.

* *keeps*: the polynomials in time that the rule reproduces on any nodes.
* *Σ|w|*: the factor by which noise in the kept features is amplified at worst.
* *β*: the largest error 4 steps ahead over all features that are analytic in the Bernstein ellipse of parameter ρ, as
  far as their Chebyshev coefficients tell (|c₀| ≤ 1, |c_m| ≤ 2 ρ^-m); it is attained, see `bounds.worst_case`. A
  forecast of 0 has β = 1 + 2/(ρ - 1) at the most: 5, 3 and 2.
* *K*: how many features the forecast reads, which is also how many it must hold. It is one weighted sum: each is read
  once and the forecast is written once. `AdamsBashforth` and `FoCa` could hold two or three running forecasts instead,
  updated at every skipped step.

{linear}

## Rules that look at the features

Weights that depend on inner products (class G) are made from the K x K Gram matrix at run time; an element-wise rule
(class E) is no weighted sum. There is no Σ|w| and no β without the features.

* *features held*: the least that a run must keep (`keep=`); for `TCPade` and the forms after it, residuals.
* *inner products*: for class G at each evaluation, with that many features held. For the element-wise forms at each
  skipped step, of a few residuals scaled by the largest magnitude among them, once for the forecast and once for the
  gate (`TCPadeRun`).

{data_driven}
"""


def page() -> str:
    """Return the page as Markdown."""
    return _PAGE.format(
        steps=STEPS,
        evaluated=", ".join(map(str, EVALUATED)),
        linear="\n".join(_linear()),
        data_driven="\n".join(_data_driven()),
    )


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/comparison.md"))
    path = parser.parse_args().out
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
