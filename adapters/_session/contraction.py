"""How is a weighted sum of kept features taken in PyTorch on a CPU? In one pass over the rows, summed in float32.

Three forms. Two rows with weights that add up to one are PyTorch's `lerp`. Rows that fall into equal blocks are summed
as bags of an embedding: PyTorch's own kernel for that reads each block once, multiplies and adds in float32, and writes
once. It wants its factors in the rows' dtype, so a factor of bfloat16 rows goes in as a sum of two such numbers, which
have 16 bits together, 256 times as fine as the rows themselves; a block is in the cache when it is read again.
Everything else is converted to float32 and multiplied a chunk at a time.

Where there are more than two rows, they lie in memory block by block: the first block of every row, the second of
every row, and so on. A sum then reads memory from one end to the other. From rows one after another it reads as many
places at a time as there are rows, which has taken up to twice as long where rows have hundreds of megabytes.
"""

import functools
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["NARROW", "as_one", "centred_products", "errors", "new_rows", "small_sum", "weighted_sum"]

NARROW = (torch.bfloat16, torch.float16, torch.float32)  # for which float32 is wide enough
SMALLEST, LARGEST = 64, 4096  # elements of a block
CHUNK = 2**19  # elements of all rows together that are converted at a time
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
    factors, sums = _float32(weights)[..., None, None], rows.new_zeros(rows.shape[1:], dtype=torch.float32)
    for row in used:
        sums.addcmul_(rows[row].to(torch.float32), factors[:, row])
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
    used = np.union1d(np.flatnonzero(weights), [newest])
    taken = np.stack([weights[used], scale * (used == newest)])
    factors = _float32(np.column_stack([-taken, np.ones(2)]))
    squares = rows.new_zeros(3, dtype=torch.float64)
    for _, chunk in _converted(rows, used.tolist(), feature):
        squares[:2] += _squares(_sums(factors, chunk))
        squares[2:] += _squares(chunk[:, -1:])
    return tuple(squares.tolist())


def centred_products(rows: torch.Tensor, order: Sequence[int], feature: torch.Tensor) -> NDArray[np.float64]:
    """Return what `spectral_forecast.gram.row` does, of a ``feature`` (n,) and one item's ``rows``, in their order."""
    sums = rows.new_zeros(len(order) + 1, dtype=torch.float64)
    for _, chunk in _converted(rows, order, feature):
        newest = chunk[:, -2:-1]
        chunk[:, :-2] -= newest
        chunk[:, -1:] -= newest
        sums += _products(chunk, chunk[:, -1])
    return sums.numpy()


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
        per_sample_weights=factors.repeat_interleave(each, dim=0).flatten(),
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
    blocks = item * np.arange(items)[:, None, None] + place * np.arange(places)[:, None] + np.arange(each)
    indices = blocks[..., None] + row * np.repeat(used, parts)
    return torch.from_numpy(indices.ravel()), torch.from_numpy(np.arange(0, indices.size + 1, indices.shape[-1]))


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


def _float32(weights: NDArray[np.float64]) -> torch.Tensor:
    with np.errstate(over="ignore"):  # a sum that is not finite is for the caller to find
        return torch.from_numpy(weights.astype(np.float32))


def _by_chunks(
    rows: torch.Tensor, used: Sequence[int], lines: Sequence[Sequence[float]], dtype: torch.dtype
) -> torch.Tensor:
    factors, sums = _float32(np.array(lines)), rows.new_empty(rows.shape[1:], dtype=dtype)
    for item, written in enumerate(sums.flatten(1)):
        for part, chunk in _converted(rows[:, item], used):
            written[part] = _sums(factors[item : item + 1], chunk).flatten()
    return sums


def _converted(
    rows: torch.Tensor, used: Sequence[int], feature: torch.Tensor | None = None
) -> Iterator[tuple[slice, torch.Tensor]]:
    """One item's rows (K, blocks, block) in float32, a chunk at a time: which part of them, and what is in it.

    A chunk has the shape (places, rows, length) that its part of the rows has in memory, and lasts until the next one.
    A ``feature`` (n,) is its last row.
    """
    _, blocks, block = rows.shape
    count, runs = len(used) + (feature is not None), _runs(used)
    step = max(1, CHUNK // count)
    pieces = rows.split(step, dim=2) if blocks == 1 else rows.split(max(1, step // block), dim=1)
    scratch = rows.new_empty(count * pieces[0][0].numel(), dtype=torch.float32)
    begin = 0
    for piece in pieces:
        _, places, length = piece.shape
        part = slice(begin, begin + places * length)
        chunk = scratch[: count * places * length].view(places, count, length)
        for place, row, following in runs:
            chunk[:, place : place + following].copy_(piece[row : row + following].transpose(0, 1))
        if feature is not None:
            chunk[:, -1].copy_(feature[part].view(places, length))
        yield part, chunk
        begin = part.stop


def _runs(used: Sequence[int]) -> list[tuple[int, int, int]]:
    """Rows that follow one another: the place of the first among those ``used``, which row that is, and how many."""
    begins = [k for k, row in enumerate(used) if k == 0 or row != used[k - 1] + 1]
    return [(k, used[k], end - k) for k, end in zip(begins, [*begins[1:], len(used)], strict=True)]


def _sums(factors: torch.Tensor, chunk: torch.Tensor) -> torch.Tensor:
    """Sums (places, m, length) of a chunk's rows with ``factors`` (m, rows)."""
    if len(chunk) == 1:  # a product of matrices takes less time than a batch of one
        return (factors @ chunk[0])[None]
    return torch.bmm(factors.expand(len(chunk), *factors.shape), chunk)


def _products(chunk: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
    """Inner products (rows,) of a chunk's rows with a ``row`` (places, length)."""
    if len(chunk) == 1:
        return chunk[0] @ row[0]
    return torch.bmm(row[:, None], chunk.mT).sum(dim=(0, 1))


def _squares(parts: torch.Tensor) -> torch.Tensor:
    """Squared norms (m,) of ``parts`` (places, m, length)."""
    return torch.linalg.vector_norm(parts, dim=-1).double().square().sum(dim=0)


@functools.lru_cache(maxsize=256)
def _block(size: int) -> int:
    """The largest length of a block that divides ``size``; 0 where there is none that is worth it."""
    return next((block for block in range(min(LARGEST, size), SMALLEST - 1, -1) if size % block == 0), 0)
