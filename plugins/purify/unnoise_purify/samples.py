"""What a sample is: a PIL image, which remembers the picture that it was made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

from PIL import Image

KEY: Final = "unnoise_purify"


@final
@dataclass(frozen=True)
class Answer:
    """A classifier's: the class, and its probability."""

    label: int
    probability: float

    def __str__(self) -> str:
        return f"{self.label} ({100 * self.probability:.0f} %)"


@final
@dataclass(frozen=True, eq=False)
class Case:
    """What a purification began with, and what a classifier said before and after."""

    given: Image.Image
    before: Answer | None
    after: Answer | None

    @staticmethod
    def of(sample: Image.Image) -> Case | None:
        """That of a sample; None of another picture."""
        found = sample.info.get(KEY)
        return found if isinstance(found, Case) else None

    @property
    def changed(self) -> bool:
        """Whether the classifier changed its mind."""
        if self.before is None or self.after is None:
            return False
        return self.before.label != self.after.label


def with_case(image: Image.Image, case: Case) -> Image.Image:
    """`image`, which remembers the case; what PIL does not know of `info` is in no file."""
    image.info[KEY] = case
    return image
