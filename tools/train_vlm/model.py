# SPDX-License-Identifier: Apache-2.0
"""Vision encoder, projector and language model together, and what training and the gate ask of them."""
import dataclasses

import gguf
import torch
from torch import nn
from torch.nn import functional as F

from batches import Batch, IGNORED
from language_model import LanguageModel
from vision_model import VisionConfig, VisionModel


class Vlm(nn.Module):
    def __init__(self, model_file, dtype, rank: int, config: VisionConfig = VisionConfig()):
        super().__init__()
        self.reader = gguf.GGUFReader(model_file)
        self.language = LanguageModel(self.reader, dtype, rank)
        self.vision = VisionModel(dataclasses.replace(config, output_width=self.language.width))
        with torch.no_grad():  # rows as long as those of words
            self.vision.mm_2.weight.mul_(self.language.embedding.float().std() / 0.2)

    def hidden(self, batch: Batch, dropped=None):
        """[batch, rows, width] of the language model, normed"""
        x = self.language.embedding[batch.ids]
        if len(batch.pictures):
            rows = self.vision(self.vision.pixels(batch.pictures)).flatten(0, 1).to(x.dtype)
            shown = batch.image_rows >= 0
            x = torch.where(shown[..., None], rows[batch.image_rows.clamp(min=0)], x)
        return self.language(x, batch.positions, batch.mask(dropped))

    def loss(self, batch: Batch):
        """Weighted mean over the answers' tokens; only there are logits computed."""
        answers = batch.targets != IGNORED
        logits = self.language.logits(self.hidden(batch)[answers]).float()
        weights = batch.weights[answers]
        return (F.cross_entropy(logits, batch.targets[answers], reduction="none") * weights).sum() / weights.sum()

    @torch.no_grad()
    def best(self, batch: Batch, dropped=None):
        """[batch, rows]: the most likely next token where an answer is wanted, else IGNORED. All of an answer right means
        that greedy decoding gives exactly this answer."""
        answers = batch.targets != IGNORED
        best = torch.full_like(batch.targets, IGNORED)
        best[answers] = self.language.logits(self.hidden(batch, dropped)[answers]).argmax(-1)
        return best

    def trained(self) -> dict:
        """All that a checkpoint and the exported files hold: name -> parameter"""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}


class PatchHeads(nn.Module):
    """Pre-training: what each patch's cell holds, told from the encoder's features; and the projected row should be
    near the embedding of a word that says it."""

    def __init__(self, width: int, n_colors: int, n_whats: int):
        super().__init__()
        self.color, self.what = nn.Linear(width, n_colors), nn.Linear(width, n_whats)

    def loss(self, vision: VisionModel, pixels, colors, whats, wanted):
        """colors, whats [n, n_patches] classes; wanted [n, n_patches, output_width] embeddings of words"""
        features = vision.features(pixels)
        told = (F.cross_entropy(self.color(features).flatten(0, 1), colors.flatten()) +
                F.cross_entropy(self.what(features).flatten(0, 1), whats.flatten()))
        apart = (vision.project(features) - wanted).pow(2).mean() / wanted.pow(2).mean()
        return told + apart, apart.item()

    @torch.no_grad()
    def accuracy(self, vision: VisionModel, pixels, colors, whats) -> float:
        features = vision.features(pixels)
        both = (self.color(features).argmax(-1) == colors) & (self.what(features).argmax(-1) == whats)
        return both.float().mean().item()
