"""Train the digits model by flow matching: ``python -m spectral_forecast.benchmarks.train_digits``.

Writes the weights (half precision), the loss curve and the facts of the run next to this file. With the
default settings it takes under an hour on two CPU cores; `--minutes` bounds it.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import FluxTransformer2DModel
from safetensors.torch import save_file
from tqdm import tqdm

from spectral_forecast.benchmarks import digits

SEED = 0
BATCH = 128
PEAK_RATE = 1.5e-3
UNCONDITIONAL = 0.1
AVERAGE = 0.998


def batch(pixels: torch.Tensor, classes: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """One batch: noisy tokens, flow time, velocity to predict, classes with a tenth replaced by "no class"."""
    pick = torch.randint(len(pixels), (BATCH,), generator=generator)
    shift = torch.randint(-1, 2, (2,), generator=generator).tolist()
    clean = digits.pack(torch.roll(pixels[pick], shifts=shift, dims=(1, 2)))
    drop = torch.rand(BATCH, generator=generator) < UNCONDITIONAL
    label = torch.where(drop, torch.tensor(digits.CLASSES), classes[pick])
    # Stratified logit-normal flow times, centred where the sampler's shift puts most of its steps.
    uniform = (torch.arange(BATCH) + torch.rand(BATCH, generator=generator)) / BATCH
    sigma = torch.sigmoid(math.sqrt(2.0) * 1.2 * torch.erfinv(2.0 * uniform - 1.0).clamp(-4, 4) + 0.3)
    eps = torch.randn(clean.shape, generator=generator)
    noisy = (1.0 - sigma[:, None, None]) * clean + sigma[:, None, None] * eps
    return noisy, sigma, eps - clean, label


def train(minutes: float, steps: int) -> tuple[FluxTransformer2DModel, list[float], int]:
    """Train for ``steps`` updates or ``minutes``, whichever ends first; the averaged model and its losses."""
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    pixels, classes = (torch.from_numpy(part) for part in digits.dataset())
    model = FluxTransformer2DModel(**digits.CONFIG).train()
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGE)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    image_ids, text_ids = digits.token_ids()
    losses: list[float] = []
    start = time.monotonic()
    bar = tqdm(total=1.0, bar_format="{l_bar}{bar}| {postfix}")
    while True:
        done = max(len(losses) / steps, (time.monotonic() - start) / (60.0 * minutes))
        if done >= 1.0:
            break
        rate = PEAK_RATE * min(1.0, (len(losses) + 1) / 100) * 0.5 * (1.0 + math.cos(math.pi * done))
        for group in optimizer.param_groups:
            group["lr"] = rate
        noisy, sigma, velocity, label = batch(pixels, classes, generator)
        condition = digits.embed(label)
        predicted = model(
            hidden_states=noisy,
            timestep=sigma,
            encoder_hidden_states=condition.prompt_embeds,
            pooled_projections=condition.pooled_prompt_embeds,
            img_ids=image_ids,
            txt_ids=text_ids,
            return_dict=False,
        )[0]
        loss = torch.nn.functional.mse_loss(predicted, velocity)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(model)
        losses.append(float(loss.detach()))
        bar.n = done
        bar.set_postfix_str(f"update {len(losses)}, loss {np.mean(losses[-50:]):.4f}")
    bar.close()
    return average.module.eval(), losses, int(time.monotonic() - start)


def save(model: FluxTransformer2DModel, losses: list[float], seconds: int, folder: Path) -> None:
    """Write weights in half precision, and the run's facts with the loss averaged over 50 updates."""
    half = {name: value.detach().half().contiguous() for name, value in model.state_dict().items()}
    save_file(half, folder / "digits_flux.safetensors")
    facts = {
        "config": digits.CONFIG,
        "parameters": sum(value.numel() for value in half.values()),
        "seed": SEED,
        "batch": BATCH,
        "updates": len(losses),
        "seconds": seconds,
        "threads": torch.get_num_threads(),
        "loss": [round(float(np.mean(losses[i : i + 50])), 5) for i in range(0, len(losses), 50)],
    }
    (folder / "digits_flux.json").write_text(json.dumps(facts, indent=1) + "\n")


def main() -> None:
    """Parse the command line, train, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=55.0)
    parser.add_argument("--steps", type=int, default=12000)
    parser.add_argument("--out", type=Path, default=digits.WEIGHTS)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    save(*train(arguments.minutes, arguments.steps), arguments.out)


if __name__ == "__main__":
    main()
