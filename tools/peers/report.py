# SPDX-License-Identifier: Apache-2.0
"""From samples to medians, ratios, and the table between two marker comments of docs/performance.md."""
import os
import pathlib
import platform
import statistics

from common import REPOSITORY

BEGIN = "<!-- bench-peers: written by `make bench-peers`, do not edit -->"
END = "<!-- /bench-peers -->"
NOISE = 0.1  # a sample counts as quiet while others took less than this share of the CPUs

# What "near the machine's limit" asks: (row, compared with the best of those whose name starts so, factor of speed)
TARGETS = {
    ("prefill", 1000): ("", 1.4),
    ("prefill", 4000): ("", 1.3),
    ("decode", 0): ("", 1.3),
    ("decode", 4096): ("", 3.0),
    ("batch decode", 32, 1024, 64): ("llama.cpp Q4_0", 3.5),
    ("batch", 32, 1024, 64): ("OpenVINO", 1 / 0.7),
}


def rows_of(jobs):
    """[(row key, label, unit, job, metric)]"""
    rows = []
    for job in jobs:
        if job[0] == "prefill":
            rows.append((job, f"prefill {job[1]:,}, tokens/s", job, "tokens_per_s"))
        elif job[0] == "decode":
            rows.append((job, f"decode at depth {job[1]:,}, tokens/s", job, "tokens_per_s"))
        else:
            shape = f"{job[1]} x ({job[2]:,} in + {job[3]} out)"
            rows.append((job, f"{shape}, seconds", job, "seconds"))
            rows.append((("batch decode", *job[1:]), "its decoding, tokens/s", job, "decode_tokens_per_s"))
    return rows


def median_of(samples, job, metric):
    """(median, all quiet?) over the quiet samples; over all where there is no quiet one."""
    found = [s for s in samples if tuple(s["job"]) == tuple(job) and metric in s["metrics"]]
    if not found:
        return None
    quiet = [s for s in found if s["others"] < NOISE]
    return statistics.median(s["metrics"][metric] for s in quiet or found), bool(quiet)


def speed_ratio(ours, theirs, metric):
    return theirs / ours if metric == "seconds" else ours / theirs


def summarise(names, jobs, samples):
    """[{row, label, metric, values: {name: number}, noisy: [names], best_peer, ratio, target...}]"""
    summary = []
    for key, label, job, metric in rows_of(jobs):
        values, noisy = {}, []
        for name in names:
            found = median_of([s for s in samples if s["name"] == name], job, metric)
            if found:
                values[name] = found[0]
                if not found[1]:
                    noisy.append(name)
        row = {"row": list(key), "label": label, "metric": metric, "values": values, "noisy": noisy}
        peers = {name: value for name, value in values.items() if name != "fastcache"}
        if peers:
            best = (min if metric == "seconds" else max)(peers, key=peers.get)
            row["best_peer"] = best
            if "fastcache" in values:
                row["ratio"] = speed_ratio(values["fastcache"], peers[best], metric)
        prefix, factor = TARGETS.get(key, (None, None))
        rivals = {name: value for name, value in peers.items() if prefix is not None and name.startswith(prefix)}
        if rivals:
            rival = (min if metric == "seconds" else max)(rivals, key=rivals.get)
            row["target"] = {"rival": rival, "factor": factor}
            row["target"]["value"] = rivals[rival] / factor if metric == "seconds" else rivals[rival] * factor
            if "fastcache" in values:
                row["target"]["ratio"] = speed_ratio(values["fastcache"], rivals[rival], metric)
                row["target"]["reached"] = row["target"]["ratio"] >= factor
        summary.append(row)
    return summary


def cpu_name():
    try:
        with open("/proc/cpuinfo") as file:
            fields = dict(line.split(":", 1) for line in file.read().split("\n\n")[0].splitlines() if ":" in line)
        values = {key.strip(): value.strip() for key, value in fields.items()}
        name = values.get("model name", platform.machine())
        flags = values.get("flags", "").split()
        isa = " ".join(f for f in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8") if f in flags)
        return f"{name} (family {values.get('cpu family')}, model {values.get('model')}; {isa})"
    except (OSError, ValueError):
        return platform.processor() or platform.machine()


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def cell(row, name):
    if name not in row["values"]:
        return "-"
    text = ("~" if name in row["noisy"] else "") + number(row["values"][name])
    return f"**{text}**" if name == row.get("best_peer") else text


def target_cells(row):
    if "target" not in row:
        return ["-", "-"]
    target = row["target"]
    wanted = f"{number(target['value'])} ({target['factor']:.2f} x {target['rival']})"
    if "ratio" not in target:
        return [wanted, "-"]
    verdict = "reached" if target["reached"] else "missed"
    if {"fastcache", target["rival"]} & set(row["noisy"]):
        verdict = "too noisy to tell"
    return [wanted, f"{target['ratio']:.2f} x, {verdict}"]


def table(run):
    names = list(run["about"])
    lines = [f"Measured {run['date']} on {run['cpu']}, {run['threads']} threads; median of {run['rounds']} "
             "round(s) in which all take turns, job by job. Best peer in bold.", "", f"    {run['command']}", ""]
    lines.append("| | " + " | ".join([*names, "ours / best peer", "wanted", "ours / its rival"]) + " |")
    lines.append("|---|" + "---|" * (len(names) + 3))
    for row in run["summary"]:
        ratio = f"{row['ratio']:.2f} x" if "ratio" in row else "-"
        cells = [row["label"], *(cell(row, name) for name in names), ratio, *target_cells(row)]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "Ratios are of speed: above 1, ours is faster. Prompts are random tokens; all start warm."]
    if any(row["noisy"] for row in run["summary"]):
        lines.append(f"~ = others took {NOISE:.0%} or more of the CPUs in every sample: no verdict rests on such a number.")
    lines += ["", "| | version | weights | K/V cache | settings |", "|---|---|---|---|---|"]
    for name, about in run["about"].items():
        lines.append(f"| {name} | {about['version']} | {about['weights']} | {about['kv']} | {about['settings']} |")
    return "\n".join(lines)


def write_between_markers(path: pathlib.Path, text: str, begin: str = BEGIN, end: str = END) -> None:
    old = path.read_text() if path.exists() else "# Performance\n\n## Beside other programs\n"
    block = f"{begin}\n{text}\n{end}"
    if begin in old and end in old.split(begin, 1)[1]:
        before, rest = old.split(begin, 1)
        new = before + block + rest.split(end, 1)[1]
    else:
        new = old.rstrip("\n") + f"\n\n{block}\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(new)
    os.replace(temporary, path)


DOCUMENT = REPOSITORY / "docs/performance.md"
