"""Where are features kept that their own device has no room for? In the host's memory, a forecast ahead."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from spectral_forecast._typing import Weights
from spectral_forecast.adapters._session.ring import TorchRing

__all__ = ["HostRing"]


class _Sent(NamedTuple):
    """A sum on the features' device, and the stream that brings it, if there is one."""

    sums: torch.Tensor
    stream: Any


class _Coming(NamedTuple):
    """A sum that is being made, and with which weights."""

    weights: NDArray[np.float64]
    sent: "Future[_Sent]"


class HostRing(TorchRing):
    """Features of another device in the host's memory, pinned; they are summed there, and only forecasts go back.

    Skipped steps come one after another: while the network's head and the sampler work on one forecast, a thread makes
    the next and sends it on a stream of its own. Then two forecasts are on the device at a time.
    """

    eager = True

    def __init__(self, kept: int, *, dtype: torch.dtype | None = None) -> None:
        super().__init__(kept, dtype=dtype)
        self._stream: Any = None
        self._coming: _Coming | None = None

    def put(self, row: int, feature: torch.Tensor) -> None:
        """Keep a copy of a feature, once nothing reads the rows any more."""
        self._settled()
        super().put(row, feature)

    def ahead(self, weights: Weights, part: torch.Tensor | None = None) -> None:
        """Begin with what `sum`, or with a ``part`` `drawn`, will be asked for next."""
        table = weights[None] if part is None else self._between(weights, part)
        if table is None or not self.chunked:
            return
        self._settled()
        self._coming = _Coming(table, _begun(lambda: self._sent(table)))

    def _rows_for(self, feature: torch.Tensor) -> torch.Tensor:
        return self._memory(feature, torch.device("cpu"), pinned=feature.is_cuda)

    def _weighted(self, weights: NDArray[np.float64]) -> torch.Tensor:
        coming = self._settled()
        if coming is not None and np.array_equal(coming.weights, weights):
            sums, stream = coming.sent.result()
        else:
            sums, stream = self._sent(weights)
        if stream is not None:
            current = torch.cuda.current_stream(sums.device)
            current.wait_stream(stream)
            sums.record_stream(current)  # or its memory could be given away while this stream reads it
        return sums

    def _sent(self, weights: NDArray[np.float64]) -> _Sent:
        """Sum on the host and send it; by whichever thread."""
        sums = super()._weighted(weights)
        if not self.like.is_cuda:
            return _Sent(sums.to(self.like.device), None)
        if self._stream is None:
            self._stream = torch.cuda.Stream(self.like.device)
        with torch.cuda.stream(self._stream):
            return _Sent(sums.to(self.like.device), self._stream)

    def _settled(self) -> _Coming | None:
        """Wait for the sum that is being made; what came of it is for whoever asked."""
        coming, self._coming = self._coming, None
        if coming is not None:
            coming.sent.exception()
        return coming


def _begun(make: Callable[[], _Sent]) -> "Future[_Sent]":
    """Let a thread make something."""
    future: Future[_Sent] = Future()

    def run() -> None:
        try:
            future.set_result(make())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="spectral_forecast: the next forecast", daemon=True).start()
    return future
