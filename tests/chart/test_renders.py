"""Helm's own judgement of every values file, Kubernetes' schemas, custom resources, and renders kept as files."""

import json
import os
import re
import subprocess
from pathlib import Path

import chart_tools
import pytest
import yaml
from chart.definitions import errors_in
from chart.renders import CHART, NEWEST, ROOT, case_files, case_name, oldest_for, run_helm, template

GOLDEN = Path(__file__).parent / "golden"
GOLDEN_CASES = ("smallest", "everything")
COPIES = re.compile(r"^# Source: backburner/templates/(monitoring/dashboard|tests/smoke)\.yaml$", re.MULTILINE)
"""What renders of these hold are files of their own already."""
UPDATE = os.environ.get("BACKBURNER_TEST_UPDATE_GOLDEN") == "1"
FILES = pytest.mark.parametrize("file", case_files(), ids=case_name)
_UNKNOWN_TO_KUBERNETES = "Couldn't find schema"


@FILES
@pytest.mark.parametrize("major", [3, 4])
def test_helm_lint_finds_nothing(tool, count, file, major):
    tool(chart_tools.helm, major)
    said = run_helm(major, "lint", str(CHART), "--strict", "--values", str(file), check=False)
    assert said.returncode == 0, said.stdout + said.stderr
    assert "[WARNING]" not in said.stdout
    count(1, "lint runs, by Helm 3 and 4")


@FILES
def test_both_helms_render_the_same(every_render, file):
    three, four = (
        next(one for one in every_render if (one.name, one.helm, one.kubernetes) == (case_name(file), major, NEWEST))
        for major in (3, 4)
    )
    assert three.objects == four.objects


def test_templates_ask_no_cluster_and_throw_no_dice(count):
    # What differs between two renders of one thing keeps GitOps from ever being in step.
    templates = [file for file in (CHART / "templates").rglob("*") if file.is_file()]
    forbidden = re.compile(
        r"\b(lookup|rand[A-Z]\w+|uuidv4|now|genCA|genSignedCert|genPrivateKey|htpasswd|getHostByName)\b"
    )
    actions = re.compile(r"\{\{(?!/\*|-\s*/\*)(.*?)\}\}", re.DOTALL)
    found = {
        f"{file.name}: {match[0]}"
        for file in templates
        for action in actions.findall(file.read_text())
        if (match := forbidden.search(re.sub(r'"[^"]*"', "", action)))
    }
    assert found == set()
    count(len(templates), "templates without lookup, time or chance")


@pytest.mark.parametrize("newest", [False, True], ids=["oldest", "newest"])
def test_objects_are_what_kubernetes_takes(every_render, tool, count, tmp_path, newest):
    python = tool(chart_tools.python)
    wanted = {case_name(file): NEWEST if newest else oldest_for(file) for file in case_files()}
    by_minor = {}
    for one in every_render:
        if one.helm == 4 and one.kubernetes == wanted[one.name]:
            texts = (json.dumps(each, sort_keys=True) for each in one.objects)
            by_minor.setdefault(one.kubernetes, {}).update(dict.fromkeys(texts, one.name))
    for minor, objects in by_minor.items():
        # Many objects are alike in several files: each is judged once.
        file = tmp_path / f"{minor}.yaml"
        file.write_text("".join(f"---\n{text}\n" for text in objects))
        command = [str(python.with_name("kubernetes-validate")), "--strict", "-k", minor, "--quiet", str(file)]
        said = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = said.stdout.splitlines()
        assert [line for line in lines if _UNKNOWN_TO_KUBERNETES not in line] == []
        assert said.returncode == 0, said.stderr
        judged = len(objects) - sum(_UNKNOWN_TO_KUBERNETES in line for line in lines)
        assert judged > 0
        count(judged, f"objects by the strict schemas of Kubernetes {minor}")


