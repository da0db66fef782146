"""Config: how settings are read, written, named, checked and displayed.

The settings themselves are in `mrcnn.settings`, in groups, with their meanings and checks. Subclass
`Config` and override plain class attributes::

    class CellConfig(Config):
        NAME = "cells"
        NUM_CLASSES = 1 + 1  # background + cell

or override at construction: ``Config(NAME="cells", NUM_CLASSES=2)``.
"""

from __future__ import annotations

import copy
import difflib
import json
import logging
import os
from typing import Any, TypeVar

import numpy as np

from mrcnn import dialects, settings
from mrcnn.errors import reading, shorten
from mrcnn.images.texts import read_json
from mrcnn.settings import Group, schedules
from mrcnn.settings.checks import one_of

logger = logging.getLogger("mrcnn")

MAX_CONFIG_BYTES = 2**20  # of a config.json that is read; real ones have 3 KB

Self = TypeVar("Self", bound="BaseConfig")


class BaseConfig:
    """The settings of one kind of network; the groups that a subclass composes say which.

    A Config holds what must be saved with a model. What concerns a single call (the size of tiles,
    a score, the form of the masks) is an argument of that call.

    Subclasses may define constants of their own, so a likely typo in a subclass only logs a
    warning. Setting one on an instance raises, suggesting the nearest valid name; the constructor
    rejects every unknown name. Derived values such as `BATCH_SIZE` always follow the settings that
    they come from. Values are checked by `validate`, which is called when a model is built.

    Args:
        **overrides: settings by name, for example ``Config(NAME="cells", NUM_CLASSES=2)``.

    Raises:
        AttributeError: a name that is not a setting, with the nearest valid name.
    """

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        derived = cls._collect("DERIVED")
        for name in derived:  # old scripts set them, and Matterport's code overwrote the values
            if name in vars(cls) and not isinstance(vars(cls)[name], property):
                delattr(cls, name)
        known = cls._settings()
        for name in set(vars(cls)) - {*known, *derived}:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.9)
            if near:  # may well be a constant of the user's own, so this is no error
                logger.warning(
                    "%s.%s is not a setting. Did you mean %s?", cls.__name__, name, near[0]
                )

    def __init__(self, **overrides: Any):
        derived, names = self._collect("DERIVED"), self.names()
        for name, value in overrides.items():
            if name in derived:
                raise AttributeError(f"{name} is derived: set {derived[name]} instead.")
            if name not in names:
                raise AttributeError(unknown_setting(name, names))
            setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        derived = self._collect("DERIVED")
        if name in derived:
            if np.array_equal(value, getattr(self, name)):  # as old subclasses do in __init__
                return
            if getattr(type(self), name).fset is None:
                raise AttributeError(f"{name} is derived: set {derived[name]} instead.")
        elif name not in self.names() and self._is_misspelt(name):  # else the user's own
            raise AttributeError(unknown_setting(name, self.names()))
        object.__setattr__(self, name, value)

    # --- Names -------------------------------------------------------------------------------
    @classmethod
    def names(cls) -> list[str]:
        """Returns the names of all settings in order of definition.

        Constants that a subclass adds are included, after those of the groups.
        """
        users = [base for base in reversed(cls.__mro__) if not _is_group(base)]
        return _names([*cls._groups(), *users])

    @classmethod
    def _groups(cls) -> list[Any]:
        """The groups of settings, in the order in which they are composed."""
        return [base for base in cls.__mro__ if _is_group(base)]

    @classmethod
    def _settings(cls) -> list[str]:
        """Names of the network's own settings, those of its groups."""
        return _names(cls._groups())

    @classmethod
    def _collect(cls, table: str) -> dict[str, Any]:
        """The entries of CHECKS or DERIVED of all groups."""
        tables = [vars(group).get(table, {}) for group in cls._groups()]
        return {name: value for entries in tables for name, value in entries.items()}

    @classmethod
    def _is_misspelt(cls, name: str) -> bool:
        near = difflib.get_close_matches(name, cls.names(), n=1, cutoff=0.8)
        return name.upper() in cls.names() or (name.isupper() and bool(near))

    def _is_set(self, name: str) -> bool:
        """Whether a subclass or a user has set this setting.

        A value in the instance was set on the object. Otherwise the first class of the method
        resolution order that has the name is the one whose value counts: if that is a group, the
        value is the default, and if it is a subclass (or a mixin of the user's), it was set there.
        """
        if name in vars(self):
            return True
        return not _is_group(next(base for base in type(self).__mro__ if name in vars(base)))

    # --- Copies ------------------------------------------------------------------------------
    def copy(self: Self) -> Self:
        """Returns an independent Config of the same class with the same values."""
        made = object.__new__(type(self))  # without __init__, which may want arguments
        vars(made).update(vars(self))
        for name in self.names():
            value = getattr(self, name)
            if isinstance(
                value, (list, dict, np.ndarray)
            ):  # else the copy could change it in place
                vars(made)[name] = copy.deepcopy(value)
        return made

    def resolved(self: Self, defaults: dict[str, Any] | None = None) -> Self:
        """Returns a checked copy in which every value has the form that the network reads.

        Whole numbers that a division made into floats are integers there, `TRAIN_BN` has become
        `BACKBONE_NORM`, and `PIXEL_STD` has one value per channel.

        Args:
            defaults: dict. Values for the settings that neither a subclass nor anyone else has
                set, for example those of a dialect. Defaults to None.

        Raises:
            ValueError: naming the setting, what was expected, what came and what to do.
        """
        made = self.copy()
        made.adopt(defaults or {})
        for name, check in self._collect("CHECKS").items():
            given = getattr(made, name)
            value = check.convert(given)
            if not check.accepts(value):
                raise ValueError(f"{name} must be {check.expected}, got {shorten(given)}.")
            if value is not given:
                setattr(made, name, value)
        for group in self._groups():
            for name, value in group.implied(made).items():
                if not self._is_set(name):  # more specific than the defaults given
                    setattr(made, name, value)
        for group in self._groups():
            group.check_together(made)
        return made

    def resolve(self, defaults: dict[str, Any] | None = None) -> None:
        """Changes this object to what `resolved` returns; on an error it keeps its values.

        For the model of old scripts, which expect the model to share their Config object.
        """
        vars(self).update(vars(self.resolved(defaults)))

    def adopt(self, defaults: dict[str, Any]) -> None:
        """Takes values for the settings that neither a subclass nor anyone else has set.

        Args:
            defaults: dict. Values by name.
        """
        names = self.names()
        for name, value in defaults.items():
            if name not in names:
                raise AttributeError(unknown_setting(name, names))
            if not self._is_set(name):
                setattr(self, name, value)

    def validate(self) -> None:
        """Checks every value, and changes none.

        Raises:
            ValueError: naming the setting, what was expected, what came and what to do.
        """
        self.resolved()

    # --- Reading and writing -----------------------------------------------------------------
    def to_dict(self) -> dict[str, Any]:
        """Returns the settings as plain Python values that JSON can hold.

        A function is written by its name. Constants that a subclass adds for its own use are left
        out.

        Raises:
            ValueError: a learning-rate schedule that cannot be saved.
        """
        return {name: _plain(getattr(self, name)) for name in self._settings()}

    @classmethod
    def from_dict(cls: type[Self], values: dict[str, Any]) -> Self:
        """Returns a Config with these settings.

        Raises:
            AttributeError: a name that is not a setting.
        """
        return cls(**{name: _frozen(value) for name, value in values.items()})

    def to_json(self) -> str:
        """Returns the settings as JSON text, which `from_json` reads from a file."""
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_json(cls: type[Self], path: str | os.PathLike) -> Self:
        """Reads the settings that `to_json` wrote.

        Args:
            path: str or path. A file such as config.json.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not JSON, larger than 1 MiB, or a setting that this version does not know.
        """
        values = read_json(path, "config.json", MAX_CONFIG_BYTES)
        with reading(path, "config.json", "Restore the file, or correct this setting."):
            if not isinstance(values, dict):
                raise ValueError("expected an object of settings")
            try:
                return cls.from_dict(values)
            except AttributeError as error:
                raise ValueError(str(error)) from error

    def display(self) -> None:
        """Prints every setting and derived value, one per line, except for functions."""
        print("\nConfigurations:")
        for name in sorted([*self.names(), *self._collect("DERIVED")]):
            value = getattr(self, name)
            if not callable(value):
                print(f"{name:30} {value}")
        print("\n")


