"""Images for unnoise: class-conditional pixel diffusion on any folder of pictures."""

__version__ = "0.1.0"
