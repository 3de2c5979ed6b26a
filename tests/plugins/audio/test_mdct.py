import math

import pytest
import torch

from unnoise.errors import ConfigError, InputError
from unnoise.spaces import Layout
from unnoise_audio.mdct import MDCT, dct4


def formula(x: torch.Tensor, size: int) -> torch.Tensor:
    """X[m, k] by the formula of the module, blocks (M, N), zeros beyond the ends."""
    n, k = torch.arange(2 * size).double(), torch.arange(size).double()
    window = torch.sin(math.pi * (n + 0.5) / (2 * size))
    angle = math.pi / size * (n[:, None] + 0.5 - size / 2) * (k + 0.5)
    basis = window[:, None] * math.sqrt(2 / size) * torch.cos(angle)
    padded = torch.nn.functional.pad(x.flatten(), (size // 2, size // 2))
    return padded.unfold(0, 2 * size, size) @ basis


def _padded(lengths: list[int], size: int, dtype: torch.dtype) -> Layout:
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return Layout.dense(len(lengths), (max(lengths), size), mask=mask, dtype=dtype)


@pytest.mark.parametrize(("size", "blocks"), [(2, 3), (8, 7), (200, 5)])
def test_the_interior_is_the_formula(size, blocks):
    x = torch.randn(
        1, blocks, size, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    layout = Layout.dense(1, (blocks, size), dtype=torch.float64)
    z, _ = MDCT(size).embed(x, layout)
    torch.testing.assert_close(z[0, 1:-1], formula(x[0], size)[1:-1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [2, 8, 50])
@pytest.mark.parametrize("lengths", [[4, 4], [4, 2], [1, 3]])
def test_it_is_orthonormal_with_and_without_padding(size, lengths):
    torch.manual_seed(0)
    layout = _padded(lengths, size, torch.float64)
    x = layout.zero_padding(torch.randn(layout.shape, dtype=torch.float64))
    y = layout.zero_padding(torch.randn(layout.shape, dtype=torch.float64))
    codec = MDCT(size)
    encoded = codec.encode(x, layout)
    other, _ = codec.embed(y, layout)
    torch.testing.assert_close(
        layout.sum(encoded.state * other), layout.sum(x * y), rtol=0, atol=1e-10
    )
    assert encoded.log_density.tolist() == [0, 0]
    torch.testing.assert_close(codec.decode(encoded.state, layout).mode, x, rtol=0, atol=1e-12)


def test_a_padded_row_is_as_it_is_alone():
    torch.manual_seed(0)
    layout = _padded([5, 3], 8, torch.float32)
    x = layout.zero_padding(torch.randn(layout.shape))
    together, _ = MDCT(8).embed(x, layout)
    alone, _ = MDCT(8).embed(x[1:, :3], Layout.dense(1, (3, 8)))
    torch.testing.assert_close(together[1:, :3], alone, rtol=0, atol=1e-6)
    assert together[1, 3:].abs().max() == 0


def test_the_log_determinant_is_that_of_the_jacobian():
    layout = Layout.dense(1, (3, 4), dtype=torch.float64)

    def flat(x):
        return MDCT(4).embed(x.view(1, 3, 4), layout)[0].flatten()

    jacobian = torch.autograd.functional.jacobian(flat, torch.randn(12, dtype=torch.float64))
    assert abs(float(torch.linalg.slogdet(jacobian)[1])) < 1e-10
    torch.testing.assert_close(jacobian @ jacobian.T, torch.eye(12, dtype=torch.float64))


def test_the_dct_is_its_own_inverse():
    torch.testing.assert_close(dct4(200) @ dct4(200), torch.eye(200, dtype=torch.float64))


def test_wrong_blocks_are_refused():
    with pytest.raises(ConfigError, match="even"):
        MDCT(7)
    with pytest.raises(InputError, match="blocks"):
        MDCT(8).embed(torch.zeros(1, 3, 6), Layout.dense(1, (3, 6)))
