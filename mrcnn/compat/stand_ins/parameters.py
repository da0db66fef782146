"""`imgaug.parameters` as a stand-in: the random values that augmenters draw."""

from __future__ import annotations

from typing import Any

import numpy as np


class StochasticParameter:
    """A distribution. Subclasses implement `_draw`."""

    def draw_samples(self, size: Any, random_state: Any = None) -> np.ndarray:
        """Draws an array of values.

        Args:
            size: int or tuple of ints. Shape of the array.
            random_state: `numpy.random.Generator`. Defaults to a new one that follows
                `numpy.random.seed`.

        Returns:
            Array of shape `size`.
        """
        rng = random_state if isinstance(random_state, np.random.Generator) else new_rng()
        return np.asarray(self._draw(rng, size))

    def draw_sample(self, random_state: Any = None) -> Any:
        """Draws one value. The argument is that of `draw_samples`."""
        return self.draw_samples((1,), random_state)[0]

    def _draw(self, rng, size):
        raise NotImplementedError(f"{type(self).__name__} does not say how it draws values.")


class Deterministic(StochasticParameter):
    """Always the same value."""

    def __init__(self, value: Any):
        self.value = value

    def _draw(self, rng, size):
        return np.full(size, self.value)


class Choice(StochasticParameter):
    """One of several values, with probabilities `p` if given.

    With `replace=False` no value is drawn twice in one call.
    """

    def __init__(self, a: Any, replace: bool = True, p: Any = None):
        self.values = list(a)
        self.replace = replace
        self.p = p

    def _draw(self, rng, size):
        return rng.choice(np.asarray(self.values), size, replace=self.replace, p=self.p)


class Uniform(StochasticParameter):
    """Uniform from `a` to `b`."""

    def __init__(self, a: Any = 0.0, b: Any = 1.0):
        self.a = to_parameter(a)
        self.b = to_parameter(b)

    def _draw(self, rng, size):
        ends = self.a.draw_sample(rng), self.b.draw_sample(rng)
        return rng.uniform(min(ends), max(ends), size)


class DiscreteUniform(StochasticParameter):
    """Whole numbers from `a` to `b`, both included."""

    def __init__(self, a: Any, b: Any):
        self.a = to_parameter(a)
        self.b = to_parameter(b)

    def _draw(self, rng, size):
        ends = int(self.a.draw_sample(rng)), int(self.b.draw_sample(rng))
        return rng.integers(min(ends), max(ends) + 1, size)


class Normal(StochasticParameter):
    """Normal distribution with mean `loc` and standard deviation `scale`."""

    def __init__(self, loc: Any, scale: Any):
        self.loc = to_parameter(loc)
        self.scale = to_parameter(scale)

    def _draw(self, rng, size):
        return rng.normal(self.loc.draw_sample(rng), self.scale.draw_sample(rng), size)


class TruncatedNormal(Normal):
    """Normal distribution without what lies outside `low` to `high`."""

    def __init__(self, loc: Any, scale: Any, low: Any = -np.inf, high: Any = np.inf):
        super().__init__(loc, scale)
        self.low = low
        self.high = high

    def _draw(self, rng, size):
        from scipy.stats import truncnorm

        loc, scale = self.loc.draw_sample(rng), self.scale.draw_sample(rng)
        if scale == 0:
            return np.full(size, np.clip(loc, self.low, self.high), float)
        ends = (self.low - loc) / scale, (self.high - loc) / scale
        return truncnorm.rvs(*ends, loc=loc, scale=scale, size=size, random_state=rng)


class Binomial(StochasticParameter):
    """1 with probability `p`, else 0."""

    def __init__(self, p: Any):
        self.p = to_parameter(p)

    def _draw(self, rng, size):
        return (rng.random(size) < self.p.draw_sample(rng)).astype(int)


class Poisson(StochasticParameter):
    """Poisson distribution with mean `lam`."""

    def __init__(self, lam: Any):
        self.lam = to_parameter(lam)

    def _draw(self, rng, size):
        return rng.poisson(self.lam.draw_sample(rng), size)


class Clip(StochasticParameter):
    """Another parameter's values, clipped to `minval` and `maxval`."""

    def __init__(self, other_param: Any, minval: Any = None, maxval: Any = None):
        self.other_param = to_parameter(other_param)
        self.minval = minval
        self.maxval = maxval

    def _draw(self, rng, size):
        values = self.other_param.draw_samples(size, rng)
        low = -np.inf if self.minval is None else self.minval
        high = np.inf if self.maxval is None else self.maxval
        return np.clip(values, low, high)


class Discretize(StochasticParameter):
    """Another parameter's values, rounded to whole numbers."""

    def __init__(self, other_param: Any, round: bool = True):
        self.other_param = to_parameter(other_param)
        self.round = round

    def _draw(self, rng, size):
        values = self.other_param.draw_samples(size, rng)
        return (np.rint(values) if self.round else np.trunc(values)).astype(int)


class Absolute(StochasticParameter):
    """The absolute values of another parameter."""

    def __init__(self, other_param: Any):
        self.other_param = to_parameter(other_param)

    def _draw(self, rng, size):
        return np.abs(self.other_param.draw_samples(size, rng))


def to_parameter(value: Any, discrete: bool = False) -> StochasticParameter:
    """Reads the short forms in which imgaug takes a parameter.

    Args:
        value: A number, always used; a tuple `(low, high)`, uniform between these; a list, one of
            its values; or a `StochasticParameter`.
        discrete: bool. Whether a tuple means whole numbers. Defaults to False.

    Returns:
        The parameter.
    """
    if isinstance(value, StochasticParameter):
        return value
    if isinstance(value, tuple):
        if len(value) != 2:
            raise ValueError(f"imgaug parameter: expected (low, high), got {value!r}.")
        return DiscreteUniform(*value) if discrete else Uniform(*value)
    if isinstance(value, list):
        return Choice(value)
    return Deterministic(value)


def new_rng() -> np.random.Generator:
    """Returns a generator that follows `numpy.random.seed`."""
    return np.random.default_rng(np.random.randint(0, 2**31 - 1, 4))
