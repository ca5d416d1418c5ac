"""How is a weighted sum of kept features taken in PyTorch on a CPU? In one pass over the rows, summed in float32.

Two forms. Rows that fall into equal blocks are summed as bags of an embedding: PyTorch's own kernel for that reads each
block once, multiplies and adds in float32, and writes once. It wants its factors in the rows' dtype, so a factor goes
in as a sum of up to three numbers of that dtype, which is float32's own precision; a block is in the cache when it is
read again. Everything else is converted to float32 and multiplied a chunk at a time.
"""

import functools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["CHUNK", "centred_products", "errors", "small_sum", "weighted_sum"]

BAGS = (torch.bfloat16, torch.float16, torch.float32)
SMALLEST, LARGEST = 64, 2048  # elements of a block
WHOLE = 2**24  # elements of a sum that is made at once
SEGMENT = 2**21  # elements of larger ones at a time: what is written stays in the cache until it is copied
CHUNK = 2**18  # of all rows together, that are converted at a time
PARTS = 3  # bfloat16 has 8 bits, float32 24


def small_sum(rows: torch.Tensor, weights: NDArray[np.float64]) -> torch.Tensor:
    """Return the sums (items, n) of small ``rows`` (K, items, n) with weights (items, K), in float32 and at once."""
    used = np.flatnonzero(weights.any(axis=0)).tolist()
    factors, sums = _float32(weights), torch.zeros(rows.shape[1:], dtype=torch.float32)
    for row in used:
        sums.addcmul_(rows[row].to(torch.float32), factors[:, row, None])
    return sums


