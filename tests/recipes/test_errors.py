"""Errors of bad recipes, word for word: place, cause, excerpt with a caret, and a hint where there is one."""

from __future__ import annotations

import pytest

from buildgraph.errors import RecipeError
from tests.recipes.reading import melange

HEAD = "package:\n  name: foo\n  version: 1\n"

GOLDEN = {
    "package:\n\tname: foo\n": """\
foo.yaml:2: not valid YAML: found character that cannot start any token (while scanning for the next token)
    \x20name: foo
    ^

hint: YAML does not allow tabs as indentation: use spaces""",
    "package:\n  name: foo\n  name: bar\n": """\
foo.yaml:3: the key `name` is given twice (first on line 2)
      name: bar
      ^^^^""",
    HEAD + "---\na: b\n": """\
foo.yaml:4: a second document starts here
    ---
    ^

hint: melange and apko read the first one only""",
    "": "foo.yaml: the file is empty",
    "- package\n": """\
foo.yaml:1: expected a mapping, found a list
    - package
    ^""",
    "package:\n  name: foo\n": """\
foo.yaml:1: the package has no `version`
    package:
    ^^^^^^^""",
    HEAD + "enviroment:\n  contents: {}\n": """\
foo.yaml:4: a melange recipe has no field `enviroment`
    enviroment:
    ^^^^^^^^^^

hint: did you mean `environment`?""",
    HEAD + "environment:\n  contents:\n    packages:\n      busybox: 1\n": """\
foo.yaml:7: `packages`: expected a list of texts, found a mapping
          busybox: 1
          ^""",
    HEAD + "  epoch: one\n": """\
foo.yaml:4: `epoch`: expected a whole number, found `one`
      epoch: one
             ^^^""",
    HEAD + "  epoch: '1'\n": """\
foo.yaml:4: `epoch`: expected a whole number, found the quoted text "1"
      epoch: '1'
             ^""",
    HEAD + "pipeline:\n  - uses: git-chekout\n": """\
foo.yaml:5: there is no pipeline `git-chekout`, neither in the pipeline folders nor in melange v0.59.1
      - uses: git-chekout
              ^^^^^^^^^^^

hint: did you mean `git-checkout`?""",
    HEAD + "pipeline:\n  - uses: patch\n    with:\n      patch: x\n": """\
foo.yaml:7: the pipeline `patch` has no input `patch`
          patch: x
                 ^

hint: did you mean `patches`?""",
    HEAD + "pipeline:\n  - uses: fetch\n": """\
foo.yaml:5: the pipeline `fetch` requires the input `uri`
      - uses: fetch
              ^^^^^""",
    HEAD + "pipeline:\n  - runs: |\n      make\n      cp x ${{target.destdir}}\n": """\
foo.yaml:7: the variable `target.destdir` is not defined
          cp x ${{target.destdir}}
                  ^^^^^^^^^^^^^^

hint: did you mean `targets.destdir` or `targets.outdir` or `targets.contextdir`?""",
    HEAD + "pipeline:\n  - uses: strip\n    runs: make\n": """\
foo.yaml:6: a step cannot have both `uses: strip` and `runs`
        runs: make
        ^^^^""",
    HEAD + "subpackages:\n  - name: foo\n": """\
foo.yaml:5: the package `foo` is made twice
      - name: foo
              ^^^""",
    HEAD + "subpackages:\n  - name: ${{range.key}}\n    range: pys\n": """\
foo.yaml:6: the range `pys` is not defined in `data:`
        range: pys
               ^^^""",
    HEAD + "pipeline:\n  - if: ${{build.arch}} = 'x'\n    uses: strip\n": """\
foo.yaml:5: `if`: expected a quoted text or `${{variable}}`, found `= 'x'`
      - if: ${{build.arch}} = 'x'
            ^^^^^^^^^^^^^^^^^^^^^""",
    "package: {name: foo, version: '1.'}\n": """\
foo.yaml:1: `1.` is not an apk version
    package: {name: foo, version: '1.'}
                                  ^^""",
    HEAD + "  setcap:\n    - {path: /x, add: {cap_net_rawn: +ep}, reason: it pings}\n": """\
foo.yaml:5: melange cannot set the capability `cap_net_rawn`
        - {path: /x, add: {cap_net_rawn: +ep}, reason: it pings}
          ^

hint: did you mean `cap_net_raw` or `cap_net_admin`?""",
    HEAD + "  setcap:\n    - {path: /x, add: {cap_net_raw: +ep}}\n": """\
foo.yaml:5: a capability needs a `reason`
        - {path: /x, add: {cap_net_raw: +ep}}
          ^""",
    HEAD + "  cpe: {vendor: Foo, product: foo}\n": """\
foo.yaml:4: `Foo` cannot stand in a CPE: small letters, digits and `+_.-`, a letter or digit first
      cpe: {vendor: Foo, product: foo}
                    ^^^""",
    HEAD + "  cpe: {vendor: foo}\n": """\
foo.yaml:4: a CPE with a `vendor` needs a `product`, and the other way round
      cpe: {vendor: foo}
           ^""",
    HEAD + "subpackages:\n  - {name: a, dependencies: {provider-priority: ten}}\n": """\
foo.yaml:5: `provider-priority` must be a whole number, found `ten`
      - {name: a, dependencies: {provider-priority: ten}}
                                                    ^^^""",
    HEAD + "test:\n  pipeline:\n    - uses: my/check\n": """\
foo.yaml:6: there is no pipeline `my/check`, neither in the pipeline folders nor in melange v0.59.1
        - uses: my/check
                ^^^^^^^^""",
    "a: &a [*a]\n": """\
foo.yaml:1: the anchor `&a` contains itself
    a: &a [*a]
           ^""",
    "a: !include x\n": """\
foo.yaml:1: the tag `!include` is not supported
    a: !include x
       ^""",
}


