"""One guidance branch's kept features, and the plan that they follow."""

from typing import Any

import numpy as np
import torch

from spectral_forecast import Plan, Run
from spectral_forecast.adapters._session.memory import DEFAULT, Memory, ring_for
from spectral_forecast.corrector import guard
from spectral_forecast.guarded import GuardedRun

__all__ = ["Stream"]

MOST_BRANCHES = 4  # of guidance, in one batch


class Stream:
    """Features of one branch from step ``begin`` of a run on: one core `Run` for each tensor that is kept."""

    def __init__(self, plan: Plan, begin: int, limit: float | None = None, memory: Memory = DEFAULT) -> None:
        self.plan = plan
        self.begin = begin
        self.memory = memory
        self.host = False
        self.limit = limit  # of the forecasts' guard, if they have one
        self.runs: list[Any] = []
        self.shapes: list[torch.Size] = []
        self.largest = 0.0  # of what is kept, in absolute value
        self.ceiling = 0.0  # the largest number of its dtype
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

    def keep(self, step: int, feature: list[torch.Tensor], largest: float) -> torch.Tensor | None:
        """Keep the tensors of an evaluation, which are not larger than ``largest``.

        Returns the relative error of the forecast that it replaces, where it is; None where there was none.
        """
        if not self.runs:
            self.runs = [self._start(tensor) for tensor in feature]
            self.ceiling = min(torch.finfo(tensor.dtype).max for tensor in feature)
        self.shapes = [tensor.shape for tensor in feature]
        self.largest = max(self.largest, largest)
        for run, tensor in zip(self.runs, feature, strict=True):
            run.keep(step - self.begin, tensor.detach())
        found = [run.misses for run in self.runs]
        if step == self.begin or not found:
            return None
        missed, size = (sum(part[k].double().sum() for part in found) for k in (0, 2))
        return torch.where(size > 0.0, missed / size, torch.nan).sqrt()

    def _start(self, feature: torch.Tensor) -> Run:
        # Whether features are finite is checked by the session, where the answer is to restart and not to raise.
        ring = ring_for(feature, self.plan.kept, dtype=self.memory.dtype, host=self.host)
        return self.plan.start(limit=self.limit, check_finite=False, ring=ring, measure=True)

    def bounded(self, step: int) -> bool:
        """Whether the forecast of ``step`` is finite for sure, without looking at it."""
        gain = max(1.0, float(np.abs(self.plan.weights[step - self.begin]).sum()))
        return gain * self.largest < self.ceiling

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
        """Bytes that the kept features take, wherever they are."""
        return sum(run.nbytes for run in self.runs)
