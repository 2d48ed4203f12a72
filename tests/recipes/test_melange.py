"""melange recipes are read as melange reads them: variables, ranges, options, needs of pipelines."""

from __future__ import annotations

import json

from buildgraph.recipes import yamltext
from buildgraph.recipes.melange import boxed_melange, normalise
from buildgraph.recipes.values import melange_from_primitive, to_primitive
from tests.recipes.reading import melange

HEAD = 'package:\n  name: foo\n  version: "1.2.3"\n  epoch: 4\n'


def test_versions_are_texts_and_the_epoch_a_number() -> None:
    """`3.10` stays `3.10`; an epoch may be written in any of YAML's ways."""
    recipe = melange("package: {name: foo, version: 3.10, epoch: 0x10}")

    assert (recipe.version, recipe.epoch, recipe.full_version) == ("3.10", 16, "3.10-r16")


def test_an_epoch_that_is_not_given_is_zero() -> None:
    """Go's zero value."""
    assert melange("package: {name: foo, version: 1}").full_version == "1-r0"


def test_variables_reach_names_dependencies_and_environment() -> None:
    """`package.*`, `vars.*` and transformed variables are replaced while parsing."""
    recipe = melange(
        HEAD + "  dependencies:\n    runtime: ['bar=${{package.full-version}}']\n"
        "    provides: ['foo-${{vars.major}}=${{package.version}}']\n"
        + "vars: {flavour: musl}\n"
        + "var-transforms:\n  - {from: '${{package.version}}', match: '^(\\d+).*', replace: '$1', to: major}\n"
        + "environment:\n  contents:\n    packages: ['gcc-${{vars.flavour}}', 'jdk-${{ vars.major }}']\n"
        + "subpackages:\n  - name: ${{package.name}}-dev\n"
    )

    origin, dev = recipe.packages
    assert (origin.depends, origin.provides) == (("bar=1.2.3-r4",), ("foo-1=1.2.3",))
    assert (dev.name, dev.version) == ("foo-dev", "1.2.3-r4")
    assert [need.text for need in recipe.environment] == ["gcc-musl", "jdk-1"]


def test_ranges_expand_by_sorted_keys() -> None:
    """config.go, replaceSubpackages: keys are sorted, and each makes a package."""
    recipe = melange(
        HEAD
        + "data:\n  - name: pys\n    items: {3.9: '39', 3.10: '310'}\n"
        + "subpackages:\n  - range: pys\n    name: py${{range.key}}-foo\n"
        "    dependencies: {provides: ['py3-foo-${{range.value}}']}\n" + '    if: \'"${{range.key}}" == "3.9"\'\n'
    )

    assert [(p.name, p.provides, p.made) for p in recipe.packages[1:]] == [
        ("py3.10-foo", ("py3-foo-310",), False), ("py3.9-foo", ("py3-foo-39",), True),
    ]  # fmt: skip


def test_a_subpackage_whose_condition_is_false_is_not_made() -> None:
    """Variables of the compilation count as empty there, because melange evaluates the condition as it was parsed."""
    recipe = melange(
        HEAD
        + "subpackages:\n  - {name: a, if: \"'x' == 'x'\"}\n  - {name: b, if: \"'x' == 'y'\"}\n"
        + "  - {name: c, if: \"${{build.arch}} == 'x86_64'\"}\n"
    )

    assert [(p.name, p.made) for p in recipe.packages] == [("foo", True), ("a", True), ("b", False), ("c", False)]


def test_needs_of_pipelines_are_part_of_the_environment() -> None:
    """Built-in ones with their inputs filled in, in melange's order, each with the line that asks for it."""
    recipe = melange(
        HEAD + "environment: {contents: {packages: [busybox]}}\npipeline:\n  - uses: go/build\n"
        "    with: {packages: ., output: x, go-package: go-1.22}\n"
    )

    needs = [(need.text, need.via, need.line) for need in recipe.environment]
    assert needs[0] == ("busybox", "environment", 5)
    assert ("go-1.22", "go/build", 7) in needs


def test_a_need_under_a_false_condition_does_not_count() -> None:
    """compile.go, gatherDeps: neither the step's own needs nor those below it."""
    recipe = melange(
        HEAD
        + "pipeline:\n  - if: ${{build.arch}} == 'aarch64'\n    pipeline:\n      - uses: patch\n        with: {patches: x}\n"
        + "  - if: ${{build.arch}} == 'x86_64'\n    uses: strip\n"
    )

    assert {need.via for need in recipe.environment} == {"strip"}


