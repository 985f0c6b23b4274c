"""Layouts by the paths of variables."""

import re
from collections.abc import Iterator, MutableMapping

from cornu.distribution.mesh import DeviceMesh, TensorLayout


class LayoutMap(MutableMapping):
    """Layouts by path: of variables, and of layers' outputs.

    A key is the path of a variable, such as `"sequential/dense/kernel"`, or a regular expression that
    matches all of it, such as `".*dense.*/kernel"`. The key for what a layer returns is its path and
    `/output`. What no key matches, each device has whole; a training says which keys match nothing.

    Args:
        device_mesh: a `DeviceMesh`, for layouts that have none.

    Source: Keras: LayoutMap.

    >>> import cornu
    >>> mesh = cornu.distribution.DeviceMesh((1, 1), ["batch", "model"], ["cpu:0"])
    >>> layouts = cornu.distribution.LayoutMap(mesh)
    >>> layouts[".*dense.*kernel"] = (None, "model")
    >>> layouts["model/dense_1/kernel"].axes, layouts["model/conv2d/kernel"]
    ((None, 'model'), None)
    """

    def __init__(self, device_mesh: DeviceMesh):
        self._layouts: dict[str, TensorLayout] = {}
        self._device_mesh = device_mesh

    def __getitem__(self, key: str):
        """The layout for a path, or None. Raises ValueError if several keys match it."""
        if key in self._layouts:
            return self._layouts[key]
        found = [pattern for pattern in self._layouts if re.fullmatch(pattern, key)]
        if len(found) > 1:
            raise ValueError(
                f"Path '{key}' matches multiple layout specification keys: {found}. Please make sure each "
                "tensor/variable path only matches at most one layout specification key in the LayoutMap."
            )
        return self._layouts[found[0]] if found else None

    def get(self, key: str, default=None):
        """As `layouts[key]`; `default` where nothing matches."""
        found = self[key]
        return default if found is None else found

    def __setitem__(self, key: str, layout) -> None:
        if key in self._layouts:
            raise ValueError(
                f"{key} already exist in the LayoutMap with value {self._layouts[key]}. Please make sure "
                "to not use duplicated keys."
            )
        try:
            re.compile(key)
        except (re.error, TypeError) as error:
            raise ValueError(
                f"A key is a path or a regular expression. Received: {key!r}: {error}"
            ) from None
        if isinstance(layout, tuple | list):
            layout = TensorLayout(layout)
        if not isinstance(layout, TensorLayout):
            raise ValueError(f"{layout} should be a TensorLayout type, got {type(layout)}")
        if layout.device_mesh is None and self._device_mesh is not None:
            layout.device_mesh = self._device_mesh
        self._layouts[key] = layout

    def __delitem__(self, key: str) -> None:
        del self._layouts[key]

    def __len__(self):
        return len(self._layouts)

    def __iter__(self) -> Iterator[str]:
        return iter(self._layouts)

    def __contains__(self, key) -> bool:
        return key in self._layouts

    @property
    def device_mesh(self) -> DeviceMesh:
        """The mesh for layouts that have none."""
        return self._device_mesh

    def unmatched(self, paths) -> list[str]:
        """The keys that match none of these paths."""
        paths = list(paths)
        return [
            key
            for key in self._layouts
            if key not in paths and not any(re.fullmatch(key, path) for path in paths)
        ]
