"""One guidance branch's kept features, and the plan that they follow."""

import math
from typing import Any

import torch

from spectral_forecast import Plan
from spectral_forecast.corrector import guard
from spectral_forecast.guarded import GuardedRun

__all__ = ["Stream"]

MOST_BRANCHES = 4  # of guidance, in one batch


class Stream:
    """Features of one branch from step ``begin`` of a run on: one core `Run` for each tensor that is kept."""

    def __init__(self, plan: Plan, begin: int, limit: float | None = None) -> None:
        self.plan = plan
        self.begin = begin
        self.limit = limit  # of the forecasts' guard, if they have one
        self.runs: list[Any] = []
        self.shapes: list[torch.Size] = []
        self.input: dict[str, str] = {}  # what the network was called with when it was evaluated last
        self.form: Any = None  # how a result is put together: a structure of outputs, or a cut through the network

    def evaluates(self, step: int) -> bool:
        """Whether the network runs at the run's ``step``."""
        return bool(self.plan.evaluate[step - self.begin])

    def follow(self, plan: Plan) -> None:
        """Go on with a plan that differs from this one in later steps only."""
        self.plan = plan
        for run in self.runs:
            run.plan = plan

    def ready(self, step: int) -> bool:
        """Whether every evaluation before ``step`` is kept."""
        return all(run.ready(step - self.begin) for run in self.runs) if self.runs else step == self.begin

    def keep(self, step: int, feature: list[torch.Tensor]) -> None:
        """Keep the tensors of an evaluation."""
        if not self.runs:
            # Whether features are finite is checked by the hook, where the answer is to restart and not to raise.
            self.runs = [self.plan.start(limit=self.limit, check_finite=False) for _ in feature]
        self.shapes = [tensor.shape for tensor in feature]
        for run, tensor in zip(self.runs, feature, strict=True):
            run.keep(step - self.begin, tensor.detach())

    def forecast(self, step: int) -> list[torch.Tensor]:
        """Return the forecast of each kept tensor."""
        return [run.forecast(step - self.begin) for run in self.runs]

    def expect(self, doubt: torch.Tensor) -> None:
        """Guard forecasts by this relative error one step ahead (batch, 1, ...), of what the sampler makes of them.

        Guidance branches in one batch come one after another, each with all items.
        """
        for run, shape in zip(self.runs, self.shapes, strict=True):
            if isinstance(run, GuardedRun):
                branches, rest = divmod(shape[0] if len(shape) > 1 else 0, doubt.numel())
                known = doubt.flatten() if rest == 0 and 0 < branches <= MOST_BRANCHES else doubt.max().reshape(1)
                run.doubt = known if len(known) == 1 else known.repeat(branches).reshape(-1, *[1] * (len(shape) - 1))

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
