"""What the documentation adds to MkDocs: pages made when it is built, and checks of what is built."""

import html
import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from posixpath import dirname, normpath
from urllib.parse import unquote, urlsplit

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

sys.path.insert(0, str(Path(__file__).parent))
import commands
import reference

ROOT = Path(__file__).parents[2]
# Documents that lie outside of docs/, and their pages.
DOCUMENTS = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}


def on_config(config):
    """Put the pages of the reference into the navigation."""
    inside: dict[str, list] = {}
    for page in reference.pages():
        entry = page.path if page.is_index else {page.title: page.path}
        inside.setdefault(page.namespace.__name__, []).append(entry)
    own = inside.pop("cornu")
    for name in sorted(inside, key=lambda name: name.count("."), reverse=True):
        parent = name.rpartition(".")[0]
        section = {name.removeprefix("cornu."): inside[name]}
        (own if parent == "cornu" else inside[parent]).append(section)
    own.sort(key=lambda entry: "" if isinstance(entry, str) else next(iter(entry)))
    for number, entry in enumerate(config.nav):
        if entry == {"Reference": "reference/"}:
            config.nav[number] = {"Reference": [*own, {"Command line": commands.PATH}]}
    return config


def _as_page(name: str) -> str:
    """A document beside docs/: its links lead to pages, and are called what the pages are."""

    def linked(match):
        title = (ROOT / match[2]).read_text().splitlines()[0].removeprefix("# ")
        return (
            f"[{title if match[1] == match[2] else match[1]}]({DOCUMENTS.get(match[2], match[2])}"
        )

    text = re.sub(r"(?<!!)\[([^]]+)\]\(([\w/]+\.md)", linked, (ROOT / name).read_text())
    # Only the first page has nothing beside it.
    front = "---\nhide: [navigation]\n---\n" if name == "README.md" else ""
    return front + text.replace("](docs/", "](")


def on_files(files, config):
    """Add the reference, and the documents beside docs/."""
    for page in reference.pages():
        files.append(File.generated(config, page.path, content=reference.content(page)))
    files.append(File.generated(config, commands.PATH, content=commands.content()))
    for name, path in DOCUMENTS.items():
        files.append(File.generated(config, path, content=_as_page(name)))
    return files


# Where names are those of the C++.
WITHOUT_LINKS = ("kernels.md",)


def _found(text: str, page: str) -> tuple[str, str] | None:
    """Page and anchor of what code in a sentence names, such as `Conv2D` or `explain.window(...)`."""
    places = reference.places()
    name = html.unescape(text).partition("(")[0].removeprefix("keras.").removeprefix("cornu.")
    name = re.sub(r"^(\w+\.)*model\.", "models.Model.", name)
    if not re.fullmatch(r"[\w.]+", name):
        return None
    if f"cornu.{name}" in places:
        return places[f"cornu.{name}"]
    if not (name[0].isupper() or "." in name or "_" in name or "(" in text):
        return None
    # A member is named with its class.
    names = places if "." in name else [n for entry in reference.entries() for n in entry.names]
    everywhere = {places[n] for n in names if n.endswith(f".{name}")}
    for found in ({place for place in everywhere if place[0] == page}, everywhere):
        if len(found) == 1:
            return found.pop()
    return None


SKIPPED = r"<(a|pre|h1|h2|h3)\b.*?</\1>"


def on_page_content(content, page, config, files):
    """Make links of the public names that stand in sentences and tables."""
    here = page.file.src_uri

    def linked(match):
        found = match["code"] and here not in WITHOUT_LINKS and _found(match["code"], here)
        if not found:
            return match[0]
        path, anchor = found
        target = files.get_file_from_path(path).url_relative_to(page.file)
        return f'<a href="{target}{"#" if anchor else ""}{anchor}">{match[0]}</a>'

    return re.sub(f"{SKIPPED}|<code>(?P<code>[^<]+)</code>", linked, content, flags=re.DOTALL)


class _Links(HTMLParser):
    """What a page can be reached by, what it leads to, and what it loads."""

    def __init__(self, text: str):
        super().__init__()
        self.anchors, self.links, self.loaded = {""}, set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.anchors.add(values.get("id", ""))
        if tag == "a":
            self.links.add(values.get("href", "#"))
        elif tag == "link" and values.get("rel") != "canonical":
            self.loaded.add(values["href"])
        elif values.get("src"):
            self.loaded.add(values["src"])


def _broken_links(site: Path, pages: dict[str, _Links]) -> Iterator[str]:
    for path, page in pages.items():
        for link in page.links | page.loaded:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = normpath(f"{dirname(path)}/{unquote(parts.path)}") if parts.path else path
            target = target.lstrip("/")
            if target in pages and unquote(parts.fragment) not in pages[target].anchors:
                yield f"{path}: {link} is an anchor that {target} does not have"
            elif not (site / target).is_file():
                yield f"{path}: {link} leads nowhere"


def _loaded_from_elsewhere(site: Path, pages: dict[str, _Links]) -> Iterator[str]:
    for path, page in pages.items():
        yield from (f"{path} loads {a}" for a in page.loaded if re.match(r"(https?:)?//", a))
    for path in site.rglob("*.css"):
        found = re.findall(r"""(?:url\(|@import )["']?((?:https?:)?//[^"')]+)""", path.read_text())
        yield from (f"{path.name} loads {address}" for address in found)


def on_post_build(config):
    """Stop if a link is broken, a page loads something from another host, or a public name has no entry."""
    site = Path(config.site_dir)
    pages = {str(p.relative_to(site)): _Links(p.read_text()) for p in site.rglob("*.html")}
    # Its links begin at the root of a host, wherever the site will be.
    del pages["404.html"]
    missing = [
        f"{name} has no entry in {path}"
        for name, (path, anchor) in reference.places().items()
        if anchor not in pages[path.removesuffix(".md") + ".html"].anchors
    ]
    wrong = [*_broken_links(site, pages), *_loaded_from_elsewhere(site, pages), *missing]
    if wrong:
        raise PluginError("\n".join(sorted(wrong)))
