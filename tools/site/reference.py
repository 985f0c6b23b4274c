"""The API reference: one Markdown page for each part of what `cornu` exports, from its docstrings."""

import functools
import inspect
import sys
from dataclasses import dataclass
from posixpath import dirname, relpath
from types import ModuleType
from typing import Any

from docstrings import fenced, markdown, signature_text, summary, table
from names import Entry, entries, exported, namespaces, public_classes

import cornu

# A namespace with more entries gets a page for each of its modules.
MOST_ON_A_PAGE = 20
FOLDER = "reference"


def members(cls: type) -> list[tuple[str, Any, str]]:
    """Name, value and docstring of what a class adds to its public bases, if it is described."""
    found, public = {}, [base for base in cls.__mro__[1:] if base in public_classes()]
    for base in cls.__mro__:
        elsewhere = any(issubclass(other, base) for other in public)
        if elsewhere or not base.__module__.startswith("cornu"):
            continue
        for name, value in vars(base).items():
            function = getattr(value, "__func__", value)
            if not name.startswith("_") and (
                inspect.isroutine(function) or isinstance(value, property)
            ):
                found.setdefault(name, (value, function.__doc__))
    return [(name, value, doc) for name, (value, doc) in sorted(found.items()) if doc]


def _heading(level: int, title: str, anchor: str) -> str:
    return f"{'#' * level} {title} {{ #{anchor} }}"


def described(entry: Entry, namespace: ModuleType) -> str:
    """One public thing: its name, how it is called, its docstring, its members."""
    value, (dotted, *others) = entry.value, entry.names
    text = [_heading(2, dotted.removeprefix(f"{namespace.__name__}."), dotted)]
    text += [f'<a id="{other}"></a>' for other in others]
    if inspect.isclass(value) or inspect.isroutine(value):
        text.append(fenced(signature_text(dotted, value), "python"))
    if others:
        text.append("Also " + ", ".join(f"`{o.removeprefix('cornu.')}`" for o in others) + ".")
    text.append(markdown(value, inspect.getdoc(value) or ""))
    if inspect.isclass(value):
        properties = [m for m in members(value) if isinstance(m[1], property)]
        if properties:
            rows = [(f"`{name}`", summary(member)) for name, member, _ in properties]
            text.append(table("Property", rows))
        for name, member, doc in members(value):
            if not isinstance(member, property):
                function = getattr(member, "__func__", member)
                text.append(_heading(3, name, f"{dotted}.{name}"))
                text.append(fenced(signature_text(name, function), "python"))
                text.append(markdown(function, doc))
        bases = [b for b in value.__mro__[1:] if b in public_classes()]
        if bases:
            names = [f"`{public_classes()[b].removeprefix('cornu.')}`" for b in bases]
            text.append(f"Everything else comes from {' and '.join(names)}.")
    return "\n\n".join(text)


@dataclass
class Page:
    """A page of the reference: where it lies, its title, its namespace, and what it describes."""

    path: str
    title: str
    namespace: ModuleType
    entries: list[Entry]
    introduction: str

    @property
    def is_index(self) -> bool:
        return self.path.endswith("index.md")

    @property
    def namespaces(self) -> list[str]:
        """Its namespace, and those within that have no page of their own."""
        name = self.namespace.__name__
        inner = [
            m.__name__ for m in namespaces() if _parent(m.__name__) == name and not _has_page(m)
        ]
        return [name, *inner]


def _module_of(entry: Entry, namespace: ModuleType) -> str:
    """The module that an entry is shown under: a subject of `ops`, or else where it is defined."""
    if namespace is not cornu and "__dir__" in vars(namespace):
        subjects = [getattr(namespace, name) for name in exported(namespace)]
        for subject in subjects:
            if isinstance(subject, ModuleType) and hasattr(subject, entry.name):
                return subject.__name__
    module = getattr(entry.value, "__module__", "")
    is_below = module.startswith(f"{namespace.__name__}.")
    return module if is_below or inspect.isclass(entry.value) else namespace.__name__


def _parent(name: str) -> str:
    return name.rpartition(".")[0]


def _has_page(namespace: ModuleType) -> bool:
    """Whether it holds more than a name or two, as `cornu.datasets.mnist` does."""
    return len(exported(namespace)) > 2


@functools.cache
def pages() -> list[Page]:
    """A page for each namespace, and where it holds much, one for each of its modules besides."""
    found = []
    for namespace in filter(_has_page, namespaces()):
        name = namespace.__name__
        folder = "/".join([FOLDER, *name.split(".")[1:]])
        title = "API reference" if namespace is cornu else name
        index = Page(f"{folder}/index.md", title, namespace, [], namespace.__doc__ or "")
        groups: dict[str, list[Entry]] = {}
        for entry in sorted(entries(), key=lambda e: (e.name.lower(), e.names)):
            if entry.namespace in index.namespaces:
                groups.setdefault(_module_of(entry, namespace), []).append(entry)
        if len(groups) == 1 or sum(map(len, groups.values())) <= MOST_ON_A_PAGE:
            groups = {name: [entry for group in groups.values() for entry in group]}
        index.entries = groups.pop(name, [])
        of_modules = []
        for module, group in groups.items():
            stem = module.rpartition(".")[2]
            title = stem.replace("_", " ").capitalize()
            if len(group) == 1:
                title = group[0].name
            elif stem in exported(namespace):
                title = stem
            introduction = sys.modules[module].__doc__ or ""
            of_modules.append(Page(f"{folder}/{stem}.md", title, namespace, group, introduction))
        found += [index, *sorted(of_modules, key=lambda page: page.title.lower())]
    return found


@functools.cache
def places() -> dict[str, tuple[str, str]]:
    """The page and the anchor of each public name, of methods, and of namespaces."""
    found = {}
    for page in pages():
        if page.is_index:
            found[page.namespace.__name__] = (page.path, "")
        for entry in page.entries:
            for name in entry.names:
                found[name] = (page.path, name)
            if inspect.isclass(entry.value):
                for name, member, _ in members(entry.value):
                    # Properties are rows of a table, without anchors of their own.
                    is_property, anchor = isinstance(member, property), f"{entry.names[0]}.{name}"
                    found[anchor] = (page.path, entry.names[0] if is_property else anchor)
    return found


def _contents(page: Page) -> dict[str, list[tuple[str, str]]]:
    """Rows of links: the namespaces and the names of a namespace."""
    values = {name: entry.value for entry in entries() for name in entry.names}
    values.update({module.__name__: module for module in namespaces()})
    rows: dict[str, list[tuple[str, str]]] = {"Namespace": [], "Name": []}
    for name in sorted(values.keys() & places().keys(), key=str.lower):
        if _parent(name) in page.namespaces:
            path, anchor = places()[name]
            target = relpath(path, dirname(page.path)) + (f"#{anchor}" if anchor else "")
            shown = name.removeprefix(f"{page.namespace.__name__}.")
            heading = "Namespace" if isinstance(values[name], ModuleType) else "Name"
            rows[heading].append((f"[`{shown}`]({target})", summary(values[name])))
    return {heading: found for heading, found in rows.items() if found}


def content(page: Page) -> str:
    """A page as Markdown: what it is about, a table of all names if it is a namespace's, the entries."""
    text = [f"# {page.title}", markdown(page.namespace, page.introduction)]
    if page.is_index:
        text += [table(heading, rows) for heading, rows in _contents(page).items()]
    return "\n\n".join([*text, *(described(entry, page.namespace) for entry in page.entries)])
