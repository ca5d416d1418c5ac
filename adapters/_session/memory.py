"""How are features held, so that they fit? Known from their shapes, before a row is allocated."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from spectral_forecast import Plan
from spectral_forecast.adapters._session.contraction import NARROW
from spectral_forecast.adapters._session.host import HostRing
from spectral_forecast.adapters._session.ring import FLOAT8, TorchRing
from spectral_forecast.ring import Ring

__all__ = ["DEFAULT", "Holding", "Memory", "ring_for"]

LEAST_ROWS = 2  # a line


class Holding(NamedTuple):
    """How one stream's features are held."""

    rows: int
    host: bool  # whether in the host's memory, for a network on another device
    why: str = ""  # what differs from what was asked for


@dataclass(frozen=True)
class Memory:
    """What was asked for: a bound of bytes on the network's device, a dtype of the rows, and where they are."""

    max_bytes: int | None = None
    dtype: torch.dtype | None = None
    offload: bool = False

    def __post_init__(self) -> None:
        if self.max_bytes is not None and (
            not isinstance(self.max_bytes, int) or isinstance(self.max_bytes, bool) or self.max_bytes < 0
        ):
            raise ValueError(
                f"`max_bytes` is {self.max_bytes!r}; write the bytes that kept features may take on the network's "
                "device, as in `2**30`."
            )
        if self.dtype is not None and self.dtype not in (*NARROW, torch.float64, FLOAT8):
            raise TypeError(
                f"`dtype` is {self.dtype!r}; write a floating dtype such as `torch.bfloat16`, or `{FLOAT8}`."
            )
        if not isinstance(self.offload, bool):
            raise TypeError(f"`offload` is {self.offload!r}; write True or False.")

    def hold(self, plan: Plan, feature: Sequence[torch.Tensor], streams: int, *, fixed: bool) -> Holding | None:
        """Return how the features of one of several ``streams`` are held; None where they do not fit at all.

        On another device than the host the rows go to the host first, then there are fewer, unless the plan is
        ``fixed``.
        """
        away = all(x.device.type != "cpu" for x in feature)
        if away and self.offload:
            return Holding(plan.kept, host=True)
        row = plan.memory(list(feature), dtype=self.dtype) // plan.kept
        room = None if self.max_bytes is None else self.max_bytes // streams
        if room is None or plan.kept * row <= room:
            return Holding(plan.kept, host=False)
        asked = f"{streams} x {plan.kept} features of {row} bytes are more than `max_bytes` = {self.max_bytes}"
        if away:
            return Holding(plan.kept, host=True, why=f"features are held by the host: {asked}")
        if not fixed and room // row >= min(LEAST_ROWS, plan.kept):
            return Holding(room // row, host=False, why=f"{room // row} features are held: {asked}")
        return None


DEFAULT = Memory()
"""Everything, in its own dtype, where it comes from."""


def ring_for(feature: torch.Tensor, kept: int, *, dtype: torch.dtype | None = None, host: bool = False) -> Ring:
    """Return a ring for features like this one; a portable one for tensors that are more than their numbers."""
    if type(feature) not in (torch.Tensor, torch.nn.Parameter):
        return Ring(kept)
    return HostRing(kept, dtype=dtype) if host else TorchRing(kept, dtype=dtype)
