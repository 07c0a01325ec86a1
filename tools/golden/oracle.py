# SPDX-License-Identifier: Apache-2.0
"""Asks kvpress for scores and kept rows. It computes in double, so that what its files hold is its formulas' result."""
import logging
import math

import numpy as np
import torch
from kvpress import (AdaKVPress, ChunkKVPress, ChunkPress, ComposedPress, CriticalKVPress, CURPress,
                     ExpectedAttentionPress, KeyDiffPress, KnormPress, LagKVPress, ObservedAttentionPress,
                     PerLayerCompressionPress, PyramidKVPress, SnapKVPress, StreamingLLMPress, TOVAPress)
from transformers import DynamicCache, LlamaConfig
from transformers.models.llama.modeling_llama import (LlamaAttention, LlamaRotaryEmbedding, apply_rotary_pos_emb,
                                                      eager_attention_forward)

logging.getLogger("kvpress").setLevel(logging.ERROR)  # it advises against value norms inside CriticalKV

RATIOS = (0.25, 0.5, 0.8)

# kvpress leaves 0 where our epsilon is the paper's 0.01.
EXPECTED = dict(epsilon=0.01)


def named(press, **kwargs):
    return lambda ratio: press(compression_ratio=ratio, **kwargs)


def around(wrapper, inner, **kwargs):
    return lambda ratio: wrapper(inner(ratio), **kwargs)


knorm, keydiff, cur = named(KnormPress), named(KeyDiffPress), named(CURPress)
snapkv, small_snapkv = named(SnapKVPress), named(SnapKVPress, window_size=16, kernel_size=3)
expected = named(ExpectedAttentionPress, **EXPECTED)

# How we call a press -> kvpress' one.
PRESSES = {
    "knorm": knorm,
    "streaming_llm": named(StreamingLLMPress),
    "streaming_llm(n_sink=9)": named(StreamingLLMPress, n_sink=9),
    "snapkv": snapkv,
    "snapkv(window=16, kernel=3)": small_snapkv,
    "pyramidkv": named(PyramidKVPress),
    "pyramidkv(window=4, beta=5)": named(PyramidKVPress, window_size=4, beta=5),
    "tova": named(TOVAPress),
    "observed_attention": named(ObservedAttentionPress),
    "expected_attention": expected,
    "expected_attention(epsilon=0, n_future=100, n_sink=8)": named(ExpectedAttentionPress, n_future_positions=100,
                                                                   n_sink=8),
    "keydiff": keydiff,
    "lagkv": named(LagKVPress),
    "lagkv(lag=32)": named(LagKVPress, lag_size=32),
    "lagkv(lag=32, cross_scoring=1)": named(LagKVPress, lag_size=32, cross_scoring=True),
    "cur": cur,
    "cur(n_sink=0, window=50)": named(CURPress, num_sinks=0, local_window_size=50),
    "adakv(knorm)": around(AdaKVPress, knorm),
    "adakv(snapkv(window=16, kernel=3), safeguard=0.5)": around(AdaKVPress, small_snapkv, alpha_safeguard=0.5),
    "adakv(expected_attention)": around(AdaKVPress, expected),
    "chunkkv(knorm)": around(ChunkKVPress, knorm),
    "chunkkv(snapkv(window=16, kernel=3))": around(ChunkKVPress, small_snapkv),
    "chunkkv(expected_attention)": around(ChunkKVPress, expected),
    "chunkkv(keydiff, chunk_length=7)": around(ChunkKVPress, keydiff, chunk_length=7),
    "chunk(knorm, chunk_length=64)": around(ChunkPress, knorm, chunk_length=64),
    "chunk(keydiff, chunk_length=50)": around(ChunkPress, keydiff, chunk_length=50),
    "criticalkv(knorm)": around(CriticalKVPress, knorm),
    "criticalkv(snapkv(window=16, kernel=3))": around(CriticalKVPress, small_snapkv),
    "criticalkv(expected_attention)": around(CriticalKVPress, expected),
}


