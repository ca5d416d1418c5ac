"""Weights, worst cases and a forecast, with NumPy alone."""

# %% [markdown]
# # Numerics, without any framework
#
# Everything here is NumPy and needs no extra. A feature is a function of time that is known at a few points; how well
# can it be continued?

# %%
import numpy as np

from spectral_forecast import AnalyticKernel, Newton, Reuse, TaylorSeer, bounds, combine, ellipse, spectrum

times, t = np.array([-1.0, -0.96, -0.92, -0.84, -0.72]), -0.6
rules = [Reuse(), Newton(1), Newton(2), TaylorSeer(2), spectrum(), spectrum(0.5, mode="free"), AnalyticKernel(2.0)]

# %% [markdown]
# A rule is judged by its weights: their sum (1 where constants are kept), their absolute sum (by which noise is
# amplified), and the exact worst case over all features that are analytic in an ellipse and bounded there by 1.

# %%
print(f"{'rule':70} {'sum':>6} {'|w|':>6} {'rho=1.5':>8} {'rho=3':>8}")
for rule in rules:
    w = rule.weights(times, t)
    worst = [bounds.worst_case(w, times, t, rho=rho) for rho in (1.5, 3.0)]
    print(f"{rule!r:70} {w.sum():6.3f} {np.abs(w).sum():6.2f} {worst[0]:8.3f} {worst[1]:8.4f}")

# %% [markdown]
# Which ellipse? A function with poles at ±0.5i is analytic in the largest one that leaves them out. The error of each
# rule is below its worst case, and the order need not be the same: the worst function is another one for each rule.

# %%
rho = ellipse.largest([0.5j, -0.5j])
inside = 0.98 * rho
bound = ellipse.bound(lambda z: 1.0 / (1.0 + 4.0 * z**2), inside)
print(f"rho = {rho:.3f}; at most {bound:.1f} in the ellipse {inside:.3f}")
feature = lambda x: 1.0 / (1.0 + 4.0 * x**2)  # noqa: E731
for rule in rules:
    w = rule.weights(times, t)
    error = abs(combine(w, [feature(x) for x in times]) - feature(t))
    worst = bound * bounds.worst_case(w, times, t, rho=inside)
    print(f"{rule!r:70} error {error:.4f}, at most {worst:7.3f}")
    assert error <= worst

# %% [markdown]
# What no rule can beat: features known to 0.4 % (bfloat16) can be continued to 0.004^α of their bound, and not at all
# where the exponent α is 0. Here that is reached when the target lies as far beyond the kept times as in the rows
# above.

# %%
for point in (-0.71, -0.68, -0.64, -0.6):
    print(f"t = {point}: exponent {bounds.stable_exponent(times, point, rho=rho):.2f}")

# %% [markdown]
# What it prints:
#
# ```{literalinclude} output/numerics.txt
# ```
