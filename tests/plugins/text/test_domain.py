"""Requests to text: gaps, beginnings, blocks, batches, evaluation, and everything refused."""

from __future__ import annotations

import json

import pytest
import torch

from unnoise import api
from unnoise.cli import main
from unnoise.denoise import Logits, Masked, Ratio
from unnoise.errors import ConfigError, IncompatibleSampler, InputError
from unnoise.objectives import (
    Hybrid,
    MaskedDiffusion,
    OrderAgnosticLoss,
    ScoreEntropy,
    Simple,
    VariationalBound,
)
from unnoise.training.train import train
from unnoise_text.domain import Text, objective_of


def test_length_of_a_text(model):
    out = model.generate(num_samples=3, steps=8, seed=1)
    assert [len(text) for text in out.samples] == [24] * 3
    assert len(set(out.samples)) == 3
    assert [len(t) for t in model.generate(length=7, num_samples=2, steps=4).samples] == [7, 7]


@pytest.mark.parametrize("sampler", ["ancestral", "cached", "first-hitting", "confidence"])
def test_what_is_given_comes_back(model, sampler):
    made = model.generate(template="we ____:{4}the ____", num_samples=4, steps=8, sampler=sampler)
    for text in made.samples:
        assert text.startswith("we ")
        assert text[7:11] == "the "
        assert len(text) == 24
    out = model.generate(prompt="we the ", suffix=" union", num_samples=2, steps=8, sampler=sampler)
    assert all(t.startswith("we the ") and t.endswith(" union") for t in out.samples)
    assert len(set(made.samples)) > 1


@pytest.mark.parametrize("kernel", ["uniform", "nearest"])
def test_given_text_with_other_kernels(make_model, kernel):
    ring = tuple(tuple(float(abs(i - j) in (1, 26)) for j in range(27)) for i in range(27))
    model = make_model(kernel="uniform")
    if kernel == "nearest":
        learned = model.configuration.known.model_copy(update={"adjacency": ring})
        model = make_model(kernel=kernel, learned=learned)
    texts = model.generate(prompt="we the ", num_samples=2, steps=8).samples
    assert all(t.startswith("we the ") and len(t) == 24 for t in texts)


def test_batches_of_different_lengths_equal_singles(model):
    fields = {"prompt": ["we", "we the people", "a"], "length": [9, 24, 5]}
    together = model.generate(**fields, num_samples=2, steps=6, seed=5, sampler="first-hitting")
    apart = model.generate(
        **fields, num_samples=2, steps=6, seed=5, sampler="first-hitting", batch_size=1
    )
    assert together.samples == apart.samples
    assert [len(group[0]) for group in together.groups()] == [9, 24, 5]
    assert together.groups()[1][0].startswith("we the people")


def test_text_longer_than_the_network_in_blocks(model):
    with pytest.raises(InputError, match="longer than the network sees at once"):
        model.generate(length=60, steps=4)
    with pytest.raises(InputError, match="longer than the network sees at once"):
        model.generate(template="____:60", steps=4)
    fields = {"prompt": ["we the people", "a"], "suffix": "z", "length": [60, 31], "block": 7}
    together = model.generate(**fields, steps=4, seed=2)
    apart = model.generate(**fields, steps=4, seed=2, batch_size=1)
    assert together.samples == apart.samples
    assert [len(text) for text in together.samples] == [60, 31]
    assert together.samples[0].startswith("we the people")
    assert all(text.endswith("z") for text in together.samples)


def test_a_block_sees_only_what_is_left_of_it(model):
    whole = model.generate(prompt="we the", length=20, block=5, steps=4, seed=3).samples[0]
    # the first ten tokens do not depend on what follows
    short = model.generate(prompt="we the", length=10, block=5, steps=4, seed=3).samples[0]
    assert whole[:10] == short


def test_temperature_and_nucleus(model):
    cold = model.generate(num_samples=4, steps=8, temperature=0.01, seed=1).samples
    warm = model.generate(num_samples=4, steps=8, temperature=5.0, seed=1).samples

    def letters(texts):
        return len(set("".join(texts)))

    assert letters(cold) < letters(warm)
    small = model.generate(num_samples=4, steps=8, top_p=1e-9, seed=1, order="left-to-right")
    assert len(set(small.samples)) == 1  # the likeliest token, in one order: nothing is random


