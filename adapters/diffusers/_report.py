"""What did an accelerated model do?"""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from spectral_forecast import schedules

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
    events : list of str
        Whatever made the adapter evaluate against its plan, in order, with step, stream and reason.
    peak_bytes : int
        Most memory that kept features took at a time, all streams together.
    """

    model: str
    at: str
    forecaster: str
    runs: int = 0
    steps: int = 0
    evaluated: dict[str, list[int]] = field(default_factory=dict)
    forecast: dict[str, list[int]] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    peak_bytes: int = 0

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
            events=[f"{name}: {event}" for name, part in reports.items() for event in part.events],
            peak_bytes=sum(part.peak_bytes for part in parts),
        )
        for name, part in reports.items():
            # Each network counts steps from its own first one; the last comes at the end of the run.
            offset = joint.steps - part.steps
            for stream in part.evaluated:
                joint.evaluated[f"{name} {stream}"] = [offset + step for step in part.evaluated[stream]]
                joint.forecast[f"{name} {stream}"] = [offset + step for step in part.forecast[stream]]
        return joint

    def count(self, stream: str, step: int, *, evaluated: bool) -> None:
        """Count a step of a stream."""
        for steps in (self.evaluated, self.forecast):
            steps.setdefault(stream, [])
        (self.evaluated if evaluated else self.forecast)[stream].append(step)

    @property
    def evaluations(self) -> int:
        """Evaluations of the stream that had most of them."""
        return max(map(len, self.evaluated.values()), default=0)

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as plain data, ready for JSON."""
        return asdict(self) | {"evaluations": self.evaluations}

    def __str__(self) -> str:
        lines = [
            f"{self.model}: run {self.runs}, {self.evaluations} of {self.steps} steps evaluated",
            f"  forecast        {self.at}, by {self.forecaster}",
            f"  features held   {self.peak_bytes / 2**20:.2f} MiB at most",
        ]
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
