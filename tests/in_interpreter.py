"""A program for `test_torch_ring`: the kernels of GPUs in Triton's interpreter, against the portable ring."""

import numpy as np
import torch

from spectral_forecast.adapters._session import kernels
from spectral_forecast.adapters._session.ring import TorchRing
from spectral_forecast.ring import Ring

for dtype, close in ((torch.bfloat16, 2e-2), (torch.float16, 2e-3), (torch.float32, 1e-5)):
    for shape in ((3, 1000), (2, 64, 33), (4097,)):
        generator = torch.Generator().manual_seed(0)
        reference, ring = Ring(3), TorchRing(3)
        for row in range(3):
            feature = torch.randn(shape, generator=generator).to(dtype)
            reference.put(row, feature)
            ring.put(row, feature)
        ring.kernels = kernels
        weights = np.array([0.0, -1.25, 2.5])
        part = torch.full((shape[0] if len(shape) > 1 else 1, *[1] * (len(shape) - 1)), 0.3)
        part = part * torch.arange(1, part.numel() + 1).reshape(part.shape)
        x, new = torch.randn(shape, generator=generator), torch.randn(shape, generator=generator).to(dtype)
        pairs = [(one.sum(weights), one.drawn(weights, part), one.moved(x, weights)) for one in (ring, reference)]
        pairs = [
            *zip(*pairs, strict=True),
            *zip(ring.misses(weights, new), reference.misses(weights, new), strict=True),
        ]
        for found, expected in pairs:
            assert found.shape == expected.shape
            assert found.dtype == expected.dtype
            torch.testing.assert_close(found.float(), expected.float(), rtol=close, atol=5 * close)
