"""Libraries of attacks run against a purified classifier, unchanged."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unnoise_purify.defended import PurifiedClassifier
from unnoise_purify.digits import digits
from unnoise_purify.draws import Pinned
from unnoise_purify.purifier import Purifier

EPS = 0.1


@pytest.fixture(scope="module")
def defence(digits_model):
    return PurifiedClassifier(Purifier(digits_model, 0.3, steps=1), digits(), noise=Pinned(0))


def check(found, x, eps=EPS):
    """Pictures that were changed, and stay in the ball."""
    found = torch.as_tensor(np.asarray(found.detach() if hasattr(found, "detach") else found))
    assert found.shape == x.shape
    assert 1e-3 < float((found - x).abs().max()) <= eps + 1e-5
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1


def test_torchattacks_pgd(defence, pictures):
    torchattacks = pytest.importorskip("torchattacks")
    x, y = pictures
    check(torchattacks.PGD(defence, eps=EPS, alpha=EPS / 2, steps=2)(x, y), x)


@pytest.mark.slow
def test_torchattacks_autoattack(defence, pictures):
    torchattacks = pytest.importorskip("torchattacks")
    x, y = pictures[0][:1], pictures[1][:1]
    attack = torchattacks.AutoAttack(defence, eps=0.3, version="rand", n_classes=10)
    check(attack(x, y), x, 0.3)


def test_foolbox_pgd(defence, pictures):
    foolbox = pytest.importorskip("foolbox")
    x, y = pictures
    model = foolbox.PyTorchModel(defence, bounds=(0, 1))
    attack = foolbox.attacks.LinfPGD(steps=2, rel_stepsize=0.5)
    _, found, _ = attack(model, x, y, epsilons=EPS)
    check(found, x)


def art_classifier(art, model, **told):
    estimators = pytest.importorskip("art.estimators.classification")
    return estimators.PyTorchClassifier(
        model=model,
        loss=torch.nn.CrossEntropyLoss(),
        input_shape=(1, 28, 28),
        nb_classes=10,
        clip_values=(0.0, 1.0),
        device_type="cpu",
        **told,
    )


def test_art_pgd(defence, pictures):
    art = pytest.importorskip("art")
    evasion = pytest.importorskip("art.attacks.evasion")
    x, y = pictures
    attack = evasion.ProjectedGradientDescent(
        art_classifier(art, defence), eps=EPS, eps_step=EPS / 2, max_iter=2, verbose=False
    )
    check(attack.generate(x.numpy(), y.numpy()), x)
    assert not defence.training


def test_art_preprocessor(defence, pictures):
    """The purifier alone, before ART's own classifier: its gradient is that of the defence."""
    art = pytest.importorskip("art")
    from unnoise_purify.art import preprocessor

    x, y = pictures
    first = preprocessor(defence.purifier, noise=Pinned(0))
    classifier = art_classifier(art, digits(), preprocessing_defences=[first])
    found = classifier.loss_gradient(x.numpy(), np.eye(10, dtype=np.float32)[y.numpy()])
    mine = x.clone().requires_grad_()
    # the mean over the batch of the loss, as torch's default has it
    torch.nn.functional.cross_entropy(defence(mine), y).backward()
    scale = np.abs(found).max()
    same = np.allclose(found, mine.grad.numpy(), atol=1e-3 * scale)
    assert same or np.allclose(found, mine.grad.numpy() * len(x), atol=1e-3 * scale)
    assert np.allclose(classifier.predict(x.numpy()), defence(x).detach().numpy(), atol=1e-3)
