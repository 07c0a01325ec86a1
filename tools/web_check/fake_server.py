#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Stands in for fastcache where the start page is looked at: the files of src/server/web and made-up figures.

Scenes: idle, busy, full. Messages that contain "queue full", "break off" or "<b>" get the answers of their kind.
"""
import argparse
import http.server
import json
import pathlib
import random
import threading
import time

WEB = pathlib.Path(__file__).resolve().parents[2] / "src/server/web"
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
         ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
POLICY = ("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
          "base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
PRESSES = [{"name": "none", "removes": False, "wraps": 0, "summary": "keeps everything", "parameters": []},
           {"name": "random", "removes": True, "wraps": 0, "summary": "rows by chance: what every method must beat", "parameters": []},
           {"name": "knorm", "removes": True, "wraps": 0, "summary": "rows with short keys", "parameters": []},
           {"name": "streaming_llm", "removes": True, "wraps": 0, "summary": "the first n_sink tokens and the most recent ones",
            "parameters": [{"name": "n_sink", "default": 4, "min": 0, "max": 1024, "whole": True, "help": ""}]}]
ANSWER = """The KV cache holds the **keys and values** of every token that the model has seen.

1. *Prefill* writes them for the whole prompt.
2. A press decides which rows stay.
3. Decoding reads what is left, so `rows_held` is what it costs.

```python
freed = rows_before - rows_after
print(f"{freed} rows x 128 bytes")
```

