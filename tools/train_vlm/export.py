# SPDX-License-Identifier: Apache-2.0
"""Writes what was trained as GGUF files: the vision encoder with its projector, for libmtmd, and the adapter, for
libllama. Both are read by the pinned source's own programs too."""
import gguf
import numpy as np
import torch

from vision_model import LAYER_NORM_EPS, PLACE_AMPLITUDE, VisionConfig, VisionLayer, VisionModel, window_places

MMPROJ_FILE, ADAPTER_FILE = "mmproj.gguf", "adapter.gguf"
SHARPNESS = 40.0     # of the queries and keys that pick a patch
SMALLEST_GAP = 30.0  # between the picked patch's score and the next: all others weigh less than 1e-13


def places_from_channels(side: int):
    """[2 side, 2 side]: from the place channels behind layer norm to a times the one-hot column and row. The norm
    leaves a * one-hot - m, where a and m differ from patch to patch; channel 0 holds -m alone."""
    channels = torch.eye(2 * side, dtype=torch.float64)
    channels[:, 0] -= 1  # all others without m, channel 0 nothing
    columns, rows = channels[:side], channels[side:]
    columns[0] = rows.sum(0) - columns[1:].sum(0)  # each patch has one row: their sum is a
    return torch.cat([columns, rows])


def place_weights(layer: VisionLayer, config: VisionConfig):
    """Queries [n_heads, head_dim, width] and their bias, a head's keys likewise. A patch in the row and the column that
    are asked for scores 2 (1 - 0.75) a a', one in one of them (1 - 1.5) a a', in neither -1.5 a a': whatever the norm
    made of a, the patch that is asked for is above zero and all others are below."""
    side, free, n_places = config.per_side, config.width - config.place_channels, config.place_channels
    head_dim = config.width // config.n_heads
    scale, shift = (tensor[free:].detach().double() for tensor in (layer.ln1.weight, layer.ln1.bias))
    if scale.abs().min() < 0.1:
        raise ValueError("a place channel is nearly silent behind layer norm: windows cannot be written down")
    if head_dim < n_places:
        raise ValueError(f"a head has {head_dim} channels, places need {n_places}")
    from_channels = SHARPNESS * places_from_channels(side) @ torch.diag(1 / scale)  # layer norm's own scale undone
    read = torch.zeros(n_places, config.width, dtype=torch.float64)
    read[:, free:] = from_channels
    offset = -from_channels @ shift
    along = window_places(config)
    queries, keys = (torch.zeros(config.n_heads, head_dim, config.width, dtype=torch.float64) for _ in range(2))
    query_bias, key_bias = (torch.zeros(config.n_heads, head_dim, dtype=torch.float64) for _ in range(2))
    for head in range(config.n_heads):
        dy, dx = divmod(head, config.window)
        asked = torch.zeros(n_places, n_places, dtype=torch.float64)  # place asked for <- own place
        asked[:side, :side] = asked[side:, side:] = -0.75
        for at in range(side):
            asked[along[at][dx], at] += 1
            asked[side + along[at][dy], side + at] += 1
        queries[head, :n_places], query_bias[head, :n_places] = asked @ read, asked @ offset
        keys[head, :n_places], key_bias[head, :n_places] = read, offset
    return queries, query_bias, keys, key_bias


@torch.no_grad()
def smallest_gap(vision: VisionModel, pixels) -> float:
    """How far the picked patch's score is above every other's, over all layers, heads and patches."""
    config, x, gap = vision.config, vision.embed(pixels).cpu(), float("inf")
    sources = vision.sources.cpu()
    for layer in vision.cpu().layers:
        queries, query_bias, keys, key_bias = place_weights(layer, config)
        normed = layer.ln1(x).double()
        for head in range(config.n_heads):
            q, k = (normed @ w[head].T + b[head] for w, b in ((queries, query_bias), (keys, key_bias)))
            scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
            index = sources[head][None, :, None].expand(len(x), -1, 1)
            picked = scores.gather(2, index)
            gap = min(gap, (picked - scores.scatter(2, index, -float("inf"))).min().item())
        x = layer(x, sources)
    return gap


def padded(matrix, rows: int):
    """Zero rows behind: the place channels, which nothing writes to."""
    return torch.cat([matrix, torch.zeros(rows - len(matrix), *matrix.shape[1:])])