def test_subpackages_needs_count_even_if_the_subpackage_is_not_made() -> None:
    """compile.go gathers them for all subpackages."""
    recipe = melange(HEAD + "subpackages:\n  - {name: x, if: \"'a' == 'b'\", pipeline: [{uses: strip}]}\n")

    assert "binutils" in [need.text for need in recipe.environment]


def test_local_pipelines_come_before_built_in_ones() -> None:
    """And may use others, built-in ones included."""
    recipe = melange(
        HEAD + "pipeline:\n  - uses: strip\n  - uses: my/tool\n    with: {what: x}\n",
        strip="needs: {packages: [my-strip]}",
        my__tool="inputs: {what: {required: true}}\nneeds: {packages: ['tool-${{inputs.what}}']}\n"
        "pipeline: [{uses: patch, with: {patches: a}}]",
    )

    assert [(need.text, need.via, need.line) for need in recipe.environment] == [
        ("my-strip", "strip", 6), ("tool-x", "my/tool", 7), ("patch", "my/tool", 7),
    ]  # fmt: skip
    assert [(use.name, use.path, use.file) for use in recipe.uses] == [
        ("strip", "foo.yaml", "pipelines/strip.yaml"),
        ("my/tool", "foo.yaml", "pipelines/my/tool.yaml"),
        ("patch", "pipelines/my/tool.yaml", ""),
    ]


def test_a_build_option_changes_variables_and_environment() -> None:
    """build.go, applyBuildOption: variables replaced while parsing keep their value, those of the compilation change."""
    text = (
        HEAD + "vars: {tool: a}\noptions:\n  fast:\n    vars: {tool: b}\n"
        "    environment: {contents: {packages: {add: [quick], remove: [slow]}}}\n"
        + "environment: {contents: {packages: [slow, 'x-${{vars.tool}}']}}\npipeline:\n  - uses: p\n"
        + "  - if: ${{options.fast.enabled}} == 'true'\n    uses: strip\n"
    )
    definition = "needs: {packages: ['need-${{vars.tool}}']}"

    plain, fast = melange(text, p=definition), melange(text, options=("fast",), p=definition)

    assert [need.text for need in plain.environment] == ["slow", "x-a", "need-a"]
    assert [need.text for need in fast.environment][:3] == ["quick", "x-a", "need-b"]
    assert {need.via for need in fast.environment} == {"environment", "option fast", "p", "strip"}


def test_the_architecture_decides_conditions_in_any_spelling() -> None:
    """apk's and OCI's names mean the same."""
    text = HEAD + "pipeline:\n  - if: ${{build.arch}} == 'aarch64'\n    uses: strip\n"

    assert melange(text, arch="arm64").environment == melange(text, arch="aarch64").environment != ()
    assert melange(text, arch="amd64").environment == ()


def test_network_reasons_name_pipelines_and_commands_with_their_lines() -> None:
    """What the plan shows beside a recipe that is not sealed."""
    recipe = melange(
        HEAD
        + "pipeline:\n  - uses: fetch\n    with: {uri: https://x, expected-none: 'true'}\n  - runs: |\n      make\n      npm ci\n"
    )

    assert [(reason.what, reason.path, reason.line) for reason in recipe.network] == [
        ("uses: fetch without a checksum", "foo.yaml", 6),
        ("npm ci", "foo.yaml", 10),
    ]


def test_a_recipe_without_downloads_has_no_reason() -> None:
    """It is built without a network."""
    assert melange(HEAD + "pipeline:\n  - uses: autoconf/make\n  - runs: make install\n").network == ()


def test_other_fields_that_bear_on_the_action() -> None:
    """Users, capabilities, resources, repositories, keys."""
    recipe = melange(
        HEAD + "  resources: {cpu: 4, memory: 2Gi}\n  timeout: 90m\n  target-architecture: [x86_64]\n"
        "capabilities: {add: [CAP_SYS_ADMIN]}\n"
        + "environment:\n  accounts: {run-as: root}\n  contents: {repositories: ['@local ./packages'], keyring: [k.pub]}\n"
    )

    assert (recipe.run_as, recipe.capabilities_added, recipe.target_architectures) == ("root", ("CAP_SYS_ADMIN",), ("x86_64",))
    assert (recipe.resources.cpu, recipe.resources.memory, recipe.resources.timeout) == ("4", "2Gi", "90m")
    assert [(x.text, x.line) for x in (*recipe.repositories, *recipe.keyring)] == [("@local ./packages", 11), ("k.pub", 11)]


