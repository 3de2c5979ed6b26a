"""Diffusion in a learned latent space: pictures through autoencoders, and their likelihoods."""

__version__ = "0.1.0"
