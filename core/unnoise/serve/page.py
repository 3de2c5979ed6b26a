"""The files of the playground, and what a browser may do with them: speak to this server alone."""

from __future__ import annotations

from importlib import resources
from typing import Final, final

from starlette.responses import Response

from unnoise.demo.wordmark import wordmark
from unnoise.serve.refusals import wrong

_OWN: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
    " blob:; media-src data: blob:; connect-src 'self'; frame-src 'self'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'"
)
_FRAME: Final = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' blob:; worker-src blob:;"
    " style-src 'unsafe-inline'; img-src data: blob:; media-src data: blob:; sandbox allow-scripts"
)
"""Of the frame in which pages that a domain has written are shown: scripts, but no origin, and
nobody to talk to."""
_TYPES: Final = {"css": "text/css", "js": "text/javascript", "html": "text/html"}
_FILES: Final = ("play.css", "play.js", "form.js", "show.js", "frame.html")


@final
class Page:
    """The playground."""

    def __init__(self) -> None:
        folder = resources.files("unnoise.serve") / "static"
        self._files = {name: (folder / name).read_text(encoding="utf-8") for name in _FILES}
        demo = resources.files("unnoise.demo")
        self._files["base.css"] = (demo / "page.css").read_text(encoding="utf-8")
        page = (folder / "play.html").read_text(encoding="utf-8")
        self._files[""] = page.replace("<!--wordmark-->", wordmark())

    def answer(self, name: str) -> Response:
        """A file by its name, "" the page itself. Raises Refusal, 404."""
        if name not in self._files:
            raise wrong("there is no such file", 404, value=name)
        kind = _TYPES[name.rpartition(".")[2] or "html"]
        policy = _FRAME if name == "frame.html" else _OWN
        headers = {
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-cache",
        }
        return Response(self._files[name], media_type=f"{kind}; charset=utf-8", headers=headers)
