"""The path that the service has behind an ingress: calls are served with it and without it."""

from starlette.types import ASGIApp, Receive, Scope, Send

from backburner.gateway.http.front import PUBLIC_PATHS

_API = "/v1/"


class RootPath:
    """Takes the root path off a call's, before anything else looks at it.

    Some proxies cut it off themselves, and some cannot. What is left has to be a path of the API: under the root `/v1`,
    `/v1/files` stays what it is.
    """

    def __init__(self, app: ASGIApp, root: str) -> None:
        """`root` begins with a slash and does not end with one."""
        self._app = app
        self._root = root

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        if scope["type"] == "http":
            path = scope["path"].removeprefix(self._root)
            if path in PUBLIC_PATHS or path.startswith(_API):
                scope = {**scope, "path": path}
        await self._app(scope, receive, send)
