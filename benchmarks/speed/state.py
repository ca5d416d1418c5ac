"""What do the timed operations work on? Kept features of one size, and runs that hold them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

import spectral_forecast as sf
from spectral_forecast.adapters._session.ring import TorchRing
from spectral_forecast.benchmarks.speed.restated import Spectrum

__all__ = ["Cell", "Keeping", "State"]

STEPS = 1000  # of a run in which `keep` can be called as often as a task is repeated


@dataclass(frozen=True)
class Cell:
    """Features of ``size`` elements, of which ``kept`` are kept, in a dtype by its name."""

    size: int
    kept: int
    dtype: str

    @property
    def itemsize(self) -> int:
        """Bytes of an element.

        >>> Cell(10, 2, "bfloat16").itemsize
        2
        """
        return int(getattr(torch, self.dtype).itemsize)

    @property
    def ring(self) -> int:
        """Bytes of the kept features."""
        return self.size * self.kept * self.itemsize


class State:
    """The features of a cell: K kept rows and a new one, with weights that are not zero.

    Attributes
    ----------
    kept : TorchRing
        The adapters' own.
    ring : Tensor, shape (K, F)
        The same rows one after another, for whoever wants them so.
    memory : Tensor of uint8
        That of `kept`.
    new : Tensor, shape (F,)
    times : ndarray, shape (K,)
        Of the kept rows, on [-1, 1]; the new one and the forecast are at ``t``.
    weights : ndarray of float64, shape (K,)
    """

    def __init__(self, cell: Cell, device: torch.device) -> None:
        self.cell, self.device = cell, device
        kind = getattr(torch, cell.dtype)
        source = torch.Generator(device).manual_seed(0)
        self.new = torch.randn(cell.size, device=device, generator=source, dtype=kind)
        self.kept = TorchRing(cell.kept)
        for k in range(cell.kept):  # multiples of one row take as long as others, and are made sooner
            self.kept.put(k, self.new * (1.0 - 0.01 * k))
        self.memory = torch.empty(0, dtype=torch.uint8, device=device).set_(self.kept.rows.untyped_storage())
        self.times = -1.0 + 0.04 * np.arange(cell.kept)
        self.t = float(self.times[-1]) + 0.08
        self.weights = sf.Chebyshev(4, ridge=0.1).weights(self.times, self.t)

    @cached_property
    def ring(self) -> torch.Tensor:
        """Written out, the first time that it is asked for."""
        ring = self.new.new_empty((self.cell.kept, self.cell.size))
        for k, row in enumerate(ring):
            row.copy_(self.kept.row(k))
        return ring

    @cached_property
    def planned(self) -> "Keeping":
        """A run with the released rule's weights, which read every row; it writes the new feature into them all."""
        return Keeping(self.new, sf.Chebyshev(4, ridge=0.1), self.kept, measure=True)

    @cached_property
    def plain(self) -> "Keeping":
        """A run with linear extrapolation that measures nothing."""
        return Keeping(self.new, sf.Newton(1), TorchRing(2))

    @cached_property
    def default(self) -> "Keeping":
        """A run as the adapters make it by default: guarded linear extrapolation, which reads two rows."""
        return Keeping(self.new, sf.Newton(1), TorchRing(2), limit=sf.guarded.LIMIT, measure=True)

    @cached_property
    def released(self) -> Spectrum:
        """The released arithmetic with the same rows, fitted."""
        state = Spectrum(self.ring, self.times)
        state.fit()
        return state


class Keeping:
    """A run all of whose steps are evaluated, so that one can be kept or forecast at any moment."""

    def __init__(self, new: torch.Tensor, rule: Any, ring: TorchRing, **options: Any) -> None:
        plan = sf.make_plan(rule, np.arange(STEPS), np.ones(STEPS, bool), span=(0, STEPS), keep=ring.kept)
        self.run, self.new, self.step = plan.start(check_finite=False, ring=ring, **options), new, 0
        for _ in range(ring.kept):
            self.keep()

    def forecast(self) -> torch.Tensor:
        """Forecast the step that comes next."""
        return self.run.forecast(self.step)

    def keep(self) -> None:
        """Keep the feature of the step that comes next."""
        self.run.keep(self.step, self.new)
        self.step += 1
