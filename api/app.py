"""The HTTP application: routes, uploads, and problem details for whatever goes wrong."""

import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from api import routes, schemas, uploads
from api.problems import Problem
from api.service import Service, as_problem, whereabouts

log = logging.getLogger("schakel")

LONGEST_BODY = 4 << 20
"""Bytes of a JSON body at most; uploads have their own limit."""

MEDIA_TYPE = "application/problem+json"


def create_app(service: Service) -> FastAPI:
    """The application over an opened service."""
    app = FastAPI(
        title="Schakel",
        version="1",
        summary="A trusted third party for linking data about people.",
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    app.state.actor = uploads.actor_of(service)
    app.include_router(routes.router)
    app.include_router(uploads.router)
    app.add_middleware(BodyLimit)
    app.add_middleware(uploads.Manners)
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _fault)
    return app


class BodyLimit:
    """Refuses long bodies before anybody reads them; they are held in memory otherwise."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Look at the announced length; uploads (PATCH) stream and have their own limit."""
        app: ASGIApp = self._app
        if scope["type"] == "http" and scope["method"] != "PATCH":
            headers = Headers(scope=scope)
            if "transfer-encoding" in headers or not _is_short(headers.get("content-length", "0")):
                app = render(TOO_LONG)
        await app(scope, receive, send)


def _is_short(length: str) -> bool:
    return length.isdecimal() and len(length) < 19 and int(length) <= LONGEST_BODY


TOO_LONG = Problem(
    "too-large",
    f"A request's body has an announced length of {LONGEST_BODY} bytes at most.",
    "Data comes in by upload (tus) only.",
)


def render(problem: Problem) -> JSONResponse:
    """Problem details as RFC 9457 wants them."""
    headers: dict[str, str] = {}
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if problem.extra and "offset" in problem.extra:
        headers["Upload-Offset"] = str(problem.extra["offset"])
    return JSONResponse(
        problem.document(), status_code=problem.status, media_type=MEDIA_TYPE, headers=headers
    )


async def _problem(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)  # noqa: S101 - registered for this type
    if error.status < 500:
        await run_in_threadpool(_note_refusal, request, error)
    return render(error)


def _note_refusal(request: Request, problem: Problem) -> None:
    """A refusal of somebody known is an event like any other; strangers are counted elsewhere."""
    state = request.app.state
    if not hasattr(request.state, "actor"):
        if problem.status == 401 or "authorization" not in request.headers:
            return
        try:  # refused before the route asked who it is
            state.actor(request)
        except Problem:
            return
    service: Service = state.service
    template = request.scope["route"].path
    service.note_refusal(
        request.state.actor, problem, request.method, template, request.path_params
    )


async def _malformed(request: Request, error: Exception) -> JSONResponse:
    """Say where a body is wrong, never what stood there."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this type
    places = dict.fromkeys(_place(fault["loc"]) for fault in error.errors())
    problem = Problem(
        "bad-request",
        f"These parts of the request are missing or wrong: {', '.join(places)}.",
        "See /openapi.json for what this route takes.",
    )
    return await _problem(request, problem)


def _place(where: Sequence[int | str]) -> str:
    """Where something stands; a field that isn't ours could be called anything, a name too."""
    known = schemas.fields() if where[0] == "body" else set(where)
    told = (str(p) if isinstance(p, int) or p in known else "(unknown)" for p in where[1:])
    return ".".join([str(where[0]), *told])


async def _http(_request: Request, error: Exception) -> JSONResponse:
    """Routing's own refusals (no such path, wrong method) in the same form."""
    status: Any = getattr(error, "status_code", 500)
    title = getattr(error, "detail", "Not possible")
    return JSONResponse(
        {
            "type": "about:blank",
            "title": title,
            "status": status,
            "detail": "This path or method doesn't exist.",
            "next_step": "See /openapi.json for what there is.",
        },
        status_code=status,
        media_type=MEDIA_TYPE,
    )


async def _fault(_request: Request, error: Exception) -> JSONResponse:
    """A fault of ours: its kind goes into the log, its text nowhere (it could hold data)."""
    known = as_problem(error)
    if known is None:
        log.error("fault: %s", whereabouts(error))
        known = Problem(
            "fault",
            "Something went wrong here.",
            "Look how it stands now, and try again; if it stays so, tell the office what you did "
            "and when.",
        )
    return render(known)
