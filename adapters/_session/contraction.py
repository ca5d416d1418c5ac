"""How is a weighted sum of kept features taken in PyTorch on a CPU? In one pass over the rows, summed in float32.

Three forms. Two rows with weights that add up to one are PyTorch's `lerp`. Rows that fall into equal blocks are summed
as bags of an embedding: PyTorch's own kernel for that reads each block once, multiplies and adds in float32, and writes
once. It wants its factors in the rows' dtype, so a factor of bfloat16 rows goes in as a sum of two such numbers, which
have 16 bits together, 256 times as fine as the rows themselves; a block is in the cache when it is read again.
Everything else is converted to float32 and summed a piece at a time.

Where there are more than two rows, they lie in memory block by block: the first block of every row, the second of
every row, and so on. Blocks are short, so that a sum reads memory from one end to the other: as measured, up to 400
elements are faster than 600 and more, from which on the kernel seems to go through all rows part by part, and than rows
one after another. What names the blocks to the kernel takes 1.6 % of what rows of bfloat16 take; of float32, 0.4 %.
"""

import functools
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["NARROW", "as_one", "centred_products", "errors", "new_rows", "small_sum", "weighted_sum"]

NARROW = (torch.bfloat16, torch.float16, torch.float32)  # for which float32 is wide enough
SMALLEST, LARGEST = 64, 256  # elements of a block
CHUNK = 2**18  # elements of a row that are converted at a time
EXACT = 2.0**-16  # relative error of factors: that of two bfloat16 numbers of 8 bits
TOGETHER = 2  # rows at the most that lie one after another; more are read block by block


