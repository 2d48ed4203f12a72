"""Short ways to read recipes that tests write as text."""

from __future__ import annotations

from collections.abc import Mapping

from buildgraph.recipes import yamltext
from buildgraph.recipes.apko import LoadInclude, merged_apko, read_apko
from buildgraph.recipes.melange import read_melange
from buildgraph.recipes.values import ApkoRecipe, MelangeRecipe, Source
from buildgraph.recipes.yamltext import Mapping as YamlMapping


def source(path: str, text: str) -> Source:
    return Source(path, yamltext.parse(text.encode(), path), text)


def melange(
    text: str | bytes,
    *,
    arch: str = "x86_64",
    options: tuple[str, ...] = (),
    variables: str | None = None,
    more: Mapping[str, str] | None = None,
    **pipelines: str,
) -> MelangeRecipe:
    """The recipe in ``text``; keyword arguments and ``more`` are local pipelines, `__` in a name standing for `/`."""
    local = {name.replace("__", "/"): definition for name, definition in {**pipelines, **(more or {})}.items()}

    def find(name: str) -> Source | None:
        return source(f"pipelines/{name}.yaml", local[name]) if name in local else None

    data = text.encode() if isinstance(text, str) else text
    tree, decoded = yamltext.parse(data, "foo.yaml"), yamltext.decode(data, "foo.yaml")
    return read_melange(
        tree,
        "foo.yaml",
        decoded,
        arch=arch,
        find_pipeline=find,
        build_options=options,
        vars_file=source("vars", variables) if variables else None,
    )


def apko(text: str, **files: str) -> ApkoRecipe:
    """The image in ``text``; keyword arguments are files that it can include, named without `.yaml`."""
    return read_apko(yamltext.parse(text.encode(), "image.yaml"), "image.yaml", text, load_include=_includes(files))


def merged(text: str, **files: str) -> YamlMapping:
    """The image in ``text`` with its includes as one tree."""
    return merged_apko(yamltext.parse_mapping(text.encode(), "image.yaml"), "image.yaml", text, load_include=_includes(files))


def _includes(files: dict[str, str]) -> LoadInclude:
    def load(name: str, _: str) -> Source | None:
        stem = name.removesuffix(".yaml")
        return source(name, files[stem]) if stem in files else None

    return load
