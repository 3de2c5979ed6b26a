"""What can be asked of the text domain."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from unnoise.domain import inputs_of
from unnoise.errors import InputError
from unnoise.storage.reading import whole
from unnoise_text.canvas import LONGEST
from unnoise_text.characters import Outside

Order: TypeAlias = Literal["random", "left-to-right", "confidence", "margin", "entropy"]


class Request(BaseModel):
    """Fields of `unnoise.generate("text", ...)`. A list makes num_samples for each entry."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    prompt: str | list[str] | None = Field(None, description="how the text begins")
    suffix: str | list[str] | None = Field(None, description="how the text ends")
    template: str | list[str] | None = Field(
        None,
        description="text with gaps: ____ takes what is left of length, ____:12 has 12 tokens,"
        " ____:12w 12 words, ____:90c 90 characters; ____:{12} where a letter or digit follows;"
        " \\____ is no gap",
    )
    length: int | list[int] | None = Field(
        None, description="tokens in all; default: what the network sees at once"
    )
    temperature: float | None = Field(
        None,
        gt=0,
        le=10,
        description="below 1 prefers likely tokens, above 1 unlikely ones; default: the model's",
    )
    top_p: float = Field(
        1.0, gt=0, le=1, description="draw from the likeliest tokens of this probability in all"
    )
    guidance_scale: float | None = Field(
        None,
        ge=0,
        description="how closely what is given is followed: 1 is the model's own law, more follows"
        " it more closely, at two evaluations for one; for the absorbing kernel",
    )
    order: Order | None = Field(
        None,
        description="in which gaps are filled, in place of a sampler: random, left-to-right, or the"
        " surest tokens first by confidence, margin or entropy; for the absorbing kernel",
    )
    outside: Outside | None = Field(
        None,
        description="what is given and the vocabulary lacks: error, fold, drop or map, see"
        " `unnoise train text --help`; it comes back as it was written; default: the model's",
    )
    pattern: str | None = Field(
        None,
        description="a regular expression that the gap matches as a whole, whatever is given around"
        " it; without length each text's is drawn evenly from the fewest tokens that can match to"
        " twice as many; for the absorbing kernel",
    )
    json_schema: str | dict[str, Any] | None = Field(
        None, description="a JSON schema that the gap obeys, in place of a pattern"
    )
    particles: int = Field(
        8,
        ge=2,
        le=4096,
        description="texts that a pattern's law is drawn from, for each sample: more are nearer to"
        " the model's own law of what matches",
    )
    block: int | None = Field(
        None,
        ge=1,
        description="fill text block by block of so many tokens, each seeing what is left of it,"
        " and what is given right of it as far as the network sees; for texts longer than that",
    )

    @model_validator(mode="after")
    def _together(self) -> Request:
        if self.template is not None and (self.prompt is not None or self.suffix is not None):
            raise InputError(
                "a template says how the text begins and ends",
                fix="put prompt and suffix into the template",
            )
        lengths = self.length if isinstance(self.length, list) else [self.length]
        if any(n is not None and not 1 <= n <= LONGEST for n in lengths):
            raise InputError(
                "length is out of range",
                value=self.length,
                limit=f"1 to {LONGEST} tokens",
                fix="leave it out for all that the model sees at once",
            )
        if self.pattern is not None and self.json_schema is not None:
            raise InputError("a pattern and a json_schema", fix="leave one out")
        patterned = self.pattern is not None or self.json_schema is not None
        if "particles" in self.model_fields_set and not patterned:
            raise InputError(
                "particles fill a gap with a pattern, and there is none",
                value=self.particles,
                fix="leave particles out, or pass pattern=",
            )
        if patterned:
            for name in ("order", "block"):
                if getattr(self, name) is not None:
                    raise InputError(
                        "a gap with a pattern is filled by particles",
                        value=f"{name}={getattr(self, name)}",
                        fix=f"leave {name} out",
                    )
        for one in self.inputs:  # lists of other lengths are refused here
            for name in ("prompt", "suffix", "template"):
                whole(one[name] or "", name)
        return self

    @property
    def inputs(self) -> list[dict[str, Any]]:
        """prompt, suffix, template and length of each input."""
        return inputs_of(
            prompt=self.prompt, suffix=self.suffix, template=self.template, length=self.length
        )

    @property
    def manner(self) -> str | None:
        """All but the texts, for requests that are answered together; None for one that writes
        block by block, as long as the longest text of its batch."""
        if self.block is not None:
            return None
        return repr(self.model_dump(exclude={"prompt", "suffix", "template", "length"}))
