"""Are the small models' samples what they should be? ``python -m spectral_forecast.benchmarks.check_models``.

Writes docs/models.md: where each model's data are from, how it was trained, and how many samples of the full 50-step
run a classifier takes for what was asked for.
"""

import argparse
import importlib
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from spectral_forecast.benchmarks import stored
from spectral_forecast.plot import tiles

GUIDANCES = (1.0, 2.0, 4.0)
DATA = {
    "photographs": "32 × 32 pieces, half of them mirrored, of eight pictures of scikit-image (astronaut, brick, "
    "camera, chelsea, coffee, grass, gravel, rocket; public domain or CC0, all inside its package), reduced to 96 "
    "pixels along the shorter side",
    "moving_digits": "scikit-learn's 1797 handwritten digits, 8 × 8, crossing a black field of 16 × 16 along a row or "
    "a column in 8 frames",
    "digits_ddim": "scikit-learn's 1797 handwritten digits, enlarged to 16 × 16",
    "digits_unet": "scikit-learn's 1797 handwritten digits, enlarged to 16 × 16",
}
SEEN = {  # by us, in the pictures that `draw` makes
    "photographs": "Colours, light and texture are those of the right picture; there are no objects (no face, no eye, "
    "no tower), and patches of 4 × 4 pixels show. With guidance 4 samples leave the range of pixels.",
    "moving_digits": "The weakest of the five. What moves is of the right size and mostly moves by a pixel or two a "
    "frame, but its shape wavers and is often not the digit that was asked for. The loss was still falling when the "
    "time was up.",
    "digits_ddim": "Clean digits with guidance, a few ambiguous ones without.",
    "digits_unet": "Clean digits with guidance, a few ambiguous ones without.",
}


def accepted(model: ModuleType, count: int, guidance: float, *, batch: int = 50) -> float:
    """Return the share of ``count`` samples, all classes about equally often, that are read as intended."""
    pipe = model.pipeline()
    right = 0
    for start in tqdm(range(0, count, batch), desc=f"{model.NAME}, guidance {guidance:g}", unit="batch", disable=None):
        wanted = np.arange(start, min(start + batch, count)) % model.CLASSES
        samples = model.sample(pipe, wanted.tolist(), guidance=guidance, seed=1000 + start)
        right += int((model.read(samples) == wanted).sum())
    return right / count


def draw(model: ModuleType, facts: dict[str, Any], path: Path) -> None:
    """Draw the loss curve, and unguided and guided samples of each class (of videos: each a row of frames)."""
    figure = Figure(figsize=(11, 3.9), layout="constrained")
    axes = figure.subplots(1, 3, width_ratios=(1, 1.2, 1.2))
    axes[0].plot(50 * np.arange(1, len(facts["loss"]) + 1), facts["loss"])
    axes[0].set(xlabel="update", ylabel="loss (mean of 50 updates)", yscale="log")
    axes[0].grid(visible=True, which="both", alpha=0.3)
    for axis, guidance in zip(axes[1:], (1.0, 2.0), strict=True):
        wanted = np.arange(model.CLASSES).repeat(1 if hasattr(model, "FRAMES") else 8)
        samples = model.sample(model.pipeline(), wanted.tolist(), guidance=guidance, seed=1)
        if hasattr(model, "FRAMES"):
            samples = samples.flatten(0, 1)
        axis.imshow(tiles(samples, 8), cmap="gray", vmin=0, vmax=1)
        axis.set_title(f"guidance {guidance:g}")
        axis.set_axis_off()
    figure.savefig(path, dpi=100)


def section(name: str, count: int, folder: Path) -> str:
    """Return the page's part on one model."""
    model = importlib.import_module(f"spectral_forecast.benchmarks.{name}")
    facts = stored.facts(model.NAME)
    draw(model, facts, folder / f"{model.NAME}.png")
    shares = " | ".join(f"{100 * accepted(model, count, guidance):.1f} %" for guidance in GUIDANCES)
    _, held_out = model.classifier()
    trained = (
        f"Data: {DATA[name]}. {facts['parameters']:,} parameters; {facts['updates']} updates of {facts['batch']} "
        f"examples, seed {facts['seed']}, {facts['seconds'] / 60:.0f} minutes on {facts['threads']} CPU thread of the "
        f"lowest priority, beside other work. The last loss is {facts['loss'][-1]:.4f}."
    )
    return f"""## `benchmarks.{name}`: {model.NETWORK.__name__}

{textwrap.fill(trained, 120)}

| of {count} samples read as intended, at guidance | {" | ".join(f"{guidance:g}" for guidance in GUIDANCES)} | data |
|---|{"---|" * (len(GUIDANCES) + 1)}
| | {shares} | {100 * held_out:.1f} % |

{textwrap.fill(SEEN[name], 120)}

![loss and samples](images/{model.NAME}.png)
"""


def main() -> None:
    """Draw, read, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="samples for each guidance scale")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    options = parser.parse_args()
    (options.out / "images").mkdir(parents=True, exist_ok=True)
    parts = [section(name, options.count, options.out / "images") for name in DATA]
    (options.out / "models.md").write_text(HEAD + "\n".join(parts))


HEAD = """# The small trained models

Written by `python -m spectral_forecast.benchmarks.check_models`.

Five networks of five kinds, small enough to be trained and sampled on a CPU, so that what is measured does not rest on
random weights. [digits.md](digits.md) is about the first, a FLUX transformer; this page is about the four others. Each
is diffusers' own class in diffusers' own pipeline; only text encoders and autoencoders are missing. A class is handed
over as a one-hot embedding (the DiT takes its number) and dropped from a tenth of the batch, so that guidance works.

| module of `spectral_forecast.benchmarks` | network | pipeline | predicts | scheduler |
|---|---|---|---|---|
| `digits` | FLUX | `FluxPipeline` | velocity | flow-matching Euler, shift 3 |
| `photographs` | Stable Diffusion 3 | `StableDiffusion3Pipeline` | velocity | flow-matching Euler, shift 3 |
| `moving_digits` | Wan, video | `WanPipeline` | velocity | flow-matching Euler, shift 5 |
| `digits_ddim` | DiT | `DiTPipeline` | noise | DDIM, linear noise |
| `digits_unet` | U-Net of SDXL's kind | `StableDiffusionXLPipeline` | v | Euler, SDXL's noise |

All have `pipeline(model=None, *, scheduler=...)`, `sample(pipe, classes, *, steps, guidance, seed, after_step)`,
`noise(count, *, seed)`, `read(samples)`, which says what class a classifier takes samples for, and for training
`examples`, `corrupt` and `inputs`. All but the DiT, whose pipeline leaves no choice, have `sample(..., negative=)`, the
class that guidance leads away from. Weights are stored in half precision and computed in float32.

`python -m spectral_forecast.benchmarks.train NAME`, with a name of the first column, trains one again. How fast the
learning rate falls depends on the clock if `--minutes` ends the run, as it did here, so another run will not give
the same weights.

The tables below say how many samples of the full 50-step run are read as intended by a support-vector classifier, and
what it makes of data: the half of the digits that it was not fitted to, other pieces of the same pictures, other
videos of the same digits. It says whether a sample shows the right class, not whether it is beautiful: look at the
pictures, too.

"""


if __name__ == "__main__":
    main()