def presses_with_own_amounts(n_layers: int) -> dict:
    """The same for those that are asked for no ratio. kvpress leaves rows in the order of their scores, so that
    behind another press only those work that do not look at places."""
    ratios = [0.1, 0.7, 0.45, 0.9][:n_layers]
    return {
        "composed(knorm(ratio=0.4), keydiff(ratio=0.5))": ComposedPress([knorm(0.4), keydiff(0.5)]),
        f"per_layer(knorm, ratios={ratios})": PerLayerCompressionPress(knorm(0), ratios),
        f"per_layer(expected_attention, ratios={ratios})": PerLayerCompressionPress(expected(0), ratios),
    }


def window(press) -> int:
    """A prompt must have more tokens."""
    while hasattr(press, "press"):
        press = press.press
    return getattr(press, "window_size", 0)


class Layer:
    """One attention layer as kvpress' presses see it, its hidden states being the queries themselves."""

    def __init__(self, inputs, index: int):
        n_layers, n_heads, n_tokens, head_dim = inputs.q.numbers.shape
        config = LlamaConfig(hidden_size=inputs.w_o.numbers.shape[1], num_hidden_layers=n_layers,
                             num_attention_heads=n_heads, num_key_value_heads=inputs.k.numbers.shape[1],
                             head_dim=head_dim, attn_implementation="sdpa",
                             rope_parameters={"rope_type": "default", "rope_theta": inputs.theta})
        self.module = LlamaAttention(config, index).double().eval()
        self.module.q_proj = torch.nn.Identity()
        self.module.o_proj.weight.data = inputs.w_o.tensor()[index]
        self.module.rotary_emb = LlamaRotaryEmbedding(config)
        q = inputs.q.tensor()[index]
        self.hidden = q.transpose(0, 1).reshape(1, n_tokens, n_heads * head_dim)
        self.keys, self.values = inputs.k.tensor()[index][None], inputs.v.tensor()[index][None]
        self.angles = self.module.rotary_emb(self.keys, torch.arange(n_tokens)[None])
        self.attentions = self._attentions(q[None])

    def _attentions(self, q):
        n_tokens = q.shape[2]
        rotated, _ = apply_rotary_pos_emb(q, q, *self.angles)
        unseen = torch.full((n_tokens, n_tokens), -math.inf, dtype=torch.float64).triu(1)
        return eager_attention_forward(self.module, rotated, self.keys, self.values, unseen, self.module.scaling)[1]

    def attentions_for(self, press):
        return self.attentions if isinstance(press, ObservedAttentionPress) else None

    @torch.no_grad()
    def scores(self, press) -> np.ndarray:
        """[n_kv_heads, n_tokens]"""
        return press.score(self.module, self.hidden, self.keys, self.values, self.attentions_for(press),
                           {"position_embeddings": self.angles})[0].numpy()

    @torch.no_grad()
    def kept(self, press) -> np.ndarray:
        """[n_kv_heads, n_tokens], true: after kvpress' own compression the row is still there."""
        self.module.masked_key_indices = None
        cache = DynamicCache()
        cache.update(self.keys, self.values, self.module.layer_idx)
        press.forward_hook(self.module, [], {"hidden_states": self.hidden, "position_embeddings": self.angles,
                                             "past_key_values": cache,
                                             "cache_position": torch.arange(self.keys.shape[2])},
                           [None, self.attentions_for(press)])
        layer = cache.layers[self.module.layer_idx]
        keys, values = layer.keys, layer.values
        masked = self.module.masked_key_indices
        kept = np.ones(self.keys.shape[1:3], dtype=bool)
        if masked is not None:  # head-wise budgets are played by masking rows that stay
            kept[masked[1].numpy(), masked[2].numpy()] = False
            return kept
        for head in range(kept.shape[0]):
            after = {row.tobytes() for row in torch.cat([keys, values], -1)[0, head].numpy()}
            before = [row.tobytes() for row in torch.cat([self.keys, self.values], -1)[0, head].numpy()]
            if len(set(before)) != len(before) or len(after) != keys.shape[2]:
                raise ValueError("two rows are equal: they cannot be told apart")
            kept[head] = [row in after for row in before]
        return kept
