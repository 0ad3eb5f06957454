"""Finds out what a server offers: its models and adapters, which endpoints answer, what it is. Each answer is bounded.

Servers differ in how much they tell. `/v1/models` is what nearly all have; one that has none is taken at its word when
it answers a request that names the model.
"""

import asyncio
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from backburner_schemas.errors import EngineError, RequestRefused
from backburner_schemas.names import is_model_name
from backburner_schemas.request import Endpoint
from backburner_worker.engine.base import EngineRequest
from backburner_worker.engine.openai_answer import response_of
from backburner_worker.engine.openai_http.client import Broken, HttpClient, NotSent
from backburner_worker.engine.openai_http.judgement import Busy, Denied, is_absent, judge, parse
from backburner_worker.engine.openai_http.options import URLS
from backburner_worker.engine.warm_up import warm_ups

_LOOK_SECONDS = 10.0
_WARM_UP_SECONDS = 300.0
"""Bounds one of the first generations, which compile kernels on some servers."""
_MAX_MODELS = 10_000
_MAX_TRIES = 3
_PAUSE_SECONDS = 1.0
_MAX_SHOWN_MODELS = 10
_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]+")
_MAX_VERSION_CHARACTERS = 64
HEALTH = "/health"
MODELS = "/v1/models"


class Unusable(Exception):
    """The server answers, and can be no engine here; the text says why, and what to do."""


