# SPDX-License-Identifier: Apache-2.0
"""Requests with pictures for servers of OpenAI's chat API, their sending by `fastcache bench --url`, and the table."""
import base64
import json
import pathlib
import random
import struct
import tempfile
import zlib

import serving_report
from common import output_of
from serving_contenders import LOAD_LIMIT, read_metrics

MARKERS = ("<!-- serving-pictures: written by `make bench-peers`, do not edit -->", "<!-- /serving-pictures -->")
SIDE_PIXELS, ANSWER_TOKENS = 80, 16
COLUMNS = [("median_ttft_ms", "TTFT p50, ms", False), ("p99_ttft_ms", "TTFT p99, ms", False),
           ("duration", "total, s", False)]


def png(rgb: bytes, side: int) -> bytes:
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    lines = b"".join(b"\0" + rgb[3 * side * y:3 * side * (y + 1)] for y in range(side))
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def picture_url(chance) -> str:
    """Squares of random colors: no two pictures are alike."""
    cells = [[bytes(chance.randrange(256) for _ in range(3)) for _ in range(5)] for _ in range(5)]
    rgb = b"".join(cells[y * 5 // SIDE_PIXELS][x * 5 // SIDE_PIXELS] for y in range(SIDE_PIXELS) for x in range(SIDE_PIXELS))
    return "data:image/png;base64," + base64.b64encode(png(rgb, SIDE_PIXELS)).decode()


def requests(n: int, n_pictures: int, seed: int) -> list:
    """n lines of JSON for `bench --dataset`: a user's message with n_pictures pictures and a question"""
    chance, lines = random.Random(seed), []
    for _ in range(n):
        content = []
        for number in range(n_pictures):
            content += [{"type": "text", "text": f"Picture {number + 1}: "},
                        {"type": "image_url", "image_url": {"url": picture_url(chance)}}]
        content.append({"type": "text", "text": f"\nWhat is in picture {chance.randint(1, n_pictures)}?"})
        lines.append(json.dumps({"messages": [{"role": "user", "content": content}], "max_tokens": ANSWER_TOKENS}))
    return lines


def run(program, url: str, lines: list, at_once: bool) -> dict:
    """All at once, or one after the other"""
    with tempfile.TemporaryDirectory(prefix="pictures-") as folder:
        prompts, result = pathlib.Path(folder, "prompts.jsonl"), pathlib.Path(folder, "result.json")
        prompts.write_text("\n".join(lines) + "\n")
        output_of([program, "bench", "--url", url, "--endpoint", "/v1/chat/completions", "--dataset", prompts,
                   "--num-prompts", len(lines), "--max-concurrency", 0 if at_once else 1, "--ignore-eos",
                   "--save-result", result], LOAD_LIMIT)
        return read_metrics(result.read_text())


def table(measured: dict, loads) -> str:
    names, lines = list(measured["about"]), serving_report.beginning(measured)
    lines += [serving_report.row(["load", "", *(heading for _, heading, _ in COLUMNS)]), "|---|---|" + "---|" * len(COLUMNS)]
    for load in loads:
        found = {}
        for name in names:
            values, quiet = serving_report.medians(measured["samples"], name, load)
            found[name] = values
            lines.append(serving_report.row([load.label() if len(found) == 1 else "", name + ("" if quiet else " ~"),
                                             *(f"{values[metric]:,.1f}" for metric, _, _ in COLUMNS)]))
        peers = [values for name, values in found.items() if name != "fastcache"]
        if "fastcache" in found and peers:
            ratios = [serving_report.speed_ratio(found["fastcache"][metric], serving_report.best_of(peers, metric, more), more)
                      for metric, _, more in COLUMNS]
            lines.append(serving_report.row(["", "ours / best peer", *(f"**{ratio:.2f} x**" for ratio in ratios)]))
    lines += ["", f"Vision encoder {measured['mmproj']}, the same file for all; pictures of {SIDE_PIXELS}x{SIDE_PIXELS} pixels "
              "as data URLs, each its own; one request after the other unless it says at once. Each sample has a fresh "
              "server that answered one other picture before. Ratios are of speed: above 1, ours is faster."]
    return "\n".join(lines + serving_report.noise_note(measured) + serving_report.about_rows(measured))
