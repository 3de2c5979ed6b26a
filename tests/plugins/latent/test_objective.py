"""The cross entropy of latents and a diffusion, and the gradients that it trains with."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from latents import F64, OFFSET, WEIGHT, Bend, Nothing, data, entropy, networks, off

from unnoise.codecs import Affine, Tied
from unnoise.denoise import ByLogSNR, NetworkDenoiser, Noise, WholeNoise
from unnoise.errors import ConfigError, InputError
from unnoise.kernels import (
    Above,
    GaussianKernel,
    Geometric,
    LearnedSchedule,
    Linear,
    MonotoneInterior,
    VPCosine,
    VPLinear,
)
from unnoise.noise import NoiseSource
from unnoise.objectives import (
    Batch,
    ConditionDropout,
    Elapsed,
    ImportanceTimes,
    LogVarianceTimes,
    Networks,
    SignalTimes,
    UniformTimes,
    VarianceTimes,
)
from unnoise.spaces import Euclidean, Layout
from unnoise.testing.linear_codec import linear_codec
from unnoise_latent.cross_entropy import Prior, noise_squares, weight
from unnoise_latent.mixed import Mixed
from unnoise_latent.objective import LSGM, VAE, Frozen, Unified
from unnoise_latent.spectral import Spectral

START = Elapsed(0, 10)


def latents(n, mean=0.7, std=0.5):
    own = torch.Generator().manual_seed(3)
    z = mean + std * torch.randn(n, 1, generator=own, dtype=F64)
    return Batch(z, Layout.dense(n, (1,), dtype=F64))


def moments(law, schedule, weighting, mean=0.7, std=0.5):
    """Mean and standard deviation of w |eps - eps_hat|^2 / p with the network off, by quadrature.

    eps - sigma z_t = alpha (alpha eps - sigma z), and z ~ N(mean, std^2).
    """
    s = torch.linspace(math.log(law.eps), 0, 400_001, dtype=F64)
    t = s.exp()
    alpha2 = schedule.alpha(t) ** 2
    sigma2 = schedule.sigma(t) ** 2
    v, m2 = alpha2 + std**2 * sigma2, mean**2 * sigma2
    second, fourth = v + m2, 3 * v**2 + 6 * v * m2 + m2**2
    w, p = weight(weighting, schedule, t), law.density(schedule, t)
    first = torch.trapezoid(w * alpha2 * second * t, s)
    square = torch.trapezoid((w / p) ** 2 * alpha2**2 * fourth * p * t, s)
    return float(first), float((square - first**2).sqrt())


@pytest.mark.parametrize(("eps", "published"), [(0.01, 1.28918), (1e-5, 1.28892)])
def test_cross_entropy_with_the_network_off(eps, published):
    """Of N(.7, .5^2) and N(0, 1), 1.2889385 exactly; at the time eps, 1.28920 and 1.28894."""
    schedule, n = VPLinear(), 10_000
    states = latents(n)
    integral, std = moments(LogVarianceTimes(eps), schedule, "ll")
    variance = float(schedule.sigma(eps)) ** 2
    assert integral + 0.5 * (1 + math.log(2 * math.pi * variance)) == pytest.approx(
        published, abs=1e-5
    )
    end = 0.5 * float(schedule.alpha(1.0)) ** 2 * 0.74 / float(schedule.sigma(1.0)) ** 2
    near = 0.5 * (1 + math.log(2 * math.pi * variance / float(schedule.alpha(eps)) ** 2))
    with torch.no_grad():
        found, _ = Prior("ll", eps).cross_entropy(off(), states, NoiseSource(0, range(n)))
    assert float(found.mean()) == pytest.approx(integral + end + near, abs=4 * std / math.sqrt(n))
    # of z_eps, whose law is known, the whole is the cross entropy of two normal laws
    exact = 0.5 * math.log(2 * math.pi) + 0.5 * (0.74 + 0.26 * variance)
    assert integral + end + near + math.log(float(schedule.alpha(eps))) == pytest.approx(
        exact, abs=1e-5
    )


@pytest.mark.parametrize("schedule", [VPLinear(), Geometric(), VPCosine()], ids=repr)
@pytest.mark.parametrize("weighting", ["ll", "un", "re"])
def test_all_laws_of_times_have_one_mean(schedule, weighting):
    """By quadrature over u, in which times are drawn: what the density says is what is drawn."""
    eps, n = 0.01, 100_000
    u = (torch.arange(n, dtype=F64) + 0.5) / n
    laws = [UniformTimes, ImportanceTimes, LogVarianceTimes, VarianceTimes]
    if weighting == "un":  # the others are steep at the end where it hardly draws
        laws.append(SignalTimes)
    expected, _ = moments(UniformTimes(eps), schedule, weighting)
    for kind in laws:
        law = kind(eps)
        t = law.times(schedule, u)
        alpha2, sigma2 = schedule.alpha(t) ** 2, schedule.sigma(t) ** 2
        error = alpha2 * (alpha2 + 0.25 * sigma2 + 0.49 * sigma2)
        found = (weight(weighting, schedule, t) / law.density(schedule, t) * error).mean()
        assert float(found) == pytest.approx(expected, rel=5e-4), kind


def test_importance_laws_lower_the_variance():
    """Of the ll estimate at 1e-5; a uniform law's moments hang on draws that hardly ever come."""
    schedule, n = VPLinear(), 10_000
    stds = [
        moments(law(1e-5), schedule, "ll")[1]
        for law in (UniformTimes, ImportanceTimes, LogVarianceTimes)
    ]
    assert stds == pytest.approx([275.75, 13.360, 9.5568], rel=1e-4)
    with torch.no_grad():
        found, _ = Prior("ll").cross_entropy(off(), latents(n), NoiseSource(1, range(n)))
    assert float(found.std()) == pytest.approx(stds[2], rel=0.05)
    for weighting, law in (("un", SignalTimes), ("re", VarianceTimes)):
        own, flat = (moments(k(0.01), schedule, weighting)[1] for k in (law, UniformTimes))
        assert own < flat


