# SPDX-License-Identifier: Apache-2.0
"""What the language model's chat template puts around a user's message."""

SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"  # what the template adds by itself
BEFORE_USER = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n"
BEFORE_USER_BARE = "<|im_start|>user\n"  # of a message after the first, or with no system message
BEFORE_ANSWER = "<|im_end|>\n<|im_start|>assistant\n"
END = "<|im_end|>"