def unknown_setting(name: str, names: list[str]) -> str:
    """Returns the text of the error for an unknown setting, with the nearest valid name."""
    near = difflib.get_close_matches(name.upper(), names, n=1)
    hint = f" Did you mean {near[0]}?" if near else " See mrcnn/settings for all settings."
    return f"{name[:80]} is not a setting.{hint}"


def _is_group(base: type) -> bool:
    """Whether a class is a group of settings, and not a Config composed of groups."""
    return issubclass(base, Group) and not issubclass(base, BaseConfig)


def _names(classes: list[type]) -> list[str]:
    """Names of the settings that these classes define, each once, in order."""
    names = {
        name: None
        for base in classes
        for name, value in vars(base).items()
        if name.isupper() and name not in vars(Group) and not isinstance(value, property)
    }
    return list(names)


def _plain(value: Any) -> Any:
    """The value in JSON's types: arrays and tuples as lists, a function by its name."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if schedules.is_schedule(value):
        return schedules.save(value)
    return getattr(value, "__name__", str(value)) if callable(value) else value


def _frozen(value: Any) -> Any:
    """JSON's lists as tuples, the form that the defaults have."""
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


class Dialect(Group):
    """The dialect: which arithmetic the weights were trained in."""

    NUMERICS = "auto"  # a name in mrcnn.dialects; "auto": that of loaded weights, or standard

    # Here and not in mrcnn.settings, which does not know the dialects.
    CHECKS = {"NUMERICS": one_of("auto", *dialects.names())}


class Config(
    BaseConfig,
    settings.Learning,
    Dialect,
    settings.Images,
    settings.Backbone,
    settings.Proposals,
    settings.Heads,
    settings.GroundTruth,
    settings.Detection,
    settings.Matterport,
    settings.Training,
    settings.Losses,
):
    """The settings of a Mask R-CNN and its training, as upper-case class attributes.

    Their meanings are in `mrcnn.settings`, and how they are handled is in `BaseConfig`.

    Args:
        **overrides: settings by name, for example ``Config(NAME="cells", NUM_CLASSES=2)``.

    Raises:
        AttributeError: a name that is not a setting, with the nearest valid name.
    """


DERIVED: dict[str, str] = Config._collect("DERIVED")  # what to set instead of each derived value