def gradients(loss, modules):
    own = [p for module in modules for p in module.parameters()]
    found = torch.autograd.grad(loss, own, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(own, found, strict=True)]


@pytest.mark.parametrize("schedule", [VPLinear(), Geometric()], ids=repr)
@pytest.mark.parametrize("weighting", ["ll", "un", "re"])
def test_one_evaluation_has_the_gradients_of_two(schedule, weighting):
    """The encoder's is that of ll, the prior's that of its own weighting, computed apart."""
    both, batch = networks(schedule), data(16)
    prior, share, source = Prior(weighting), 0.7, NoiseSource(5, range(16))
    calls = []
    both.denoiser.network.register_forward_hook(lambda *_: calls.append(1))
    loss = LSGM(prior).bound(both, batch, source.copy(), share).sum()
    assert len(calls) == 1
    joint = gradients(loss, (both.denoiser, both.codec))

    noise = source.copy()
    found = both.codec.encode(batch.x0, batch.layout, None, noise)
    t = prior.times.times(schedule, noise.times())
    density = prior.times.density(schedule, t)
    after = noise.copy()
    states = Batch(found.state, found.layout)
    squares = noise_squares(both.denoiser, states, found.state.detach(), t, noise)
    own = (weight(weighting, schedule, t) / density * squares).sum()
    expected = gradients(own, (both.denoiser,))
    squares = noise_squares(both.denoiser, states, found.state, t, after)
    entropy = weight("ll", schedule, t) / density * squares
    snr = float(schedule.alpha(1.0)) ** 2 / float(schedule.sigma(1.0)) ** 2
    entropy = entropy + 0.5 * snr * found.state.square().sum(1)
    gain = found.log_density + found.log_posterior
    whole = (-gain + share * (found.log_posterior + entropy)).sum()
    expected += gradients(whole, (both.codec,))
    for a, b in zip(joint, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    if weighting == "ll" and share == 1:
        assert all(torch.equal(a, b) for a, b in zip(joint, expected, strict=True))


def test_with_the_likelihoods_weighting_the_identity_changes_nothing():
    """One number, the evidence bound, has all gradients: to the last bit."""
    both, batch, source = networks(), data(8), NoiseSource(2, range(8))
    states = Batch(batch.x0[:, :2].clone().requires_grad_(), Layout.dense(8, (2,), dtype=F64))
    _, loss = Prior("ll").cross_entropy(both.denoiser, states, source.copy())
    joint = torch.autograd.grad(loss.sum(), states.x0)[0]
    t = LogVarianceTimes().times(VPLinear(), source.times())
    density = LogVarianceTimes().density(VPLinear(), t)
    squares = noise_squares(both.denoiser, states, states.x0, t, source)
    far = math.exp(float(VPLinear().log_snr(torch.tensor([1.0], dtype=F64)))) / 2
    plain = weight("ll", VPLinear(), t) / density * squares + far * states.x0.square().sum(1)
    assert torch.equal(joint, torch.autograd.grad(plain.sum(), states.x0)[0])


@pytest.mark.parametrize("objective", [LSGM(), LSGM(apart=True), VAE(), Frozen()], ids=repr)
def test_what_learns(objective):
    both, batch = networks(), data(8)
    turns = objective.turns(both)
    moved = [sorted({name.split(".")[0] for name in turn.parameters(both)}) for turn in turns]
    expected = {VAE: [["codec"]], Frozen: [["denoiser"]], LSGM: [["codec", "denoiser"]]}
    if objective == LSGM or getattr(objective, "apart", False):
        assert moved == [["codec"], ["denoiser"]]
    else:
        assert moved == expected[type(objective)]
    for turn in turns:
        loss = turn.loss(both, batch, NoiseSource(0, range(8)), START)
        assert loss.shape == (8,)
        for name, parameter in turn.parameters(both).items():
            found = torch.autograd.grad(loss.sum(), parameter, retain_graph=True)
            assert torch.isfinite(found[0]).all(), name


@pytest.mark.parametrize("apart", [False, True])
def test_the_bound_of_the_exact_model_is_the_entropy(apart):
    """Linear codec with its exact posterior, prior N(0, I): nats per number of the data."""
    n = 10_000
    batch, exact = data(n), networks()
    both = Networks(off(channels=2), exact.codec)
    whole = Elapsed(10, 10)
    turn, *_ = LSGM(Prior("ll"), apart=apart).turns(both)
    with torch.no_grad():
        found = turn.loss(both, batch, NoiseSource(0, range(n)), whole)
        plain = VAE(warmup=0.0).turns(both)[0].loss(both, batch, NoiseSource(0, range(n)), whole)
    assert float(found.mean()) == pytest.approx(entropy() / 4, abs=0.1)
    assert float(plain.mean()) == pytest.approx(entropy() / 4, abs=0.01)


def test_the_divergence_is_warmed_up():
    both, batch = networks(), data(8)
    loss = VAE(warmup=0.5).turns(both)[0].loss
    found = [loss(both, batch, NoiseSource(0, range(8)), Elapsed(k, 4)) for k in range(3)]
    codes = both.codec.encode(batch.x0, batch.layout, None, NoiseSource(0, range(8)))
    torch.testing.assert_close(found[0], -(codes.log_density + codes.log_posterior) / 4)
    torch.testing.assert_close(found[1], (found[0] + found[2]) / 2)


def test_hidden_labels_reach_the_prior():
    both = networks()
    batch = replace(data(64), condition={"label": torch.ones(64, dtype=torch.int64)})
    objective = ConditionDropout(LSGM(), 0.5, {"label": torch.zeros(1, dtype=torch.int64)})
    seen = []
    both.denoiser.network.network.register_forward_hook(
        lambda module, given, _: seen.append(given[3]["label"])
    )
    (turn,) = objective.turns(both)
    turn.loss(both, batch, NoiseSource(0, range(64)), START)
    assert 10 < int(seen[0].sum()) < 54


def test_spectral_regularisation_is_part_of_the_loss():
    codec = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Conv2d(2, 5, 3))
    penalty = Spectral(codec, iterations=200)
    largest = [torch.linalg.matrix_norm(layer.weight.flatten(1), 2) for layer in codec]
    found = penalty(codec)
    torch.testing.assert_close(found, largest[0] + largest[1])
    found.backward()
    u, _, v = torch.linalg.svd(codec[0].weight)
    torch.testing.assert_close(codec[0].weight.grad, torch.outer(u[:, 0], v[0]), atol=1e-4, rtol=0)
    objective = VAE(spectral=penalty, strength=0.1)
    assert list(objective.others()) == ["spectral"]
    assert list(ConditionDropout(objective, 0.1, {}).others()) == ["spectral"]
    with pytest.raises(ConfigError, match="another layer"):
        penalty(torch.nn.Sequential(torch.nn.ReLU()))
    with pytest.raises(ConfigError, match="there are none"):
        Spectral(torch.nn.ReLU())


