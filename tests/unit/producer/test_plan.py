"""The plan of a redrive or retry as it is stored: older clients read and write the same field."""

import json

import pytest

from backburner.dead_letters.plan import PlanKind, RedrivePlan
from backburner_schemas.indexset import IndexSet
from backburner_schemas.job import JobManifest

MANIFEST = JobManifest(id="new", tenant="default", created_at=1.0, deadline=2.0, parent="old")


@pytest.mark.parametrize(("kind", "retry"), [(PlanKind.REDRIVE, False), (PlanKind.RETRY, True)])
def test_the_kind_is_stored_as_whether_it_is_a_retry(kind, retry):
    plan = RedrivePlan(manifest=MANIFEST, letters=IndexSet.of([1, 2]), kind=kind)
    stored = plan.model_dump_json()
    assert json.loads(stored) == {
        "v": 1,
        "manifest": MANIFEST.model_dump(mode="json"),
        "letters": "1-2",
        "retry": retry,
    }
    assert RedrivePlan.model_validate_json(stored) == plan


def test_a_plan_that_does_not_say_is_a_redrive():
    stored = {"manifest": MANIFEST.model_dump(mode="json"), "letters": "2"}
    assert RedrivePlan.model_validate_json(json.dumps(stored)).kind is PlanKind.REDRIVE
