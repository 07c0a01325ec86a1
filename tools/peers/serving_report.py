# SPDX-License-Identifier: Apache-2.0
"""From samples of serving loads to medians, ratios and tables."""
import statistics

from report import NOISE, number

# metric, heading, is more better
METRICS = [("median_ttft_ms", "TTFT p50, ms", False), ("p99_ttft_ms", "TTFT p99, ms", False),
           ("mean_tpot_ms", "TPOT, ms", False), ("p99_itl_ms", "ITL p99, ms", False),
           ("output_throughput", "output tok/s", True), ("duration", "total, s", False)]
SHOWN = [metric for metric, _, _ in METRICS]


def markers(overhead):
    name, command = ("serving-overhead", "tools/peers/serving --overhead") if overhead else \
        ("serving-peers", "make bench-peers")
    return f"<!-- {name}: written by `{command}`, do not edit -->", f"<!-- /{name} -->"


def medians(samples, name, load):
    """({metric: median}, all quiet?) over the quiet samples; over all where there is no quiet one."""
    found = [s for s in samples if s["name"] == name and s["load"] == load.label()]
    quiet = [s for s in found if s["others"] < NOISE]
    values = {}
    for metric in SHOWN:
        numbers = [s["metrics"][metric] for s in quiet or found if metric in s["metrics"]]
        if numbers:
            values[metric] = statistics.median(numbers)
    return values, bool(quiet)


def speed_ratio(ours, theirs, more_is_better):
    return (ours / theirs if more_is_better else theirs / ours) if ours and theirs else None


def best_of(peers, metric, more_is_better):
    found = [values[metric] for values in peers if metric in values]
    return (max if more_is_better else min)(found) if found else None


def row(cells):
    return "| " + " | ".join(cells) + " |"


def value_cells(values):
    return [number(values[metric]) if metric in values else "-" for metric in SHOWN]


def load_rows(samples, names, load):
    lines, found = [], {}
    for name in names:
        values, quiet = medians(samples, name, load)
        if values:
            found[name] = values
            lines.append(row([load.label() if not lines else "", name + ("" if quiet else " ~"), *value_cells(values)]))
    peers = [values for name, values in found.items() if name != "fastcache"]
    if "fastcache" in found and peers:
        ratios = []
        for metric, _, more in METRICS:
            ratio = speed_ratio(found["fastcache"].get(metric), best_of(peers, metric, more), more)
            ratios.append(f"**{ratio:.2f} x**" if ratio else "-")
        lines.append(row(["", "ours / best peer", *ratios]))
    return lines


def beginning(run):
    return [f"Measured {run['date']} on {run['cpu']}, {run['threads']} threads; median of {run['rounds']} round(s) in "
            "which all take turns, load by load.", "", f"    {run['command']}", ""]


def noise_note(run):
    return ["~ = others took {:.0%} or more of the CPUs in every sample: no verdict rests on such a number.".format(NOISE)] \
        if any(s["others"] >= NOISE for s in run["samples"]) else []


def about_rows(run):
    lines = ["", "| | version | weights | K/V cache | settings |", "|---|---|---|---|---|"]
    return lines + [row([name, about["version"], about["weights"], about["kv"], about["settings"]])
                    for name, about in run["about"].items()]


def peers_table(run, loads):
    lines = beginning(run)
    lines += [row(["load", "", *(heading for _, heading, _ in METRICS)]), "|---|" + "---|" * (len(METRICS) + 1)]
    for load in loads:
        lines += load_rows(run["samples"], list(run["about"]), load)
    lines += ["", "Ratios are of speed: above 1, ours is faster. Latencies count from the planned arrival, at the client, which "
              "runs on the same CPUs. Prompts are random tokens, the same for all in a round; each server is fresh."]
    return "\n".join(lines + noise_note(run) + about_rows(run))


def paired(samples, load, metric):
    """[(server, in process)] of each round."""
    at = {(s["round"], s["name"]): s["metrics"].get(metric) for s in samples if s["load"] == load.label()}
    rounds = sorted({number for number, _ in at})
    pairs = [(at.get((number, "server")), at.get((number, "in process"))) for number in rounds]
    return [pair for pair in pairs if None not in pair]


def overhead_table(run, loads):
    lines = beginning(run)
    lines += ["| load | | " + " | ".join(heading for _, heading, _ in METRICS) + " |", "|---|---|" + "---|" * len(METRICS)]
    for load in loads:
        for name in ("server", "in process"):
            values, quiet = medians(run["samples"], name, load)
            if not values:
                continue
            lines.append(row([load.label() if name == "server" else "", name + ("" if quiet else " ~"), *value_cells(values)]))
        throughput = [server / direct for server, direct in paired(run["samples"], load, "output_throughput")]
        beside = [sample["metrics"].get("median_ttft_beside_engine_ms") for sample in run["samples"]
                  if sample["name"] == "server" and sample["load"] == load.label()]
        if beside and None not in beside:
            ratio = f"**{statistics.median(throughput):.3f} x**" if throughput else ""
            lines.append(row(["", "what the server adds", f"**{statistics.median(beside):.1f} ms**", "", "", "", ratio, ""]))
    lines += ["", "Server: `fastcache serve`, loaded over HTTP by `fastcache bench --url` on the same CPUs; in process: "
              "`fastcache bench --requests`. The same prompts at the same time; in turns, the first one alternating. What the "
              "server adds to TTFT: the client's, less the engine's own from submission on, median of the requests."]
    return "\n".join(lines + noise_note(run) + about_rows(run))