def test_a_recipe_survives_the_way_through_json() -> None:
    """The state file keeps recipes as lists."""
    recipe = melange(
        HEAD + "  resources: {cpu: 4}\npipeline: [{uses: strip}, {runs: curl x}]\n"
        "subpackages: [{name: x, dependencies: {provides: [a, b]}}]\n"
    )

    assert melange_from_primitive(json.loads(json.dumps(to_primitive(recipe)))) == recipe


def test_normalising_drops_what_says_nothing_about_the_packages() -> None:
    """Tests and the way to find updates."""
    tree = yamltext.parse_mapping(
        (
            HEAD + "  test-resources: {cpu: 1}\nupdate: {enabled: true}\ntest: {pipeline: []}\n"
            "subpackages: [{name: x, test: {pipeline: []}}]\n"
        ).encode(),
        "x",
    )

    assert (
        yamltext.emit(normalise(tree))
        == 'package:\n  epoch: 4\n  name: foo\n  version: "1.2.3"\nsubpackages:\n  -\n    name: x\n'
    )


def test_the_box_has_one_repository_and_no_keys() -> None:
    """Whatever the recipe lists, and where it lists nothing."""
    for environment in (
        "",
        "environment: {contents: {repositories: [a], keyring: [k], build_repositories: [c], packages: [p]}}\n",
    ):
        boxed = yamltext.emit(boxed_melange(yamltext.parse_mapping((HEAD + environment).encode(), "x")))

        assert "keyring: []\n" in boxed
        assert 'repositories:\n      - "./repo"\n' in boxed
        assert "build_repositories" not in boxed


def test_a_vars_file_goes_before_the_recipes_own_variables() -> None:
    """config.go, ParseConfiguration: names that only the file has count too."""
    recipe = melange(
        "package: {name: foo, version: '${{vars.version}}'}\nvars: {version: 1.0, a: b}\n"
        "environment: {contents: {packages: ['${{vars.a}}', '${{vars.more}}']}}\n",
        variables="{version: 2.10, more: c}",
    )

    assert recipe.version == "2.10"
    assert [need.text for need in recipe.environment] == ["b", "c"]


def test_tests_have_environments_of_their_own() -> None:
    """What they need is installed for them only, with the package that they test; the build knows nothing of it."""
    recipe = melange(
        HEAD + "test:\n  environment: {contents: {packages: ['x-${{package.version}}']}}\n"
        "  pipeline: [{uses: my/check}, {runs: curl x}]\n"
        "data: [{name: r, items: {a: '1'}}]\n"
        "subpackages:\n  - {range: r, name: 'foo-${{range.key}}', test: {pipeline: [{uses: strip}]}}\n",
        my__check="needs: {packages: [checker]}",
    )

    assert [(test.package, [need.text for need in test.environment]) for test in recipe.tests] == [
        ("foo", ["x-1.2.3", "checker", "foo"]),
        ("foo-a", ["binutils", "scanelf", "foo-a"]),
    ]
    assert (recipe.environment, recipe.uses, recipe.network) == ((), (), ())


def test_a_definition_goes_before_the_step_that_uses_it() -> None:
    """compile.go decodes it onto the step: what it does not say stays, and a null takes lists away, but no text."""
    steps = "pipeline: [{uses: p, if: \"'a' == 'b'\", needs: {packages: [own]}}]\n"

    def needs(definition: str) -> list[str]:
        return [need.text for need in melange(HEAD + steps, p=definition).environment]

    assert needs("needs: {packages: [its]}") == []
    assert needs("needs: {packages: [its]}\nif: \"'a' == 'a'\"") == ["its"]
    assert needs("if: \"'a' == 'a'\"") == ["own"]
    assert needs("needs: ~\nif: \"'a' == 'a'\"") == []
    assert needs("if: ~") == []


def test_transforms_see_the_replaced_version_except_while_it_is_replaced() -> None:
    """buildConfigMap is called once before the package's own fields are replaced, and again after."""
    recipe = melange(
        "package: {name: foo, version: '${{vars.v}}', dependencies: {provides: ['b=${{ vars.t }}']}}\n"
        "vars: {v: 1.2.3}\nvar-transforms: [{from: '${{package.version}}', match: '\\..*', replace: '', to: t}]\n"
        "data: [{name: r, items: {k: v}}]\nsubpackages: [{range: r, name: 's-${{vars.t}}'}]\n"
    )

    # Written without spaces it would be replaced at once, by what the transform leaves of the text `${{vars.v}}`.
    assert recipe.packages[0].provides == ("b=1",)
    assert recipe.packages[1].name == "s-1"
