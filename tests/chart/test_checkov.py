"""checkov's rules over every render; what is passed over, where, and why."""

import json
import re
import subprocess

import chart_tools
from chart.renders import case_files

PASSED_OVER = {
    "CKV_K8S_43": (r".*", "digests are the user's to set: test_every_image_can_be_pinned_by_its_digest"),
    "CKV_K8S_15": (r".*", "a value; Always makes a registry that is away stop a pod that has its image on the node"),
    "CKV_K8S_11": (
        r".*-(gateway|dispatcher|bootstrap-\w+|smoke|prefetch-\w+)",
        "a CPU limit throttles a part that has CPU to spare beside it; workers have whole CPUs",
    ),
    "CKV_K8S_35": (
        r".*",
        "SDKs of stores and brokers read credentials from variables; Secrets come by reference alone",
    ),
    "CKV_K8S_38": (
        r"Job\..*-bootstrap-\w+|StatefulSet\..*-worker-chat",
        "the bootstrap writes a Secret, and a worker that looks for its node's end reads the node",
    ),
    "CKV_K8S_8": (r"Pod\..*-smoke", "what runs to its end has no probes"),
    "CKV_K8S_9": (r"Pod\..*-smoke", "what runs to its end has no probes"),
    "CKV_K8S_18": (r"StatefulSet\..*-worker-chat", "a value, off unless links between GPUs need it"),
}
"""Rules that some objects break on purpose: which objects, by their names, and why."""


def test_checkov_finds_nothing_but_what_has_its_reason(renders, tool, count, tmp_path):
    python = tool(chart_tools.python)
    for render in renders.values():
        (tmp_path / f"{render.name}.yaml").write_text(render.own_text)
    command = [str(python), "-m", "checkov.main", "--directory", str(tmp_path), "--framework", "kubernetes"]
    command += ["--quiet", "--compact", "--output", "json", "--skip-download"]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.returncode in {0, 1}, said.stderr
    report = json.loads(said.stdout)
    failed = report["results"]["failed_checks"]
    unexplained = {
        f"{one['resource']}: {one['check_id']} {one['check_name']}"
        for one in failed
        if not re.fullmatch(PASSED_OVER.get(one["check_id"], ("", ""))[0], one["resource"])
    }
    assert unexplained == set()
    assert PASSED_OVER.keys() <= {one["check_id"] for one in failed}, (
        "a rule that is passed over finds nothing any more"
    )
    assert report["summary"]["parsing_errors"] == 0
    count(report["summary"]["passed"], f"checks of checkov, on {len(case_files())} renders")
