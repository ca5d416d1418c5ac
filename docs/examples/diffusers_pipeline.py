"""Accelerate a diffusers pipeline; compare with the full run, and with as many steps of plain samplers."""

# %% [markdown]
# # A diffusers pipeline
#
# The pipeline is diffusers' own `FluxPipeline`, around the small transformer that ships with this library. Any other
# would do: `pipe = DiffusionPipeline.from_pretrained(...)`. It needs the extra `demo`.

# %%
from spectral_forecast import Corrector, TaylorSeer, metrics, schedules, spectrum
from spectral_forecast.adapters.diffusers import accelerate, limits, report, restore
from spectral_forecast.benchmarks import digits

pipe = digits.pipeline()


def draw(steps=50):
    """Draw four digits, always from the same noise; here would be your own call of the pipeline."""
    return digits.sample(pipe, range(4), steps=steps, guidance=2.0).clamp(-1, 1)


full = draw()
print(limits(pipe.scheduler).why)

# %% [markdown]
# One line makes it faster. The report says what ran, what was forecast, and how wrong each forecast was that an
# evaluation replaced.

# %%
accelerate(pipe, evaluations=14)
fast = draw()
told = report(pipe)
print(told.line)
print("evaluated:", schedules.steps(schedules.mask(told.steps, told.evaluated["cond"])))
print(f"largest error of a forecast that was replaced: {max(e for e in told.errors['cond'] if e is not None):.1f}")
print("odd:", told.events)
restore(pipe)

# %% [markdown]
# Every part can be exchanged. PSNR is against the full run, of pictures with a range of 2.


# %%
def quality(samples):
    """PSNR in dB against the full run."""
    return metrics.psnr(samples, full, data_range=2.0)


print(f"{'default':38} {quality(fast):5.1f} dB")
for name, options in {
    "without the corrector": {"corrector": None},
    "features instead of outputs": {"at": "features"},
    "even steps": {"schedule": schedules.even},
    "Spectrum's rule, our schedule": {"forecaster": spectrum(0.5)},
    "TaylorSeer, even steps, no corrector": {
        "forecaster": TaylorSeer(2),
        "schedule": schedules.even,
        "corrector": None,
    },
    "a cubic instead of a parabola": {"corrector": Corrector(degree=3)},
}.items():
    accelerate(pipe, evaluations=14, **options)
    print(f"{name:38} {quality(draw()):5.1f} dB")
    restore(pipe)
print(f"{'plain Euler with 14 steps':38} {quality(draw(14)):5.1f} dB")

# %% [markdown]
# What it prints:
#
# ```{literalinclude} output/diffusers_pipeline.txt
# ```
