# SPDX-License-Identifier: Apache-2.0
"""Text to tokens as the engine does it, by the GGUF file's vocabulary.

Text on each side of a picture is tokenized on its own, as libmtmd does.
"""
import gguf
import tokenizers
from tokenizers import decoders, models, pre_tokenizers


class Tokenizer:
    def __init__(self, reader: gguf.GGUFReader):
        def strings(key):
            field = reader.fields[key]
            return [bytes(field.parts[part]).decode() for part in field.data]

        if strings("tokenizer.ggml.pre") != ["smollm"]:
            raise ValueError("the vocabulary's pre-tokenizer is not smollm's: chat_text.py knows no other")
        words = strings("tokenizer.ggml.tokens")
        merges = [tuple(merge.split(" ")) for merge in strings("tokenizer.ggml.merges")]
        types = reader.fields["tokenizer.ggml.token_type"]
        special = [word for word, part in zip(words, types.data) if int(types.parts[part][0]) == 3]  # control tokens
        self.bpe = tokenizers.Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, merges))
        self.bpe.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                                          pre_tokenizers.ByteLevel(add_prefix_space=False)])
        self.bpe.decoder = decoders.ByteLevel()
        self.bpe.add_special_tokens(special)
        self.known = {}

    def encode(self, text: str) -> list:
        if text not in self.known:
            if len(self.known) > 200_000:
                self.known.clear()
            self.known[text] = self.bpe.encode(text, add_special_tokens=False).ids
        return self.known[text]

    def decode(self, ids) -> str:
        return self.bpe.decode(list(ids), skip_special_tokens=False)
