"""Text for unnoise: discrete diffusion with any tokenizer, infilling, and bits per character."""

__version__ = "0.1.0"