def new_rows(kept: int, items: int, size: int, dtype: torch.dtype) -> torch.Tensor:
    """Return memory for ``kept`` rows, each of so many items of ``size`` elements, on the CPU.

    Returns
    -------
    Tensor, shape (K, items, blocks, block)
        In memory an item's rows lie block by block if there are more than two of them, and rows as a whole one after
        another else.
    """
    block = _block(size) if kept > TOGETHER else 0
    shape = (items, size // block, kept, block) if block else (kept, items, 1, size)
    memory = torch.empty(shape, dtype=dtype, device="cpu")
    return memory.permute(2, 0, 1, 3) if block else memory


def as_one(rows: torch.Tensor) -> torch.Tensor:
    """Return a view (K, 1, blocks, block) of ``rows`` in which all items are one."""
    return rows.flatten(1)[:, None, None] if rows.is_contiguous() else rows.flatten(1, 2)[:, None]


def small_sum(rows: torch.Tensor, weights: NDArray[np.float64]) -> torch.Tensor:
    """Return the sums (items, blocks, block) of small ``rows``, as `weighted_sum` does, in float32 and at once."""
    used = np.flatnonzero(weights.any(axis=0)).tolist()
    factors, sums = torch.from_numpy(_float32(weights)), rows.new_zeros(rows.shape[1:], dtype=torch.float32)
    for row in used:
        sums.addcmul_(rows[row].to(torch.float32), factors[:, row, None, None])
    return sums


def weighted_sum(rows: torch.Tensor, weights: NDArray[np.float64], *, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Return weighted sums (items, blocks, block) of ``rows``, each item with weights of its own.

    Parameters
    ----------
    rows : Tensor, shape (K, items, blocks, block)
        As `new_rows` makes them. Rows of weight 0 in all items are not read.
    weights : ndarray, shape (items, K)
    dtype : torch.dtype, optional
        Of the sums, one of `NARROW`; by default that of the rows.
    """
    dtype = dtype or rows.dtype
    lines = weights.tolist()
    used = [row for row, column in enumerate(zip(*lines, strict=True)) if any(column)]
    if not used or rows.numel() == 0:
        return rows.new_zeros(rows.shape[1:], dtype=dtype)
    lines = [[line[row] for row in used] for line in lines]
    if rows.dtype == dtype:
        if len(used) == 2 and rows.shape[2] == 1 and all(_is_line(*line) for line in lines):
            return _line(rows, used, lines)
        block = _block(rows.shape[3])
        factors = _factors(lines, dtype) if block else None
        if factors is not None:
            return _by_bags(rows, block, tuple(used), factors)
    return _by_chunks(rows, used, lines, dtype)


def errors(
    rows: torch.Tensor, weights: NDArray[np.float64], newest: int, feature: torch.Tensor, scale: float = 1.0
) -> tuple[float, float, float]:
    """Return squared norms of a ``feature`` (n,): less the weighted sum of rows, less the newest, and of it whole.

    They are one item's ``rows``, of shape (K, blocks, block). The newest counts ``scale`` times.
    """
    used = np.flatnonzero(weights).tolist()
    factors, squares = _float32(weights).tolist(), np.zeros(3)
    for piece, true, (off, row) in _pieces(rows, feature, 2):
        squares[2] += _dot(off.copy_(true), off)
        for k in used:
            off.sub_(row.copy_(piece[k]), alpha=factors[k])
        squares[0] += _dot(off, off)
        squares[1] += _dot(off.copy_(true).sub_(row.copy_(piece[newest]), alpha=scale), off)
    return tuple(squares.tolist())


def centred_products(rows: torch.Tensor, order: Sequence[int], feature: torch.Tensor) -> NDArray[np.float64]:
    """Return what `spectral_forecast.gram.row` does, of a ``feature`` (n,) and one item's ``rows``, in their order."""
    sums = np.zeros(len(order) + 1)
    for piece, true, (newest, change, row) in _pieces(rows, feature, 3):
        newest.copy_(piece[order[-1]])
        change.copy_(true).sub_(newest)
        for place, k in enumerate(order[:-1]):
            sums[place] += _dot(row.copy_(piece[k]).sub_(newest), change)
        sums[-2:] += _dot(newest, change), _dot(change, change)
    return sums


def _is_line(first: float, second: float) -> bool:
    return abs(first + second - 1.0) <= 2.0**-24 * (abs(first) + abs(second))


def _line(rows: torch.Tensor, used: Sequence[int], lines: Sequence[Sequence[float]]) -> torch.Tensor:
    """The default rule's sums, of two rows with weights that add up to one."""
    first, second = rows[used[0]], rows[used[1]]
    sums = rows.new_empty(rows.shape[1:])
    for item, (_, weight) in enumerate(lines):
        torch.lerp(first[item], second[item], weight, out=sums[item])
    return sums


def _by_bags(rows: torch.Tensor, block: int, used: tuple[int, ...], factors: torch.Tensor) -> torch.Tensor:
    _, items, places, length = rows.shape
    row, item, place = (stride // block for stride in rows.stride()[:3])
    shape, each = (items, places, length // block), places * length // block
    indices, offsets = _indices(used, (row, item, place), shape, factors.shape[1] // len(used))
    sums = torch.nn.functional.embedding_bag(
        indices,
        rows.as_strided((rows.numel() // block, block), (block, 1)),
        offsets,
        mode="sum",
        per_sample_weights=factors[:, None].expand(-1, each, -1).reshape(-1),
        include_last_offset=True,
    )
    return sums.view(rows.shape[1:])


@functools.lru_cache(maxsize=4)
def _indices(
    used: tuple[int, ...], strides: tuple[int, int, int], shape: tuple[int, int, int], parts: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Which blocks of the table make up each block of the sums, one after another, and where each of those begins.

    A row, an item, and a place in it begin so many blocks (``strides``) after those before; the sums have ``shape``.
    """
    row, item, place = strides
    items, places, each = shape
    count = len(used) * parts
    most = row * (max(used) + 1) + item * items + place * places + each
    kind = np.int32 if max(most, items * places * each * count) < 2**31 else np.int64  # it is read with every block
    blocks = item * np.arange(items, dtype=kind)[:, None, None] + place * np.arange(places, dtype=kind)[:, None]
    indices = (blocks + np.arange(each, dtype=kind))[..., None] + np.repeat([row * k for k in used], parts).astype(kind)
    return torch.from_numpy(indices.ravel()), torch.from_numpy(np.arange(0, indices.size + 1, count, dtype=kind))


def _factors(lines: Sequence[Sequence[float]], dtype: torch.dtype) -> torch.Tensor | None:
    """Each weight of ``lines`` (items, K) in as many numbers as it takes, side by side; None where they are beyond."""
    least, most, split = _limits(dtype)
    if not all(least <= sum(map(abs, line)) <= most or not any(line) for line in lines):
        return None
    if split:
        lines = [[part for weight in line for part in _parts(weight, split)] for line in lines]
    return torch.tensor(lines, dtype=dtype, device="cpu")


def _parts(weight: float, split: float) -> tuple[float, float]:
    """A number's first bits, and what is left of it."""
    moved = split * weight
    first = moved - (moved - weight)
    return first, weight - first


@functools.cache
def _limits(dtype: torch.dtype) -> tuple[float, float, float]:
    """How small and large a sum of factors of ``dtype`` may be, and what splits one; 0 where one number is enough.

    By Veltkamp's splitting (T. J. Dekker, A floating-point technique for extending the available precision, 1971), a
    number of b bits of float64's 53 is split off by 2 ** (53 - b) + 1.
    """
    info = torch.finfo(dtype)
    least = info.eps * info.smallest_normal / EXACT  # from there on what is too small to be held does not count
    return least, 0.5 * info.max, 0.0 if info.eps <= EXACT else 2.0**52 * info.eps + 1.0


def _float32(weights: NDArray[np.float64]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # a sum that is not finite is for the caller to find
        return weights.astype(np.float32)


def _by_chunks(
    rows: torch.Tensor, used: Sequence[int], lines: Sequence[Sequence[float]], dtype: torch.dtype
) -> torch.Tensor:
    sums = rows.new_empty(rows.shape[1:], dtype=dtype)
    for item, factors in enumerate(_float32(np.array(lines)).tolist()):
        for piece, written, (total, row) in _pieces(rows[:, item], sums[item].flatten(), 2):
            total.zero_()
            for k, factor in zip(used, factors, strict=True):
                total.add_(row.copy_(piece[k]), alpha=factor)
            written.copy_(total)
    return sums


def _pieces(
    rows: torch.Tensor, feature: torch.Tensor, count: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """One item's rows (K, blocks, block) and a ``feature`` (n,), a piece at a time, with memory to work in.

    The last has the piece's shape ``count`` times, in float32. What is done with it runs through all of a piece: each
    of PyTorch's threads then has the same part of it every time. With products of matrices in between, which divide it
    otherwise, it took up to four times as long with two threads, for seconds on end, and not with one.
    """
    _, blocks, block = rows.shape
    pieces = rows.split(CHUNK, dim=2) if blocks == 1 else rows.split(max(1, CHUNK // block), dim=1)
    scratch = rows.new_empty((count, pieces[0][0].numel()), dtype=torch.float32)
    begin = 0
    for piece in pieces:
        shape = piece.shape[1:]
        end = begin + shape.numel()
        yield piece, feature[begin:end].view(shape), scratch[:, : end - begin].view(count, *shape)
        begin = end


def _dot(x: torch.Tensor, y: torch.Tensor) -> float:
    return float(torch.dot(x.flatten(), y.flatten()))


@functools.lru_cache(maxsize=256)
def _block(size: int) -> int:
    """The largest length of a block that divides ``size``; 0 where there is none that is worth it."""
    return next((block for block in range(min(LARGEST, size), SMALLEST - 1, -1) if size % block == 0), 0)