def encoder_tensors(vision: VisionModel) -> dict:
    config = vision.config
    width, patch = config.width, config.patch_pixels
    tensors = {"v.patch_embd.weight": padded(vision.patch.weight, width).view(width, 3, patch, patch),
               "v.patch_embd.bias": padded(vision.patch.bias, width),
               "v.position_embd.weight": torch.cat([vision.position, vision.places], -1)}
    for index, layer in enumerate(vision.layers):
        queries, query_bias, keys, key_bias = place_weights(layer, config)
        tensors |= {f"v.blk.{index}.{name}": tensor for name, tensor in {
            "ln1.weight": layer.ln1.weight, "ln1.bias": layer.ln1.bias,
            "attn_q.weight": queries.flatten(0, 1), "attn_q.bias": query_bias.flatten(),
            "attn_k.weight": keys.flatten(0, 1), "attn_k.bias": key_bias.flatten(),
            "attn_v.weight": layer.v.weight, "attn_v.bias": layer.v.bias,
            "attn_out.weight": padded(layer.o.weight, width), "attn_out.bias": padded(layer.o.bias, width),
            "ln2.weight": layer.ln2.weight, "ln2.bias": layer.ln2.bias,
            "ffn_up.weight": layer.up.weight, "ffn_up.bias": layer.up.bias,
            "ffn_down.weight": padded(layer.down.weight, width), "ffn_down.bias": padded(layer.down.bias, width),
        }.items()}
    tensors |= {"v.post_ln.weight": vision.post_ln.weight, "v.post_ln.bias": vision.post_ln.bias,
                "mm.0.weight": vision.mm_0.weight, "mm.0.bias": vision.mm_0.bias,
                "mm.2.weight": vision.mm_2.weight, "mm.2.bias": vision.mm_2.bias}
    return tensors


def write(writer: gguf.GGUFWriter, tensors: dict, halved=()) -> None:
    for name, tensor in tensors.items():
        numbers = tensor.detach().cpu().float().numpy()
        writer.add_tensor(name, np.ascontiguousarray(numbers.astype(np.float16) if name in halved else numbers))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def describe(writer: gguf.GGUFWriter, name: str) -> None:
    writer.add_name(name)
    writer.add_license("Apache-2.0")
    writer.add_description("made by tools/train_vlm of fastcache for SmolLM2-135M-Instruct")


@torch.no_grad()
def export_encoder(vision: VisionModel, file) -> None:
    """libmtmd's "mlp" projector takes the features before the last layer unless told which: all layers are named."""
    config = vision.config
    writer = gguf.GGUFWriter(file, "clip")
    writer.add_type("mmproj")
    describe(writer, "fastcache-grid-vision")
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type("mlp")
    writer.add_vision_image_size(config.side_pixels)
    writer.add_vision_patch_size(config.patch_pixels)
    writer.add_vision_embedding_length(config.width)
    writer.add_vision_feed_forward_length(config.ffn_width)
    writer.add_vision_projection_dim(config.output_width)
    writer.add_vision_block_count(config.n_layers)
    writer.add_vision_head_count(config.n_heads)
    writer.add_vision_attention_layernorm_eps(LAYER_NORM_EPS)
    writer.add_vision_image_mean(list(config.image_mean))
    writer.add_vision_image_std(list(config.image_std))
    writer.add_vision_use_silu(True)
    writer.add_array("clip.vision.feature_layer", [config.n_layers])
    write(writer, encoder_tensors(vision.cpu()))


@torch.no_grad()
def export_adapter(language, file) -> None:
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_type("adapter")
    describe(writer, "fastcache-grid-adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", language.alpha)
    tensors = {}
    for name, lora in language.adapter().items():
        tensors |= {f"{name}.lora_a": lora.a, f"{name}.lora_b": lora.b}
    write(writer, tensors, halved=tensors)


def export(model, folder) -> None:
    """Into `folder`; refuses weights whose windows would leak."""
    noise = torch.randn(8, 3, model.vision.config.side_pixels, model.vision.config.side_pixels,
                        generator=torch.Generator().manual_seed(1))
    gap = smallest_gap(model.vision.cpu(), noise)
    if gap < SMALLEST_GAP:
        raise ValueError(f"windows leak: a patch outside is only {gap:.1f} below the one picked, "
                         f"{SMALLEST_GAP:.0f} is needed")
    export_encoder(model.vision, folder / MMPROJ_FILE)
    if model.language.rank:
        export_adapter(model.language, folder / ADAPTER_FILE)
