"""Spectrum's bound term by term, against formulas with explicit inverses, and the words of its refusals."""

import re

import numpy as np
import pytest
from numpy.polynomial import chebyshev

from spectral_forecast import Chebyshev, bounds

TIMES = np.array([-1.0, -0.8, -0.5, -0.1, 0.2])
CROWDED = np.linspace(-1.0, -1.0 + 1e-6, 8)  # six Chebyshev polynomials, which float64 cannot tell apart here
EPS = np.finfo(np.float64).eps


def formula(times, degree, penalty, tail, noise, norm, *, printed=False):
    """Theorem 3.3 with the amplification at the worst singular value, or as printed at the smallest."""
    phi = chebyshev.chebvander(times, degree)
    sigma = np.linalg.svd(phi, compute_uv=False)
    least = sigma[-1] if times.size > degree else 0.0
    used = np.array([least]) if printed else sigma
    amplification = np.sqrt((degree + 1) * times.size) * np.max(used / (used**2 + penalty))
    return tail + amplification * (tail + noise) + np.sqrt(degree + 1) * penalty / (least**2 + penalty) * norm


def tail_and_norm(degree, rho):
    """Epsilon and the largest norm of the low coefficients, for a feature bounded by 1."""
    decay = sum(rho ** (-2 * m) for m in range(1, degree + 1))
    return 2.0 * rho**-degree / (rho - 1.0), np.sqrt(1.0 + 4.0 * decay)


@pytest.mark.parametrize("degree", [0, 1, 4, 7])
@pytest.mark.parametrize("penalty", [1e-3, 0.1, 1.0, 50.0])
def test_both_forms_are_their_formulas(degree, penalty):
    for rho in (1.2, 3.0):
        tail, norm = tail_and_norm(degree, rho)
        known = {"degree": degree, "ridge": penalty}
        for size in (0.0, 1.0, 2.5):
            for noise in (0.0, 0.3):
                expected = formula(TIMES, degree, penalty, size * tail, noise, size * norm)
                found = bounds.ridge(TIMES, 0.4, rho=rho, bound=size, noise=noise, **known)
                assert isinstance(found, float)
                assert found == pytest.approx(expected, rel=1e-11)
            expected = formula(TIMES, degree, penalty, size * tail, 0.0, size * norm, printed=True)
            found = bounds.ridge_unsound(TIMES, 0.4, rho=rho, bound=size, **known)
            assert found == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("of", [bounds.ridge, bounds.ridge_unsound])
def test_the_default_is_spectrums_own_setting_and_a_feature_bounded_by_one(of):
    assert of(TIMES, 0.4, rho=2.0) == of(TIMES, 0.4, rho=2.0, degree=4, ridge=0.1, bound=1.0)
    assert bounds.ridge(TIMES, 0.4, rho=2.0) == bounds.ridge(TIMES, 0.4, rho=2.0, noise=0.0)


@pytest.mark.parametrize("of", [bounds.ridge, bounds.ridge_unsound])
def test_what_is_known_of_the_series_replaces_what_the_ellipse_says(of):
    printed = of is bounds.ridge_unsound
    tail, norm = tail_and_norm(2, 2.0)
    for known, expected in (
        ({"truncation": 0.7}, (0.7, norm)),
        ({"coefficients": 5.0}, (tail, 5.0)),
        ({"truncation": 0.7, "coefficients": 5.0}, (0.7, 5.0)),
        ({"truncation": 0.0, "coefficients": 0.0}, (0.0, 0.0)),
    ):
        value = formula(TIMES, 2, 0.1, expected[0], 0.0, expected[1], printed=printed)
        assert of(TIMES, 0.4, rho=2.0, degree=2, **known) == pytest.approx(value, rel=1e-11, abs=0.0)
        if len(known) == 2:
            assert of(TIMES, 0.4, degree=2, **known) == pytest.approx(value, rel=1e-11, abs=0.0)


def test_every_argument_broadcasts():
    points = np.array([[0.3], [0.5], [0.9]])
    penalties, sizes, noises = np.array([0.0, 0.1]), np.array([1.0, 2.0]), np.array([0.5, 0.0])
    whole = bounds.ridge(TIMES, points, rho=[2.0, 3.0], ridge=penalties, bound=sizes, noise=noises)
    each = zip((2.0, 3.0), penalties, sizes, noises, strict=True)
    one = [bounds.ridge(TIMES, 0.3, rho=rho, ridge=lam, bound=size, noise=eps) for rho, lam, size, eps in each]
    assert whole == pytest.approx(np.array([one] * 3))
    printed = bounds.ridge_unsound(TIMES, points, rho=[2.0, 3.0], ridge=[[0.1]])
    assert printed == pytest.approx(np.array([[bounds.ridge_unsound(TIMES, 0.3, rho=rho) for rho in (2.0, 3.0)]] * 3))


