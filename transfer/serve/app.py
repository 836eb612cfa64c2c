"""The web application of one run: /recommend, /explain, /items, /popular, /health, and a page in the browser."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.middleware.trustedhost import TrustedHostMiddleware

from transfer.errors import TransferError
from transfer.results.new_readers import History
from transfer.results.predictor import Predictor, Recommendation

EVENTS, LONGEST, BYTES = 500, 200, 2**18  # events of a domain, letters of an id, bytes of a request
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'"

Id = Annotated[str, Field(max_length=LONGEST)]
Event = Id | tuple[Id, float]


class Asked(BaseModel):
    """A reader: what she has of every domain, the oldest first, ids or [id, rating]."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    history: dict[Id, Annotated[list[Event], Field(max_length=EVENTS)]] = Field(
        max_length=100, examples=[{"movies": ["m1", ["m2", 4.0]], "books": []}]
    )


class Wish(Asked):
    """How long a list, of which items alone, and without which."""

    k: int = Field(default=10, ge=1, le=1000)
    candidates: Annotated[list[Id], Field(max_length=100_000)] | None = None
    exclude: Annotated[list[Id], Field(max_length=100_000)] = []


class Question(Asked):
    """Items of the target: why are they recommended?"""

    items: Annotated[list[Id], Field(max_length=1000)]


class Line(BaseModel):
    """One line of a list; score: the method's own, of no unit."""

    rank: int
    item: str
    title: str | None
    score: float


class Reason(BaseModel):
    """What an item of the history adds to the score."""

    domain: str
    item: str
    title: str | None
    adds: float


class Item(BaseModel):
    item: str
    title: str | None
    events: int


class Health(BaseModel):
    status: str
    method: str
    domains: dict[str, int]  # items of each, the target first


def application(predictor: Predictor, method: str, hosts: list[str]) -> FastAPI:
    """The application; hosts: the names by which it may be asked, so that no other page makes a browser ask it."""
    app = FastAPI(title="transfer", description=f"Recommendations of a run of method={method}.", redoc_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)
    app.middleware("http")(_limited)
    shelves = _shelves(predictor)

    @app.exception_handler(TransferError)
    def refused(_: Request, error: TransferError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, status_code=422)

    @app.get("/health")
    def health() -> Health:
        return Health(status="ok", method=method, domains={name: len(shelf) for name, shelf in shelves.items()})

    @app.post("/recommend")
    def recommend(wish: Wish) -> list[Line]:
        lists = predictor.recommend_new([_history(wish)], wish.k, wish.candidates, wish.exclude)
        return [_line(line) for line in lists[0]]

    @app.post("/explain")
    def explain(question: Question) -> list[list[Reason]]:
        """For each of the items what every item of the history adds to its score, the largest first."""
        lists = predictor.because(_history(question), question.items)
        return [[Reason(**reason._asdict()) for reason in reasons] for reasons in lists]

    @app.get("/items")
    def items(
        domain: str, title: Annotated[str, Query(max_length=LONGEST)] = "", k: Annotated[int, Query(ge=1, le=100)] = 20
    ) -> list[Item]:
        """Items of a domain with these letters in the title or id, those with most events first."""
        if domain not in shelves:
            raise HTTPException(422, f"no domain {domain[:LONGEST]!r} here; there are {', '.join(shelves)}")
        word = title.lower()
        return [item for item in shelves[domain] if word in f"{item.title or ''} {item.item}".lower()][:k]

    @app.get("/popular")
    def popular(k: Annotated[int, Query(ge=1, le=1000)] = 10) -> list[Item]:
        """What popularity alone would say: the items of the target with most events in training."""
        return next(iter(shelves.values()))[:k]

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    def page() -> HTMLResponse:
        return HTMLResponse((Path(__file__).parent / "page.html").read_text(), headers={"Content-Security-Policy": POLICY})

    return app


async def _limited(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
    """Refuse a request whose body is too long, or that does not say how long it is."""
    if request.method == "POST":
        length = request.headers.get("content-length", "")
        if not length.isdecimal():
            return JSONResponse({"detail": "say how long the request is (Content-Length)"}, status_code=411)
        if int(length) > BYTES:
            return JSONResponse({"detail": f"a request has {BYTES:,} bytes at most"}, status_code=413)
    response = await call(request)
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _history(asked: Asked) -> History:
    return asked.history


def _line(line: Recommendation) -> Line:
    return Line(**line._asdict())


def _shelves(predictor: Predictor) -> dict[str, list[Item]]:
    """The items of every domain, the target first, those with most events first."""
    loaded = predictor.loaded
    sides: list[Any] = [loaded.world.target, *loaded.world.sources]
    told = [loaded.summary["target"], *loaded.summary["sources"]]
    every = zip(told, sides, [loaded.items, *loaded.source_items], [loaded.titles, *loaded.source_titles], strict=True)
    shelves = {}
    for facts, side, ids, titles in every:
        counts = np.asarray(side.train.item_counts)
        order = np.argsort(-counts, kind="stable")
        shelves[facts["name"]] = [Item(item=ids[i], title=titles.get(ids[i]), events=int(counts[i])) for i in order]
    return shelves
