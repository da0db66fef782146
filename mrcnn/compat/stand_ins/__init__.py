"""Stand-ins for what scripts of 2017 to 2020 import and no current environment has.

`installed()` holds for a block, `install()` until `remove()`, which suits a notebook::

    from mrcnn.compat import stand_ins
    stand_ins.install()
    import imgaug.augmenters as iaa       # moves images and masks alike
    import coco                           # an old script

They are an `imgaug`, `np.bool` and its like, the module paths of Keras 2, `tf.ConfigProto` and
`tf.Session`, `scipy.misc.imread` and `imresize`, and `distutils.version`. Nothing that can be
imported is replaced, and a name that has no stand-in raises an error that says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from mrcnn.compat.stand_ins import frameworks, packages

_installed: ExitStack | None = None


@contextmanager
def installed() -> Iterator[None]:
    """Installs the stand-ins for a block; does nothing where they are installed already."""
    if _installed is not None:
        yield
        return
    install()
    try:
        yield
    finally:
        remove()


def install() -> None:
    """Installs the stand-ins until `remove`. A second call does nothing."""
    global _installed
    if _installed is not None:
        return
    with ExitStack() as stack:
        packages.imgaug(stack)  # looks for a real one before NumPy has its old names
        packages.numpy_names(stack)
        packages.scipy_misc(stack)
        packages.skimage_names(stack)
        packages.distutils_version(stack)
        frameworks.keras_paths(stack)
        frameworks.tensorflow_names(stack)
        _installed = stack.pop_all()


def remove() -> None:
    """Takes the stand-ins away; does nothing where there are none."""
    global _installed
    if _installed is not None:
        stack, _installed = _installed, None
        stack.close()
