"""The HTTP routes of the code interpreter."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable
from typing import Any, TypeVar

import aiohttp
from aiohttp import web

from . import events
from .context import Context
from .forks import FORK_SERVER
from .kernel import KernelFailed
from .languages import LANGUAGES, normalize

log = logging.getLogger(__name__)

HOME = "/home/user"
DEFAULTS = ("python", "javascript")  # ready before the first request
# Kernels that wait for the first context of their language. R's start takes a second; the
# others' take less (the forks), or need more memory than those who never use them should pay (Java).
AHEAD = ("r",)
QUIET = 5.0  # seconds without an event, after which a keepalive looks for the client
ENVD = "http://127.0.0.1:49983/envs"
ANY_ORIGIN = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "*",
    "Access-Control-Allow-Headers": "*",
}


class Interpreter:
    """All contexts of a sandbox."""

    def __init__(self) -> None:
        self._contexts: dict[str, Context] = {}  # in order of creation
        self._defaults: dict[str, Context] = {}  # by language
        self._ahead: dict[str, Context] = {}  # by language; nobody knows them yet
        self._creating: dict[str, asyncio.Lock] = {name: asyncio.Lock() for name in LANGUAGES}

    async def start(self) -> None:
        for language in DEFAULTS:
            await self._default(language)
        for language in AHEAD:
            self._ahead[language] = context = Context(language, HOME)
            await context.start()

    async def close(self) -> None:
        every = [*self._contexts.values(), *self._ahead.values()]
        await asyncio.gather(*(c.close() for c in every), return_exceptions=True)

    async def create(self, language: str, cwd: str) -> Context:
        if language not in LANGUAGES:
            raise KernelFailed(f"Failed to create context: there is no language {language!r}; there are {', '.join(LANGUAGES)}")
        context = self._ahead.pop(language, None) if cwd == HOME else None
        if context is None:
            context = Context(language, cwd)
            await context.start()
        self._contexts[context.id] = context
        return context

    async def _default(self, language: str) -> Context:
        if language not in LANGUAGES:
            return await self.create(language, HOME)  # raises an error that says what is wrong
        async with self._creating[language]:
            if language not in self._defaults:
                self._defaults[language] = await self.create(language, HOME)
            return self._defaults[language]

    async def touch(self) -> None:
        """Makes the kernels of a new sandbox run something, so that it is known that they can."""
        new = [c for c in self._defaults.values() if c.language in DEFAULTS]
        await asyncio.gather(*(c.touch() for c in [*new, *self._ahead.values()]))

    async def remove(self, context: Context) -> None:
        del self._contexts[context.id]
        if self._defaults.get(context.language) is context:
            del self._defaults[context.language]
        await context.close()

    def list(self) -> list[Context]:
        return list(self._contexts.values())

    def find(self, ident: str) -> Context:
        try:
            return self._contexts[ident]
        except KeyError:
            raise web.HTTPNotFound(text=f"Context {ident} not found") from None

    async def choose(self, ident: str | None, language: str | None) -> Context:
        if ident and language:
            raise web.HTTPBadRequest(text="Only one of context_id or language can be provided")
        if ident:
            return self.find(ident)
        return await self._default(normalize(language))


T = TypeVar("T")
_unfinished: set[asyncio.Future] = set()  # keeps references, so that they are not garbage collected

routes = web.RouteTableDef()
INTERPRETER = web.AppKey("interpreter", Interpreter)
CLIENT = web.AppKey("client", aiohttp.ClientSession)


def describe(context: Context) -> dict[str, str]:
    return {"id": context.id, "language": context.language, "cwd": context.cwd}


async def whole(work: Awaitable[T]) -> T:
    """Finishes the work even if the client goes away in the middle, so that no kernel is
    left half started or half ended."""
    task = asyncio.ensure_future(work)
    _unfinished.add(task)
    task.add_done_callback(_unfinished.discard)
    return await asyncio.shield(task)


async def body_of(request: web.Request) -> dict[str, Any]:
    """The members of the body. Those that are null count as absent."""
    try:
        body = await request.json() if request.can_read_body else {}
    except ValueError:
        raise web.HTTPBadRequest(text="The body is not JSON") from None
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(text="The body is not a JSON object")
    for name in ("code", "context_id", "language", "cwd"):
        if not isinstance(body.get(name) or "", str):
            raise web.HTTPBadRequest(text=f"{name} must be a string")
    env = body.get("env_vars") or {}
    if not isinstance(env, dict) or not all(isinstance(value, str) for value in env.values()):
        raise web.HTTPBadRequest(text="env_vars must be an object of strings")
    return {name: value for name, value in body.items() if value is not None}


async def variables(request: web.Request) -> dict[str, str]:
    """The sandbox's environment, from envd, which checks the access token of the request."""
    token = request.headers.get("X-Access-Token")
    headers = {"X-Access-Token": token} if token else {}
    try:
        async with request.app[CLIENT].get(ENVD, headers=headers) as answer:
            return await answer.json() if answer.status == 200 else {}
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        log.warning("the sandbox's variables could not be read: %s", error)
        return {}


