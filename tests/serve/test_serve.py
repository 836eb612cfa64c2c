"""A run as a service: the predictor's own answers, limits, refusals in one line, and the page in a real browser."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pairs import PAIRS, files, outcome

from transfer.api import run
from transfer.serve.app import BYTES, application

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
HISTORY = {"movies": ["m0", "m4"], "books": ["b2"]}


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return application(outcome("ease").predictor, "ease", ["testserver", "127.0.0.1"])


@pytest.fixture
def client(app: FastAPI) -> TestClient:
    return TestClient(app)


def test_lists_and_reasons_are_those_of_the_predictor(client: TestClient) -> None:
    predictor = outcome("ease").predictor
    wish = {"history": HISTORY, "k": 3, "exclude": ["b0"]}
    answer = client.post("/recommend", json=wish)
    assert answer.status_code == 200
    (expected,) = predictor.recommend_new([HISTORY], 3, exclude=["b0"])
    assert answer.json() == [pytest.approx(line._asdict()) for line in expected]
    reasons = client.post("/explain", json={"history": HISTORY, "items": ["b4", "b1"]}).json()
    expected_reasons = predictor.because(HISTORY, ["b4", "b1"])
    assert reasons == [[pytest.approx(reason._asdict()) for reason in of_item] for of_item in expected_reasons]
    assert reasons[0][0]["title"] == "The Film e"
    one = client.post("/recommend", json={"history": HISTORY, "candidates": ["b6"]}).json()
    assert [line["item"] for line in one] == ["b6"]


def test_items_are_found_by_title_and_popularity_is_told(client: TestClient) -> None:
    assert client.get("/health").json() == {"status": "ok", "method": "ease", "domains": {"books": PAIRS, "movies": PAIRS}}
    found = client.get("/items", params={"domain": "movies", "title": "film C"}).json()
    assert [item["item"] for item in found] == ["m2"]
    popular = client.get("/popular", params={"k": 4}).json()
    counts = [item["events"] for item in popular]
    assert counts == sorted(counts, reverse=True)
    assert len(counts) == 4
    assert client.get("/openapi.json").json()["paths"].keys() >= {"/recommend", "/explain", "/health"}


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/recommend", {"history": {"films": ["m0"]}}, 422, "no domain 'films' here"),
        ("/recommend", {"history": {"movies": ["m77"]}}, 422, "movies has no item 'm77'"),
        ("/recommend", {"history": {"movies": [["m0", 4.0]]}}, 422, "learnt without ratings"),
        ("/recommend", {"history": {"movies": ["m0"] * 501}}, 422, "at most 500"),
        ("/recommend", {"history": {}, "k": 0}, 422, "greater than or equal to 1"),
        ("/recommend", {"history": {}, "length": 3}, 422, "Extra inputs are not permitted"),
        ("/recommend", {"history": {}, "candidates": ["b77"]}, 422, "item 'b77' is unknown"),
        ("/explain", {"history": HISTORY, "items": ["x" * 300]}, 422, "at most 200"),
        ("/recommend", {"history": {}, "exclude": ["b" * 100] * 3000}, 413, f"{BYTES:,} bytes at most"),
    ],
)
def test_what_cannot_be_answered_is_refused(client: TestClient, path: str, body: Any, status: int, message: str) -> None:
    answer = client.post(path, json=body)
    assert answer.status_code == status
    assert message in answer.text


def test_a_request_of_unknown_length_or_for_another_host_is_refused(client: TestClient) -> None:
    assert client.post("/recommend", content=iter([b"{}"])).status_code == 411
    assert client.get("/health", headers={"host": "evil.example"}).status_code == 400


@pytest.fixture(scope="module")
def address(app: FastAPI) -> Iterator[str]:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}/"
    server.should_exit = True
    thread.join()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_in_a_browser(address: str, scheme: Any) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright here: pip install -e .[dev]")
    if CHROMIUM is None:
        pytest.skip("no chromium here: apt-get install chromium, or set CHROMIUM to a browser's path")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context(viewport={"width": 400, "height": 900}, color_scheme=scheme).new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(address)
        page.fill("#title", "film e")
        page.click("#found button:has-text('The Film e')")
        page.wait_for_selector("#list small")
        assert page.inner_text("#list li:first-child").startswith("Book e")
        assert "because of The Film e" in page.inner_text("#list li:first-child")
        assert page.locator("#popular li").count() == PAIRS
        page.click("#chosen button")
        page.wait_for_selector("#list li", state="detached")
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        assert [line for line in said if "favicon" not in line] == []
        browser.close()


def test_the_command_serves_an_exported_run_until_it_is_stopped(tmp_path: Path) -> None:
    run([*files(), "method=item_knn"], tmp_path / "run")
    done = subprocess.run(
        [sys.executable, "-m", "transfer", "export", tmp_path / "run"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "no data of readers" in done.stdout
    words = [sys.executable, "-m", "transfer", "serve", tmp_path / "run", "--port", "0"]
    serving = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert serving.stdout is not None
    line = serving.stdout.readline()
    address = re.search(r"method=item_knn, (http://127\.0\.0\.1:\d+) ", line)
    assert address, line
    assert httpx2.get(f"{address[1]}/health").json()["domains"] == {"books": PAIRS, "movies": PAIRS}
    taken = subprocess.run([*words[:-1], address[1].rpartition(":")[2]], capture_output=True, text=True, check=False)
    assert taken.returncode == 2
    assert "Address already in use" in taken.stderr
    assert "Traceback" not in taken.stderr
    serving.terminate()
    serving.communicate(timeout=60)
    assert serving.returncode in (0, 130, -15, 143)
