"""Angles: diffusion on the torus."""