@routes.get("/health")
async def health(request: web.Request) -> web.Response:
    # Does everything that a first execution needs, for sandboxes that start from here.
    await asyncio.gather(request.app[INTERPRETER].touch(), variables(request))
    return web.json_response("OK")


@routes.get("/contexts")
async def list_contexts(request: web.Request) -> web.Response:
    return web.json_response([describe(c) for c in request.app[INTERPRETER].list()])


@routes.post("/contexts")
async def create_context(request: web.Request) -> web.Response:
    body = await body_of(request)
    context = await whole(request.app[INTERPRETER].create(normalize(body.get("language")), body.get("cwd") or HOME))
    return web.json_response(describe(context))


@routes.post("/contexts/{id}/restart")
async def restart_context(request: web.Request) -> web.Response:
    context = request.app[INTERPRETER].find(request.match_info["id"])
    try:
        await whole(context.restart())
    except Exception:
        log.exception("a restart failed")
        raise web.HTTPInternalServerError(text=f"Failed to restart context {context.id}") from None
    return web.json_response(None)


@routes.delete("/contexts/{id}")
async def remove_context(request: web.Request) -> web.Response:
    interpreter = request.app[INTERPRETER]
    context = interpreter.find(request.match_info["id"])
    try:
        await whole(interpreter.remove(context))
    except Exception:
        log.exception("a removal failed")
        raise web.HTTPInternalServerError(text=f"Failed to remove context {context.id}") from None
    return web.json_response(None)


@routes.post("/execute")
async def execute(request: web.Request) -> web.StreamResponse:
    body = await body_of(request)
    code, env = body.get("code"), body.get("env_vars") or {}
    if code is None:
        raise web.HTTPBadRequest(text="code must be a string")
    context = await whole(request.app[INTERPRETER].choose(body.get("context_id"), body.get("language")))
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson", **ANY_ORIGIN})
    await response.prepare(request)
    stream = context.execute(code, env, lambda: variables(request))
    try:
        pending = asyncio.ensure_future(anext(stream))
        while True:
            done, _ = await asyncio.wait({pending}, timeout=QUIET)
            event = pending.result() if done else events.KEEPALIVE
            await response.write(json.dumps(event).encode() + b"\n")
            if event is events.END:
                break
            if done:
                pending = asyncio.ensure_future(anext(stream))
    finally:
        pending.cancel()
        await asyncio.gather(pending, return_exceptions=True)
        await stream.aclose()
    await response.write_eof()
    return response


@web.middleware
async def edges(request: web.Request, handler) -> web.StreamResponse:
    """Allows any origin, and turns failures of kernels into plain text."""
    if request.method == "OPTIONS":
        return web.Response(headers=ANY_ORIGIN)
    try:
        response = await handler(request)
    except web.HTTPException as answer:
        answer.headers.update(ANY_ORIGIN)
        raise
    except KernelFailed as error:
        return web.Response(status=500, text=str(error), headers=ANY_ORIGIN)
    except Exception:
        log.exception("%s %s", request.method, request.path)
        return web.Response(status=500, text="Internal Server Error", headers=ANY_ORIGIN)
    if not response.prepared:
        response.headers.update(ANY_ORIGIN)
    return response


async def with_interpreter(app: web.Application):
    """Holds the contexts, and the connection to envd, while the server runs."""
    interpreter = app[INTERPRETER] = Interpreter()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as app[CLIENT]:
        await interpreter.start()
        yield
        await interpreter.close()
        await FORK_SERVER.close()


def make_app() -> web.Application:
    app = web.Application(middlewares=[edges], client_max_size=1 << 30)
    app.add_routes(routes)
    app.cleanup_ctx.append(with_interpreter)
    return app