def test_the_schemas_of_kubernetes_find_a_mistake(renders, tool, tmp_path):
    python = tool(chart_tools.python)
    one = next(each for each in renders["smallest"].objects if each["kind"] == "StatefulSet")
    one = json.loads(json.dumps(one))
    one["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    (tmp_path / "one.yaml").write_text(json.dumps(one))
    command = [str(python.with_name("kubernetes-validate")), "--strict", "-k", NEWEST, str(tmp_path / "one.yaml")]
    assert "livenesProbe" in subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _is_custom(one):
    group = one["apiVersion"].rpartition("/")[0]
    return ("." in group and not group.endswith(".k8s.io")) or group in {
        "gateway.networking.k8s.io",
        "leaderworkerset.x-k8s.io",
    }


@FILES
def test_custom_resources_are_what_their_definitions_take(renders, definitions, count, file):
    custom = [one for one in renders[case_name(file)].objects if _is_custom(one)]
    for one in custom:
        kind = one["apiVersion"], one["kind"]
        if kind not in definitions and kind[0].startswith("cloud.google.com/"):
            continue  # GKE's own, whose definition is nowhere published by itself.
        assert errors_in(one, definitions) == []
        count(1, "custom resources by their definitions")


TOO_NEW = {"SecurityPolicy.spec.jwt.providers[].remoteJWKS.cacheDuration"}
"""What older releases of a controller do not know, and their API server would refuse."""


def added_inside_of_lists(schema, value, path, in_list=False):
    """The fields that the API server adds to a list's items, which never agree where lists are compared whole."""
    if isinstance(value, dict):
        for key, inner in schema.get("properties", {}).items():
            if key in value:
                yield from added_inside_of_lists(inner, value[key], f"{path}.{key}", in_list)
            elif "default" in inner and in_list:
                yield f"{path}.{key}"
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for item in value:
            yield from added_inside_of_lists(schema["items"], item, f"{path}[]", True)


@FILES
def test_gitops_sees_no_difference_in_what_the_api_server_adds(renders, definitions, count, file):
    for one in renders[case_name(file)].objects:
        if schema := definitions.get((one["apiVersion"], one["kind"])):
            assert set(added_inside_of_lists(schema, one, one["kind"])) <= TOO_NEW
            count(1, "custom resources that stay as they are applied")
        for claim in one.get("spec", {}).get("volumeClaimTemplates", []):
            assert {"apiVersion", "kind"} <= claim.keys()


def test_custom_resources_are_made_only_where_a_cluster_has_them(tool):
    tool(chart_tools.helm, 4)
    for file in case_files():
        said = template(4, "--values", str(file), "--set", "assumeApis=false", check=False)
        if said.returncode == 0:
            objects = [one for one in yaml.safe_load_all(said.stdout) if one]
            assert [one["kind"] for one in objects if _is_custom(one)] == [], case_name(file)
        else:
            assert "assumeApis" in said.stderr, f"{case_name(file)}: {said.stderr}"


@pytest.mark.parametrize("name", GOLDEN_CASES)
def test_a_render_is_the_one_that_was_reviewed(renders, count, name):
    if name not in renders:
        pytest.skip(f"there is no {name}-values.yaml")
    golden = GOLDEN / f"{name}.yaml"
    text = "---".join(
        part for part in re.split(r"^---$", renders[name].text, flags=re.MULTILINE) if not COPIES.search(part)
    )
    if UPDATE:
        GOLDEN.mkdir(exist_ok=True)
        golden.write_text(text)
    assert golden.is_file(), "there is none yet; write it with BACKBURNER_TEST_UPDATE_GOLDEN=1"
    assert text == golden.read_text(), "review the change, then set BACKBURNER_TEST_UPDATE_GOLDEN=1"
    count(1, "renders as they were reviewed")


def test_every_image_can_be_pinned_by_its_digest(renders, tool, count):
    tool(chart_tools.helm, 4)
    file = next(file for file in case_files() if case_name(file) in ("everything", "smallest"))
    digest = "sha256:" + "0" * 64
    parts = ("gateway.image", "dispatcher.image", "workers.defaults.engine.image")
    pins = [word for part in parts for word in ("--set", f"{part}.digest={digest}")]
    values = yaml.safe_load(file.read_text())
    for name in values["workers"]["groups"]:
        pins += ["--set", f"workers.groups.{name}.engine.image.digest={digest}"]
    text = template(4, "--values", str(file), *pins).stdout
    images = re.findall(r"^\s*(?:- )?image: (\S.*)$", text, re.MULTILINE)
    assert images
    assert [image for image in images if "@sha256:" not in image] == []
    count(len(images), "images pinned by their digest")


EXAMPLES = sorted(file for folder in ("argocd", "flux") for file in (ROOT / "helm" / folder).glob("*.yaml"))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_examples_of_gitops_are_what_their_definitions_take(definitions, count, file):
    objects = [one for one in yaml.safe_load_all(file.read_text()) if one]
    custom = [one for one in objects if (one["apiVersion"], one["kind"]) in definitions]
    assert custom, "nothing in it is of a definition that is known"
    for one in custom:
        assert errors_in(one, definitions) == []
        count(1, "custom resources by their definitions")


def test_flux_neither_uninstalls_what_loads_nor_rolls_back_what_a_test_misses():
    objects = yaml.safe_load_all((ROOT / "helm" / "flux" / "release.yaml").read_text())
    (spec,) = (one["spec"] for one in objects if one["kind"] == "HelmRelease")
    assert spec["install"]["strategy"]["name"] == "RetryOnFailure"
    assert "remediation" not in spec["install"]
    assert spec["test"]["ignoreFailures"]


CHANGES = {
    "an argument of the engine": ("workers.groups.chat.engine.args={--enforce-eager}", True),
    "another image": ("workers.groups.chat.engine.image.tag=next", True),
    "another source": ("workers.groups.chat.model.source=s3://models/other", True),
    "a setting of the group's own": ("workers.groups.chat.env.BACKBURNER_MAX_OUTPUT_TOKENS=64", True),
    "more workers": ("workers.groups.chat.replicas=7", False),
    "a partition": ("workers.groups.chat.rollout.partition=1", False),
    "more gateways": ("gateway.replicas=7", False),
    "other labels": ("commonLabels.team=search", False),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_shapes_a_groups_answers_is_a_release_of_its_own(renders, tool, count, what):
    tool(chart_tools.helm, 4)
    change, is_another = CHANGES[what]
    file = next(file for file in case_files() if case_name(file) == "smallest")
    changed = template(4, "--values", str(file), "--set", change).stdout
    before, after = release_of(renders["smallest"].text), release_of(changed)
    assert (before != after) is is_another
    count(1, "changes that are a release of their own, or are none")


def release_of(text):
    (release,) = re.findall(r"name: BACKBURNER_WORKER_RELEASE\s+value: \"?(\w+)", text)
    return release
