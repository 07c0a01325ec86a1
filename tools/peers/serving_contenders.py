# SPDX-License-Identifier: Apache-2.0
"""Servers that are measured: each is started for one sample and stopped after it, so that no other one, and nothing of
an earlier sample, is in memory or on the CPUs."""
import contextlib
import http.client
import json
import os
import pathlib
import random
import socket
import subprocess
import tempfile
import time

import llama_tools
from common import output_of, SetupError, tail

START_LIMIT = 300  # seconds until a server is ready
LOAD_LIMIT = 1800
WANTED = ("duration", "completed", "failed", "output_throughput", "total_output_tokens", "median_ttft_ms", "p99_ttft_ms",
          "median_ttft_beside_engine_ms", "mean_tpot_ms", "p99_itl_ms", "short_answers")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def is_ready(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def wait_until_ready(process, port, log):
    deadline = time.monotonic() + START_LIMIT
    while not is_ready(port):
        if process.poll() is not None:
            raise SetupError(f"the server ended with {process.returncode}; the end of its log:\n{tail(log)}")
        if time.monotonic() > deadline:
            raise SetupError(f"the server was not ready after {START_LIMIT} s; the end of its log:\n{tail(log)}")
        time.sleep(0.05)


class Server:
    """name, about(), and running(): its address for as long as it runs."""

    def __init__(self, name, command, about):
        self.name, self.command, self.described = name, [str(part) for part in command], about

    def about(self):
        return self.described

    @contextlib.contextmanager
    def running(self):
        port = free_port()
        with tempfile.NamedTemporaryFile(prefix="server-", suffix=".log") as log:
            process = subprocess.Popen(self.command + ["--port", str(port)], stdin=subprocess.DEVNULL, stdout=log,
                                       stderr=subprocess.STDOUT)
            try:
                wait_until_ready(process, port, log.name)
                yield f"http://127.0.0.1:{port}"
                if process.poll() is not None:
                    raise SetupError(f"the server ended with {process.returncode}; the end of its log:\n{tail(log.name)}")
            finally:
                process.terminate()
                try:
                    process.wait(timeout=20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def llama_server(kind, model, threads, slots, slot_tokens, more=(), files=()):
    """Weights as they are (Q4_1) or requantised to `kind`. Nothing is swapped to host memory between requests: with
    enough slots for all that is what suits llama-server best. `more`: further settings, `files`: options that name files"""
    programs = llama_tools.folder()
    file = model if kind == "Q4_1" else llama_tools.model_in_format(programs, model, kind)
    settings = ["-t", threads, "-fa", "on", "--parallel", slots, "-c", slots * slot_tokens, "--cache-ram", 0,
                "--no-webui", *more]
    return Server(f"llama-server {kind}", [programs / "llama-server", "-m", file, "--host", "127.0.0.1", *settings, *files],
                  {"version": llama_tools.version(programs), "weights": file.name, "kv": "f16",
                   "settings": " ".join(map(str, settings))})


def write_prompts(path, n, prompt, generated, vocabulary, seed):
    """n prompts of so many random token ids; answers of generated[0] to generated[1] tokens."""
    chance = random.Random(seed)
    with open(path, "w") as file:
        for _ in range(n):
            tokens = [chance.randrange(vocabulary) for _ in range(prompt)]
            file.write(json.dumps({"prompt": tokens, "max_tokens": chance.randint(*generated)}) + "\n")


def read_metrics(text):
    try:
        found = json.loads(text)
        return {name: float(found[name]) for name in WANTED if found.get(name) is not None}
    except (ValueError, KeyError, TypeError) as error:
        raise SetupError(f"unexpected JSON of 'fastcache bench' ({error!r}): {text[:300]}")


class Client:
    """`fastcache bench --url`: the same for every server."""

    def __init__(self, program, vocabulary):
        self.program, self.vocabulary = program, vocabulary

    def measure(self, url, load, seed):
        """load: requests, rate (None: all at once), prompt, generated (from, to)"""
        with tempfile.TemporaryDirectory(prefix="serving-") as folder:
            prompts, result = pathlib.Path(folder, "prompts.jsonl"), pathlib.Path(folder, "result.json")
            write_prompts(prompts, load.requests, load.prompt, load.generated, self.vocabulary, seed)
            rate = [] if load.rate is None else ["--request-rate", load.rate]
            output_of([self.program, "bench", "--url", url, "--dataset", prompts, "--ignore-eos", "--seed", seed, *rate,
                       "--num-prompts", load.requests, "--save-result", result], LOAD_LIMIT)
            return read_metrics(result.read_text())


def in_process(program, model, threads, pool, load, seed):
    """The same load without HTTP: what our server is compared with to see its own cost."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        output_of([program, "bench", "-m", model, "-t", threads, "--pool", pool, "--requests", load.requests,
                   "--prompt-tokens", load.prompt, "--generate-tokens", load.generated[0], "--seed", seed,
                   "--json", file.name], LOAD_LIMIT)
        return read_metrics(pathlib.Path(file.name).read_text())


def over_http(program, url, model, load, seed):
    """in_process()'s prompts exactly, sent to a server."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        streams = ["--max-concurrency", load.streams] if load.streams else []
        output_of([program, "bench", "--url", url, "-m", model, "--num-prompts", load.requests, "--prompt-tokens",
                   load.prompt, "--generate-tokens", load.generated[0], "--seed", seed, *streams,
                   "--save-result", file.name], LOAD_LIMIT)
        return read_metrics(pathlib.Path(file.name).read_text())


def vocabulary_of(program, model):
    for line in output_of([program, "info", model], 60).splitlines():
        if line.startswith("vocabulary"):
            return int(line.split()[1])
    raise SetupError(f"'fastcache info {model}' does not say how many tokens there are")


def cpu_count():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