@pytest.mark.parametrize("order", ["random", "left-to-right", "confidence", "margin", "entropy"])
def test_orders(model, order):
    out = model.generate(prompt="we ", steps=6, order=order, num_samples=2)
    assert all(text.startswith("we ") and len(text) == 24 for text in out.samples)


def test_an_order_is_a_sampler_and_a_request_names_one_of_them(model):
    out = model.generate(prompt="we ", steps=6, order="margin")
    assert "Confidence(" in out.provenance["sampler"]
    with pytest.raises(InputError, match="already fixes its sampler"):
        model.generate(prompt="we ", steps=6, order="margin", sampler="ancestral")


def test_an_order_needs_the_absorbing_kernel(make_model):
    with pytest.raises(IncompatibleSampler):
        make_model(kernel="uniform").generate(order="confidence", steps=4)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompt": "A"}, "outside the vocabulary; got 'A'"),
        ({"template": "We ____"}, "outside the vocabulary; got 'W'"),
        ({"prompt": "we the people of the united states of"}, "does not fit into the length"),
        ({"template": "nothing to fill"}, "has no gap"),
        ({"template": "____:30"}, "longer than the network sees"),
        ({"temperature": 0}, "'temperature'"),
        ({"top_p": 0}, "'top_p'"),
        ({"order": "any"}, "'order'"),
        ({"block": 0}, "'block'"),
        ({"block": 25}, "a block is longer than the network sees"),
        ({"lenght": 5}, "did you mean 'length'"),
        ({"prompt": 3}, "'prompt"),
    ],
)
def test_requests_that_are_refused(model, fields, message):
    with pytest.raises(InputError, match=message):
        model.generate(**fields, steps=2)


def test_characters_outside_by_policy(make_model):
    out = make_model(outside="drop").generate(template="We, the ____:4!", steps=4)
    assert out.samples[0].startswith("We, the ")
    assert out.samples[0].endswith("!")


GOALS = [
    ({}, MaskedDiffusion, Masked),
    ({"goal": "bound"}, VariationalBound, Masked),
    ({"goal": "masked", "chain": 20}, VariationalBound, Masked),
    ({"goal": "order_agnostic"}, OrderAgnosticLoss, Masked),
    ({"goal": "cross_entropy"}, Simple, Masked),
    ({"goal": "score_entropy"}, ScoreEntropy, Ratio),
    ({"goal": "score_entropy", "kernel": "uniform"}, ScoreEntropy, Ratio),
    ({"kernel": "uniform"}, Hybrid, Logits),
    ({"kernel": "uniform", "schedule": "cosine", "chain": 20}, Hybrid, Logits),
]


@pytest.mark.parametrize(("options", "objective", "parametrization"), GOALS)
def test_goals(make_model, options, objective, parametrization):
    from unnoise.noise import NoiseSource

    model = make_model(**options)
    assert isinstance(objective_of(model.configuration), objective)
    assert isinstance(model.denoiser.parametrization, parametrization)
    batch = model.domain.collate([torch.arange(24), torch.arange(3, 20)])
    loss = objective_of(model.configuration)(model.denoiser, batch, NoiseSource(0, range(2)))
    loss.mean().backward()
    assert torch.isfinite(loss).all()
    gradients = [p.grad for p in model.denoiser.parameters() if p.grad is not None]
    assert all(torch.isfinite(g).all() for g in gradients)
    assert any(g.abs().sum() > 0 for g in gradients)


def test_the_time_is_told_where_the_noise_needs_it(make_model):
    for kernel, told in (("absorbing", False), ("uniform", True)):
        denoiser = make_model(kernel=kernel).denoiser
        batch = Text().collate([torch.arange(24)])
        a, b = (denoiser(batch.x0, t, batch.layout).log_probs for t in (0.1, 0.9))
        assert torch.equal(a, b) != told


