"""What did a pool of requests do?"""

from dataclasses import dataclass

__all__ = ["PoolReport"]


@dataclass
class PoolReport:
    """What a pool did since it was made. Made by `Pool.report`; printing it gives a table.

    Attributes
    ----------
    joined, finished, left, refused : int
        Requests that were let in, did all their steps, were taken out by `leave`, or met a `FullError`.
    requests : int
        That are in now.
    ticks, calls : int
        Calls of the pool, and of the network; calls that only ran its head are not counted.
    evaluated, forecast : int
        Steps of requests, one for each stream.
    restarts : int
        How often a request's features were dropped in mid-run; its own report says why.
    nbytes, reserved, peak_bytes : int
        Bytes that kept features take now, may take, and took at most.
    seconds : float
        Time spent in forecasting, without the head's where features are forecast.
    """

    joined: int = 0
    finished: int = 0
    left: int = 0
    refused: int = 0
    requests: int = 0
    ticks: int = 0
    calls: int = 0
    evaluated: int = 0
    forecast: int = 0
    restarts: int = 0
    nbytes: int = 0
    reserved: int = 0
    peak_bytes: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        batch = f", {self.evaluated / self.calls:.1f} a call of the network" if self.calls else ""
        return "\n".join(
            [
                f"{self.joined} requests joined, {self.requests} are in",
                f"  over            {self.finished} finished, {self.left} left before, {self.refused} were refused",
                f"  ticks           {self.ticks}, with {self.calls} calls of the network",
                f"  steps           {self.evaluated} evaluated{batch}, {self.forecast} forecast",
                f"  features held   {self.nbytes / 2**20:.2f} MiB now, {self.peak_bytes / 2**20:.2f} MiB at most",
                f"  in forecasting  {1e3 * self.seconds:.1f} ms",
                f"  restarts        {self.restarts}",
            ]
        )
