"""What stands around a denoiser, by name and fields: how a bundle says it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from unnoise.denoise.base import Denoiser


class Wrapper(Denoiser, ABC):
    """A denoiser around another one, of the same process, that can be saved with it.

    Its tensors are buffers or parameters, saved with the weights; all else that it consists of is
    in its fields.
    """

    denoiser: Denoiser

    @property
    @abstractmethod
    def fields(self) -> Mapping[str, Any]:
        """What `around` needs beside the denoiser: what JSON can hold."""

    @classmethod
    @abstractmethod
    def around(cls, denoiser: Denoiser, fields: Mapping[str, Any]) -> Wrapper:
        """One with these fields; its tensors are of the right shape and of any value."""
