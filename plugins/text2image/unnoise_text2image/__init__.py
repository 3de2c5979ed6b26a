"""Text to image for unnoise: pictures from captions, by a cascade of two diffusions with guidance."""

__version__ = "0.1.0"
