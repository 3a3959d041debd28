"""The server of the dashboards: app.py, with a policy for browsers in each response. `make dashboard` starts it.

.streamlit/config.toml lists the hosts under which a browser may open them.
"""

from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send
from streamlit.starlette import App

STREAMLIT_SCRIPT = "'sha256-THxz9J9+wf7rhwR2YkXJoSZ13UCmYyC+3lNDv2+8ugA='"  # pragma: allowlist secret
"""The script within Streamlit's page. It sets one variable."""

POLICY = {
    # Charts compile expressions, and Streamlit writes styles into elements. Nothing is loaded from other hosts.
    "Content-Security-Policy": (
        f"default-src 'self'; script-src 'self' {STREAMLIT_SCRIPT} 'unsafe-eval' 'wasm-unsafe-eval'; "
        "style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; object-src 'none'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Headers of each response. No other page may show the dashboards in a frame, or learn their address."""


class PolicyMiddleware:
    """Adds POLICY to each response."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_policy(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(POLICY)
            await send(message)

        await self.app(scope, receive, send_with_policy)


app = App("app.py", middleware=[Middleware(PolicyMiddleware)])
