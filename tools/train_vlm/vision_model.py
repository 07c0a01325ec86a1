# SPDX-License-Identifier: Apache-2.0
"""The vision encoder: a small ViT with windowed attention and the projector of LLaVA-1.5 (arXiv 2310.03744).

libmtmd's "mlp" projector has no attention masks, so windows are written into the weights. A few channels of the
residual stream hold a patch's place (one-hot of its column, one-hot of its row); they come from the position embeddings
and no layer writes to them. Head h of a query asks, by these channels alone, for the h-th patch of its own window. The
scores are so far apart that softmax gives that patch weight 1: each row depends on the patches of its window and on no
other, bit by bit. Here that attention is a gather; export.py writes the weights that make libmtmd do the same.
"""
import dataclasses

import torch
from torch import nn
from torch.nn import functional as F

LAYER_NORM_EPS = 1e-5
PLACE_AMPLITUDE = 8.0  # of the place channels before layer norm


@dataclasses.dataclass(frozen=True)
class VisionConfig:
    side_pixels: int = 80
    patch_pixels: int = 8
    width: int = 192
    n_layers: int = 3
    ffn_width: int = 512
    window: int = 2           # patches a side
    projector_width: int = 576
    output_width: int = 576   # of the language model's embeddings
    image_mean: tuple = (0.3, 0.3, 0.3)
    image_std: tuple = (0.3, 0.3, 0.3)

    @property
    def per_side(self) -> int:
        return self.side_pixels // self.patch_pixels

    @property
    def n_patches(self) -> int:
        return self.per_side**2

    @property
    def n_heads(self) -> int:
        return self.window**2

    @property
    def place_channels(self) -> int:
        return 2 * self.per_side


def window_places(config: VisionConfig) -> list:
    """Along one side: for each patch, the patches of its window. Windows start behind a margin of one patch, as cells
    do; at both ends stands a window of a single patch, asked for again by every head."""
    places = []
    for at in range(config.per_side):
        first = 1 + (at - 1) // config.window * config.window
        places.append([min(max(first + i, 0), config.per_side - 1) for i in range(config.window)])
    places[0] = [0] * config.window
    places[-1] = [config.per_side - 1] * config.window
    return places


def window_sources(config: VisionConfig):
    """[n_heads, n_patches]: the patch that head h of a patch's row takes its value from"""
    along, side = window_places(config), config.per_side
    return torch.tensor([[along[y][dy] * side + along[x][dx] for y in range(side) for x in range(side)]
                         for dy in range(config.window) for dx in range(config.window)])


class VisionLayer(nn.Module):
    def __init__(self, config: VisionConfig):
        super().__init__()
        free = config.width - config.place_channels  # only these are written
        self.ln1, self.ln2 = (nn.LayerNorm(config.width, LAYER_NORM_EPS) for _ in range(2))
        self.v, self.o = nn.Linear(config.width, config.width), nn.Linear(config.width, free)
        self.up, self.down = nn.Linear(config.width, config.ffn_width), nn.Linear(config.ffn_width, free)
        for norm in (self.ln1, self.ln2):
            nn.init.zeros_(norm.bias)

    def forward(self, x, sources):
        batch, n_patches, width = x.shape
        n_heads = len(sources)
        values = self.v(self.ln1(x)).view(batch, n_patches, n_heads, width // n_heads)
        attended = torch.cat([values[:, sources[head], head] for head in range(n_heads)], -1)
        x = x + F.pad(self.o(attended), (0, width - self.o.out_features))
        return x + F.pad(self.down(F.silu(self.up(self.ln2(x)))), (0, width - self.down.out_features))


class VisionModel(nn.Module):
    """[n, 3, side, side] normalised pixels -> [n, n_patches, output_width] rows for the language model"""

    def __init__(self, config: VisionConfig):
        super().__init__()
        self.config = config
        free = config.width - config.place_channels
        self.patch = nn.Linear(3 * config.patch_pixels**2, free)
        self.position = nn.Parameter(0.3 * torch.randn(config.n_patches, free))
        self.layers = nn.ModuleList(VisionLayer(config) for _ in range(config.n_layers))
        self.post_ln = nn.LayerNorm(config.width, LAYER_NORM_EPS)
        self.mm_0 = nn.Linear(config.width, config.projector_width)
        self.mm_2 = nn.Linear(config.projector_width, config.output_width)
        self.register_buffer("places", self._places(), persistent=False)
        self.register_buffer("sources", window_sources(config), persistent=False)

    def _places(self):
        """[n_patches, place_channels], one-hot of the column and of the row. The channel of column 0 stays zero: what
        layer norm makes of it is what it takes from every channel."""
        at = torch.arange(self.config.n_patches)
        side = self.config.per_side
        places = torch.cat([F.one_hot(at % side, side), F.one_hot(at // side, side)], -1)
        places[:, 0] = 0
        return PLACE_AMPLITUDE * places.float()

    def pixels(self, pictures):
        """uint8 [n, side, side, 3] -> normalised [n, 3, side, side]"""
        mean, std = (torch.tensor(values, device=pictures.device) for values in (self.config.image_mean,
                                                                                self.config.image_std))
        return ((pictures.float() / 255 - mean) / std).permute(0, 3, 1, 2)

    def embed(self, pixels):
        """The residual stream before the first layer: [n, n_patches, width]"""
        patches = F.unfold(pixels, self.config.patch_pixels, stride=self.config.patch_pixels).transpose(1, 2)
        x = self.patch(patches) + self.position
        return torch.cat([x, self.places.expand(len(x), -1, -1)], -1)

    def features(self, pixels):
        """[n, n_patches, width], what the heads of pre-training and the projector read"""
        x = self.embed(pixels)
        for layer in self.layers:
            x = layer(x, self.sources)
        return self.post_ln(x)

    def project(self, features):
        return self.mm_2(F.gelu(self.mm_0(features), approximate="tanh"))

    def forward(self, pixels):
        return self.project(self.features(pixels))
