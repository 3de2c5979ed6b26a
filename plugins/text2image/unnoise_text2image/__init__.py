"""Text to image for unnoise: a cascade of two diffusions, guided by captions."""

__version__ = "0.1.0"
