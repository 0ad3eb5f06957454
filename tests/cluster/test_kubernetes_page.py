"""The commands of docs/kubernetes.md, run as they stand there, and what comes of them."""

import json
import os

import pytest
import yaml
from harness.cluster import ROOT, CommandFailed
from harness.pages import blocks, headings_with_commands

_PAGE = "kubernetes.md"
_CHAT = "chat"
_COMMANDS_SECONDS = 300
_ROLLED_OUT = "kubectl -n $NAMESPACE rollout status --timeout=5m statefulset/$CHAT"
_JOB_REQUESTS = 200
_INSTALL = "From an empty cluster to the first result"
_STEPS = "Change a group in steps"
_SCALE = "More workers, and fewer"
_ELSEWHERE = {
    "Models, and warm workers": "test_prefetch.py: a restricted namespace lets no folder of a node in",
    "Drain a node": "test_disruptions.py drains one",
    "Lost nodes": "test_disruptions.py loses one",
}


@pytest.fixture(scope="module")
def page(deploy, tmp_path_factory):
    """Runs the blocks of commands under a heading, in a folder with the values that the page speaks of."""
    with deploy("page") as made:
        folder = tmp_path_factory.mktemp("page")
        (folder / "helm").symlink_to(ROOT / "helm")
        values = made.values({_CHAT: made.group(replicas=2, rollout={"minReadySeconds": 0})})
        change = {"workers": {"groups": {_CHAT: {"env": {"BACKBURNER_FAKE_LATENCY_SECONDS": "0.06"}}}}}
        (folder / "values.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
        (folder / "change.yaml").write_text(yaml.safe_dump(change), encoding="utf-8")
        yield _Page(made, folder)


class _Page:
    def __init__(self, deployment, folder):
        self.deployment, self.folder = deployment, folder

    def run(self, commands, **variables):
        made = self.deployment
        given = {"NAMESPACE": made.name, "RELEASE": made.release, "CHAT": f"{made.fullname}-worker-{_CHAT}"}
        text = f"cd {self.folder}\n{commands}"
        env = {**os.environ, **given, **variables}
        return made.cluster.run("bash", "-euo", "pipefail", "-c", text, env=env, seconds=_COMMANDS_SECONDS).stdout

    def releases(self):
        """The release of each worker, by its ordinal."""
        pods = self.deployment.pods(group=_CHAT)
        found = {one["metadata"]["name"]: one["metadata"]["labels"]["backburner.dev/release"] for one in pods}
        return [found[name] for name in sorted(found)]

    def answer_a_job(self):
        asked = self.folder / "requests.jsonl"
        lines = (
            {"custom_id": f"r{number}", "method": "POST", "url": "/v1/chat/completions", "body": _body(number)}
            for number in range(_JOB_REQUESTS)
        )
        asked.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
        self.deployment.clients.backburner("submit", str(asked), "--wait")

    def tells_apart(self, compare, old, new):
        """Whether the comparison has answers of both; a member that has just come may get none of the first jobs."""
        self.answer_a_job()
        try:
            printed = self.run(compare)
        except CommandFailed as undecided:
            if "each side needs 1" in str(undecided):
                return False
            raise
        return old in printed and new in printed


def _body(number):
    return {"model": "fake", "messages": [{"role": "user", "content": str(number)}]}


def test_every_command_of_the_page_is_run(figures):
    tested = {_INSTALL, _STEPS, _SCALE}
    assert set(headings_with_commands(_PAGE)) == tested | _ELSEWHERE.keys()


def test_it_is_installed_and_tested_by_the_commands_of_the_page(page, figures):
    install, test = blocks(_PAGE, _INSTALL)
    page.run(install)
    printed = page.run(test)
    assert "rollout status" in printed
    assert "Succeeded" in printed
    figures.holds("the page's commands install it, and `helm test` answers a request of each model")


def test_a_group_changes_in_steps_and_goes_back(page, figures):
    part, compare, rest, back = blocks(_PAGE, _STEPS)
    page.run(_ROLLED_OUT)
    before = page.releases()
    assert len(set(before)) == 1
    page.run(part)
    old, new = page.releases()
    assert [old] * 2 == before
    assert new != old
    page.deployment.cluster.until(lambda: page.tells_apart(compare, old, new), "answers of both releases")
    page.run(back)
    page.run(_ROLLED_OUT)
    assert page.releases() == before
    page.run(rest)
    page.run(_ROLLED_OUT)
    assert page.releases() == [new, new]
    figures.holds("a group changes pod by pod, `backburner canary` tells its releases apart, a rollback undoes a step")


def test_fewer_workers_are_a_decision(page, figures):
    (scale,) = blocks(_PAGE, _SCALE)
    page.run(scale)
    page.deployment.cluster.until(lambda: len(page.releases()) == 1, "the end of the second worker")
    figures.holds("a lower `replicas` takes workers away, one drained after the other")
