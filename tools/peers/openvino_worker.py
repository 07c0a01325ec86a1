# SPDX-License-Identifier: Apache-2.0
"""Measures OpenVINO GenAI. Runs in the virtual environment that openvino_env.py makes; started by contenders.py.

usage: python openvino_worker.py MODEL OPTIONS     the options as JSON text
Answers each line {"job": "prefill"|"decode"|"batch", ...} on standard input with one line of JSON on standard output.
One process for all rounds: the first call of each shape compiles, and loading a GGUF file takes longer than a job.
"""
import json
import os
import statistics
import sys
import time

replies = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what the libraries print does not mix with the replies

import numpy  # noqa: E402
import openvino  # noqa: E402
import openvino_genai as genai  # noqa: E402

CACHE_GIB = 3  # 32 sequences of 1,088 tokens of a model with 30 layers, 3 KV heads of 64: 0.4 GiB in u8, 0.8 in bf16


class Worker:
    def __init__(self, model, options):
        scheduler = genai.SchedulerConfig()
        scheduler.cache_size = CACHE_GIB
        scheduler.enable_prefix_caching = False
        scheduler.dynamic_split_fuse = options["dynamic_split_fuse"]
        scheduler.max_num_batched_tokens = options["max_num_batched_tokens"]
        scheduler.max_num_seqs = options["max_num_seqs"]
        properties = {"INFERENCE_NUM_THREADS": options["threads"], **options.get("properties", {})}
        self.pipeline = genai.ContinuousBatchingPipeline(model, scheduler, "CPU", properties, {})
        self.random = numpy.random.default_rng(1)
        self.next_id = 0
        core = openvino.Core()
        core.set_property("CPU", properties)
        self.about = {
            "kv": core.get_property("CPU", "KV_CACHE_PRECISION").to_string(),
            "inference": core.get_property("CPU", "INFERENCE_PRECISION_HINT").to_string(),
            "dynamic_quantization_group": core.get_property("CPU", "DYNAMIC_QUANTIZATION_GROUP_SIZE"),
            "version": genai.get_version(),
        }

    def prompt(self, tokens):
        """Random tokens, as llama-bench takes them; never the same prompt twice."""
        return openvino.Tensor(self.random.integers(100, 40000, size=(1, tokens), dtype=numpy.int64))

    def run(self, sequences, prompt_tokens, new_tokens):
        """All requests at once, then step by step. -> seconds, times of first tokens, [(time, tokens so far)]"""
        config = genai.GenerationConfig(max_new_tokens=new_tokens, do_sample=False, ignore_eos=True,
                                        apply_chat_template=False)
        prompts = [self.prompt(prompt_tokens) for _ in range(sequences)]
        start = time.perf_counter()
        handles = []
        for prompt in prompts:
            self.next_id += 1
            handles.append(self.pipeline.add_request(self.next_id, prompt, config))
        counts, firsts, marks = [0] * sequences, [None] * sequences, []
        while self.pipeline.has_non_finished_requests():
            self.pipeline.step()
            now = time.perf_counter() - start
            for index, handle in enumerate(handles):
                while handle.can_read():
                    counts[index] += sum(len(output.generated_ids) for output in handle.read().values())
                if counts[index] and firsts[index] is None:
                    firsts[index] = now
            marks.append((now, sum(counts)))
        seconds = time.perf_counter() - start
        if counts != [new_tokens] * sequences:
            raise RuntimeError(f"expected {new_tokens} tokens for each of {sequences} requests, got {counts}")
        return seconds, firsts, marks

    def prefill(self, n):
        seconds, firsts, _ = self.run(1, n, 1)
        return {"tokens_per_s": n / firsts[0]}

    def decode(self, depth, generated):
        return {"tokens_per_s": rate_after_first(*self.run(1, max(depth, 1), generated + 1)[1:])}

    def batch(self, sequences, prompt, generated):
        seconds, firsts, marks = self.run(sequences, prompt, generated)
        return {"seconds": seconds, "decode_tokens_per_s": rate_after_first(firsts, marks),
                "ttft_p50_ms": 1000 * statistics.median(firsts)}


def rate_after_first(firsts, marks):
    """Tokens per second from the moment when every sequence had its first token."""
    begin = next(mark for mark in marks if mark[0] >= max(firsts))
    return (marks[-1][1] - begin[1]) / (marks[-1][0] - begin[0])


def main():
    worker = Worker(sys.argv[1], json.loads(sys.argv[2]))
    print(json.dumps(worker.about), file=replies, flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        print(json.dumps(getattr(worker, job.pop("job"))(**job)), file=replies, flush=True)


if __name__ == "__main__":
    main()
