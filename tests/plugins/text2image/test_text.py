"""Captions as tokens, and their encoder."""

from __future__ import annotations

from collections.abc import Callable

import torch

from unnoise.denoise import NetworkDenoiser
from unnoise.model import Model
from unnoise.spaces import Layout
from unnoise_text2image.text import Reader, TextEncoder


def test_words_are_tokens_whatever_their_case(model: Model) -> None:
    reader = Reader(model.configuration)
    assert reader.read("Red  APPLE") == reader.read("red apple")
    found = reader.read("red apple")
    assert (len(found.ids), found.cut, found.unknown, found.pieces) == (3, "", (), ())
    assert reader.rows(["red apple"])[0].tolist() == [*found.ids, *[0] * 5]


def test_what_is_cut_unknown_or_in_pieces_is_said(model: Model) -> None:
    reader = Reader(model.configuration)
    long = reader.read("red apple in blue heart in green flag in black")
    assert long.cut == "flag in black"
    assert len(long.ids) == 8
    assert reader.read("red 日").unknown == ("日",)
    assert reader.read("red plea").pieces == ("plea",)


def test_tokens_under_the_padding_mask_change_nothing(
    make_model: Callable[..., Model],
) -> None:
    base = make_model(stage="base")
    ids = torch.tensor([[2, 5, 6, 7, 0, 0, 0, 0], [2, 9, 0, 0, 0, 0, 0, 0]])
    mask = ids != 0
    other = torch.where(mask, ids, torch.tensor([[11], [12]]))
    assert isinstance(base.denoiser, NetworkDenoiser)
    x, layout = torch.randn(2, 3, 8, 8), Layout.dense(2, (3, 8, 8))
    with torch.no_grad():
        found = [
            base.denoiser.output(x, 0.5, layout, {"ids": i, "mask": m})
            for i, m in ((ids, mask), (other, mask), (other, torch.ones_like(mask)))
        ]
    assert torch.equal(found[0], found[1])
    assert (found[0] - found[2]).abs().max() > 1e-4  # they do where the mask shows them


def test_padding_is_learned(model: Model) -> None:
    encoder = TextEncoder(model.configuration)
    found = Reader(model.configuration).condition(["red apple"])
    encoder(**found).square().sum().backward()
    assert float(encoder.padding.grad.abs().max()) > 0
