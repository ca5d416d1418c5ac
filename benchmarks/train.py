"""Train a small model: ``python -m spectral_forecast.benchmarks.train NAME``.

Writes the weights of the averaged network in half precision, and the facts of the run with its loss curve, every two
minutes and at the end, so that a run that is stopped leaves a model behind. It ends after as many updates as the
model's recipe says; `--minutes` bounds it.
"""

import argparse
import importlib
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tqdm import tqdm

from spectral_forecast.benchmarks import stored

SEED = 0
UNCONDITIONAL = 0.1
AVERAGE = 0.998
SAVE_EVERY = 120.0


@dataclass(frozen=True)
class Recipe:
    """How long, and how fast: updates, examples an update, peak learning rate, and a bound on the minutes."""

    updates: int
    batch: int
    rate: float = 1.5e-3
    minutes: float = 25.0


RECIPES = {
    "digits": Recipe(updates=12000, batch=128, minutes=55.0),
    "photographs": Recipe(updates=6000, batch=32, rate=2e-3),
    "digits_ddim": Recipe(updates=6000, batch=32, rate=2e-3),
    "digits_unet": Recipe(updates=4000, batch=32),
    "moving_digits": Recipe(updates=6000, batch=16, rate=2e-3),
}


def train(model: ModuleType, recipe: Recipe, folder: Path) -> None:
    """Train the network of a module of models, and save it in ``folder`` now and then and at the end.

    The module has ``examples``, clean data with classes; ``corrupt``, which makes them noisy; and ``inputs``, what
    its network is called with. A tenth of the classes is replaced by "no class", so that guidance works.
    """
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    network = model.NETWORK(
        **model.CONFIG
    ).eval()  # in training mode diffusers' DiT drops classes by itself, in each block
    average = torch.optim.swa_utils.AveragedModel(network, avg_fn=running_mean)
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.rate, betas=(0.9, 0.98), weight_decay=0.01)
    losses: list[float] = []
    start = saved = time.monotonic()
    bar = tqdm(total=1.0, bar_format="{l_bar}{bar}| {postfix}", mininterval=10.0, disable=None)
    while True:
        elapsed = time.monotonic() - start
        done = max(len(losses) / recipe.updates, elapsed / (60.0 * recipe.minutes))
        if done >= 1.0:
            break
        for group in optimizer.param_groups:
            group["lr"] = rate(recipe.rate, len(losses), done)
        clean, classes = model.examples(recipe.batch, generator)
        drop = torch.rand(recipe.batch, generator=generator) < UNCONDITIONAL
        classes = torch.where(drop, torch.tensor(model.CLASSES), classes)
        noisy, times, target = model.corrupt(clean, generator)
        predicted = network(**model.inputs(noisy, times, classes), return_dict=False)[0]
        loss = torch.nn.functional.mse_loss(predicted, target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(network)
        losses.append(float(loss.detach()))
        bar.n = done
        bar.set_postfix_str(f"update {len(losses)}, loss {np.mean(losses[-50:]):.4f}")
        if time.monotonic() - saved > SAVE_EVERY:
            saved = time.monotonic()
            facts = describe(model, network, recipe, losses, saved - start)
            save(average.module, facts, folder / model.NAME)
    bar.close()
    save(average.module, describe(model, network, recipe, losses, time.monotonic() - start), folder / model.NAME)


def running_mean(mean: torch.Tensor, new: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """Return the average of the newest parameters, of some 500 updates later on and of fewer in the beginning."""
    return torch.lerp(new, mean, min(AVERAGE, (1.0 + float(count)) / (10.0 + float(count))))


def rate(peak: float, update: int, done: float) -> float:
    """Return the learning rate: a hundred updates of warm-up, then half a cosine down to zero."""
    return peak * min(1.0, (update + 1) / 100) * 0.5 * (1.0 + math.cos(math.pi * done))


def describe(
    model: ModuleType, network: torch.nn.Module, recipe: Recipe, losses: list[float], seconds: float
) -> dict[str, Any]:
    """The facts of a run, with the loss averaged over 50 updates."""
    return {
        "config": model.CONFIG,
        "parameters": sum(value.numel() for value in network.parameters()),
        "seed": SEED,
        "batch": recipe.batch,
        "updates": len(losses),
        "seconds": int(seconds),
        "threads": torch.get_num_threads(),
        "loss": [round(float(np.mean(losses[i : i + 50])), 5) for i in range(0, len(losses), 50)],
    }


def save(network: torch.nn.Module, facts: dict[str, Any], path: Path) -> None:
    """Write parameters in half precision, and the facts, as ``path`` with two endings."""
    parameters = {name for name, _ in network.named_parameters()}
    state = {
        name: (value.detach().half() if name in parameters else value).contiguous()
        for name, value in network.state_dict().items()
    }
    save_file(state, path.with_suffix(".safetensors"))
    path.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n")


def main() -> None:
    """Parse the command line, train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=sorted(RECIPES))
    parser.add_argument("--minutes", type=float, help="stop after so many minutes at the latest")
    parser.add_argument("--updates", type=int, help="stop after so many updates at the latest")
    parser.add_argument("--out", type=Path, default=stored.WEIGHTS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    known = RECIPES[options.name]
    recipe = Recipe(
        updates=options.updates or known.updates,
        batch=known.batch,
        rate=known.rate,
        minutes=options.minutes or known.minutes,
    )
    train(importlib.import_module(f"spectral_forecast.benchmarks.{options.name}"), recipe, options.out)


if __name__ == "__main__":
    main()
