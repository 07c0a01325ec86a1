# SPDX-License-Identifier: Apache-2.0
"""Tensors for presses: random ones, and those of a real prompt on the embedded model. All are rounded to what the
files hold before kvpress sees them."""
import dataclasses
import pathlib
import sys

import numpy as np
import torch
import transformers

from golden_format import as_bf16, as_f32, as_i8, Stored

OUTPUTS = 54  # columns of the real output weights that are stored: enough to tell heads and tokens apart


@dataclasses.dataclass
class Inputs:
    theta: float  # of RoPE, in halves: channel i turns with channel i + head_dim / 2
    q: Stored     # [n_layers, n_heads, n_tokens, head_dim], before RoPE
    k: Stored     # [n_layers, n_kv_heads, n_tokens, head_dim], after RoPE, as cached
    v: Stored     # the same shape
    w_o: Stored   # [n_layers, outputs, n_heads * head_dim]

    def tensors(self) -> dict:
        return {"theta": as_f32([self.theta]), "q": self.q, "k": self.k, "v": self.v, "w_o": self.w_o}


def random_inputs(seed: int, n_layers: int, n_heads: int, n_kv_heads: int, head_dim: int, n_tokens: int) -> Inputs:
    """Keys share a direction and some are long, queries have a mean for each head: as in models, and scores differ."""
    draw = np.random.default_rng(seed)
    kv_shape = (n_layers, n_kv_heads, n_tokens, head_dim)
    length = np.where(draw.random(kv_shape[:3] + (1,)) < 0.1, 1.8, 1.0)
    k = length * (draw.standard_normal(kv_shape) + 1.2 * draw.standard_normal((n_layers, n_kv_heads, 1, head_dim)))
    v = draw.standard_normal(kv_shape) * np.exp(0.5 * draw.standard_normal(kv_shape[:3] + (1,)))
    q = 0.8 * draw.standard_normal((n_layers, n_heads, n_tokens, head_dim))
    q += 0.6 * draw.standard_normal((n_layers, n_heads, 1, head_dim))
    w_o = draw.standard_normal((n_layers, 24, n_heads * head_dim)) / head_dim**0.5
    return Inputs(theta=10000.0, q=as_i8(q), k=as_bf16(k), v=as_bf16(v), w_o=as_i8(w_o))


@torch.no_grad()
def recorded_inputs(model_file: pathlib.Path, prompt: str, n_tokens: int, layers: list) -> Inputs:
    """Of the prompt's first n_tokens. The model's weights are those of the GGUF file, dequantized."""
    where = {"pretrained_model_name_or_path": model_file.parent, "gguf_file": model_file.name}
    tokenizer = transformers.AutoTokenizer.from_pretrained(**where)
    model = transformers.AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32).eval()
    ids = tokenizer(prompt, return_tensors="pt").input_ids[:, :n_tokens]
    if ids.shape[1] != n_tokens:
        raise ValueError(f"the prompt has {ids.shape[1]} tokens, {n_tokens} are needed")

    config, queries = model.config, {}

    def record(module, _, kwargs):
        q = module.q_proj(kwargs["hidden_states"])[0]
        queries[module.layer_idx] = q.view(n_tokens, config.num_attention_heads, -1).transpose(0, 1)

    for layer in layers:
        model.model.layers[layer].self_attn.register_forward_pre_hook(record, with_kwargs=True)
    cache = transformers.DynamicCache()
    loss = model(ids, past_key_values=cache, labels=ids).loss.item()
    print(f"the prompt costs the model {loss:.2f} nats per token", file=sys.stderr)
    if not loss < 4:  # weights in the wrong order give 8 and more
        raise ValueError(f"the model does not understand the prompt: {loss:.2f} nats per token")

    head_dim = config.hidden_size // config.num_attention_heads
    stack = lambda of_layer: np.stack([of_layer(layer).numpy() for layer in layers])  # noqa: E731
    return Inputs(theta=float(config.rope_parameters["rope_theta"]), q=as_i8(stack(lambda i: queries[i])),
                  k=as_bf16(stack(lambda i: cache.layers[i].keys[0])),
                  v=as_bf16(stack(lambda i: cache.layers[i].values[0])),
                  w_o=as_i8(stack(lambda i: model.model.layers[i].self_attn.o_proj.weight[:OUTPUTS]
                                  .reshape(OUTPUTS, -1, head_dim).flatten(1))))
