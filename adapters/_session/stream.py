"""One guidance branch's kept features, and the plan that they follow."""

import math
from typing import Any

import torch

from spectral_forecast import Plan
from spectral_forecast.corrector import guard

__all__ = ["Stream"]


class Stream:
    """Features of one branch from step ``begin`` of a run on: one core `Run` for each tensor that is kept."""

    def __init__(self, plan: Plan, begin: int) -> None:
        self.plan = plan
        self.begin = begin
        self.runs: list[Any] = []
        self.input: dict[str, str] = {}  # what the network was called with when it was evaluated last
        self.form: Any = None  # how a result is put together: a structure of outputs, or a cut through the network

    def evaluates(self, step: int) -> bool:
        """Whether the network runs at the run's ``step``."""
        return bool(self.plan.evaluate[step - self.begin])

    def ready(self, step: int) -> bool:
        """Whether every evaluation before ``step`` is kept."""
        return all(run.ready(step - self.begin) for run in self.runs) if self.runs else step == self.begin

    def keep(self, step: int, feature: list[torch.Tensor]) -> None:
        """Keep the tensors of an evaluation."""
        if not self.runs:
            # Whether features are finite is checked by the hook, where the answer is to restart and not to raise.
            self.runs = [self.plan.start(check_finite=False) for _ in feature]
        for run, tensor in zip(self.runs, feature, strict=True):
            run.keep(step - self.begin, tensor.detach())

    def forecast(self, step: int) -> list[torch.Tensor]:
        """Return the forecast of each kept tensor."""
        return [run.forecast(step - self.begin) for run in self.runs]

    def miss(self, step: int, feature: list[torch.Tensor]) -> float | None:
        """Return the relative error of the forecast that an evaluation replaces; None where there was none."""
        if not self.runs or step == self.begin:
            return None
        missed, length = 0.0, 0.0
        for forecast, tensor in zip(self.forecast(step), feature, strict=True):
            missed += float(torch.linalg.vector_norm(forecast.float() - tensor.detach().float())) ** 2
            length += float(torch.linalg.vector_norm(tensor.detach().float())) ** 2
        return math.sqrt(missed / length) if length else None

    def corrects(self, step: int) -> bool:
        """Whether the plan corrects the sample on arrival at ``step``."""
        return bool(self.plan.correction[step - self.begin].any())

    def correct(self, step: int, x: torch.Tensor, limit: float | None) -> tuple[torch.Tensor, float, float]:
        """Return the sample moved by the plan's correction, the error that guards it, and what part of it was made."""
        if len(self.runs) != 1:
            raise ValueError(
                f"`model` returns {len(self.runs)} tensors, of which none says which way the sample goes; leave "
                "`correct` out, or write `step = accelerated.retaking(step)`."
            )
        (run,) = self.runs
        part = 1.0 if limit is None else float(guard(run.error, limit))
        return run.correct(step - self.begin, x, limit=limit), run.error, part

    def fits(self, feature: list[torch.Tensor]) -> bool:
        """Whether a feature has the form of those kept before."""
        if not self.runs:
            return True
        return len(feature) == len(self.runs) and all(run.fits(x) for run, x in zip(self.runs, feature, strict=True))

    @property
    def nbytes(self) -> int:
        """Bytes that the kept features take."""
        return sum(run.nbytes for run in self.runs)