def test_what_cannot_be_trained_is_refused():
    batch, both = data(4), networks()
    noise = NoiseSource(0, range(4))
    plain = Networks(both.denoiser, Affine())
    with pytest.raises(InputError, match="draws no latents"):
        VAE().bound(plain, batch, noise, 1.0)
    with pytest.raises(ConfigError, match="weighting"):
        Prior("uniform")
    with pytest.raises(ConfigError, match="sampling"):
        Prior("ll", sampling="random")
    with pytest.raises(ConfigError, match="share of the run"):
        VAE(warmup=2.0)
    with pytest.raises(ConfigError, match="preserves the variance"):
        off(Linear(0.1))


def unified(move=0.0):
    """The exact model of `data(std=0.4)` with codes of one size, the noise of which is tied."""
    schedule = VPCosine(log_snr_min=-12, log_snr_max=2 * math.log(1.2 / 0.4))
    weight = WEIGHT / WEIGHT.norm(dim=0) * 1.2
    codec = Tied(linear_codec(weight, OFFSET.clone(), 0.4, move=move), schedule)
    encoder = codec.codec.encoder
    encoder.matrix.data /= codec.start.alpha
    encoder.offset.data /= codec.start.alpha
    torch.manual_seed(0)
    network = Mixed(Bend(2), schedule, 2, logit=-1.0).double()
    kernel = GaussianKernel(Euclidean(), Above(schedule))
    return Networks(NetworkDenoiser(network, kernel, WholeNoise()), codec)


