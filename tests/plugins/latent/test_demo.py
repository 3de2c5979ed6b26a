"""The section of the demo page: pictures that come of the prior, and pictures that do not."""

from unnoise.demo.section import Shown, section_of
from unnoise.discovery.registry import domains


def test_the_page_shows_samples_an_interpolation_and_a_reconstruction() -> None:
    section = section_of(domains()["latent"])
    assert isinstance(section.result, Shown), section.outcome
    for what in ("generated", "reconstructed", "from one picture to another"):
        assert what in section.result.samples
    assert section.result.strip is not None
    assert section.outcome == "40 samples"
