"""transfer serve RUN [--port 8000] [--host 127.0.0.1]: recommend for new readers over HTTP, with a page to try it.

RUN is the folder that a run printed. After `transfer export RUN` it needs nothing else; before, the data of the run.
http://127.0.0.1:8000 is the page, /docs what may be asked. Only this computer is answered unless --host says otherwise;
there is no password, so let nobody in whom you do not know.
"""

from __future__ import annotations

import argparse
import socket
from pathlib import Path

from transfer.errors import missing

LOCAL = ["localhost", "127.0.0.1", "[::1]", "::1"]


def main(words: list[str]) -> int:
    """Serve until it is stopped; the exit code."""
    parser = argparse.ArgumentParser("transfer serve", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--host", default="127.0.0.1", help="where it listens: 0.0.0.0 answers everybody who reaches it")
    asked = parser.parse_args(words)
    try:
        import uvicorn

        from transfer.serve.app import application
    except ImportError:
        raise missing("transfer serve", "fastapi", "serve") from None
    from transfer.experiment.export import load_predictor
    from transfer.results.predictor import SIZES
    from transfer.results.run_folder import read_run

    predictor, method = load_predictor(asked.run), read_run(asked.run)[0].method.name
    for size in SIZES[:2]:  # compiles, and refuses a method that knows its readers by name
        predictor.score_new([{}] * size)
    hosts = [*LOCAL, asked.host] if asked.host in LOCAL else ["*"]
    family = socket.AF_INET6 if ":" in asked.host else socket.AF_INET
    with socket.create_server((asked.host, asked.port), family=family) as place:
        name = f"[{asked.host}]" if ":" in asked.host else asked.host
        print(f"{asked.run}: method={method}, http://{name}:{place.getsockname()[1]} (to stop: Ctrl-C)", flush=True)
        uvicorn.Server(uvicorn.Config(application(predictor, method, hosts), log_level="warning")).run(sockets=[place])
    return 0
