"""YAML text to nodes and back: what is written is what is read, and nothing but RecipeError comes out of bad input."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from buildgraph.errors import RecipeError
from buildgraph.recipes import yamltext
from buildgraph.recipes.yamltext import Mapping, Node, Scalar, Sequence


def parse(text: str) -> Node:
    return yamltext.parse(text.encode(), "r.yaml")


def value(text: str) -> Node:
    node = parse(text)
    assert isinstance(node, Mapping)
    return node.items["a"]


@pytest.mark.parametrize("text", ["3.10", "00303", "1e3", "0x1F", "1_000", "yes", "2024-01-01", "1:30", "0o755", "+1", ".5"])
def test_scalars_keep_the_text_that_is_written(text: str) -> None:
    """No number, bool or date is ever reformatted."""
    node = value(f"a: {text}")

    assert isinstance(node, Scalar)
    assert node.text == text
    assert f"a: {text}\n" in {yamltext.emit(parse(f"a: {text}")), yamltext.emit(parse(f"a: {text}")).replace('"', "")}


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("3.10", True),
        ('"3.10"', False),
        ("true", True),
        ("'true'", False),
        ("~", True),
        ("", True),
        ("foo", False),
        ("!!str 3", False),
    ],
)
def test_plain_says_that_yaml_could_read_something_other_than_a_text(text: str, plain: bool) -> None:
    """Quoting matters only where it changes the type."""
    node = value(f"a: {text}")

    assert isinstance(node, Scalar)
    assert node.plain is plain


@pytest.mark.parametrize("text", ["", "~", "null", "Null", "NULL"])
def test_null_is_null_only_unquoted(text: str) -> None:
    """`~` is nothing, `"~"` is a text."""
    unquoted, quoted = value(f"a: {text}"), value(f'a: "{text}"')

    assert isinstance(unquoted, Scalar)
    assert isinstance(quoted, Scalar)
    assert (unquoted.is_null, quoted.is_null) == (True, False)


def test_positions_count_from_one() -> None:
    """Every node and key knows its line and column."""
    node = parse("a: b\nc:\n  - d: e\n")

    assert isinstance(node, Mapping)
    assert node.keys == {"a": (1, 1), "c": (2, 1)}
    assert (node.items["a"].line, node.items["a"].column) == (1, 4)
    assert (node.items["c"].line, node.items["c"].column) == (3, 3)


def test_byte_order_marks_are_read_as_yaml_v3_reads_them() -> None:
    """UTF-8 and both UTF-16 marks select the encoding (yaml.v3, readerc.go)."""
    expected = parse("a: é")

    assert yamltext.parse("\ufeffa: é".encode(), "x") == expected
    assert yamltext.parse("\ufeffa: é".encode("utf-16-le"), "x") == expected
    assert yamltext.parse("\ufeffa: é".encode("utf-16-be"), "x") == expected


def test_merge_keys_expand_with_own_keys_first() -> None:
    """`<<` fills in what is not there; of several sources the earlier one wins (yaml.v3, decode.go, merge)."""
    node = parse("x: &x {a: 1, b: 1}\ny: &y {b: 2, c: 2}\nz:\n  <<: [*x, *y]\n  a: 0\n")

    assert isinstance(node, Mapping)
    assert yamltext.emit(node.items["z"]) == "a: 0\nb: 1\nc: 2\n"


def test_a_quoted_merge_key_is_an_ordinary_key() -> None:
    """Only the unquoted `<<` merges."""
    assert yamltext.emit(parse('"<<": {a: b}')) == '"<<":\n  a: b\n'


def test_comments_order_and_style_do_not_reach_the_canonical_text() -> None:
    """Two texts that say the same give one canonical text."""
    one = "b: [x, 'y']  # why\na:\n  k: |\n    l1\n    l2\n"
    two = 'a: {k: "l1\\nl2\\n"}\n# else\nb:\n- "x"\n- y\n'

    assert yamltext.emit(parse(one)) == yamltext.emit(parse(two)) == 'a:\n  k: "l1\\nl2\\n"\nb:\n  - x\n  - "y"\n'


def test_the_order_of_lists_is_kept() -> None:
    """Only keys of mappings are sorted."""
    assert yamltext.emit(parse("a: [c, b, a]")) == "a:\n  - c\n  - b\n  - a\n"


def test_an_empty_second_document_is_harmless() -> None:
    """A file may end with `---`."""
    assert parse("a: b\n---\n") == parse("a: b")


def test_an_alias_bomb_is_refused() -> None:
    """A few lines that stand for a billion values do not get expanded."""
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 10)}]\n" for i in range(9))

    with pytest.raises(RecipeError, match="anchors expand to more than"):
        parse(bomb)


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 100_000, "- " * 100_000 + "x", "? " * 100_000])
def test_deep_nesting_is_refused(text: str) -> None:
    """Depth is limited before any stack is."""
    with pytest.raises(RecipeError, match=r"nested deeper|a key must be a text, found a mapping"):
        parse(text)


def test_aliases_cannot_nest_deeper_than_brackets() -> None:
    """Each line nests the one before, so that no line is deep by itself."""
    text = "a0: &a0 x\n" + "".join(f"a{i + 1}: &a{i + 1} {'[' * 9}*a{i}{']' * 9}\n" for i in range(200))

    with pytest.raises(RecipeError, match="nested deeper"):
        parse(text)


def test_a_huge_file_is_refused_before_it_is_parsed() -> None:
    """Size is looked at first."""
    with pytest.raises(RecipeError, match="larger than 16 MiB"):
        yamltext.parse(b"#" * (yamltext.MAX_BYTES + 1), "x")


TEXTS = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(
    ["", "~", "1", "true", "yes", "<<", "-", "- a", "a: b", "#"]
)
TREES = st.recursive(
    st.builds(Scalar, TEXTS) | st.sampled_from([Scalar(x, plain=True) for x in ("", "~", "1", "-0x1F", "1.5", "true", ".inf")]),
    lambda inner: (
        st.builds(Sequence, st.lists(inner, max_size=4)) | st.builds(Mapping, st.dictionaries(TEXTS, inner, max_size=4))
    ),
    max_leaves=25,
)


@given(TREES)
@example(
    Mapping({"x" * 2000: Sequence([Scalar("", plain=True), Sequence([])]), "": Mapping({"\x85\u2028\ufeff": Scalar("\t ")})})
)
def test_what_is_emitted_parses_to_the_same_tree(tree: Node) -> None:
    """parse(emit(x)) == x up to positions, so the canonical text can stand for the tree."""
    text = yamltext.emit(tree)

    assert parse(text) == tree
    assert yamltext.emit(parse(text)) == text


YAMLISH = st.lists(
    st.sampled_from(
        ["a", "b: ", "- ", "\n", "\n  ", " ", '"', "'", "[", "]", "{", "}", ", ", "#", "|\n", ">-\n",
         "&x ", "*x", "<<: ", "!!str ", "! ",
         "1", "~", "? ", "---\n", "...\n", "\t", "é", "\u2028", "\x85", "\\x41", "%YAML 1.2\n", "\x00", "\ufeff"]
    ),
    max_size=20,
).map("".join)  # fmt: skip


@given(st.binary(max_size=200) | YAMLISH.map(str.encode))
def test_any_bytes_give_a_tree_or_a_recipe_error(data: bytes) -> None:
    """Bad input has no other way out, and good input survives a round trip."""
    try:
        tree = yamltext.parse(data, "x")
    except RecipeError as error:
        message = error.render()
        tree = Scalar(message)

    assert yamltext.parse(yamltext.emit(tree).encode(), "x") == tree
