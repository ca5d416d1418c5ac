"""How are many requests forecast that share one network, and join and leave at any step?

A server with continuous batching calls the network once a tick for whichever requests there are. Here each request
brings a plan of its own, and a tick evaluates those whose plans say so, in as few calls as possible, and forecasts the
others. Features are kept by request, in as many bytes as were told beforehand and not one more.

>>> import numpy as np
>>> import torch
>>> from spectral_forecast import Newton, make_plan, schedules
>>> from spectral_forecast.adapters.serving import Pool
>>> def model(x, t):
...     print(f"evaluates {len(x)} items")
...     return -x * t[:, None]
>>> pool = Pool(model, max_bytes=2**20)
>>> x = torch.ones(1, 4)
>>> plans = [make_plan(Newton(1), np.arange(4), schedules.mask(4, steps)) for steps in ([0, 1, 3], [0, 1, 2])]
>>> first, second = (pool.join(plan, x) for plan in plans)
>>> for step in range(4):
...     outputs = pool.call({first: (x, 1.0 - step / 4), second: (x, 1.0 - step / 4)})
evaluates 2 items
evaluates 2 items
evaluates 1 items
evaluates 1 items
>>> second.report.forecast
{'call 0': [3]}
>>> pool.nbytes
0
"""

from spectral_forecast.adapters._session import Report
from spectral_forecast.adapters.serving._batches import alike, concatenate, split
from spectral_forecast.adapters.serving._pool import FullError, Pool
from spectral_forecast.adapters.serving._report import PoolReport
from spectral_forecast.adapters.serving._request import Request

__all__ = ["FullError", "Pool", "PoolReport", "Report", "Request", "alike", "concatenate", "split"]
