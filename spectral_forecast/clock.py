"""Where on [-1, 1], where global rules and bounds live, is a time of a run?"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["map_clock"]


def map_clock(clock: NDArray[np.float64], span: tuple[float, float] | None) -> NDArray[np.float64]:
    """Return a run's clock mapped onto [-1, 1].

    Parameters
    ----------
    clock : ndarray of float64, shape (N,)
        Strictly increasing.
    span : tuple of float, optional
        Start and end of what is mapped, around ``clock``; by default its first and last time.

    Returns
    -------
    ndarray of float64, shape (N,)

    Examples
    --------
    >>> import numpy as np
    >>> map_clock(np.arange(4.0), (0.0, 4.0))
    array([-1. , -0.5,  0. ,  0.5])
    """
    if span is None and clock.size == 1:
        return np.array([-1.0])
    start, end = (clock[0], clock[-1]) if span is None else map(float, span)
    if not (np.isfinite([start, end]).all() and start < end and start <= clock[0] and clock[-1] <= end):
        raise ValueError(
            f"`span` is ({start:.6g}, {end:.6g}); write a start and a later end around the times "
            f"[{clock[0]:.6g}, {clock[-1]:.6g}]."
        )
    return np.asarray(2.0 * ((clock - start) / (end - start)) - 1.0)