@pytest.mark.parametrize(("text", "expected"), GOLDEN.items(), ids=range(len(GOLDEN)))
def test_messages_word_for_word(text: str, expected: str) -> None:
    """What people read is part of what is promised."""
    with pytest.raises(RecipeError) as caught:
        melange(text)

    assert caught.value.render() == expected
    assert caught.value.exit_code == 5


def test_text_that_is_not_utf8() -> None:
    """The line is still known."""
    from buildgraph.recipes import yamltext

    with pytest.raises(RecipeError) as caught:
        yamltext.parse(b"a: b\nc: \xff\n", "foo.yaml")

    assert caught.value.render() == "foo.yaml:2: not valid UTF-8 text"


def test_pipelines_that_use_themselves() -> None:
    """melange would not come to an end."""
    with pytest.raises(RecipeError, match="the pipeline `a` uses itself: a -> b -> a"):
        melange(HEAD + "pipeline: [{uses: a}]", a="pipeline: [{uses: b}]", b="pipeline: [{uses: a}]")


def test_pipelines_that_nest_without_end() -> None:
    """A chain of a thousand definitions is refused before any stack overflows."""
    chain = {f"p{i}": f"pipeline: [{{uses: p{i + 1}}}]" for i in range(1000)}

    with pytest.raises(RecipeError, match="pipelines nest deeper than 100 levels"):
        melange(HEAD + "pipeline: [{uses: p0}]", more=chain)


def test_pipelines_that_multiply_without_end() -> None:
    """Forty lines can stand for 2**40 steps."""
    doubling = {f"p{i}": f"pipeline: [{{uses: p{i + 1}}}, {{uses: p{i + 1}}}]" for i in range(40)}

    with pytest.raises(RecipeError, match="more than 20,000 pipeline steps"):
        melange(HEAD + "pipeline: [{uses: p0}]", more=doubling, p40="runs: make")


@pytest.mark.parametrize(
    ("text", "variables", "message"),
    [
        (HEAD, "{a: b}", "foo.yaml:1: melange takes variables from vars only for a recipe that has `vars:`"),
        (HEAD + "vars: {}\n", "[a]", "vars:1: a vars-file must be a mapping, found a list"),
        (HEAD + "vars: {}\n", "a: [b]", "vars:1: `a`: expected a text, found a list"),
        (HEAD + "vars: {a: b}\n", "c: ${{vars.a}}", "vars:1: the variable `vars.c` refers to other variables"),
    ],
)
def test_a_vars_file_that_melange_could_not_take(text: str, variables: str, message: str) -> None:
    """The place is in the file that is at fault."""
    with pytest.raises(RecipeError) as caught:
        melange(text, variables=variables)

    assert caught.value.render().startswith(message)
