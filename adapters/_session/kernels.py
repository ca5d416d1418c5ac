"""How is a weighted sum of kept features taken in PyTorch on a GPU? By one kernel: every row is read once.

The same kernel draws a forecast back to the newest feature, item by item, and adds to a sample; a second one measures
a forecast on arrival. Both sum in float32. They need Triton, which PyTorch for CUDA and ROCm brings along; without it
the portable path serves. Nothing here waits for the device: the few weights are sent from pinned memory.
"""

import contextlib
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray

__all__ = ["errors", "weighted_sum"]

BLOCK = 1024


@triton.jit
def _weighted_sum(  # noqa: PLR0917
    rows,
    used,
    weights,
    part,
    added,
    out,
    last,
    size,
    stride,
    count: tl.constexpr,
    draws: tl.constexpr,
    adds: tl.constexpr,
    part_stride: tl.constexpr,
    block: tl.constexpr,
):
    inside = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    mask = inside < size
    item = tl.program_id(1).to(tl.int64)
    place = item * size + inside
    total = tl.zeros((block,), dtype=tl.float32)
    for k in tl.static_range(count):
        row = tl.load(used + k)
        total += tl.load(weights + k) * tl.load(rows + row * stride + place, mask=mask, other=0.0).to(tl.float32)
    if draws:
        kept = tl.load(rows + last + place, mask=mask, other=0.0).to(tl.float32)
        total = kept + tl.load(part + item * part_stride).to(tl.float32) * (total - kept)
    if adds:
        total += tl.load(added + place, mask=mask, other=0.0).to(tl.float32)
    tl.store(out + place, total.to(out.dtype.element_ty), mask=mask)


@triton.jit
def _errors(  # noqa: PLR0917
    rows, used, weights, feature, out, last, size, stride, blocks, count: tl.constexpr, block: tl.constexpr
):
    inside = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    mask = inside < size
    item = tl.program_id(1).to(tl.int64)
    place = item * size + inside
    true = tl.load(feature + place, mask=mask, other=0.0).to(tl.float32)
    missed = true
    for k in tl.static_range(count):
        row = tl.load(used + k)
        missed -= tl.load(weights + k) * tl.load(rows + row * stride + place, mask=mask, other=0.0).to(tl.float32)
    changed = true - tl.load(rows + last + place, mask=mask, other=0.0).to(tl.float32)
    here = item * blocks + tl.program_id(0)
    step = tl.num_programs(1).to(tl.int64) * blocks
    tl.store(out + here, tl.sum(missed * missed))
    tl.store(out + step + here, tl.sum(changed * changed))
    tl.store(out + 2 * step + here, tl.sum(true * true))


def weighted_sum(
    rows: torch.Tensor,
    weights: NDArray[np.float64],
    out: torch.Tensor,
    *,
    newest: int = 0,
    part: torch.Tensor | None = None,
    added: torch.Tensor | None = None,
) -> torch.Tensor:
    """Write a weighted sum of ``rows`` to ``out``, drawn back to the newest row, or added to something.

    Parameters
    ----------
    rows : Tensor, shape (K, items, n)
        Contiguous, of a floating dtype. Rows of weight 0 are not read.
    weights : ndarray, shape (K,)
    out : Tensor, shape (items, n)
        Contiguous, on the same device.
    newest : int
        The row that a forecast is drawn back to, with
    part : Tensor, shape (1,) or (items,), optional
        On the same device: ``out = newest + part * (sum - newest)``.
    added : Tensor, shape (items, n), optional
        Contiguous: ``out = added + sum``.
    """
    _, items, size = rows.shape
    used, factors = _sent(weights, rows.device)
    several = part is not None and part.numel() > 1
    with _on(rows.device):
        _weighted_sum[(triton.cdiv(size, BLOCK), items)](
            rows,
            used,
            factors,
            rows if part is None else part,
            rows if added is None else added,
            out,
            newest * rows.stride(0),  # multiplied here: there it would be by 32 bits
            size,
            rows.stride(0),
            count=len(factors),
            draws=part is not None,
            adds=added is not None,
            part_stride=int(several),
            block=BLOCK,
        )
    return out


def errors(rows: torch.Tensor, weights: NDArray[np.float64], newest: int, feature: torch.Tensor) -> torch.Tensor:
    """Return squared norms (3, items) of a ``feature`` (items, n): less the weighted sum, less the newest, whole."""
    _, items, size = rows.shape
    used, factors = _sent(weights, rows.device)
    blocks = triton.cdiv(size, BLOCK)
    sums = torch.empty((3, items, blocks), dtype=torch.float32, device=rows.device)
    with _on(rows.device):
        _errors[(blocks, items)](
            rows,
            used,
            factors,
            feature,
            sums,
            newest * rows.stride(0),
            size,
            rows.stride(0),
            blocks,
            count=len(factors),
            block=BLOCK,
        )
    return sums.sum(dim=2, dtype=torch.float64).to(torch.float32)


def _sent(weights: NDArray[np.float64], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows whose weights are not 0, and these weights, on their way to the device."""
    used = np.flatnonzero(weights)
    both = torch.from_numpy(used), torch.from_numpy(weights[used].astype(np.float32))
    if device.type == "cpu":  # Triton's interpreter
        return both
    return tuple(x.pin_memory().to(device, non_blocking=True) for x in both)


def _on(device: torch.device) -> Any:
    """The device that kernels are launched on."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()
