"""unnoise: a minimal diffusion core plus domain plugins."""
