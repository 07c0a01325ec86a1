# SPDX-License-Identifier: Apache-2.0
"""Who is measured. Each has a name, about() (what it is, for the report) and measure(job) -> {metric: number}.

A job is ("prefill", n), ("decode", depth) or ("batch", sequences, prompt, generated). Prompts are random tokens; all
numbers are tokens per second unless the metric's name says seconds or ms.
"""
import json
import pathlib
import statistics
import subprocess
import tempfile

from common import commit, json_lines, output_of, SetupError
import llama_tools
import openvino_env

GENERATED = 64  # tokens timed by a decode job
LIMIT = 1800  # seconds for one measuring command


class Llama:
    """llama-bench and llama-batched-bench on one file."""

    def __init__(self, programs, model, kind, threads, repeat, flags):
        self.name = f"llama.cpp {kind}"
        self.programs, self.model, self.threads, self.repeat, self.flags = programs, model, threads, repeat, flags
        self.kv = {flags[flag] for flag in ("-ctk", "-ctv") if flag in flags} or {"f16"}

    def about(self):
        flags = " ".join(f"{flag} {value}" for flag, value in self.flags.items())
        return {"version": llama_tools.version(self.programs), "kv": "/".join(sorted(self.kv)),
                "weights": self.model.name,
                "settings": f"-t {self.threads} {flags}; OpenMP, llamafile and repacked kernels"}

    def command(self, program):
        pairs = [part for flag, value in self.flags.items() for part in (flag, value)]
        return [self.programs / program, "-m", self.model, "-t", self.threads, *pairs]

    def measure(self, job):
        if job[0] == "batch":
            _, sequences, prompt, generated = job
            command = self.command("llama-batched-bench") + [
                "-c", sequences * (prompt + generated), "-npp", prompt, "-ntg", generated, "-npl", sequences,
                "--output-format", "jsonl"]
            row = json_lines(output_of(command, LIMIT))[-1]
            return {"seconds": row["t"], "decode_tokens_per_s": row["speed_tg"]}
        command = self.command("llama-bench") + ["-r", self.repeat, "-o", "jsonl"]
        command += ["-p", job[1], "-n", 0] if job[0] == "prefill" else ["-p", 0, "-n", GENERATED, "-d", job[1]]
        row = json_lines(output_of(command, LIMIT))[-1]
        return {"tokens_per_s": statistics.median(row["samples_ts"])}

    def close(self):
        pass


class OpenVino:
    """One process for the whole run, warmed up; see openvino_worker.py."""

    def __init__(self, python, model, kind, repeat, jobs, options):
        self.name = f"OpenVINO GenAI {kind}"
        self.model, self.repeat, self.options = model, repeat, options
        self.log = tempfile.NamedTemporaryFile("w+", prefix="openvino-", suffix=".log")
        worker = pathlib.Path(__file__).with_name("openvino_worker.py")
        self.process = subprocess.Popen([python, worker, model, json.dumps(options)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.properties = self.reply()
        for job in jobs:  # compiles the kernels of every shape
            if job[0] == "batch":
                self.ask(job="batch", sequences=job[1], prompt=64, generated=4)
            else:
                self.measure_once(job)

    def reply(self):
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.log.seek(0)
            raise SetupError("OpenVINO's process ended:\n" + "\n".join(self.log.read().splitlines()[-15:]))
        return json.loads(line)

    def ask(self, **job):
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return self.reply()

    def about(self):
        settings = [f"max_num_batched_tokens {self.options['max_num_batched_tokens']}",
                    f"inference precision {self.properties['inference']}",
                    f"activations in groups of {self.properties['dynamic_quantization_group']}"]
        return {"version": self.properties["version"], "kv": self.properties["kv"], "weights": self.model.name,
                "settings": "ContinuousBatchingPipeline, " + ", ".join(settings)}

    def measure_once(self, job):
        if job[0] == "prefill":
            return self.ask(job="prefill", n=job[1])
        if job[0] == "decode":
            return self.ask(job="decode", depth=job[1], generated=GENERATED)
        return self.ask(job="batch", sequences=job[1], prompt=job[2], generated=job[3])

    def measure(self, job):
        samples = [self.measure_once(job) for _ in range(1 if job[0] == "batch" else self.repeat)]
        return {metric: statistics.median(sample[metric] for sample in samples) for metric in samples[0]}

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()


class Ours:
    """build/release/fastcache bench. Only the options of the job are given: what is not asked for must not run."""

    def __init__(self, program, model, threads, repeat):
        self.name = "fastcache"
        self.program, self.model, self.threads, self.repeat = program, model, threads, repeat
        self.said = {}
        help_text = subprocess.run([program, "bench", "--help"], capture_output=True, text=True)
        missing = [option for option in ("--prefill", "--decode-depth", "--batch", "--json")
                   if option not in help_text.stdout]
        if help_text.returncode != 0 or missing:
            raise SetupError(f"{program} has no 'bench' with {' '.join(missing) or 'a help text'} yet; "
                             "--skip-ours measures the peers alone")

    def about(self):
        return {"version": commit(), "kv": self.said.get("kv_type", "bf16"),
                "weights": self.model.name, "settings": f"-t {self.threads}"}

    def measure(self, job):
        option = {"prefill": "--prefill", "decode": "--decode-depth", "batch": "--batch"}[job[0]]
        with tempfile.NamedTemporaryFile(suffix=".json") as file:
            output_of([self.program, "bench", "-m", self.model, "-t", self.threads, option, "x".join(map(str, job[1:])),
                       "--decode-tokens", GENERATED, "--repeat", 1 if job[0] == "batch" else self.repeat,
                       "--json", file.name], LIMIT)
            text = pathlib.Path(file.name).read_text()
        try:
            self.said = json.loads(text)
            row = self.said[job[0]][0]
            wanted = ("seconds", "decode_tokens_per_s") if job[0] == "batch" else ("tokens_per_s",)
            found = {metric: float(row[metric]) for metric in wanted}
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise SetupError(f"unexpected JSON of 'fastcache bench {option}' ({error!r}): {text[:300]}")
        return {**found, **({"ttft_p50_ms": row["ttft_p50_ms"]} if "ttft_p50_ms" in row else {})}

    def close(self):
        pass


def openvino(model, kind, repeat, jobs, options):
    return OpenVino(openvino_env.python(), model, kind, repeat, jobs, options)
