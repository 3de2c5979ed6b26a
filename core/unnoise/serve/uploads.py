"""Files come as uploads: what a request says in JSON, as `generate` takes it, with each file in the
folder of the request. A path in a request is refused."""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

from unnoise.errors import nearest
from unnoise.serve.forms import Form
from unnoise.serve.limits import Limits
from unnoise.serve.refusals import too_large, wrong
from unnoise.specs import Files

_NAME: Final = re.compile(r"[^\w.+-]", re.ASCII)
_LONGEST: Final = 80  # characters of a file's name
_HOW: Final = 'send the file: {"name": "x.png", "base64": "..."}, or a part of a multipart body'


@final
@dataclass(frozen=True)
class Sent:
    """A file of a multipart body."""

    name: str
    content: bytes


@final
@dataclass(eq=False)
class Uploads:
    """The files of one request on their way into `folder`.

    `nowhere` is the empty folder in which workers are: a text that names a file from there names
    one of this machine.
    """

    form: Form
    parts: Mapping[str, Sent]
    folder: Path
    nowhere: Path
    limits: Limits
    used: set[str] = field(default_factory=set)
    count: int = 0

    def request(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The request with files in the place of uploads. Raises Refusal."""
        found = {}
        for name, value in given.items():
            files = self.form.files.get(name)
            if files is None:
                self._check_text(name, value)
                found[name] = value
            else:
                found[name] = self._taken(name, value, files)
        if unused := sorted(set(self.parts) - self.used):
            raise wrong(
                "a part of the body is not used by the request",
                value=unused[0],
                fix=f'say where it belongs: {{"upload": "{unused[0]}"}}',
            )
        return found

    def _taken(self, name: str, value: Any, files: Files) -> Any:
        if isinstance(value, list):
            return [self._taken(name, one, files) for one in value]
        if isinstance(value, str):
            if value in files.words:
                return value
            limit = f"{' or '.join(files.words)}, or an upload" if files.words else "an upload"
            raise wrong(
                f"request field {name!r} is no path here, and a server opens none",
                field=name,
                value=value,
                limit=limit if files.sent else " or ".join(files.words),
                fix=_HOW if files.sent else "",
            )
        if isinstance(value, dict) and value.keys() in (
            {"name", "base64"},
            {"upload"},
            {"example"},
        ):
            return self._file(name, value, files)
        self._check_text(name, value)
        return value

    def _file(self, name: str, value: Mapping[str, Any], files: Files) -> Path:
        if not all(isinstance(one, str) for one in value.values()):
            raise wrong(f"request field {name!r}: names and base64 are texts", field=name)
        if "example" in value:
            known = self.form.examples
            if value["example"] not in known:
                raise wrong(
                    f"request field {name!r}: there is no such example",
                    field=name,
                    value=value["example"],
                    limit=", ".join(known) or "this domain has none",
                    fix=nearest(value["example"], known),
                )
            return known[value["example"]]
        if not files.sent:
            raise wrong(
                f"request field {name!r} takes no upload: such a file may hold code",
                field=name,
                limit=" or ".join(files.words),
                fix="use it on the machine where it is, with `unnoise generate`",
            )
        if "upload" in value:
            part = value["upload"]
            if part not in self.parts:
                raise wrong(
                    f"request field {name!r}: the body has no part of this name",
                    field=name,
                    value=part,
                    limit=", ".join(self.parts) or "a multipart body",
                )
            self.used.add(part)
            return self._kept(self.parts[part])
        try:
            content = base64.b64decode(value["base64"], validate=True)
        except (binascii.Error, ValueError) as error:
            raise wrong(
                f"request field {name!r}: this is no base64", field=name, fix=str(error)
            ) from error
        return self._kept(Sent(value["name"], content))

    def _kept(self, sent: Sent) -> Path:
        if self.count >= self.limits.files:
            raise too_large(
                "too many files in one request",
                value=self.count + 1,
                limit=self.limits.files,
                fix="send them in several requests",
            )
        place = self.folder / str(self.count)
        place.mkdir(parents=True)
        self.count += 1
        name = _NAME.sub("_", re.split(r"[/\\]", sent.name)[-1])[-_LONGEST:].lstrip(".")
        path = place / (name or "file")
        path.write_bytes(sent.content)
        return path

    def _check_text(self, name: str, value: Any) -> None:
        """A domain may take a text that names a file for that file."""
        if isinstance(value, list | tuple):
            for one in value:
                self._check_text(name, one)
        elif isinstance(value, dict):
            for one in value.values():
                self._check_text(name, one)
        elif isinstance(value, str) and self._is_there(value):
            raise wrong(
                f"request field {name!r} names a file of the server, which opens none",
                field=name,
                value=value,
                fix="send what is in the file",
            )

    def _is_there(self, text: str) -> bool:
        if not text.strip() or text.strip(".") == "":
            return False
        try:
            return any(os.path.lexists(self.nowhere / t) for t in (text, Path(text).expanduser()))
        except (OSError, ValueError, RuntimeError):  # no path at all, or nobody's home
            return False
