"""Checks of input: what passes comes back, what fails is named with the value that came."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from causalprune_lib._validation import (
    check_choice,
    check_finite,
    check_fraction,
    check_int,
    check_positive,
    check_shape,
)

NOT_NUMBERS = [None, "0.5", True, [0.5], 1j, torch.tensor(0.5)]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("lenett", "lenet"), ("AlexNet", "alexnet"), ("RESNET18", "resnet18"), ("resnet", "resnet18")],
)
def test_choice_offers_the_nearest_match(typed, meant):
    with pytest.raises(ValueError, match=f"name must be one of .* Did you mean '{meant}'"):
        check_choice("name", typed, ["lenet", "alexnet", "resnet18"])


@pytest.mark.parametrize("value", ["zzz", None, 3, [3]])
def test_choice_offers_nothing_when_nothing_is_near(value):
    with pytest.raises(ValueError, match="got ") as caught:
        check_choice("name", value, ["lenet", "alexnet"])
    assert "Did you mean" not in str(caught.value)
    assert repr(value) in str(caught.value)


def test_choice_accepts_a_generator_and_returns_the_value():
    assert check_choice("name", "b", (letter for letter in "abc")) == "b"


@pytest.mark.parametrize("value", [0, 1, 0.5, Fraction(1, 3), np.float32(0.25)])
def test_fraction_accepts_real_numbers_in_the_interval(value):
    got = check_fraction("amount", value)
    assert type(got) is float
    assert got == float(value)


@pytest.mark.parametrize("value", [-1e-9, 1 + 1e-9, math.nan, math.inf, -math.inf])
def test_fraction_rejects_values_outside(value):
    with pytest.raises(ValueError, match=r"amount must be in \[0, 1\]; got"):
        check_fraction("amount", value)


def test_fraction_can_leave_one_out():
    assert check_fraction("amount", 0.999, closed=False) == 0.999
    with pytest.raises(ValueError, match=r"\[0, 1\); got 1"):
        check_fraction("amount", 1, closed=False)


@pytest.mark.parametrize("check", [check_fraction, check_int, check_positive])
@pytest.mark.parametrize("value", NOT_NUMBERS)
def test_what_is_not_a_number_is_a_type_error(check, value):
    with pytest.raises(TypeError, match=r"^amount must be .*; got "):
        check("amount", value)


@given(value=st.integers(-100, 100), minimum=st.integers(-100, 100))
@settings(max_examples=50)
def test_int_accepts_exactly_the_numbers_from_the_minimum(value, minimum):
    if value >= minimum:
        assert check_int("n", np.int64(value), minimum=minimum) == value
    else:
        with pytest.raises(ValueError, match=f"n must be >= {minimum}; got {value}"):
            check_int("n", value, minimum=minimum)


def test_int_rejects_a_float_even_if_whole():
    with pytest.raises(TypeError, match=r"whole number >= 1; got 2\.0"):
        check_int("n", 2.0)


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_positive_rejects_zero_infinity_and_nan(value):
    with pytest.raises(ValueError, match="lr must be a finite number > 0; got"):
        check_positive("lr", value)


def test_positive_can_allow_zero():
    assert check_positive("lr", 0, allow_zero=True) == 0.0
    with pytest.raises(ValueError, match="lr must be a finite number >= 0; got -1"):
        check_positive("lr", -1, allow_zero=True)


@pytest.mark.parametrize("make", [torch.tensor, np.array])
def test_finite_counts_the_bad_values_and_names_the_first(make):
    values = make([[1.0, 2.0], [math.nan, math.inf]])
    with pytest.raises(ValueError, match=r"x must be finite; got 2 .* index \(1, 0\)"):
        check_finite("x", values)


@pytest.mark.parametrize("make", [torch.tensor, np.array])
def test_finite_takes_scalars_integers_and_nothing(make):
    for good in (make(1.0), make([1, 2]), make([])):
        check_finite("x", good)
    with pytest.raises(ValueError, match=r"index \(\)"):
        check_finite("x", make(math.nan))


@given(shape=st.lists(st.integers(0, 3), max_size=4), data=st.data())
@settings(max_examples=50)
def test_shape_lets_none_stand_for_any_length(shape, data):
    wanted = tuple(n if data.draw(st.booleans()) else None for n in shape)
    check_shape("x", np.zeros(shape), wanted)
    with pytest.raises(ValueError, match="x must have shape"):
        check_shape("x", np.zeros(shape), (*wanted, None))


def test_shape_names_what_was_needed_and_what_came():
    with pytest.raises(ValueError, match=r"x must have shape \(any, 3\); got \(2, 4\)"):
        check_shape("x", torch.zeros(2, 4), (None, 3))
