"""One run shared by several processes on a Ray cluster: `python scripts/ray_processes.py 4 [--gpus 1] WORDS`.

The processes are spread over the nodes; all of them have to see the data and the folder where number 0 writes the run.
RAY_ADDRESS says which cluster; without it one is started here.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from typing import Any


def process(number: int, count: int, address: str, words: list[str], folder: str) -> int:
    """One of the processes: its exit code."""
    environment = {**os.environ, "TRANSFER_COORDINATOR": address, "TRANSFER_PROCESS": str(number)}
    command = [sys.executable, "-m", "transfer", f"processes={count}", *words]
    return subprocess.run(command, env=environment, cwd=folder, check=False).returncode


class First:
    """Number 0: where it runs decides where the others find it."""

    def address(self) -> str:
        import socket

        import ray

        with socket.create_server(("", 0)) as door:
            return f"{ray.util.get_node_ip_address()}:{door.getsockname()[1]}"

    def run(self, *arguments: object) -> int:
        return process(0, *arguments)  # type: ignore[arg-type]


def main() -> None:
    """Start all of them and wait; ends with the exit code of the first that failed."""
    import ray

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("processes", type=int, help="how many share the run")
    parser.add_argument("--gpus", type=float, default=0, help="GPUs of each (default 0)")
    parser.add_argument("words", nargs="+", help="as for transfer")
    arguments = parser.parse_args()
    ray.init()
    options = {"num_gpus": arguments.gpus, "num_cpus": 1, "scheduling_strategy": "SPREAD", "max_retries": 0}
    of_actor = {key: value for key, value in options.items() if key != "max_retries"}
    first: Any = ray.remote(First).options(**of_actor).remote()
    given = arguments.processes, ray.get(first.address.remote()), arguments.words, os.getcwd()
    other: Any = ray.remote(process).options(**options)
    others = [other.remote(i, *given) for i in range(1, arguments.processes)]
    codes = ray.get([first.run.remote(*given), *others])
    if code := next((code for code in codes if code), 0):
        print(f"the run failed: {shlex.join(arguments.words)}", file=sys.stderr)
        sys.exit(code)


if __name__ == "__main__":
    main()
