"""Where are kept features in PyTorch? In one block of memory, allocated once, of the size that `Plan.memory` tells."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from spectral_forecast._typing import Weights
from spectral_forecast.adapters._session.contraction import (
    NARROW,
    as_one,
    centred_products,
    errors,
    new_rows,
    small_sum,
    weighted_sum,
)
from spectral_forecast.ring import Misses, Ring

__all__ = ["FLOAT8", "TorchRing"]

SMALL = 2**18  # elements of all rows that are converted at once
FLOAT8 = torch.float8_e4m3fn


class TorchRing(Ring):
    """At most K features, in a dtype of their own or a chosen one.

    Parameters
    ----------
    kept : int
        Number of rows, K.
    dtype : torch.dtype, optional
        Hold the rows in it. By default in the features' own. Rows of `FLOAT8` are scaled by their largest number, which
        is waited for.
    """

    def __init__(self, kept: int, *, dtype: torch.dtype | None = None) -> None:
        super().__init__(kept)
        self.dtype = dtype
        self.scale = np.ones(kept)
        self.rows: torch.Tensor | None = None  # (K, items, blocks, block)
        self.kernels: Any = None  # of a GPU, where there are some
        self.chunked = False  # whether rows are summed by `contraction`: on CPUs, where float32 is wide enough

    def put(self, row: int, feature: torch.Tensor) -> None:
        """Keep a copy of a feature; the first allocates the whole ring."""
        if self.rows is None:
            # A ring that is made in inference mode could not be written to outside of it.
            with torch.inference_mode(mode=False):
                self.like = feature.new_empty(()).expand(feature.shape)  # without its memory
                self.rows = self._rows_for(feature)
            self.kernels = fused() if self.rows.is_cuda and {self.rows.dtype, feature.dtype} <= set(NARROW) else None
            self.chunked = feature.dtype in NARROW and self.rows.device.type == "cpu"
        if self.rows.dtype == FLOAT8:
            self.scale[row] = max(float(feature.abs().amax()), 1e-30) / torch.finfo(FLOAT8).max
            feature = feature / self.scale[row]
        kept = self.rows[row]
        kept.copy_(feature.reshape(kept.shape))
        self._rows[row] = kept
        self.newest = row

    def row(self, row: int) -> torch.Tensor:
        """Return a kept feature, in its own dtype and where it came from."""
        kept = self.rows[row].reshape(self.like.shape).to(self.like.device, self.like.dtype)
        return kept if self.scale[row] == 1.0 else kept * self.scale[row]

    @property
    def nbytes(self) -> int:
        """Bytes that the ring takes."""
        return 0 if self.rows is None else self.rows.nbytes

    def sum(self, weights: Weights) -> torch.Tensor:
        """Return the features' sum with ``weights`` (K,)."""
        if self.kernels:
            return self._launched(weights)
        return self._weighted(weights[None]) if self.chunked else super().sum(weights)

    def drawn(self, weights: Weights, part: torch.Tensor) -> torch.Tensor:
        """Return ``newest + part * (sum(weights) - newest)``, in one pass."""
        if self.kernels and self._by_item(part) and part.device == self.rows.device:
            return self._launched(weights, part=part.reshape(-1))
        between = self._between(weights, part) if self.chunked else None
        return super().drawn(weights, part) if between is None else self._weighted(between)

    def moved(self, x: torch.Tensor, weights: Weights) -> torch.Tensor:
        """Return ``x + sum(weights)``, in the dtype of ``x``."""
        if self.kernels and x.is_contiguous() and x.device == self.rows.device and x.dtype in NARROW:
            return self._launched(weights, added=x)
        return super().moved(x, weights)

    def misses(self, weights: Weights, feature: torch.Tensor) -> Misses:
        """Return how far the forecast by ``weights`` is off a feature that is not kept yet."""
        items = self._items
        if not (self.kernels or self.chunked) or self.rows.numel() <= SMALL:
            return super().misses(weights, feature)
        rows, flat = self.rows, feature.reshape(items, -1)
        if self.kernels:
            found = self.kernels.errors(rows.flatten(2), weights, self.newest, flat)
        else:
            flat, scale = flat.to(rows.device), self.scale
            each = [errors(rows[:, k], weights * scale, self.newest, flat[k], scale[self.newest]) for k in range(items)]
            found = torch.tensor(each, device=self.like.device).T
        shape = (items, *[1] * self.like.ndim)[: self.like.ndim]
        return Misses(*(part.to(torch.float32).reshape(shape) for part in found))

    def products(
        self, order: Sequence[int], feature: torch.Tensor, *, reduce: Callable[[Any], Any] | None = None
    ) -> NDArray[np.float64]:
        """Return the inner products that a feature brings which is not kept yet, in one pass over the rows."""
        if not order or not self.chunked or (self.scale != 1.0).any():
            return super().products(order, feature, reduce=reduce)
        flat = feature.detach().flatten().to(self.rows.device)
        sums = torch.from_numpy(centred_products(as_one(self.rows)[:, 0], order, flat))
        return (sums if reduce is None else reduce(sums.to(self.like.device)).cpu()).numpy()

    @property
    def _items(self) -> int:
        """Items of a batch: along the first axis of features with two axes or more."""
        return int(self.like.shape[0]) if self.like.ndim > 1 else 1

    def _rows_for(self, feature: torch.Tensor) -> torch.Tensor:
        """Return the memory of all rows."""
        return self._memory(feature, feature.device)

    def _memory(self, feature: torch.Tensor, device: torch.device, *, pinned: bool = False) -> torch.Tensor:
        """Return memory of all rows on a device: in blocks where `contraction` sums them, else one after another.

        What comes from another device goes into a row in one piece: into blocks it would go by way of a copy.
        """
        items, dtype = self._items, self.dtype or feature.dtype
        size = feature.numel() // max(items, 1)
        if feature.device.type == "cpu" and feature.dtype in NARROW:
            return new_rows(self.kept, items, size, dtype)
        return torch.empty((self.kept, items, 1, size), dtype=dtype, device=device, pin_memory=pinned)

    def _by_item(self, part: torch.Tensor) -> bool:
        """Whether what is taken of a forecast is one number, or one for each item."""
        return part.numel() == 1 or (part.numel() == self._items and part.shape[:1] == (self._items,))

    def _between(self, weights: Weights, part: torch.Tensor) -> NDArray[np.float64] | None:
        """Return the weights (items, K) of what lies between the newest row and the sum, if they are known by items."""
        if not self._by_item(part):
            return None
        share, newest = part.double().cpu().reshape(-1, 1).numpy(), np.arange(self.kept) == self.newest
        return np.asarray(share * weights + (1.0 - share) * newest)

    def _weighted(self, weights: NDArray[np.float64]) -> torch.Tensor:
        """Return the sum with weights (items, K), of one item or of each of the batch's."""
        # A network has run since the last forecast: what is called here comes from memory, and takes its time.
        if self.rows.dtype == FLOAT8:
            weights = weights * self.scale
        rows = as_one(self.rows) if len(weights) == 1 else self.rows
        if rows.numel() <= SMALL:
            sums = small_sum(rows, weights).to(self.like.dtype)
        else:
            sums = weighted_sum(rows, weights, dtype=self.like.dtype)
        return sums.view(self.like.shape)

    def _launched(self, weights: Weights, *, part: Any = None, added: Any = None) -> torch.Tensor:
        """Return what the kernel makes of the rows."""
        out = torch.empty(self.like.shape, dtype=(self.like if added is None else added).dtype, device=self.rows.device)
        if out.numel():
            self.kernels.weighted_sum(self.rows.flatten(2), weights, out, newest=self.newest, part=part, added=added)
        return out


@functools.cache
def fused() -> Any:
    """Return the module of kernels, or None without Triton."""
    try:
        from spectral_forecast.adapters._session import kernels
    except ImportError:
        return None
    return kernels