def test_without_a_penalty_there_is_no_shrinkage_and_no_bound_before_the_fit_is_determined():
    sigma = np.linalg.svd(chebyshev.chebvander(TIMES, 3), compute_uv=False)
    known = {"degree": 3, "truncation": 2.0, "coefficients": 7.0}
    expected = 2.0 + np.sqrt(4 * 5) / sigma[-1] * 2.0
    assert bounds.ridge(TIMES, 0.4, ridge=0.0, **known) == pytest.approx(expected)
    assert bounds.ridge_unsound(TIMES, 0.4, ridge=0.0, **known) == pytest.approx(expected)
    for kept, finite in ((4, True), (3, False), (1, False)):
        assert np.isfinite(bounds.ridge(TIMES[:kept], 0.4, ridge=0.0, **known)) == finite
        assert np.isfinite(bounds.ridge_unsound(TIMES[:kept], 0.4, ridge=0.0, **known)) == finite
    # Infinite even of a feature that is known to be 0: nothing limits the forecast of rounding errors.
    assert bounds.ridge(TIMES[:3], 0.4, ridge=0.0, degree=3, truncation=0.0, coefficients=0.0) == np.inf


def test_a_singular_value_lost_in_rounding_counts_where_it_does_most_harm():
    sigma = np.linalg.svd(chebyshev.chebvander(CROWDED, 5), compute_uv=False)
    assert sigma[-1] < 0.1 * EPS * sigma[0]
    tail = {"degree": 5, "truncation": 1.0, "coefficients": 0.0}
    for root in (1e-30, 0.1 * EPS * sigma[0], EPS * sigma[0], 4.0 * EPS * sigma[0]):
        expected = 1.0 + np.sqrt(6 * 8) / (2.0 * root)
        assert bounds.ridge(CROWDED, 0.0, ridge=root**2, **tail) == pytest.approx(expected)
    low = {"degree": 5, "truncation": 0.0, "coefficients": 1.0}
    assert bounds.ridge(CROWDED, 0.0, ridge=1e-60, **low) == pytest.approx(np.sqrt(6))
    for of in (bounds.ridge, bounds.ridge_unsound):
        assert of(CROWDED, 0.0, ridge=0.0, **low) == np.inf


def test_infinite_arguments_give_infinite_bounds():
    for of in (bounds.ridge, bounds.ridge_unsound):
        assert of(TIMES, 0.4, rho=2.0, ridge=np.inf) == np.inf
        assert of(TIMES, 0.4, rho=2.0, bound=np.inf) == np.inf
        # The part of a norm of 0 is 0.
        assert of(TIMES, 0.4, truncation=np.inf, coefficients=0.0) == np.inf
        assert np.isfinite(of(TIMES, 0.4, truncation=0.0, coefficients=0.0, ridge=1e-320))


