"""What pydantic refuses becomes one error of ours: value, limit, fix."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ConfigDict, Field

from unnoise.errors import ConfigError, InputError
from unnoise.fields import configured, requested


class Some(BaseModel):
    model_config = ConfigDict(extra="forbid")

    width: int = Field(8, ge=1, le=64, description="of the layers")
    names: list[str] = Field(default_factory=list)
    must: float


def test_what_fits_is_made():
    assert configured(Some, {"must": 1, "width": 3}).width == 3
    assert requested(Some, {"must": 1}).must == 1.0


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"widht": 3, "must": 1}, ["'widht'", "width", "did you mean 'width'?"]),
        ({"must": 1, "stpes": 3}, ["'stpes'", "did you mean 'steps'?"]),
        ({}, ["'must'", "missing", "pass must="]),
        ({"must": 1, "width": 65}, ["'width'", "less than or equal to 64", "65"]),
        ({"must": "x", "width": 0}, ["(1 more)"]),
    ],
)
def test_a_configuration_that_cannot_be(given, words):
    with pytest.raises(ConfigError) as caught:
        configured(Some, given, also=("steps",))
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"widht": 3, "must": 1}, ["'widht'", "did you mean 'width'?"]),
        ({"must": 1, "stpes": 3}, ["did you mean 'steps'?"]),
        ({}, ["'must'", "required"]),
        ({"must": 1, "width": 65}, ["'width'", "got 65", "<= 64", "of the layers"]),
        ({"must": 1, "names": ["a", 2]}, ["'names.1'", "got 2"]),
    ],
)
def test_a_request_that_cannot_be(given, words):
    with pytest.raises(InputError) as caught:
        requested(Some, given, also=("steps",))
    assert all(word in str(caught.value) for word in words)


def test_true_is_no_number_and_a_set_no_list():
    class Kind(BaseModel):
        label: int | str | list[int | str] | None = None
        scale: float = 1.0
        flag: bool | int = False
        free: object = None

    for given, said in (
        ({"label": True}, "label is a number"),
        ({"label": [1, False]}, "label is a number"),
        ({"scale": True}, "scale is a number"),
        ({"label": {1, 2}}, "no order"),
    ):
        for make, error in ((requested, InputError), (configured, ConfigError)):
            with pytest.raises(error, match=said):
                make(Kind, given)
    assert requested(Kind, {"flag": True, "free": {1}, "label": [1, "a"]}).flag is True
