"""What did an accelerated model do?"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectral_forecast import Plan, bounds, schedules
from spectral_forecast.clock import map_clock

__all__ = ["Report"]


@dataclass
class Report:
    """What an accelerated model did in its newest run. Made by `report`; printing it gives a table.

    Attributes
    ----------
    model : str
        Class of the network.
    at : str
        What is forecast: "output" or "features".
    forecaster : str
        The rule, or "plan" where a plan was given.
    runs : int
        Runs since `accelerate`, this one included.
    steps : int
        Steps of the run.
    evaluated, forecast : dict of str to list of int
        Steps at which the network ran and at which it did not, for each stream (guidance branch).
    errors : dict of str to list of float or None
        For each evaluated step the relative error of the forecast that the evaluation replaced, measured on what is
        kept (2-norm); None where there was nothing to forecast from.
    estimated_errors : dict of str to list of float or None
        For each forecast step an estimate of its relative error: that of the next evaluated step, or else of the last
        one, times the ratio of the two steps' worst cases (`bounds.worst_case`, rho = 2).
    corrections : list of tuple
        Where skipped steps were corrected: the evaluated step of arrival, a relative error, and what part of the change
        was made. Where steps were taken again, the error is the largest change of a skipped step's output; where a
        plan's correction was added, that of the forecast that the evaluation replaced.
    sample_error : float or None
        Estimate of the sample's relative error (2-norm, root mean square over the batch) against the run in which every
        step is evaluated, where skipped steps are taken again along known noise levels; in the terms of a calibration,
        where one was given. docs/tolerance.md measures it.
    restarts : int
        How often the kept features were dropped in mid-run; the events say why.
    events : list of str
        Whatever made the adapter evaluate against its plan, in order, with step, stream and reason.
    peak_bytes, host_bytes : int
        Most memory that kept features took at a time, all streams together; and in the host's memory, where they are
        held there for a network on another device.
    corrector_bytes : int
        Most memory that outputs took besides, which skipped steps were taken again with.
    seconds : float
        Time spent in forecasting, all streams together, without the head's where features are forecast.
    """

    model: str
    at: str
    forecaster: str
    runs: int = 0
    steps: int = 0
    evaluated: dict[str, list[int]] = field(default_factory=dict)
    forecast: dict[str, list[int]] = field(default_factory=dict)
    errors: dict[str, list[float | None]] = field(default_factory=dict)
    estimated_errors: dict[str, list[float | None]] = field(default_factory=dict)
    corrections: list[tuple[int, float, float]] = field(default_factory=list)
    sample_error: Any = None
    restarts: int = 0
    events: list[str] = field(default_factory=list)
    peak_bytes: int = 0
    host_bytes: int = 0
    corrector_bytes: int = 0
    seconds: float = 0.0

    @classmethod
    def joined(cls, reports: dict[str, "Report"]) -> "Report":
        """Return one report of networks that share a run; streams and events carry the networks' names."""
        parts = list(reports.values())
        joint = cls(
            " and ".join(part.model for part in parts),
            "output" if any(part.at == "output" for part in parts) else "features",
            parts[0].forecaster,
            runs=max(part.runs for part in parts),
            steps=max(part.steps for part in parts),
            corrections=parts[0].corrections,
            sample_error=parts[-1].sample_error,
            restarts=sum(part.restarts for part in parts),
            events=[f"{name}: {event}" for name, part in reports.items() for event in part.events],
            peak_bytes=sum(part.peak_bytes for part in parts),
            host_bytes=sum(part.host_bytes for part in parts),
            corrector_bytes=max(part.corrector_bytes for part in parts),
            seconds=sum(part.seconds for part in parts),
        )
        for name, part in reports.items():
            # Each network counts steps from its own first one; the last comes at the end of the run.
            offset = joint.steps - part.steps
            for stream in part.evaluated:
                joint.evaluated[f"{name} {stream}"] = [offset + step for step in part.evaluated[stream]]
                joint.forecast[f"{name} {stream}"] = [offset + step for step in part.forecast[stream]]
                joint.errors[f"{name} {stream}"] = part.errors[stream]
                joint.estimated_errors[f"{name} {stream}"] = part.estimated_errors[stream]
        return joint

    def read(self) -> None:
        """Take numbers from the devices where they were left, so that no step of the run waited for them."""
        if self.sample_error is not None:
            self.sample_error = float(self.sample_error)
        self.corrections = [(step, float(error), float(part)) for step, error, part in self.corrections]
        for stream, errors in self.errors.items():
            numbers = [None if error is None else float(error) for error in errors]
            self.errors[stream] = [None if error is None or np.isnan(error) else error for error in numbers]

    def count_evaluation(self, stream: str, step: int, error: Any) -> None:
        """Count an evaluated step of a stream, and the error of the forecast that it replaced."""
        self._know(stream)
        self.evaluated[stream].append(step)
        self.errors[stream].append(error)

    def count_forecast(self, stream: str, step: int) -> None:
        """Count a forecast step of a stream."""
        self._know(stream)
        self.forecast[stream].append(step)
        self.estimated_errors[stream].append(None)

    def estimate(self, plans: dict[str, list[tuple[int, Plan]]], levels: Sequence[float] | None = None) -> None:
        """Fill in the estimated errors, from the plans that each stream followed and the steps they began at.

        Their clock is that of ``levels`` (steps + 1,), if given, or else of step numbers.
        """
        tau = np.linspace(-1.0, 1.0, self.steps + 1) if levels is None else map_clock(-np.asarray(levels), None)
        for stream, followed in plans.items():
            growth = np.full(self.steps, np.nan)
            for begin, plan in followed:
                growth[begin:] = _growth(plan, tau[begin:])[: self.steps - begin]
            evaluated = self.evaluated.get(stream, [])
            known = [k for k, error in enumerate(self.errors.get(stream, [])) if error is not None]
            for number, step in enumerate(self.forecast.get(stream, [])):
                later = [k for k in known if evaluated[k] > step]
                if not known or not growth[step] > 0.0:
                    continue
                arrival = later[0] if later else known[-1]
                ratio = growth[step] / growth[evaluated[arrival]]
                error = self.errors[stream][arrival]
                if error is not None and np.isfinite(ratio):
                    self.estimated_errors[stream][number] = error * float(ratio)

    @property
    def evaluations(self) -> int:
        """At how many steps a network ran, for whichever stream."""
        return len(set().union(*self.evaluated.values()))

    @property
    def line(self) -> str:
        """All of it in one short line, for a progress bar: ``bar.set_postfix_str(report(pipe).line)``."""
        taken = set().union(*self.evaluated.values(), *self.forecast.values())
        words = [f"{self.evaluations}/{len(taken)} evaluated"]
        if (worst := self._worst()) is not None:
            words.append(f"error ~{worst:.1%}")
        if self.restarts:
            words.append(f"{self.restarts} restarts")
        return ", ".join(words)

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as plain data, ready for JSON."""
        return asdict(self) | {"evaluations": self.evaluations}

    def _know(self, stream: str) -> None:
        for table in (self.evaluated, self.forecast, self.errors, self.estimated_errors):
            table.setdefault(stream, [])

    def _worst(self) -> float | None:
        """The largest estimated error."""
        estimates = [error for errors in self.estimated_errors.values() for error in errors if error is not None]
        return max(estimates, default=None)

    def __str__(self) -> str:
        lines = [
            f"{self.model}: run {self.runs}, {self.evaluations} of {self.steps} steps evaluated",
            f"  forecast        {self.at}, by {self.forecaster}",
            f"  features held   {self.peak_bytes / 2**20:.2f} MiB at most{', by the host' * (self.host_bytes > 0)}",
            f"  in forecasting  {1e3 * self.seconds:.1f} ms",
        ]
        if self.corrector_bytes:
            lines.append(f"  outputs held    {self.corrector_bytes / 2**20:.2f} MiB at most, for corrections")
        if self.corrections:
            part = np.mean([part for _, _, part in self.corrections])
            lines.append(f"  corrected       {len(self.corrections)} times, by {part:.0%} of the change on average")
        if self.sample_error is not None:
            lines.append(f"  estimated error {self.sample_error:.2%} of the sample")
        if (worst := self._worst()) is not None:
            lines.append(f"  estimated error {worst:.2%} of a forecast at most")
        width = max(map(len, self.evaluated), default=0)
        for name, done in self.evaluated.items():
            skipped = len(self.forecast[name])
            evaluate = np.zeros(max(self.steps, 1), dtype=bool)
            evaluate[done] = True
            lines.append(
                f"  stream {name:{width}} {len(done)} evaluated, {skipped} forecast: {schedules.steps(evaluate)}"
            )
        lines += [f"  {event}" for event in self.events] or ["  nothing unexpected"]
        return "\n".join(lines)


def _growth(plan: Plan, tau: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each step's worst case from the features kept before it, forecast or not; NaN without any."""
    growth = np.full(plan.steps, np.nan)
    for step in range(1, plan.steps):
        rows = plan.rows(step)
        nodes = tau[plan.nodes(step)[rows]]
        growth[step] = bounds.worst_case(plan.weights[step, rows], nodes, float(tau[step]), rho=2.0)
    return growth
