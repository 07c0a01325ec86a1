# SPDX-License-Identifier: Apache-2.0
"""The frozen language model in torch, its weights dequantised from the GGUF file, with LoRA beside its matrices.

Weights keep the file's layout: RoPE turns neighbouring channels (2i, 2i + 1), and an adapter's matrices can be written
to a GGUF adapter as they are. No gradient is kept for weights.
source of LoRA: arXiv 2106.09685
"""
import gguf
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

ADAPTED = ("attn_q", "attn_k", "attn_v", "attn_output")  # reading facts from rows is attention's work
MATRICES = ADAPTED + ("ffn_gate", "ffn_up", "ffn_down")


class Lora(nn.Module):
    """x -> x A' B' * alpha / rank. B starts at zero: nothing changes until it is trained."""

    def __init__(self, n_in: int, n_out: int, rank: int, alpha: float):
        super().__init__()
        self.a = nn.Parameter(torch.randn(rank, n_in) / n_in**0.5)
        self.b = nn.Parameter(torch.zeros(n_out, rank))
        self.scale = alpha / rank

    def forward(self, x):
        return F.linear(F.linear(x, self.a.to(x.dtype)), (self.b * self.scale).to(x.dtype))


class Matrix(nn.Module):
    def __init__(self, weight, rank: int, alpha: float):
        super().__init__()
        self.register_buffer("weight", weight, persistent=False)  # [n_out, n_in]
        self.lora = Lora(weight.shape[1], weight.shape[0], rank, alpha) if rank else None

    def forward(self, x):
        y = F.linear(x, self.weight)
        return y + self.lora(x) if self.lora is not None else y


def rms_norm(x, weight, eps):
    wide = x.float()
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype) * weight


def rotate(x, cos, sin):
    """x [batch, heads, rows, head_dim]; cos, sin [batch, 1, rows, head_dim / 2]"""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)


def attend(q, k, v, bias):
    """q [batch, heads, rows, head_dim]; k, v [batch, kv_heads, rows, head_dim]; bias [batch, 1, rows, rows], added to
    scores. In bf16 on a CPU half the time of torch's fused attention, whose mask is slow there."""
    batch, n_heads, rows, head_dim = q.shape
    n_kv_heads = k.shape[1]
    group = n_heads // n_kv_heads
    if q.is_cuda:
        k, v = (heads.repeat_interleave(group, 1) for heads in (k, v))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    grouped = (q * head_dim**-0.5).reshape(batch, n_kv_heads, group * rows, head_dim)
    scores = (grouped @ k.transpose(2, 3)).view(batch, n_kv_heads, group, rows, rows) + bias[:, :, None]
    weights = torch.softmax(scores, -1).view(batch, n_kv_heads, group * rows, rows)
    return (weights @ v).view(q.shape)


class Layer(nn.Module):
    def __init__(self, tensor, index: int, config: dict, rank: int, alpha: float):
        super().__init__()
        name = f"blk.{index}."
        self.config = config
        for norm in ("attn_norm", "ffn_norm"):
            self.register_buffer(norm, tensor(f"{name}{norm}.weight"), persistent=False)
        for matrix in MATRICES:
            setattr(self, matrix, Matrix(tensor(f"{name}{matrix}.weight"), rank if matrix in ADAPTED else 0, alpha))

    def forward(self, x, angles, bias):
        batch, rows, _ = x.shape
        n_heads, n_kv_heads, eps = self.config["n_heads"], self.config["n_kv_heads"], self.config["eps"]

        def heads(y, n):
            return y.view(batch, rows, n, -1).transpose(1, 2)

        h = rms_norm(x, self.attn_norm, eps)
        q = rotate(heads(self.attn_q(h), n_heads), *angles)
        k = rotate(heads(self.attn_k(h), n_kv_heads), *angles)
        attended = attend(q, k, heads(self.attn_v(h), n_kv_heads), bias)
        x = x + self.attn_output(attended.transpose(1, 2).reshape(batch, rows, -1))
        h = rms_norm(x, self.ffn_norm, eps)
        return x + self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))


class LanguageModel(nn.Module):
    def __init__(self, reader: gguf.GGUFReader, dtype, rank: int = 0, alpha: float = 32.0):
        super().__init__()

        def number(key):
            return reader.fields[f"llama.{key}"].contents()

        tensors = {tensor.name: tensor for tensor in reader.tensors}
        if "output.weight" in tensors:
            raise ValueError("the model has output weights of its own: language_model.py ties them to the embeddings")

        def tensor(name):
            found = tensors[name]
            numbers = gguf.quants.dequantize(found.data, found.tensor_type).astype(np.float32)
            return torch.from_numpy(numbers).to(dtype)

        self.config = {"n_heads": number("attention.head_count"), "n_kv_heads": number("attention.head_count_kv"),
                       "eps": number("attention.layer_norm_rms_epsilon"), "theta": number("rope.freq_base")}
        self.width, self.rank, self.alpha = number("embedding_length"), rank, alpha
        self.register_buffer("embedding", tensor("token_embd.weight"), persistent=False)  # [n_vocab, width]
        self.register_buffer("output_norm", tensor("output_norm.weight"), persistent=False)
        self.layers = nn.ModuleList(Layer(tensor, index, self.config, rank, alpha)
                                    for index in range(number("block_count")))

    def angles(self, positions):
        head_dim = self.width // self.config["n_heads"]
        inverse = self.config["theta"] ** (-torch.arange(0, head_dim, 2, device=positions.device).float() / head_dim)
        turns = positions[:, None, :, None].float() * inverse
        return turns.cos().to(self.embedding.dtype), turns.sin().to(self.embedding.dtype)

    def forward(self, x, positions, mask):
        """x [batch, rows, width], positions [batch, rows], mask [batch, 1, rows, rows] true: may see.
        Returns normed hidden states [batch, rows, width]."""
        angles = self.angles(positions)
        bias = torch.zeros_like(mask, dtype=x.dtype).masked_fill_(~mask, -float("inf"))
        for layer in self.layers:
            x = layer(x, angles, bias)
        return rms_norm(x, self.output_norm, self.config["eps"])

    def logits(self, hidden):
        """[n, width] -> [n, n_vocab]"""
        return F.linear(hidden, self.embedding)

    def adapter(self):
        """name of the matrix in the GGUF file -> its Lora"""
        return {f"blk.{index}.{name}.weight": getattr(layer, name).lora
                for index, layer in enumerate(self.layers) for name in ADAPTED if self.rank}
