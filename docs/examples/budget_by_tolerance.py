"""How many evaluations does a tolerance take? Ask once, then fix the number."""

# %% [markdown]
# # A budget by tolerance
#
# `tolerance=` chooses steps on the way, and pays for not knowing anything when it begins. Where many samples of one
# kind are drawn, it is better to ask once, and to take a number of evaluations from then on. It needs the extra
# `demo`.

# %%
from spectral_forecast.adapters.diffusers import accelerate, report, restore
from spectral_forecast.benchmarks import digits

pipe = digits.pipeline()


def draw():
    """Draw two digits from the same noise."""
    return digits.sample(pipe, range(2), steps=50, guidance=2.0)


full = draw()


def run(**budget):
    """Draw with a budget; return evaluations, the estimated and the true relative error of the sample."""
    accelerate(pipe, **budget)
    samples = draw()
    told = report(pipe)
    restore(pipe)
    return told.evaluations, told.sample_error, float((samples - full).norm() / full.norm())


# %% [markdown]
# Three tolerances. The estimate is what the run knows of itself; the true error needs the full run.

# %%
print("tolerance  evaluations  estimate   error")
for tolerance in (0.1, 0.03, 0.01):
    spent, estimate, error = run(tolerance=tolerance)
    print(f"{tolerance:9g} {spent:12d} {estimate:9.4f} {error:7.4f}")

# %% [markdown]
# The same errors with a number of evaluations, chosen beforehand and balanced over all steps. Its estimate is there,
# too, so that the least number can be searched without a full run. Since the estimate is now and then too low by a
# factor of two, half of the tolerance is asked for.

# %%
print("evaluations  estimate   error")
rows = [run(evaluations=count) for count in (6, 8, 10, 14, 20)]
for spent, estimate, error in rows:
    print(f"{spent:11d} {estimate:9.4f} {error:7.4f}")
least = next(spent for spent, estimate, _ in rows if estimate <= 0.015)
print(f"for 0.03: {least} evaluations")

# %% [markdown]
# What it prints:
#
# ```{literalinclude} output/budget_by_tolerance.txt
# ```
#
# How far the estimate can be trusted on other models: [tolerance.md](../tolerance.md).
