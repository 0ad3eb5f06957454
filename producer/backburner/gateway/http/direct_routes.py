"""Calls whose handler is found by their path alone, before FastAPI: what that does on each costs more than they do."""

from collections.abc import Iterable

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send


class DirectRoutes:
    """Serves some routes of an application itself, and leaves all else to it. Their errors are the front's."""

    def __init__(self, app: ASGIApp, routes: Iterable[Route]) -> None:
        """The routes have no parameters in their paths, and handlers that take a request and return a response."""
        self._app = app
        self._routes = {(method, route.path): route for route in routes for method in route.methods or ()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        route = self._routes.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["app"], scope["route"] = self._app, route
        response = await route.endpoint(Request(scope, receive))
        await response(scope, receive, send)
