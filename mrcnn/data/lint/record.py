"""What a check finds, and what it remembers of each image."""

from __future__ import annotations

from dataclasses import dataclass, field

from mrcnn.data.annotations import Image, Instance

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Problem:
    """One fault.

    Attributes:
        kind: str. A short name, such as "empty mask".
        file: str. The image file, or the annotation file for faults of the whole set.
        object: str. The object, such as "annotation 17", or "" for the whole image or set.
        text: str. What is wrong and what to do.
        image: Image or None. The entry of the record that `mend` changes; None if there is no one
            right way.
        instance: Instance or None. The object of it that `mend` changes.
    """

    kind: str
    file: str
    object: str
    text: str
    image: Image | None = field(default=None, compare=False, repr=False)
    instance: Instance | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        where = f"{self.file}: {self.object}" if self.object else self.file
        return f"{where}: {self.kind}: {self.text}"


@dataclass(frozen=True)
class Limits:
    """What counts as a fault where opinions differ.

    Attributes:
        min_images: int. A class in fewer images is reported. Defaults to 2: a class in a single
            image cannot be both trained and validated.
        image_size: int. Longest side of the network's input in pixels, for objects that become too
            small. Defaults to 1024.
    """

    min_images: int = 2
    image_size: int = 1024


@dataclass
class Object:
    """What is compared between objects.

    Attributes:
        instance: Instance. The entry of the record.
        name: str. What problems call it.
        area: float. In pixels.
        box: (y1, x1, y2, x2) in pixels, of its mask if it has one.
        code: dict or None. The run-length code of its mask.
    """

    instance: Instance
    name: str
    area: float
    box: Box
    code: dict | None = None


@dataclass
class Checked:
    """What remains of one image after its own check.

    Attributes:
        image: Image. The entry of the record.
        problems: list of Problem.
        objects: list of Object. Those that can be used.
        pixels: str or None. A hash of the decoded image; None if it cannot be read.
        size: (height, width) of the annotations, or None if they do not fit the image.
    """

    image: Image
    problems: list[Problem] = field(default_factory=list)
    objects: list[Object] = field(default_factory=list)
    pixels: str | None = None
    size: tuple[int, int] | None = None

    def report(self, kind: str, name: str, text: str, instance: Instance | None = None) -> None:
        """Adds a problem of the image, or of the object of that name.

        Args:
            kind: str; see `Problem`.
            name: str. What the object is called, or "".
            text: str.
            instance: Instance or None; see `Problem`.
        """
        file = str(self.image.path or self.image.file)
        image = None if instance is None else self.image
        self.problems.append(Problem(kind, file, name, text, image, instance))