def weighted_sum(
    rows: torch.Tensor,
    weights: NDArray[np.float64],
    out: torch.Tensor | None = None,
    *,
    dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """Return the weighted sum (n,) of ``rows`` (K, n).

    Parameters
    ----------
    rows : Tensor, shape (K, n)
        On the CPU, of a floating dtype; a row is contiguous. Rows of weight 0 are not read.
    weights : ndarray, shape (K,)
    out : Tensor, shape (n,), optional
        Where to write it: contiguous, of any floating dtype.
    dtype : torch.dtype, optional
        Of the sum without ``out``; by default that of the rows.
    """
    used, size = np.flatnonzero(weights), rows.shape[1]
    dtype = (dtype or rows.dtype) if out is None else out.dtype
    block = _block(size, rows.stride(0), rows.storage_offset())
    factors = _factors(weights[used], rows.dtype) if block and used.size and rows.dtype == dtype else None
    if factors is not None and out is None and size <= WHOLE:
        return _bags(rows, block, tuple(used.tolist()), factors, begin=0, count=size // block).view(-1)
    out = torch.empty(size, dtype=dtype) if out is None else out
    if used.size == 0:
        return out.zero_()
    if factors is None:
        return _by_chunks(rows, used, weights[used], out)
    written, step = out.view(-1, block), SEGMENT // block
    for begin in range(0, len(written), step):
        count = min(step, len(written) - begin)
        written[begin : begin + count] = _bags(rows, block, tuple(used.tolist()), factors, begin=begin, count=count)
    return out


def errors(
    rows: torch.Tensor, weights: NDArray[np.float64], newest: int, feature: torch.Tensor, scale: float = 1.0
) -> tuple[float, float, float]:
    """Return squared norms of a ``feature`` (n,): less the weighted sum of ``rows`` (K, n), less the newest, whole.

    The newest row counts ``scale`` times.
    """
    used = np.union1d(np.flatnonzero(weights), [newest])
    factors = _float32(np.stack([weights[used], scale * (used == newest)]))
    squares = np.zeros(3)
    for begin, end, chunk in _converted(rows, used):
        true = feature[begin:end].to(torch.float32)
        off = true - factors @ chunk
        squares += [float(torch.dot(x, x)) for x in (off[0], off[1], true)]
    return tuple(squares.tolist())


def centred_products(rows: torch.Tensor, order: Sequence[int], feature: torch.Tensor) -> NDArray[np.float64]:
    """Return what `spectral_forecast.gram.row` does, of ``feature`` (n,) and of ``rows`` (K, n) in their order."""
    sums = torch.zeros(len(order) + 1, dtype=torch.float64)
    for begin, end, chunk in _converted(rows, np.asarray(order)):
        newest = chunk[-1].clone()
        change = feature[begin:end].to(torch.float32) - newest
        chunk[:-1] -= newest
        sums[:-1] += (chunk @ change).double()
        sums[-1] += torch.dot(change, change).double()
    return sums.numpy()


def _bags(
    rows: torch.Tensor, block: int, used: tuple[int, ...], factors: torch.Tensor, *, begin: int, count: int
) -> torch.Tensor:
    """Return the sums of ``count`` blocks from the one at ``begin`` on, (count, block)."""
    blocks, stride = rows.shape[1] // block, rows.stride(0) // block
    indices, offsets = _indices(used, stride, count, len(factors) // len(used))
    # From the first row's first block to the last row's last.
    table = rows.as_strided(((rows.shape[0] - 1) * stride + blocks, block), (block, 1))
    return torch.nn.functional.embedding_bag(
        indices,
        table[begin:],
        offsets,
        mode="sum",
        per_sample_weights=factors.repeat(count),
        include_last_offset=True,
    )


@functools.lru_cache(maxsize=16)
def _indices(used: tuple[int, ...], stride: int, blocks: int, parts: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Which blocks of the table make up each of ``blocks`` sums, one after another, and where each sum begins."""
    bag = torch.tensor(used).repeat_interleave(parts) * stride
    indices = torch.arange(blocks)[:, None] + bag
    return indices.flatten(), torch.arange(0, indices.numel() + 1, len(bag))


def _factors(weights: NDArray[np.float64], dtype: torch.dtype) -> torch.Tensor | None:
    """Each weight as a sum of numbers of ``dtype``, one after another; None where float32 would hold it better."""
    rest = torch.from_numpy(np.ascontiguousarray(weights))
    size, parts = rest.abs(), []
    while len(parts) < PARTS and bool(rest.any()):
        parts.append(rest.to(dtype))
        rest = rest - parts[-1].double()
    if not bool((rest.abs() <= 2.0**-24 * size).all()):
        return None
    return torch.stack(parts, dim=1).flatten()


def _float32(weights: NDArray[np.float64]) -> torch.Tensor:
    with np.errstate(over="ignore"):  # a sum that is not finite is for the caller to find
        return torch.from_numpy(weights.astype(np.float32))


def _by_chunks(
    rows: torch.Tensor, used: NDArray[np.intp], weights: NDArray[np.float64], out: torch.Tensor
) -> torch.Tensor:
    factors = _float32(weights)
    for begin, end, chunk in _converted(rows, used):
        out[begin:end] = factors @ chunk
    return out


def _converted(rows: torch.Tensor, used: NDArray[np.intp]) -> Iterator[tuple[int, int, torch.Tensor]]:
    """The rows in float32, a chunk at a time: where it begins and ends, and what is in it until the next one."""
    size, step = rows.shape[1], max(1, CHUNK // len(used))
    scratch = torch.empty(len(used), min(step, size))
    for begin in range(0, size, step):
        end = min(begin + step, size)
        for place, row in enumerate(used.tolist()):
            scratch[place, : end - begin].copy_(rows[row, begin:end])
        yield begin, end, scratch[:, : end - begin]


@functools.lru_cache(maxsize=256)
def _block(*lengths: int) -> int:
    """The largest length of a block that divides all of ``lengths``; 0 where there is none that is worth it."""
    common = math.gcd(*lengths)
    return next((size for size in range(min(LARGEST, common), SMALLEST - 1, -1) if common % size == 0), 0)
