"""imgaug's augmenters that combine others, and the base class of all augmenters."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from mrcnn.compat.stand_ins.parameters import Binomial, new_rng, to_parameter

LARGEST_SEED = 2**63 - 1


class HooksImages:
    """Tells `augment_image` which augmenters act, as imgaug's `HooksImages`.

    Args:
        activator: callable or None. Function of (images, augmenter, parents, default) that returns
            whether the augmenter acts. Defaults to None: all act.
        propagator: not supported here; must be None.
        preprocessor: not supported here; must be None.
        postprocessor: not supported here; must be None.

    Raises:
        NotImplementedError: an argument that is not supported.
    """

    def __init__(
        self,
        activator: Callable | None = None,
        propagator: Any = None,
        preprocessor: Any = None,
        postprocessor: Any = None,
    ):
        for name, given in (
            ("propagator", propagator),
            ("preprocessor", preprocessor),
            ("postprocessor", postprocessor),
        ):
            if given is not None:
                raise NotImplementedError(f"imgaug.HooksImages({name}=...) has no stand-in.")
        self.activator = activator

    def is_activated(self, images: Any, augmenter: Any, parents: Any, default: bool) -> bool:
        """Returns whether this augmenter acts."""
        if self.activator is None:
            return default
        return bool(self.activator(images, augmenter, parents, default))


class Augmenter:
    """Base class of all augmenters. Subclasses implement `_act`.

    All random numbers of one call come from one generator, and each child gets its own seed before
    any of them acts. A child that skips masks therefore does not shift the random numbers of the
    others, and the same generator moves an image and its masks in the same way.

    Args:
        seed: int or None. Makes results repeatable whatever `numpy.random.seed` is. Defaults to
            None.
        name: str or None. Name of the augmenter. Defaults to None.
        random_state: int or None. An older name of `seed`. Defaults to None.
        deterministic: bool. Whether every call draws the same numbers. Defaults to False.

    Attributes:
        moves: bool. Whether it moves pixels, so that masks have to follow.
    """

    moves = False

    def __init__(
        self,
        seed: Any = None,
        name: str | None = None,
        random_state: Any = None,
        deterministic: bool | str = False,
    ):
        seed = random_state if seed is None else seed
        self.name = name
        self.deterministic = bool(deterministic) and deterministic != "deprecated"
        self._rng = None
        if isinstance(seed, (int, np.integer)):
            self._rng = np.random.default_rng(int(seed))
        elif isinstance(seed, (np.random.Generator, np.random.RandomState)):
            self._rng = np.random.default_rng(list(seed.bytes(16)))
        self._seed = self._next_seed()

    def _next_seed(self):
        return int((self._rng or new_rng()).integers(LARGEST_SEED))

    def _act(self, array, rng, masks, active):
        raise NotImplementedError(f"{type(self).__name__} must implement _act.")

    def apply(
        self,
        array: np.ndarray,
        rng: np.random.Generator,
        masks: bool = False,
        active: Callable = lambda augmenter: True,
    ) -> np.ndarray:
        """Augments one array.

        Args:
            array: array. An image `[height, width, channels]`, or masks `[height, width, N]`.
            rng: numpy.random.Generator. Source of all random numbers.
            masks: bool. If True, only augmenters that move pixels act, and values are never
                interpolated. Defaults to False.
            active: callable. Function of an augmenter that returns whether it acts on an image.
                Defaults to all.

        Returns:
            Array of the same shape and dtype.
        """
        acts = self.moves if masks else active(self)
        return self._act(array, rng, masks, active) if acts else array

    # --- What scripts call -----------------------------------------------------------------------
    def to_deterministic(self, n: int | None = None) -> Any:
        """Returns a copy that draws the same numbers in every call; with `n`, a list of copies."""
        if n is not None:
            return [self.to_deterministic() for _ in range(n)]
        fixed = copy.copy(self)
        fixed.deterministic = True
        fixed._seed = self._next_seed()
        return fixed

    def augment_image(self, image: np.ndarray, hooks: HooksImages | None = None) -> np.ndarray:
        """Augments one image `[H, W]` or `[H, W, C]`.

        Raises:
            ValueError: not an array of two or three dimensions.
        """
        return self.augment_images([image], hooks=hooks)[0]

    def augment_images(self, images: Any, parents: Any = None, hooks: Any = None) -> Any:
        """Augments images, each with its own random numbers; returns an array for an array."""
        seed = self._seed if self.deterministic else self._next_seed()
        done = [
            self._augment_one(image, np.random.default_rng([seed, index]), hooks)
            for index, image in enumerate(images)
        ]
        return np.stack(done) if isinstance(images, np.ndarray) and done else done

    def _augment_one(self, image, rng, hooks):
        image = np.asarray(image)
        if image.ndim not in (2, 3):
            raise ValueError(
                f"{type(self).__name__}: expected an image [H, W] or [H, W, C], got shape "
                f"{image.shape}."
            )
        array = image[..., None] if image.ndim == 2 else image

        def active(augmenter):
            return hooks is None or hooks.is_activated([image], augmenter, [], True)

        return self.apply(array, rng, active=active).reshape(image.shape)

    def augment(self, image: Any = None, images: Any = None, **others: Any) -> Any:
        """Augments `image` or `images`; keypoints and the like have no stand-in."""
        if others:
            raise NotImplementedError(
                f"imgaug augmenters on {', '.join(others)} have no stand-in: only images are "
                "augmented here, and their masks by train(augmentation=...)."
            )
        return self.augment_images(images) if image is None else self.augment_image(image)

    def __call__(self, image: Any = None, masks: Any = None, **others: Any) -> Any:
        """Calls `augment`; with masks, augments both, as our training calls an augmentation."""
        if masks is None:
            return self.augment(image=image, **others)
        return self.augment_both(image, masks, new_rng())

    def augment_both(
        self, image: np.ndarray, masks: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Augments an image and its masks in the same way.

        Args:
            image: array `[height, width, channels]`.
            masks: array `[height, width, N]` of any dtype.
            rng: numpy.random.Generator. Source of all random numbers.

        Returns:
            (image, masks) of the same shapes and dtypes.
        """
        seed = rng.integers(LARGEST_SEED)  # the same draws for both
        new_image = self.apply(image, np.random.default_rng(seed))
        return new_image, self.apply(masks, np.random.default_rng(seed), masks=True)

    def __getattr__(self, name):
        if name.startswith("_"):  # Python asks for some of these
            raise AttributeError(name)
        raise AttributeError(f"imgaug.augmenters.{type(self).__name__}.{name} has no stand-in.")