Plain < and > and &amp; stay as they are, <script>alert(1)</script> too."""
PAIRS, ROW_BYTES, POOL = 30 * 3, 256, 1 << 30


class Load:
    """Requests that come, grow and end; only as right as a picture needs."""

    def __init__(self, scene, seed):
        self.scene, self.random, self.lock = scene, random.Random(seed), threading.Lock()
        self.next_id, self.live, self.ended_tokens, self.prompts, self.cached = 17, [], 18_234, 61_020, 22_801
        self.started = self.last = time.monotonic()
        self.steps, self.preemptions = 90_121, 0

    def arrive(self):
        ratio = self.random.choice([0, 0, 0.5, 0.8])
        self.live.append({"id": self.next_id, "ratio": ratio, "press": "knorm" if ratio else "none", "age": 0.0,
                          "prompt": self.random.randint(200, 6000), "cached": self.random.choice([0, 0, 64, 192]),
                          "generated": 0.0, "most": self.random.randint(60, 700), "ttft": 0.0})
        self.next_id += 1

    def advance(self):
        now = time.monotonic()
        passed, self.last = now - self.last, now
        wanted = {"idle": 0, "busy": 11, "full": 90}[self.scene]
        if len(self.live) < wanted and self.random.random() < 0.7:
            for _ in range(min(wanted - len(self.live), 6)):
                self.arrive()
        running = 48 if self.scene == "full" else 8
        for at, request in enumerate(self.live):
            request["age"] += 1e3 * passed
            request["stage"] = "waiting"
            if at >= running:
                continue
            prefill_ms = request["prompt"] * 0.25
            if request["age"] < prefill_ms:
                request["stage"] = "prefill"
            elif request["ratio"] and request["age"] < prefill_ms + 150:
                request["stage"] = "compress"
                request["ttft"] = request["ttft"] or prefill_ms
            else:
                request["stage"] = "decode"
                request["ttft"] = request["ttft"] or prefill_ms
                request["generated"] += passed * 20
        for request in [r for r in self.live if r["generated"] >= r["most"]]:
            self.live.remove(request)
            self.ended_tokens += int(request["generated"])
            self.prompts += request["prompt"]
            self.cached += request["cached"]
        self.steps += len(self.live) > 0
        self.preemptions += self.scene == "full" and self.random.random() < 0.05

    def figures(self, request):
        tokens = request["prompt"] if request["stage"] in ("decode", "compress") else \
            int(min(1, request["age"] / (request["prompt"] * 0.25)) * request["prompt"])
        tokens = 0 if request["stage"] == "waiting" else tokens
        full = (tokens + int(request["generated"])) * PAIRS
        is_done = request["stage"] == "decode" and request["ratio"]
        held = int(full * (1 - request["ratio"])) if is_done else full
        return {"id": request["id"], "stage": request["stage"], "press": request["press"],
                "prompt_tokens": request["prompt"], "cached_tokens": request["cached"],
                "generated_tokens": int(request["generated"]), "rows_held": held, "rows_uncompressed": full,
                "bytes": held * ROW_BYTES, "age_ms": round(request["age"], 1), "ttft_ms": round(request["ttft"], 1)}

    def state(self):
        with self.lock:
            self.advance()
            rows = [self.figures(r) for r in self.live]
            held = {stage: sum(r["bytes"] for r in rows if r["stage"] == stage and r["press"] == "none")
                    for stage in ("prefill", "decode")}
            compressed = sum(r["bytes"] for r in rows if r["press"] != "none")
            cached = {"idle": 38 << 20, "busy": 140 << 20, "full": 0}[self.scene]
            shared = {"idle": 0, "busy": 46 << 20, "full": 60 << 20}[self.scene]
            used = sum(held.values()) + compressed + cached + shared
            if self.scene == "full":
                used = min(used, POOL)
                held["decode"] = max(0, POOL - held["prefill"] - compressed - shared - (3 << 20))
                used = sum(held.values()) + compressed + shared
            n = {stage: sum(r["stage"] == stage for r in rows) for stage in ("waiting", "prefill", "compress", "decode")}
            return {"time_ms": int(time.time() * 1000), "state": {
                "model": {"name": "SmolLM2-135M-Instruct-Q8_0", "context_tokens": 8192, "n_vocab": 49152,
                          "n_layers": 30, "kv_bytes_per_token": 23040},
                "pool": {"total_bytes": POOL, "prefill_bytes": held["prefill"], "decode_bytes": held["decode"],
                         "compressed_bytes": compressed, "shared_bytes": shared, "prefix_cached_bytes": cached,
                         "free_bytes": max(0, POOL - used)},
                "queues": dict(n, running=len(rows) - n["waiting"]),
                "totals": {"steps": self.steps, "preemptions": self.preemptions, "prompt_tokens": self.prompts,
                           "cached_tokens": self.cached,
                           "generated_tokens": self.ended_tokens + sum(r["generated_tokens"] for r in rows)},
                "requests": rows[:64], "requests_left_out": max(0, len(rows) - 64)}}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    load, key, delay_s, is_gone = None, "", 0.02, False
    modalities, asked = ["text", "image"], []  # what the model takes; the messages that came last

    def log_message(self, *_):
        pass

    def reply(self, status, content_type, body, headers=()):
        self.send_response(status)
        for name, value in (("Content-Type", content_type), ("Content-Length", str(len(body))), *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def json(self, value, status=200, headers=()):
        self.reply(status, "application/json", json.dumps(value).encode(), headers)

    def error(self, status, message, headers=()):
        self.json({"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}},
                  status, headers)

    def stream(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def event(self, value):
        text = value if isinstance(value, str) else json.dumps(value)
        self.wfile.write(f"data: {text}\n\n".encode())

    def refused(self):
        if not self.key or self.headers.get("Authorization") == f"Bearer {self.key}":
            return False
        self.error(401, "the key is missing or wrong")
        return True

    def do_GET(self):
        name = "index.html" if self.path == "/" else self.path.removeprefix("/web/")
        if "/" not in name and (WEB / name).is_file():
            return self.reply(200, TYPES[pathlib.Path(name).suffix], (WEB / name).read_bytes(),
                              [("Content-Security-Policy", POLICY), ("Cache-Control", "no-store")])
        if self.refused():
            return None
        if self.path == "/v1/models":
            return self.json({"object": "list", "data": [{"id": "SmolLM2-135M-Instruct-Q8_0", "object": "model",
                                                        "input_modalities": self.modalities}]})
        if self.path == "/fastcache/presses":
            return self.json({"presses": PRESSES})
        if self.path == "/fastcache/state":
            return self.json(self.load.state())
        if self.path == "/fastcache/events":
            self.stream()
            try:
                while not self.is_gone:
                    self.event(self.load.state())
                    time.sleep(0.25)
            except OSError:
                return None
        return self.error(404, f"there is nothing at {self.path}")

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.is_gone:
            self.close_connection = True
            return None
        if self.refused():
            return None
        type(self).asked = body["messages"]
        question = body["messages"][-1]["content"]
        if isinstance(question, list):
            question = " ".join(part.get("text", "") for part in question)
        if "queue full" in question:
            return self.error(429, "4096 requests wait already; try again later", [("Retry-After", "3")])
        try:
            self.answer(body, question)
        except OSError:
            pass  # the client left

    def answer(self, body, question):
        self.stream()
        start = time.monotonic()
        chunk = lambda **choice: {"object": "chat.completion.chunk", "choices": [dict({"index": 0, "delta": {}}, **choice)]}
        self.event(chunk(delta={"role": "assistant", "content": ""}))
        words = ANSWER.split(" ")
        for at, word in enumerate(words):
            time.sleep(self.delay_s)
            if "break off" in question and at == 12:
                return self.event({"error": {"message": "the model's weights are damaged", "type": "server_error"}})
            self.event(chunk(delta={"content": word + (" " if at + 1 < len(words) else "")}))
        self.event(chunk(finish_reason="length" if body.get("max_tokens", 512) < 100 else "stop"))
        ratio = body.get("kv_compression", {}).get("ratio", 0)
        rows = 145 * PAIRS
        kept = round(rows * (1 - ratio))
        decode_ms = 1e3 * (time.monotonic() - start)
        self.event({"object": "chat.completion.chunk", "choices": [],
                    "usage": {"prompt_tokens": 145, "completion_tokens": len(words), "total_tokens": 145 + len(words),
                              "prompt_tokens_details": {"cached_tokens": 64}},
                    "fastcache": {"queue_ms": 0.4, "prefill_ms": 92.1, "compress_ms": 3.2 if ratio else 0,
                                  "decode_ms": decode_ms, "ttft_ms": 92.5, "tpot_ms": decode_ms / len(words),
                                  "rows_before_compression": rows, "rows_after_compression": kept,
                                  "freed_bytes": (rows - kept) * ROW_BYTES, "preemptions": 0}})
        self.event("[DONE]")


def serve(port, scene="busy", key="", delay_s=0.02, seed=1):
    """A server in threads of its own; .server_address says the port, .shutdown() ends it."""
    handler = type("SceneHandler", (Handler,), {"load": Load(scene, seed), "key": key, "delay_s": delay_s})
    server = type("Server", (http.server.ThreadingHTTPServer,), {"request_queue_size": 128})(("127.0.0.1", port), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--scene", choices=["idle", "busy", "full"], default="busy")
    parser.add_argument("--key", default="")
    options = parser.parse_args()
    print(f"http://127.0.0.1:{serve(options.port, options.scene, options.key).server_address[1]}/")
    threading.Event().wait()
