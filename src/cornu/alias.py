"""Scripts that say `import keras`, on Cornu and as they are."""

import importlib
import pkgutil
import sys


def install_as_keras() -> None:
    """From here on, `import keras` and `from keras.layers import …` give Cornu.

    `cornu run script.py` does this and then runs the script. Parts of Keras that Cornu does not
    have, such as `keras.applications`, are not found.

    Raises RuntimeError if Keras itself has been imported in this process.

        import cornu

        cornu.install_as_keras()
        from keras.layers import Conv2D  # is cornu.layers.Conv2D
    """
    cornu = importlib.import_module("cornu")
    if sys.modules.get("keras", cornu) is not cornu:
        raise RuntimeError(
            "Keras itself has been imported in this process already. Call `install_as_keras()` "
            "before anything imports Keras."
        )
    sys.modules["keras"] = cornu
    for name in cornu.__all__:
        module = sys.modules.get(f"cornu.{name}")
        if module is None:
            continue
        sys.modules[f"keras.{name}"] = module
        if name in ("datasets", "optimizers", "ops"):
            for part in pkgutil.iter_modules(module.__path__):
                full = f"cornu.{name}.{part.name}"
                sys.modules[f"keras.{name}.{part.name}"] = importlib.import_module(full)
