# SPDX-License-Identifier: Apache-2.0
"""The recipe: stages in their order, what each step shows, learning rates. A step's data is a function of seed, step.

Dense supervision comes first (every patch has a label, every cell a place in a caption), questions that read one fact
next, comparing and counting after them, yes/no last: an answer of one bit teaches little, and taught first it is
learnt as a habit.
"""
import dataclasses

from pictures import generator, pick
from samples import easy_vqa_sample, grid_sample, set_sample, TRAIN

CAPTIONS = {"describe": 1, "row": 2, "column": 2, "cell": 4}
OPEN = {"describe": 0.5, "row": 1, "column": 1, "cell": 6, "where": 4, "color": 2, "count": 2}
ALL = {"describe": 0.5, "row": 1, "column": 1, "cell": 5, "where": 4, "color": 2, "count": 3, "present": 3,
       "is empty": 2}
WEAK = {"describe": 0.3, "row": 0.5, "column": 0.7, "cell": 3, "where": 2, "color": 1, "count": 5, "present": 2,
        "is empty": 1}
TOLD_APART = WEAK | {"describe": 1.5, "count": 3}  # both answers go row by row, one with whole names
SETS = {"which picture": 5, "what changed": 1, "odd one out": 1, "count pictures": 3, "list picture": 3}
WEAK_SETS = {"which picture": 2, "what changed": 2, "odd one out": 1, "count pictures": 3, "list picture": 2}
VQA_OPEN = {"easy-vqa open": 1.0}
VQA_ALL = {"easy-vqa open": 1.0, "easy-vqa yes/no": 0.6}


@dataclasses.dataclass(frozen=True)
class Stage:
    name: str
    steps: int
    adapter: bool = True            # LoRA is trained; else the language model is as it was
    patches: bool = False           # the encoder alone, on the labels of its patches
    grid: dict = dataclasses.field(default_factory=dict)
    vqa: dict = dataclasses.field(default_factory=dict)
    sets: dict = dataclasses.field(default_factory=lambda: SETS)
    chains: float = 0.0             # share of chains among sets without an odd one
    grid_pictures: int = 4          # of a step
    vqa_patches: int = 0            # pictures of easy-VQA, in each step, whose patches are told as in pre-training
    set_sizes: tuple = ()           # pictures of a set
    shares: tuple = (1.0, 0.0, 0.0) # of steps: grid, sets, easy-vqa
    rate_from: float = 1.0          # learning rates are multiplied by this at the stage's start ...
    rate_to: float = 1.0            # ... and by this at its end


STAGES = (
    Stage("patches", 400, adapter=False, patches=True, rate_from=2.0, rate_to=0.2),
    Stage("captions", 200, grid=CAPTIONS),
    Stage("open questions", 200, grid=OPEN, vqa=VQA_OPEN, shares=(0.8, 0.0, 0.2)),
    Stage("sets", 350, grid=OPEN, vqa=VQA_OPEN, grid_pictures=2, set_sizes=(2, 3, 4), shares=(0.3, 0.5, 0.2)),
    Stage("all", 350, grid=ALL, vqa=VQA_ALL, grid_pictures=2, set_sizes=(2, 4, 6, 8), shares=(0.25, 0.45, 0.3)),
    Stage("all, longer", 300, grid=ALL, vqa=VQA_ALL, grid_pictures=2, set_sizes=(4, 8), shares=(0.2, 0.4, 0.4)),
    Stage("all, slower", 350, grid=ALL, vqa=VQA_ALL, grid_pictures=2, set_sizes=(4, 8, 8), shares=(0.2, 0.45, 0.35),
          rate_to=0.05),
    Stage("weak kinds", 900, grid=WEAK, vqa=VQA_ALL, sets=WEAK_SETS, chains=0.4, grid_pictures=2, set_sizes=(4, 8, 8),
          shares=(0.15, 0.45, 0.4), rate_from=0.7, rate_to=0.02),
    Stage("names before counts", 448, grid=WEAK, vqa=VQA_ALL, sets=WEAK_SETS, chains=0.4, grid_pictures=2,
          vqa_patches=48, set_sizes=(4, 8, 8), shares=(0.12, 0.33, 0.55), rate_from=0.7, rate_to=0.45),
    Stage("marks", 640, grid=WEAK, vqa=VQA_ALL, sets=WEAK_SETS, chains=0.4, grid_pictures=2, vqa_patches=24,
          set_sizes=(4, 8, 8), shares=(0.2, 0.4, 0.4), rate_from=0.6, rate_to=0.02),
    Stage("told apart", 110, grid=TOLD_APART, vqa=VQA_ALL, sets=WEAK_SETS, chains=0.4, grid_pictures=2, vqa_patches=24,
          set_sizes=(4, 8, 8), shares=(0.5, 0.25, 0.25), rate_from=0.3, rate_to=0.02),
)
PATCHES_PICTURES, SET_PICTURES, VQA_PICTURES = 16, 8, 8  # of a step
RATES = {"vision": 5e-4, "projector": 1e-3, "heads": 1e-3, "adapter": 1e-3}
WARMUP_STEPS = 50


def total_steps() -> int:
    return sum(stage.steps for stage in STAGES)


def stage_at(step: int):
    """The stage, and the step's number in it"""
    for stage in STAGES:
        if step < stage.steps:
            return stage, step
        step -= stage.steps
    return STAGES[-1], STAGES[-1].steps


def rate_factor(step: int) -> float:
    stage, inside = stage_at(step)
    warm = min(1.0, (inside + 1) / WARMUP_STEPS)
    return warm * (stage.rate_from + (stage.rate_to - stage.rate_from) * inside / stage.steps)


def samples_of_step(seed: int, step: int) -> list:
    """Of a stage with the language model"""
    stage, _ = stage_at(step)
    draw = generator(seed, TRAIN, 1, step)
    source = draw.random() - stage.shares[0]

    def keys(n):
        return [(seed, TRAIN, 2, step, number) for number in range(n)]

    if source < 0:
        return [grid_sample(key, stage.grid) for key in keys(stage.grid_pictures)]
    if source < stage.shares[1]:
        size = pick(draw, stage.set_sizes)
        return [set_sample(key, stage.sets, size, stage.chains) for key in keys(max(1, SET_PICTURES // size))]
    return [easy_vqa_sample(key, "train", stage.vqa) for key in keys(VQA_PICTURES)]
