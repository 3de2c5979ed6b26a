"""What a network puts out and is told is refused where broadcasting would hide a mistake."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from unnoise.denoise import (
    ByLogSNR,
    Clean,
    Flow,
    Joint,
    LearnedVariance,
    Logits,
    Masked,
    NetworkDenoiser,
    Noise,
    Preconditioned,
    Ratio,
    check_condition,
)
from unnoise.errors import ConfigError, InputError
from unnoise.kernels import (
    Absorbing,
    CategoricalKernel,
    GaussianKernel,
    Linear,
    ProductKernel,
    Uniform,
    VPLinear,
)
from unnoise.noise import NoiseSource
from unnoise.objectives import Batch, Simple
from unnoise.spaces import Euclidean, Layout, Tokens

B = 4


class Puts(nn.Module):
    """A network whose output has given shapes, and that is asked for a gradient."""

    def __init__(self, *shape, **shapes):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(()))
        self.shape, self.shapes = shape, shapes

    def forward(self, inputs, label, layout, condition=None):
        if self.shapes:
            return {n: torch.ones(shape) + self.w for n, shape in self.shapes.items()}
        return torch.ones(self.shape) + self.w


REAL = GaussianKernel(Euclidean(), VPLinear())
WORDS = CategoricalKernel(Tokens(5), Absorbing(4))
UNIFORM = CategoricalKernel(Tokens(5), Uniform(Linear(1e-3)))
BOTH = ProductKernel({"x": REAL, "c": WORDS})
REALS = Layout.dense(B, (13,))
SENTENCE = Layout.dense(B, (3,), dtype=torch.int64)
PAIR = Layout.product({"x": REALS, "c": SENTENCE})


def data(layout):
    if layout.fields:
        return {name: data(part) for name, part in layout.fields.items()}
    return torch.zeros(layout.shape, dtype=layout.dtype)


GOOD = [
    (REAL, Noise(), REALS, Puts(B, 13)),
    (REAL, Clean(), Layout.dense(B), Puts(B)),
    (REAL, LearnedVariance(Noise()), Layout.dense(B, (2, 6)), Puts(B, 4, 6)),
    (WORDS, Masked(4), SENTENCE, Puts(B, 3, 5)),
    (WORDS, Logits(), SENTENCE, Puts(B, 3, 5)),
    (UNIFORM, Ratio(), SENTENCE, Puts(B, 3, 5)),
    (BOTH, Joint({"x": Noise(), "c": Logits()}), PAIR, Puts(x=(B, 13), c=(B, 3, 5))),
]
BAD = [
    (REAL, Noise(), REALS, Puts(B, 1), "(4, 1)", "(4, 13)"),
    (REAL, Clean(), REALS, Puts(1, 13), "(1, 13)", "(4, 13)"),
    (REAL, Flow(), REALS, Puts(B, 13, 1), "(4, 13, 1)", "(4, 13)"),
    (REAL, Preconditioned(), REALS, Puts(13), "(13,)", "(4, 13)"),
    (REAL, ByLogSNR(Noise()), REALS, Puts(), "()", "(4, 13)"),
    (REAL, Noise(), Layout.dense(B), Puts(B, 1), "(4, 1)", "(4,)"),
    (REAL, Noise(), REALS, Puts(x=(B, 13)), "dict", "(4, 13)"),
    (REAL, LearnedVariance(Noise()), REALS, Puts(B, 13), "(4, 13)", "(4, 26)"),
    (WORDS, Masked(4), SENTENCE, Puts(B, 3, 4), "(4, 3, 4)", "(4, 3, 5)"),
    (WORDS, Masked(4), SENTENCE, Puts(B, 1, 5), "(4, 1, 5)", "(4, 3, 5)"),
    (WORDS, Logits(), SENTENCE, Puts(B, 3), "(4, 3)", "(4, 3, 5)"),
    (UNIFORM, Ratio(), SENTENCE, Puts(B, 5, 3), "(4, 5, 3)", "(4, 3, 5)"),
    (BOTH, Joint({"x": Noise(), "c": Logits()}), PAIR, Puts(B, 13), "Tensor", "['c', 'x']"),
    (BOTH, Joint({"x": Noise(), "c": Logits()}), PAIR, Puts(x=(B, 13)), "['x']", "['c', 'x']"),
    (
        BOTH,
        Joint({"x": Noise(), "c": Logits()}),
        PAIR,
        Puts(x=(B, 1), c=(B, 3, 5)),
        "(4, 1)",
        "(4, 13)",
    ),
]


@pytest.mark.parametrize(("kernel", "parametrization", "layout", "network"), GOOD)
def test_the_right_shape_samples_and_trains(kernel, parametrization, layout, network):
    denoiser = NetworkDenoiser(network, kernel, parametrization)
    denoiser(data(layout), 0.5, layout)
    loss = Simple()(denoiser, Batch(data(layout), layout), NoiseSource(0, range(B)))
    assert loss.shape == (B,)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("kernel", "parametrization", "layout", "network", "got", "right"), BAD)
def test_another_shape_is_refused(kernel, parametrization, layout, network, got, right):
    denoiser = NetworkDenoiser(network, kernel, parametrization)
    words = f"the network puts out .*got .*{re.escape(got)}.*allowed: {re.escape(right)}"
    with pytest.raises(ConfigError, match=words):
        denoiser(data(layout), 0.5, layout)
    with pytest.raises(ConfigError, match=words):
        Simple()(denoiser, Batch(data(layout), layout), NoiseSource(0, range(B)))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ({"label": 3}, "'label' is no tensor; got 'int'"),
        ({"label": [1, 2, 3, 4]}, "'label' is no tensor; got 'list'"),
        ({"label": torch.zeros(3)}, r"'label' has other rows .*\(3,\).*\(4, ...\)"),
        ({"label": torch.zeros(1)}, r"'label' has other rows .*\(1,\)"),
        ({"label": torch.tensor(1)}, r"'label' has other rows .*\(\)"),
        ({"ok": torch.zeros(4), "at": torch.zeros(5, 4)}, r"'at' has other rows .*\(5, 4\)"),
        (torch.zeros(4), "mapping of tensors by name; got 'Tensor'"),
    ],
)
def test_a_condition_has_a_row_per_sample(condition, words):
    denoiser = NetworkDenoiser(Puts(B, 13), REAL, Noise())
    with pytest.raises(InputError, match=words):
        denoiser(data(REALS), 0.5, REALS, condition)
    with pytest.raises(InputError, match=words):
        Simple()(denoiser, Batch(data(REALS), REALS, condition), NoiseSource(0, range(B)))


@pytest.mark.usefixtures("unchecked")
def test_beside_ragged_states_a_condition_has_rows_of_its_own():
    ragged = Layout.ragged([2, 3])
    check_condition({"bonds": torch.zeros(2, 7)}, ragged)
    check_condition({"bonds": torch.zeros(2, 7)}, Layout.product({"x": ragged}))
    check_condition(None, REALS)
    with pytest.raises(InputError, match="no tensor"):
        check_condition({"bonds": None}, ragged)


@pytest.mark.parametrize("token", [-1, 5, 77])
@pytest.mark.parametrize("kernel", [WORDS, UNIFORM], ids=["absorbing", "uniform"])
def test_tokens_out_of_range(kernel, token):
    x = torch.tensor([[0, 1], [2, token]])
    layout = Layout.dense(2, (2,), dtype=torch.int64)
    limit = f"token out of range; got .*{token}.*0 to 4"
    with pytest.raises(InputError, match=limit):
        kernel.marginal(x, 0.5, layout)
    with pytest.raises(InputError, match=limit):
        kernel.noisy(x, 0.5, layout, NoiseSource(0, range(2)))
    denoiser = NetworkDenoiser(Puts(2, 2, 5), kernel, Logits())
    with pytest.raises(InputError, match=limit):
        Simple()(denoiser, Batch(x, layout), NoiseSource(0, range(2)))
