"""Are the digits model's samples digits? ``python -m spectral_forecast.benchmarks.check_digits`` writes docs/digits.md.

A classifier that is trained on handwritten digits reads samples of the full 50-step run.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from spectral_forecast.benchmarks import digits
from spectral_forecast.plot import tiles

GUIDANCES = (1.0, 2.0, 4.0)


def read(count: int, guidance: float, *, batch: int = 100) -> float:
    """Return the share of ``count`` samples, all classes equally often, that the classifier reads as intended."""
    model, _ = digits.classifier()
    pipe = digits.pipeline()
    right = 0
    for start in tqdm(range(0, count, batch), desc=f"guidance {guidance:g}", unit="batch", disable=None):
        wanted = np.arange(start, min(start + batch, count)) % digits.CLASSES
        samples = digits.sample(pipe, wanted, guidance=guidance, seed=1000 + start)
        right += int((model.predict(samples.reshape(len(wanted), -1).numpy()) == wanted).sum())
    return right / count


def draw(folder: Path, losses: list[float]) -> None:
    """Draw the loss curve, and ten unguided and guided samples of each class."""
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axis = figure.subplots()
    axis.plot(50 * np.arange(1, len(losses) + 1), losses)
    axis.set(xlabel="update", ylabel="flow-matching loss (mean of 50 updates)", yscale="log")
    axis.grid(visible=True, which="both", alpha=0.3)
    figure.savefig(folder / "digits_loss.png", dpi=110)
    figure = Figure(figsize=(9, 4.7), layout="constrained")
    for axis, guidance in zip(figure.subplots(1, 2), (1.0, 2.0), strict=True):
        samples = digits.sample(digits.pipeline(), np.repeat(np.arange(10), 10), guidance=guidance, seed=1)
        axis.imshow(tiles(samples, 10), cmap="gray", vmin=0, vmax=1)
        axis.set_title(f"guidance {guidance:g}")
        axis.set_axis_off()
    figure.savefig(folder / "digits_samples.png", dpi=110)


def main() -> None:
    """Read, draw, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="samples for each guidance scale")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    options = parser.parse_args()
    facts = json.loads((digits.WEIGHTS / "digits_flux.json").read_text())
    config = facts["config"]
    _, held_out = digits.classifier()
    rows = "\n".join(f"| {scale:g} | {100 * read(options.count, scale):.1f} % |" for scale in GUIDANCES)
    (options.out / "images").mkdir(parents=True, exist_ok=True)
    draw(options.out / "images", facts["loss"])
    (options.out / "digits.md").write_text(f"""# The digits model

Written by `python -m spectral_forecast.benchmarks.check_digits`.

A class-conditional `FluxTransformer2DModel` of {facts["parameters"]:,} parameters
({config["num_layers"]} double and {config["num_single_layers"]} single blocks, 64 image tokens), trained from
scratch by flow matching on scikit-learn's 1797 handwritten digits, enlarged to 16 × 16; the class is dropped from a
tenth of the batch, so that guidance works. Training images are shifted by up to one pixel and wrap around, which the
model has learnt: some samples show a bright line at an edge.

`python -m spectral_forecast.benchmarks.train digits` repeats it: seed {facts["seed"]}, {facts["updates"]} updates of
{facts["batch"]} images, {facts["seconds"] / 60:.0f} minutes on {facts["threads"]} CPU threads that were shared with
other work. Weights are stored in half precision.

![loss](images/digits_loss.png)

A support-vector classifier, fitted to half of the handwritten digits, reads {100 * held_out:.1f} % of the other
half correctly. Of {options.count} samples of the full run (50 Euler steps, all classes equally often) it reads as
intended:

| guidance | read as intended |
|---|---|
{rows}

![samples](images/digits_samples.png)
""")


if __name__ == "__main__":
    main()
