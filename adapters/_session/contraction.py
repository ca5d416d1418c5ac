"""How is a weighted sum of kept features taken in PyTorch on a CPU? In one pass over the rows, summed in float32.

Three forms. Two rows with weights that add up to one are PyTorch's `lerp`. Rows that fall into equal blocks are summed
as bags of an embedding: PyTorch's own kernel for that reads each block once, multiplies and adds in float32, and writes
once. It wants its factors in the rows' dtype, so a factor of bfloat16 rows goes in as a sum of two such numbers, which
have 16 bits together, 256 times as fine as the rows themselves; a block is in the cache when it is read again.
Everything else is converted to float32 and multiplied a chunk at a time.
"""

import functools
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["CHUNK", "NARROW", "centred_products", "errors", "small_sum", "weighted_sum"]

NARROW = (torch.bfloat16, torch.float16, torch.float32)  # for which float32 is wide enough
SMALLEST, LARGEST = 64, 8192  # elements of a block
CHUNK = 2**18  # of all rows together, that are converted at a time
PARTS = 2  # of a factor, each in the rows' dtype
EXACT = 2.0**-16  # relative error of a factor: that of two bfloat16 numbers of 8 bits


def small_sum(rows: torch.Tensor, weights: NDArray[np.float64]) -> torch.Tensor:
    """Return the sums (items, n) of small ``rows`` (K, items, n) with weights (items, K), in float32 and at once."""
    used = np.flatnonzero(weights.any(axis=0)).tolist()
    factors, sums = _float32(weights), torch.zeros(rows.shape[1:], dtype=torch.float32)
    for row in used:
        sums.addcmul_(rows[row].to(torch.float32), factors[:, row, None])
    return sums


def weighted_sum(rows: torch.Tensor, weights: NDArray[np.float64], *, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Return weighted sums (items, n) of ``rows`` (K, items, n), each item with weights of its own.

    Parameters
    ----------
    rows : Tensor, shape (K, items, n)
        Contiguous, on the CPU, of a floating dtype. Rows of weight 0 in all items are not read.
    weights : ndarray, shape (items, K)
    dtype : torch.dtype, optional
        Of the sums, one of `NARROW`; by default that of the rows.
    """
    used, dtype = np.flatnonzero(weights.any(axis=0)), dtype or rows.dtype
    if used.size == 0 or rows.numel() == 0:
        return torch.zeros(rows.shape[1:], dtype=dtype)
    if used.size == 2 and rows.dtype == dtype and _is_line(weights[:, used]):
        return _line(rows, used, weights)
    block = _block(rows.shape[2])
    factors = _factors(weights[:, used], dtype) if block and rows.dtype == dtype else None
    if factors is None:
        return _by_chunks(rows, used, weights[:, used], dtype)
    return _by_bags(rows, block, tuple(used.tolist()), factors)


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


def _is_line(weights: NDArray[np.float64]) -> bool:
    return bool((np.abs(weights.sum(axis=1) - 1.0) <= 2.0**-24 * np.abs(weights).sum(axis=1)).all())


def _line(rows: torch.Tensor, used: NDArray[np.intp], weights: NDArray[np.float64]) -> torch.Tensor:
    """The default rule's sums, of two rows with weights that add up to one."""
    first, second = used.tolist()
    sums = torch.empty_like(rows[0])
    for item, written in enumerate(sums):
        torch.lerp(rows[first, item], rows[second, item], float(weights[item, second]), out=written)
    return sums


def _by_bags(rows: torch.Tensor, block: int, used: tuple[int, ...], factors: torch.Tensor) -> torch.Tensor:
    items, size = rows.shape[1:]
    indices, offsets = _indices(used, items * size // block, factors.shape[1] // len(used))
    sums = torch.nn.functional.embedding_bag(
        indices,
        rows.view(-1, block),
        offsets,
        mode="sum",
        per_sample_weights=factors.repeat_interleave(size // block, dim=0).flatten(),
        include_last_offset=True,
    )
    return sums.view(items, size)


@functools.lru_cache(maxsize=4)
def _indices(used: tuple[int, ...], blocks: int, parts: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Which blocks of the table make up each of a row's ``blocks``, one after another, and where each sum begins."""
    bag = torch.tensor(used).repeat_interleave(parts) * blocks
    indices = torch.arange(blocks)[:, None] + bag
    return indices.flatten(), torch.arange(0, indices.numel() + 1, len(bag))


def _factors(weights: NDArray[np.float64], dtype: torch.dtype) -> torch.Tensor | None:
    """Each weight (items, K) as a sum of numbers of ``dtype``, side by side; None where they do not hold it."""
    rest = torch.from_numpy(np.ascontiguousarray(weights))
    enough, parts = EXACT * rest.abs(), []
    for _ in range(PARTS):
        parts.append(rest.to(dtype))
        rest = rest - parts[-1].double()
        if bool((rest.abs() <= enough).all()):
            return torch.stack(parts, dim=2).flatten(1)
    return None


def _float32(weights: NDArray[np.float64]) -> torch.Tensor:
    with np.errstate(over="ignore"):  # a sum that is not finite is for the caller to find
        return torch.from_numpy(weights.astype(np.float32))


def _by_chunks(
    rows: torch.Tensor, used: NDArray[np.intp], weights: NDArray[np.float64], dtype: torch.dtype
) -> torch.Tensor:
    factors, sums = _float32(weights), torch.empty(rows.shape[1:], dtype=dtype)
    for item, written in enumerate(sums):
        for begin, end, chunk in _converted(rows[:, item], used):
            written[begin:end] = factors[item] @ chunk
    return sums


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
def _block(size: int) -> int:
    """The largest length of a block that divides ``size``; 0 where there is none that is worth it."""
    return next((block for block in range(min(LARGEST, size), SMALLEST - 1, -1) if size % block == 0), 0)