NEEDED = "`rho` is None; write the ellipse's parameter, or both `truncation` and `coefficients`."


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rho": None}, NEEDED),
        ({"rho": None, "truncation": 1.0}, NEEDED),
        ({"rho": None, "coefficients": 1.0}, NEEDED),
        ({"rho": 1.0, "truncation": 1.0, "coefficients": 1.0}, "`rho` is 1.0; write a finite number above 1"),
        ({"degree": -1}, "`degree` is -1; write 0 or more."),
        ({"ridge": -1.0}, "`ridge` is -1.0; write 0 or more."),
        ({"bound": -1.0}, "`bound` is -1.0; write 0 or more."),
        ({"truncation": -1.0}, "`truncation` is -1.0; write 0 or more."),
        ({"coefficients": -1.0}, "`coefficients` is -1.0; write 0 or more."),
    ],
)
@pytest.mark.parametrize("of", [bounds.ridge, bounds.ridge_unsound])
def test_what_has_no_bound_is_refused(of, wrong, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        of(TIMES, 0.4, **{"rho": 2.0, **wrong})


def test_noise_may_not_be_negative():
    with pytest.raises(ValueError, match=r"^`noise` is -1\.0; write 0 or more\.$"):
        bounds.ridge(TIMES, 0.4, rho=2.0, noise=-1.0)


# --- the three terms


@pytest.mark.parametrize("degree", [0, 2, 4, 6])
@pytest.mark.parametrize("length", [1, 3, 5, 9])
@pytest.mark.parametrize("penalty", [0.0, 0.1, 3.0])
def test_the_terms_are_those_of_the_normal_equations(degree, length, penalty):
    c = np.random.default_rng(degree).normal(size=(length, 2, 3))
    t, row = 0.4, chebyshev.chebvander(0.4, degree)[0]
    phi = chebyshev.chebvander(TIMES, degree)
    # What the data leave open has the smallest norm.
    solve = np.linalg.pinv(phi) if penalty == 0.0 else np.linalg.inv(phi.T @ phi + penalty * np.eye(degree + 1)) @ phi.T
    low, tail = np.zeros((degree + 1, 2, 3)), c.copy()
    low[: min(length, degree + 1)] = c[: degree + 1]
    tail[: degree + 1] = 0.0
    terms = bounds.ridge_terms(TIMES, t, c, degree=degree, ridge=penalty)
    assert terms.truncation == pytest.approx(chebyshev.chebval(t, tail), abs=1e-12)
    assert terms.aliasing == pytest.approx(-chebyshev.chebval(TIMES, tail) @ solve.T @ row, abs=1e-12)
    left_out = np.eye(degree + 1) - solve @ phi
    assert terms.shrinkage == pytest.approx(np.tensordot(row @ left_out, low, axes=1), abs=1e-12)
    error = chebyshev.chebval(t, c) - chebyshev.chebval(TIMES, c) @ (row @ solve)
    assert sum(terms) == pytest.approx(error, abs=1e-12)


def test_the_default_terms_are_those_of_the_default_rule():
    c = np.array([1.0, -0.5, 0.25, 0.7, -0.3, 0.2, 0.1])
    error = chebyshev.chebval(0.4, c) - Chebyshev(4, ridge=0.1).weights(TIMES, 0.4) @ chebyshev.chebval(TIMES, c)
    assert sum(bounds.ridge_terms(TIMES, 0.4, c)) == pytest.approx(error, abs=1e-12)


@pytest.mark.parametrize("kind", [np.float32, np.int64])
def test_terms_are_in_double_precision_whatever_the_coefficients(kind):
    c = (10.0 * np.array([1.0, -0.5, 0.25, 0.7, -0.3, 0.27, 0.13])).astype(kind)
    before = c.copy()
    terms = bounds.ridge_terms(TIMES, 0.4, c, degree=2)
    for term, expected in zip(terms, bounds.ridge_terms(TIMES, 0.4, c.astype(np.float64), degree=2), strict=True):
        assert term.dtype == np.float64
        assert term == expected
    assert (c == before).all()


@pytest.mark.parametrize("width", [1e-6, 1e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 1e-2])
@pytest.mark.parametrize("degree", [5, 9])
def test_without_a_penalty_directions_lost_in_rounding_are_left_out(width, degree):
    times = np.linspace(-1.0, -1.0 + width, 8)
    c = np.append(np.linspace(-1.0, 1.0, degree + 1), 0.2)
    phi, row = chebyshev.chebvander(times, degree), chebyshev.chebvander(0.0, degree)[0]
    weights = row @ np.linalg.pinv(phi)
    terms = bounds.ridge_terms(times, 0.0, c, degree=degree, ridge=0.0)
    tail = chebyshev.chebval(times, [0.0] * (degree + 1) + [0.2])
    scale = np.abs(weights).sum()
    assert terms.aliasing == pytest.approx(-weights @ tail, abs=1e-10 * scale)
    assert terms.shrinkage == pytest.approx((row - weights @ phi) @ c[:-1], abs=1e-10 * scale)


@pytest.mark.parametrize("c", [1.0, [1.0, np.nan], [[1.0], [np.inf]]])
def test_coefficients_are_a_finite_series(c):
    message = f"`coefficients` is {np.asarray(c)}; write finite Chebyshev coefficients, lowest degree first."
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        bounds.ridge_terms(TIMES, 0.4, c)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"degree": -1}, "`degree` is -1; write 0 or more."),
        ({"ridge": -0.1}, "`ridge` is -0.1; write 0 or more."),
        ({"ridge": np.inf}, "`ridge` is inf; write a finite number."),
        ({"t": 1.5}, "`times` and `t` span [-1, 1.5]; this bound holds on [-1, 1]: map the clock there."),
    ],
)
def test_terms_refuse(wrong, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        bounds.ridge_terms(TIMES, **{"t": 0.4, "coefficients": [1.0, 2.0], **wrong})