def test_unified_latents_reach_the_entropy():
    n, both = 4000, unified()
    network = both.denoiser.network
    network.logit.data.fill_(-math.inf)  # the prior is the normal law
    weight = both.codec.codec.decoder.matrix.detach()
    own = torch.Generator().manual_seed(1)
    z = torch.randn(n, 2, generator=own, dtype=F64)
    x = z @ weight.mT + OFFSET + 0.4 * torch.randn(n, 4, generator=own, dtype=F64)
    covariance = weight @ weight.mT + 0.16 * torch.eye(4, dtype=F64)
    truth = torch.distributions.MultivariateNormal(OFFSET, covariance).log_prob(x)
    batch = Batch(x, Layout.dense(n, (4,), dtype=F64))
    with torch.no_grad():
        found = Unified(Prior("ll")).bound(both, batch, NoiseSource(0, range(n)), 1.0)
    gap = found + truth
    assert float(gap.mean()) == pytest.approx(0, abs=4 * float(gap.std()) / math.sqrt(n))


@pytest.mark.parametrize("weighting", ["ll", "un", "re"])
def test_unified_latents_have_both_gradients(weighting):
    both, batch, source = unified(), data(16), NoiseSource(5, range(16))
    prior, share = Prior(weighting), 0.6
    schedule = both.denoiser.kernel.schedule.schedule
    loss = Unified(prior).bound(both, batch, source.copy(), share).sum()
    joint = gradients(loss, (both.denoiser, both.codec))
    mu, layout = both.codec.clean(batch.x0, batch.layout)
    z = both.codec.law(mu, layout).sample(source)
    gain = both.codec.decode(z, layout).log_prob(batch.x0)
    t = prior.times.times(schedule, source.times())
    density, states = prior.times.density(schedule, t), Batch(mu, layout)
    squares = noise_squares(both.denoiser, states, mu.detach(), t, source.copy())
    own = (weight(weighting, schedule, t) / density * squares).sum()
    expected = gradients(own, (both.denoiser,))
    squares = noise_squares(both.denoiser, states, mu, t, source)
    far = 0.5 * math.exp(-12) * mu.square().sum(1)
    divergence = weight("ll", schedule, t) / density * squares + far
    expected += gradients((share * divergence - gain).sum(), (both.codec,))
    for a, b in zip(joint, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    with pytest.raises(ConfigError, match="least noise"):
        Unified().bound(networks(), batch, source, 1.0)


def test_learned_end_points_follow_the_bound():
    """Of N(0, I) latents and the exact prior the bound is the entropy, wherever they are, up to
    what N(0, sigma_1^2) is off; all parameters of the schedule have a gradient."""
    n = 2000
    schedule = LearnedSchedule(MonotoneInterior(8), -10.0, 6.0)
    label = LearnedSchedule(gamma_min=-10.0, gamma_max=6.0, ends="fixed")
    network = Mixed(Nothing(), label, 2, logit=-math.inf)
    kernel = GaussianKernel(Euclidean(), schedule)
    denoiser = NetworkDenoiser(network, kernel, ByLogSNR(Noise(), -10.0, 6.0))
    own = torch.Generator().manual_seed(0)
    z = torch.randn(n, 2, generator=own, dtype=F64).requires_grad_()
    states = Batch(z, Layout.dense(n, (2,), dtype=F64))
    found = Prior("ll").cross_entropy(denoiser, states, NoiseSource(0, range(n)))
    error = 5 * float(found.nats.std()) / math.sqrt(n)
    assert float(found.nats.mean()) == pytest.approx(math.log(2 * math.pi * math.e), abs=error)
    found.loss.sum().backward()
    assert all(p.grad is not None for p in schedule.parameters())
    assert bool(z.grad.isfinite().all())
    with pytest.raises(ConfigError, match="other weightings"):
        Prior("un").cross_entropy(denoiser, states, NoiseSource(0, range(n)))
