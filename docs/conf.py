"""Configuration of Sphinx. The pages that it reads are made by `docs/build.py`."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

project = "unnoise"
author = "the unnoise authors"
extensions = ["myst_parser", "sphinx_copybutton", "builder.mathml"]
myst_enable_extensions = ["dollarmath", "attrs_block"]
myst_heading_anchors = 4
html_math_renderer = "mathml"
html_theme = "furo"
html_title = "unnoise"
html_static_path = [str(HERE / "static")]
html_css_files = ["site.css"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_theme_options = {"footer_icons": [], "top_of_page_buttons": []}
pygments_style = "friendly"
pygments_dark_style = "native"
suppress_warnings = ["misc.highlighting_failure"]
