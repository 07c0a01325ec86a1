# SPDX-License-Identifier: Apache-2.0
"""The pictures and questions that a trained model is measured with: no step of training shows them."""
from samples import grid_sample, HELD_OUT, set_sample

SEED = 1000
FACTS = {"cell": 5, "color": 2, "where": 3, "row": 1, "column": 1, "count": 2}
DESCRIBE = {"describe": 1, "present": 1, "is empty": 1}
SETS = {"which picture": 3, "what changed": 1, "odd one out": 1, "count pictures": 2, "list picture": 2}
SET_SIZE = 8


def grids(seed: int, n: int, kinds: dict = FACTS) -> list:
    return [grid_sample((seed, HELD_OUT, 5, number), kinds) for number in range(n)]


def sets(seed: int, n: int) -> list:
    return [set_sample((seed, HELD_OUT, 6, number), SETS, SET_SIZE) for number in range(n)]
