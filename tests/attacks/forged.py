"""What the forged files are made from."""

import copy

import cornu
from cornu import layers


def small_model():
    return cornu.Sequential(
        [
            cornu.Input((4, 4, 1)),
            layers.Conv2D(2, 3, name="conv"),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )


WRONG = (
    *(None, True, False, 0, 1, -1, 2, 3, 7, 2**31, 2**40, 2**62, -(2**62), 10**30),
    *(0.5, 1e308, float("nan"), float("inf"), -0.0, "", "a", "relu", "same", "float64", "valid"),
    *([], {}, [1], [None, 4], [[[[]]]], {"a": 1}, {"class_name": "Dense", "config": {}}),
    *({"class_name": [], "config": None}, {"class_name": "Sequential", "config": {"layers": []}}),
    *({"class_name": "__keras_tensor__", "config": {}}, {"class_name": "__numpy__", "config": {}}),
    {"class_name": "__numpy__", "config": {"value": [1], "dtype": "O"}},
    {"class_name": "__slice__", "config": {"start": "a", "stop": None, "step": 0}},
)


def mutated(config, random):
    """A copy of a configuration in which one to three values are of the wrong kind, or swapped."""
    config = copy.deepcopy(config)
    for _ in range(random.randint(1, 3)):
        paths = list(_paths(config))
        path = random.choice(paths)
        if not path:
            return copy.deepcopy(random.choice(WRONG))
        parent = _at(config, path[:-1])
        how = random.random()
        if how < 0.6:
            parent[path[-1]] = copy.deepcopy(random.choice(WRONG))
        elif how < 0.7:
            del parent[path[-1]]
        else:
            parent[path[-1]] = copy.deepcopy(_at(config, random.choice(paths)))
    return config


def _paths(value, path=()):
    yield path
    children = []
    if isinstance(value, dict):
        children = value.items()
    elif isinstance(value, list):
        children = enumerate(value)
    for key, child in children:
        yield from _paths(child, (*path, key))


def _at(value, path):
    for key in path:
        value = value[key]
    return value
