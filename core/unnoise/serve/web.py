"""The application: routes, and the life of a server's folder and workers."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, final

import anyio
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from unnoise.discovery.domains import domain_named
from unnoise.discovery.registry import domains
from unnoise.domain import Domain, Trainable
from unnoise.engine.options import split
from unnoise.errors import InputError, PluginError, UnnoiseError, nearest
from unnoise.serve.answers import Events, Waiting
from unnoise.serve.body import Gate, received
from unnoise.serve.desk import Desk, Ticket
from unnoise.serve.folders import server_folder
from unnoise.serve.forms import MODEL, OPERATOR, Form
from unnoise.serve.guard import Guard
from unnoise.serve.limits import Limits
from unnoise.serve.messages import Spec
from unnoise.serve.metrics import Metrics
from unnoise.serve.openapi import described
from unnoise.serve.page import Page
from unnoise.serve.refusals import Refusal, refusal, wrong
from unnoise.serve.uploads import Uploads
from unnoise.serve.worker import Setup

_ALONE: Final = ("seed", "num_samples")


@final
@dataclass(frozen=True)
class Settings:
    """How a server is run.

    Attributes
    ----------
    limits : what it takes on.
    models : folders of models beside the shipped ones, by name.
    devices : a worker process for each; None lets torch choose.
    threads : of a worker's network; None as torch has it.
    token : that clients must have; empty for none.
    local : whether it is bound to this machine alone.
    names : of hosts, under which a proxy serves it.
    """

    limits: Limits = field(default_factory=Limits)
    models: Mapping[str, str] = field(default_factory=dict)
    devices: Sequence[str | None] = (None,)
    threads: int | None = None
    token: str = ""
    local: bool = True
    names: Sequence[str] = ()


def application(settings: Settings) -> Guard:
    """The ASGI application: started, it makes its folder and its workers; ended, both go."""
    forms = forms_of(settings.models)
    server = _Server(settings, forms)
    app = FastAPI(
        title="unnoise",
        version=version("unnoise"),
        summary="Samples of every installed domain.",
        lifespan=server.life,
        docs_url=None,
        redoc_url=None,
    )
    _routes(app, server)
    app.openapi = lambda: described(app, forms, bool(settings.token))  # type: ignore[method-assign]
    return Guard(app, settings.token, settings.local, frozenset(settings.names))


def forms_of(models: Mapping[str, str]) -> dict[str, Form]:
    """The domains that can be served, by name; one that cannot be loaded is left out."""
    found = {}
    for name, info in domains().items():
        try:
            domain = domain_named(name)
        except PluginError:
            continue
        found[name] = Form(domain, info.summary, tuple(_models_of(domain, models)))
    return found


def _models_of(domain: Domain, models: Mapping[str, str]) -> list[str]:
    homes = [domain.name, *domain.adopt]
    known = []
    for name in homes:
        home = domain_named(name) if name in domains() else None
        if isinstance(home, Trainable):
            known += [name] if home.bundle is not None else []
            known += [f"{name}/{variant}" for variant in home.variants]
    return [*known, *models]


@final
class _Server:
    """What the routes share."""

    def __init__(self, settings: Settings, forms: Mapping[str, Form]) -> None:
        self.settings, self.forms, self.metrics = settings, forms, Metrics()
        self.page, self.gate = Page(), Gate(settings.limits)
        self.desk: Desk
        self._folder: Path

    @asynccontextmanager
    async def life(self, _: Any) -> AsyncIterator[None]:
        settings = self.settings
        with server_folder() as self._folder:
            nowhere = self._folder / "nowhere"
            nowhere.mkdir()
            options = {} if settings.threads is None else {"threads": settings.threads}
            setups = [
                Setup(nowhere, settings.models, settings.limits, {**options, "device": device})
                for device in settings.devices
            ]
            self.desk = Desk(settings.limits, setups, self.metrics)
            await self.desk.open()
            try:
                yield
            finally:
                await self.desk.close()

    def form(self, domain: str) -> Form:
        """Of a domain. Raises Refusal, 404."""
        if domain not in self.forms:
            raise wrong(
                "no such domain",
                404,
                value=domain,
                limit=", ".join(self.forms),
                fix=nearest(domain, self.forms),
            )
        return self.forms[domain]

    async def generate(self, name: str, request: Request) -> Response:
        """Samples."""
        begun = time.monotonic()
        try:
            form = self.form(name)
            given, parts = await received(request, self.gate)
            folder = self._folder / uuid.uuid4().hex
            try:
                ticket = await asyncio.to_thread(self._ticket, form, given, parts, folder, request)
                ahead = self.desk.enter(ticket)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        except Refusal as error:
            label = name if name in self.forms else "unknown"
            self.metrics.answers.labels(label, str(error.status)).inc()
            raise
        waiting = Waiting(self.desk, ticket, self.metrics, form.fields, begun)
        if "text/event-stream" in request.headers.get("accept", ""):
            return Events(waiting, ahead)
        return await waiting.whole(request.receive)

    def _ticket(
        self,
        form: Form,
        given: Mapping[str, Any],
        parts: Mapping[str, Any],
        folder: Path,
        request: Request,
    ) -> Ticket:
        """A request, checked as far as it can be without a model."""
        folder.mkdir()
        own = dict(given)
        model = own.pop(MODEL, None)
        if model is not None and model not in form.models:
            raise wrong(
                "there is no such model on this server",
                field=MODEL,
                value=model,
                limit=", ".join(form.models) or "none",
            )
        for option in own:
            if option not in form.fields and option not in OPERATOR:
                raise wrong(
                    f"unknown request field {option!r}",
                    field=option,
                    limit=", ".join(sorted(form.fields)),
                    fix=nearest(option, form.fields),
                )
            if option in OPERATOR:
                raise wrong(
                    f"request field {option!r} is for whoever runs the server",
                    field=option,
                    value=own[option],
                    fix="leave it out",
                )
        limits = self.settings.limits
        asked = Uploads(form, parts, folder / "in", self._folder / "nowhere", limits).request(own)
        try:
            options, _ = split(form.domain.Request, asked)
        except UnnoiseError as error:
            raise refusal(error, form.fields) from error
        steps = options.steps if isinstance(options.steps, int) else len(options.steps or ())
        for field_, value, limit in (
            ("steps", steps, limits.steps),
            (
                "num_samples",
                1 if options.num_samples == "auto" else options.num_samples,
                limits.samples,
            ),
        ):
            if value > limit:
                raise wrong(
                    f"request field {field_!r} is above what this server takes on",
                    field=field_,
                    value=value,
                    limit=limit,
                    fix="ask for less; more samples of a seed come with other requests",
                )
        shared = {
            name: repr(getattr(options, name)) for name in options.model_fields_set - {*_ALONE}
        }
        whole = options.num_samples == "auto" or options.deadline is not None
        key = None if whole else (form.name, model, json.dumps(shared, sort_keys=True))
        shown = request.query_params.get("preview", "") in ("1", "true")
        spec = Spec(folder.name, form.name, model, asked, folder, shown)
        samples = 1 if options.num_samples == "auto" else options.num_samples
        client = request.client.host if request.client is not None else ""
        return Ticket(spec, key, samples, client)


def _routes(app: FastAPI, server: _Server) -> None:
    @app.exception_handler(Refusal)
    async def refused(_: Request, error: Refusal) -> Response:
        return JSONResponse(error.body, error.status, error.headers)

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        body = Refusal(error.status_code, InputError(str(error.detail))).body
        return JSONResponse(body, error.status_code, error.headers)

    @app.get("/health")
    async def health() -> Response:
        found = server.desk.health
        return JSONResponse(found, 200 if found["status"] == "ok" else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(server.metrics.text(), media_type="text/plain; version=0.0.4")

    @app.get("/domains")
    async def listed() -> Response:
        rows = [
            {"name": f.name, "summary": f.summary, "models": list(f.models)}
            for f in server.forms.values()
        ]
        return JSONResponse({"domains": rows})

    @app.get("/schema/{domain}")
    async def schema(domain: str) -> Response:
        return JSONResponse(server.form(domain).described())

    @app.get("/example/{domain}/{name}")
    async def example(domain: str, name: str) -> Response:
        known = server.form(domain).examples
        if name not in known:
            raise wrong("there is no such example", 404, value=name, limit=", ".join(known))
        content = await anyio.to_thread.run_sync(known[name].read_bytes)
        return Response(content, media_type="application/octet-stream")

    @app.post("/generate/{domain}")
    async def generate(domain: str, request: Request) -> Response:
        return await server.generate(domain, request)

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return server.page.answer("")

    @app.get("/assets/{name}", include_in_schema=False)
    async def asset(name: str) -> Response:
        return server.page.answer(name)