class Noop(Augmenter):
    """Does nothing."""

    moves = True

    def _act(self, array, rng, masks, active):
        return array


class Identity(Noop):
    """Does nothing."""


class _Group(Augmenter):
    """Base class of augmenters with children."""

    moves = True  # each child decides by its own `moves`

    def __init__(self, children=None, **base):
        super().__init__(**base)
        self.children = _as_list(children)

    def _run(self, array, rng, masks, active, which=None):
        """Applies the children `which` in this order (default: all), each with its own seed."""
        seeds = rng.integers(LARGEST_SEED, size=len(self.children))
        for index in range(len(self.children)) if which is None else which:
            child_rng = np.random.default_rng(seeds[index])
            array = self.children[index].apply(array, child_rng, masks, active)
        return array

    def add(self, augmenter: Augmenter) -> None:
        """Adds a child."""
        self.children.append(augmenter)

    append = add

    def __iter__(self):
        return iter(self.children)

    def __len__(self):
        return len(self.children)

    def __getitem__(self, index):
        return self.children[index]


class Sequential(_Group):
    """Applies its children one after another.

    Args:
        children: augmenter or list of augmenters. Defaults to none.
        random_order: bool. Whether each image has another order. Defaults to False.
        **base: as in `Augmenter`.
    """

    def __init__(self, children: Any = None, random_order: bool = False, **base: Any):
        super().__init__(children, **base)
        self.random_order = random_order

    def _act(self, array, rng, masks, active):
        order = rng.permutation(len(self.children)) if self.random_order else None
        return self._run(array, rng, masks, active, order)


class SomeOf(_Group):
    """Applies some of its children, drawn without repetition.

    Args:
        n: int, tuple `(low, high)`, list or parameter. How many; in a tuple, `None` as the high
            end means all. Defaults to None (all).
        children: augmenter or list of augmenters. Defaults to none.
        random_order: bool. Whether their order is random too. Defaults to False.
        **base: as in `Augmenter`.
    """

    def __init__(
        self, n: Any = None, children: Any = None, random_order: bool = False, **base: Any
    ):
        super().__init__(children, **base)
        self.n = n
        self.random_order = random_order

    def _act(self, array, rng, masks, active):
        total = len(self.children)
        n = total if self.n is None else self.n
        if isinstance(n, tuple):
            n = (n[0], total if n[1] is None else n[1])
        count = int(np.clip(to_parameter(n, discrete=True).draw_sample(rng), 0, total))
        which = rng.permutation(total)[:count]
        return self._run(array, rng, masks, active, which if self.random_order else sorted(which))


class OneOf(SomeOf):
    """Applies one of its children.

    Args:
        children: list of augmenters.
        **base: as in `Augmenter`.
    """

    def __init__(self, children: Any, **base: Any):
        super().__init__(1, children, **base)


class Sometimes(Augmenter):
    """Applies one list with probability `p`, and the other one otherwise.

    Args:
        p: float or parameter. Defaults to 0.5.
        then_list: augmenter or list of augmenters. Defaults to none.
        else_list: augmenter or list of augmenters. Defaults to none.
        **base: as in `Augmenter`.
    """

    moves = True

    def __init__(self, p: Any = 0.5, then_list: Any = None, else_list: Any = None, **base: Any):
        super().__init__(**base)
        self.p = as_probability(p)
        self.then_list = Sequential(then_list)
        self.else_list = Sequential(else_list)

    def _act(self, array, rng, masks, active):
        chosen = self.then_list if self.p.draw_sample(rng) > 0.5 else self.else_list
        return chosen._act(array, rng, masks, active)


class Lambda(Augmenter):
    """Has no stand-in: what such a function does to masks cannot be known."""

    def __init__(self, *args: Any, **named: Any):
        raise NotImplementedError(
            "imgaug.augmenters.Lambda has no stand-in: pass a function of (image, masks) that "
            "returns both to train(augmentation=...) instead."
        )


def as_probability(p: Any) -> Any:
    """Returns a parameter that draws 1 with probability `p`, else 0."""
    return Binomial(p) if isinstance(p, (int, float, np.number)) else to_parameter(p)


def _as_list(children):
    if children is None:
        return []
    found = list(children) if isinstance(children, (list, tuple, _Group)) else [children]
    for child in found:
        if not isinstance(child, Augmenter):
            raise ValueError(f"imgaug: expected augmenters, got {child!r}.")
    return found
