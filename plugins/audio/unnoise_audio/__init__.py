"""Audio for unnoise: mel spectrograms to speech by diffusion, in a few steps."""

__version__ = "0.1.0"
