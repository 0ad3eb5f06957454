"""An issuer of tokens: its keys, and a token endpoint on loopback that gives them for a client's credentials."""

import base64
import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote_plus

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

ISSUER, AUDIENCE = "https://login.example", "kafka"


class Issuer:
    """Signs tokens. `clients` are secrets by client id, each of which gets tokens in its own name."""

    def __init__(self, clients=None):
        self.key = ECKey.generate_key("P-256", {"kid": "first", "use": "sig", "alg": "ES256"})
        self.clients = dict(clients or {})
        self.seconds = 300.0
        """How long a token is good."""
        self.asked = 0
        """Tokens that the endpoint issued."""
        self.scopes = []
        self.answer = None
        """What the endpoint answers instead: a status and a body."""

    def write_keys(self, file: Path) -> Path:
        """The public keys, as a JSON Web Key Set."""
        file.write_text(json.dumps(KeySet([self.key]).as_dict(private=False)))
        return file

    def token(self, subject, *, seconds=None, audience=AUDIENCE, issuer=ISSUER, key=None):
        """A token in that name, good for so long from now."""
        now = time.time()
        good = self.seconds if seconds is None else seconds
        claims = {"iss": issuer, "aud": audience, "sub": subject, "iat": int(now) - 60, "exp": int(now + good)}
        return jwt.encode({"alg": "ES256", "kid": "first"}, claims, key or self.key)

    @contextmanager
    def endpoint(self):
        """The token endpoint's URL while the block lasts."""
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
                status, body = issuer._judge(self.headers.get("authorization", ""), form)
                data = json.dumps(body).encode() if not isinstance(body, bytes) else body
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                if status in {301, 302, 307}:
                    self.send_header("location", "/elsewhere")
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_address[1]}/token"
            finally:
                server.shutdown()
                thread.join()

    def _judge(self, authorization, form):
        if self.answer is not None:
            return self.answer
        pair = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        client, _, secret = (unquote_plus(part) for part in pair.partition(":"))
        if form.get("grant_type") != ["client_credentials"]:
            return 400, {"error": "unsupported_grant_type"}
        if self.clients.get(client) != secret:
            return 401, {"error": "invalid_client"}
        self.asked += 1
        self.scopes.append(form.get("scope", [None])[0])
        return 200, {"access_token": self.token(client), "token_type": "Bearer", "expires_in": self.seconds}