class NotReady(Exception):
    """The server does not answer, or not well, as yet."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model as `/v1/models` lists it."""

    name: str
    parent: str = ""
    """The base model's name or root, where it is an adapter."""
    root: str = ""
    """What the server has loaded under this name."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a server offers of one base model, by its own names."""

    models: tuple[str, ...]
    """The base model's name, then others that it has."""
    adapters: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All that requests may name."""
        return (*self.models, *self.adapters)


@dataclass(frozen=True, slots=True)
class Kind:
    """What program a server is."""

    version: str
    """Its name and version, such as `vllm-0.32.0`."""
    vllm: bool = False


class Discovery:
    """Asks one server."""

    def __init__(self, client: HttpClient, url: str) -> None:
        self._client = client
        self._url = url
        self._health = HEALTH

    async def check(self) -> None:
        """Return if it answers, cheaply asked. Raises `NotReady`."""
        try:
            answer = await self._client.get(self._url + self._health, _LOOK_SECONDS)
        except (NotSent, Broken, RequestRefused) as error:
            raise NotReady(str(error)) from error
        if is_absent(answer):
            # A managed service need have no such thing; that something answers has to do.
            self._health = MODELS
        elif not answer.ok:
            raise NotReady(f"{self._health} answered {answer.status}")

    async def offer(self, wanted: str) -> Offer:
        """What it offers of the model of that name; of the only one there is, if the name is empty.

        Raises `NotReady`, and `Unusable` for a model that it has not.
        """
        try:
            answer = await self._client.get(self._url + MODELS, _LOOK_SECONDS)
            if is_absent(answer):
                if wanted:
                    return Offer((wanted,), ())
                raise Unusable("it does not list its models; set BACKBURNER_MODEL to its model's name")
            listed = models_of(judge(answer))
        except Denied as error:
            raise Unusable(str(error)) from error
        except (NotSent, Broken, Busy, EngineError, RequestRefused) as error:
            raise NotReady(str(error)) from error
        return choose(listed, wanted)

    async def endpoints(self, offer: Offer) -> frozenset[Endpoint]:
        """The endpoints that answer a real request to the model. Raises `NotReady` and `Unusable` if none does."""
        requests = warm_ups(frozenset(Endpoint), offer.models[0], offer.adapters)
        answered = await asyncio.gather(*map(self._try, requests))
        found = frozenset(request.endpoint for request, well in zip(requests, answered, strict=True) if well is True)
        if found:
            return found
        if failure := next((one for one in answered if isinstance(one, NotReady)), None):
            raise failure
        raise Unusable(f"the model {offer.models[0]!r} answers none of {', '.join(Endpoint)}")

    async def warm(self, offer: Offer, endpoint: Endpoint) -> None:
        """Return when it has answered a real request to that endpoint. Raises `NotReady` and `Unusable`."""
        request = warm_ups([endpoint], offer.models[0])[0]
        if not await self._ask(request):
            raise Unusable(f"it does not answer {endpoint}, which other servers of {URLS} do")

    async def kind(self) -> Kind:
        """What it is, as far as it says so. Raises nothing."""
        found = await self._get_object("/version")
        if version := _text(found.get("version")):
            return Kind(_version("vllm", version), vllm=True)
        info = await self._get_object("/info")
        if "model_id" in info and (version := _text(info.get("version"))):
            return Kind(_version("tgi", version))
        try:
            answer = await self._client.get(self._url + MODELS, _LOOK_SECONDS)
        except (NotSent, Broken, RequestRefused):
            return Kind("openai-http")
        return Kind(_version("openai-http", answer.server.replace("/", "-")))

    async def _get_object(self, path: str) -> Mapping[str, Any]:
        try:
            answer = await self._client.get(self._url + path, _LOOK_SECONDS)
            found = parse(answer.body) if answer.ok else {}
        except (NotSent, Broken, RequestRefused, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    async def _try(self, request: EngineRequest) -> bool | NotReady:
        """Whether it answers the request, or why it fails on it again and again."""
        for tries in range(1, _MAX_TRIES + 1):
            try:
                return await self._ask(request)
            except NotReady as error:
                if tries == _MAX_TRIES:
                    return error
            await asyncio.sleep(_PAUSE_SECONDS)
        raise AssertionError

    async def _ask(self, request: EngineRequest) -> bool:
        body = json.dumps(request.body).encode()
        url = self._url + request.endpoint
        try:
            answer = await self._client.post(url, body, request.id, _WARM_UP_SECONDS)
            if is_absent(answer):
                return False
            response_of(request.endpoint, judge(answer))
        except RequestRefused:
            return False
        except Denied as error:
            raise Unusable(str(error)) from error
        except (NotSent, Broken, Busy, EngineError) as error:
            raise NotReady(str(error)) from error
        return True


def models_of(body: Mapping[str, Any]) -> list[Model]:
    """The models of a list in OpenAI's form; what in it has no name is passed over. Raises `EngineError` for none."""
    data = body.get("data")
    if not isinstance(data, list):
        raise EngineError(f"{MODELS} is not in OpenAI's form: it has no list data")
    cards = [card for card in data[:_MAX_MODELS] if isinstance(card, Mapping)]
    return [
        Model(name, _text(card.get("parent")), _text(card.get("root")))
        for card in cards
        if is_model_name(name := _text(card.get("id")))
    ]


def choose(listed: Iterable[Model], wanted: str) -> Offer:
    """What is offered of the wanted model; of the only one, if nothing is wanted. Raises `Unusable`."""
    models = list(listed)
    bases = [model for model in models if not model.parent]
    names = ", ".join(sorted(model.name for model in bases)[:_MAX_SHOWN_MODELS]) or "none"
    if wanted:
        chosen = next((model for model in bases if model.name == wanted), None)
        if chosen is None:
            raise Unusable(f"it does not serve the model {wanted!r}; set BACKBURNER_MODEL to what it does: {names}")
    elif not bases or len({model.root or model.name for model in bases}) > 1:
        raise Unusable(f"it serves several models, or none; set BACKBURNER_MODEL to one of {names}")
    else:
        chosen = bases[0]
    # vLLM may serve one model by several names.
    others = [model.name for model in bases if chosen.root and model.root == chosen.root and model is not chosen]
    known = {chosen.name, *others, *filter(None, [chosen.root])}
    adapters = [model.name for model in models if model.parent in known and model.parent]
    return Offer((chosen.name, *others), tuple(adapters))


def _version(name: str, version: str) -> str:
    version = _UNSAFE.sub("-", version).strip("-")
    return f"{name}-{version}"[:_MAX_VERSION_CHARACTERS] if version else name


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
