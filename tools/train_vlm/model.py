# SPDX-License-Identifier: Apache-2.0
"""Vision encoder, projector and language model together, and what training and the gate ask of them."""
import dataclasses

import gguf
import torch
from torch import nn
from torch.nn import functional as F

from batches import Batch, IGNORED
from language_model import LanguageModel
from patch_labels import COLOR_CLASSES, WHAT_CLASSES, WORDS
from vision_model import VisionConfig, VisionModel
from vqa_data import COLORS, SHAPES


def told_loss(heads, features, classes):
    """Sum over the heads; classes [n, n_patches] each"""
    return sum(F.cross_entropy(head(features).flatten(0, 1), of.flatten()) for head, of in zip(heads, classes))


class Vlm(nn.Module):
    def __init__(self, model_file, dtype, rank: int, config: VisionConfig = VisionConfig()):
        super().__init__()
        self.reader = gguf.GGUFReader(model_file)
        self.language = LanguageModel(self.reader, dtype, rank)
        self.vision = VisionModel(dataclasses.replace(config, output_width=self.language.width))
        self.heads = nn.ModuleList(nn.Linear(config.width, len(classes)) for classes in (COLOR_CLASSES, WHAT_CLASSES))
        self.vqa_heads = nn.ModuleList(nn.Linear(config.width, 1 + len(words)) for words in (COLORS, SHAPES))
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
        """[batch, rows]: the most likely next token where an answer is wanted, else IGNORED. All of an answer right
        means that greedy decoding gives exactly this answer."""
        answers = batch.targets != IGNORED
        best = torch.full_like(batch.targets, IGNORED)
        best[answers] = self.language.logits(self.hidden(batch, dropped)[answers]).argmax(-1)
        return best

    def _words(self, tokenizer):
        """[len(WORDS), width]: embeddings of the words that patches may say"""
        ids = [tokenizer.encode(word)[-1] for word in WORDS]
        return self.language.embedding[torch.tensor(ids, device=self.language.embedding.device)].float()

    def patches_loss(self, pictures, colors, whats, words, tokenizer):
        """Pre-training: what each patch's cell holds, told from the encoder's features; and the projected row should be
        near the embedding of a word that says it. pictures uint8; colors, whats, words: classes [n, n_patches]"""
        features = self.vision.features(self.vision.pixels(pictures))
        told = told_loss(self.heads, features, (colors, whats))
        wanted = self._words(tokenizer)[words]
        return told + (self.vision.project(features) - wanted).pow(2).mean() / wanted.pow(2).mean()

    def vqa_patches_loss(self, pictures, colors, shapes):
        """What shape a patch is part of, told from what its window shows of it: an edge that is straight, slant or
        round. The language model, which sees all windows, has to weigh them."""
        return told_loss(self.vqa_heads, self.vision.features(self.vision.pixels(pictures)), (colors, shapes))

    @torch.no_grad()
    def patches_right(self, pictures, colors, whats) -> float:
        features = self.vision.features(self.vision.pixels(pictures))
        return torch.stack([head(features).argmax(-1) == classes
                            for head, classes in zip(self.heads, (colors, whats))]).all(0).float().mean().item()