def test_a_run_from_the_command_line(folder, tmp_path, capsys):
    out = str(tmp_path / "run")
    tiny = ["--width=16", "--depth=1", "--heads=2", "--length=24", "--batch-size=4", "--steps=2"]
    quick = ["--validation-batches=1", "--bound-samples=2", "--bound-evaluations=2"]
    words = ["train", "text", "--data", str(folder), "--out", out, *tiny, *quick]
    assert main(words) == 0
    asked = ["--num-samples", "8", "--evaluations", "5", "--steps", "100"]
    words = ["evaluate", "text", "--data", str(folder), "--model", out, *asked]
    capsys.readouterr()
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "bits per token" in shown
    assert "bits per character" in shown
    assert "+-" in shown
    assert "estimator: bound of 100 steps" in shown
    assert main([*words, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["bits_per_unit"]["token"] == pytest.approx(result["bits_per_dimension"])
    assert result["bits_per_unit"]["character"] == result["bits_per_unit"]["token"]
    assert 2 < result["bits_per_unit"]["character"] < 7
    words = ["generate", "text", "--model", out, "--out", str(tmp_path / "made"), "--watch"]
    assert main([*words, "--steps", "6", "--prompt", "we the people", "--num-samples", "2"]) == 0
    captured = capsys.readouterr()
    assert "we the people" in captured.err
    files = sorted((tmp_path / "made").glob("*.txt"))
    assert [f.name for f in files] == ["00000.txt", "00001.txt"]
    assert all(f.read_text().startswith("we the people") for f in files)
    loaded = api.load(out)
    assert loaded.configuration.known.hash == loaded.configuration.vocabulary.hash


def test_pages(model):
    out = model.generate(prompt="we ", num_samples=2, steps=4, return_trajectory=True)
    shown = model.domain.display.preview(["a <b>", "c"])
    assert "a &lt;b&gt;" in shown
    fragments = model.domain.display.moments(out.trajectory, [0, 1], model)
    assert [len(row) for row in fragments] == [5, 5]
    first, last = fragments[1][0], fragments[1][-1]
    assert first.count("░") == 24  # the first frame is the prior itself
    assert "we " in fragments[1][1]
    assert "░" not in last
    assert out.samples[1] in last


def test_a_model_has_a_temperature_of_its_own(make_model):
    cold = make_model(temperature=0.3)
    plain = make_model()
    asked = {"num_samples": 2, "steps": 6, "length": 12, "seed": 4}
    assert cold.generate(**asked).samples == plain.generate(temperature=0.3, **asked).samples
    assert cold.generate(temperature=1.0, **asked).samples == plain.generate(**asked).samples
    assert cold.generate(**asked).samples != plain.generate(**asked).samples


def test_pages_of_texts_of_other_lengths_show_no_padding(model):
    out = model.generate(
        prompt="we ", length=[9, 20], num_samples=1, steps=4, return_trajectory=True, batch_size=2
    )
    fragments = model.domain.display.moments(out.trajectory, [0, 1], model)
    assert [row[0].count("░") for row in fragments] == [9, 20]
    assert out.samples[0] in fragments[0][-1]


def test_the_terminal_shows_hidden_tokens(model):
    mask = model.configuration.known.vocab - 1
    state = torch.tensor([[1, 2, mask, mask], [0, 0, 0, 0]])
    assert model.domain.display.terminal(state, model) == "ab░░"


def test_a_transformers_architecture_that_does_not_exist(make_model):
    with pytest.raises(ConfigError, match="cannot configure this architecture"):
        make_model(architecture="nothing")
    with pytest.raises(ConfigError, match="no masked language model"):
        make_model(architecture="gpt2")


def test_other_architectures(make_model):
    small = {"hidden_dropout_prob": "0.0"}  # as a command line says it
    out = make_model(architecture="bert", settings=small).generate(steps=2)
    assert len(out.samples[0]) == 24


TINY = {"width": 16, "depth": 1, "heads": 2, "length": 24}


def test_a_model_in_training_writes_in_its_own_vocabulary(folder, tmp_path):
    quick = {"steps": 2, "batch_size": 4, "bound_samples": 0, "samples_every": 2, "device": "cpu"}
    train("text", folder, tmp_path / "run", **TINY, **quick)
    drawn = sorted((tmp_path / "run" / "samples" / "step-00000002").glob("*.txt"))
    assert len(drawn) == 4
    written = {path.read_text(encoding="utf-8") for path in drawn}
    assert len(written) == 4
    assert all(0 < len(text) <= TINY["length"] for text in written)
