"""An upgrade with work in flight, and the way back: what one release writes, its neighbour reads (docs/upgrading.md).

The earlier release's worker is an image of its own, run by plain objects, since it knew no chart; its dispatcher and
its client run on this machine, in the cluster's network.
"""

import sys

import pytest
from harness import earlier_release
from harness.cluster import GPU_LABEL, ROOT
from harness.deployment import QUICK
from harness.process import stopped

_COUNT = 800
_BACKLOG = "200"
"""Of the dispatchers: most of a job is still unsent when the releases change."""
_SOME = 100
_GRACE_SECONDS = 60
_OLD = "earlier-worker"


@pytest.fixture(scope="module")
def earlier(tmp_path_factory, figures, cluster, images):
    if not cluster.is_own:
        figures.leave_out("an upgrade across releases: the earlier one's images are built from the history")
        pytest.skip("not on somebody's cluster")
    try:
        found = earlier_release.unpack(tmp_path_factory.mktemp("earlier") / "source")
    except earlier_release.NoHistory as error:
        figures.leave_out(f"an upgrade across releases: {error}")
        pytest.skip(str(error))
    images.ensure(["worker"], tag=earlier_release.TAG, source=found.folder)
    return found


@pytest.fixture(scope="module")
def upgrade(deploy):
    with deploy("upgrade") as made:
        made.clients.backburner("topics", "ensure", "--pool", "fake", part="bootstrap")
        yield made


class Releases:
    """Both releases on one deployment; each can be there or not."""

    def __init__(self, made, earlier, folder):
        self.made, self._earlier, self._folder = made, earlier, folder

    def submit_by_earlier(self, job):
        self._run_earlier("submit.py", f"{job}={_COUNT}", "--stored")

    def _run_earlier(self, program, *words):
        command = (sys.executable, ROOT / "tests/cluster/programs" / program, *words)
        self.made.cluster.run(*command, env=self._settings("producer"))

    def dispatch_by_earlier(self):
        """A context in which the earlier release's dispatcher runs."""
        settings = {**self._settings("dispatcher"), **QUICK, "BACKBURNER_DISPATCH_BACKLOG": _BACKLOG}
        settings |= {"BACKBURNER_HTTP_PORT": "0", "BACKBURNER_DISPATCH_CLAIM_SECONDS": "5"}
        settings |= {"BACKBURNER_DRAIN_SECONDS": "5", "BACKBURNER_FREEZE_GRACE_SECONDS": str(_GRACE_SECONDS)}
        command = (sys.executable, "-m", "backburner.dispatcher")
        return stopped(self.made.cluster.start(*command, log=self._folder / "dispatcher.log", env=settings))

    def _settings(self, part):
        grace = {"BACKBURNER_FREEZE_GRACE_SECONDS": str(_GRACE_SECONDS)}
        return self._earlier.settings(self.made.clients.settings(part)) | grace

    def start_later(self):
        """Install this release by its chart."""
        group = self.made.group(
            replicas=2, env={"BACKBURNER_FAKE_LATENCY_SECONDS": "0.3", "BACKBURNER_CONCURRENCY": "4"}
        )
        values = self.made.values(
            {"later": group},
            gateway={"enabled": False},
            dispatcher={"backlog": int(_BACKLOG)},
            freezeGraceSeconds=_GRACE_SECONDS,
            tests={"enabled": False},
            bootstrap={"createAdminKey": False},
        )
        self.made.install(values)

    def stop_later(self):
        self.made.cluster.helm("uninstall", self.made.release, "-n", self.made.name, "--wait")
        self.made.cluster.until(lambda: not self.made.pods("worker"), "the end of this release's workers")

    def start_earlier(self):
        self.made.cluster.apply(_earlier_worker(self.made), namespace=self.made.name)
        self.made.kubectl("rollout", "status", f"deployment/{_OLD}", "--timeout=120s", seconds=130)

    def stop_earlier(self):
        self.made.kubectl("delete", "deployment", _OLD, "--cascade=foreground", "--wait=true")

    def answered(self, job):
        """The workers that have answered something of the job, and how much all have."""
        jobs = f"{self.made.name}/tenants/default/jobs/{job}/"
        found = self.made.clients.program("read_results", self.made.store.bucket, jobs, self.made.store.endpoint)
        return {worker for _, worker in found.values()}, len(found)

    def half_done(self, job):
        self.made.cluster.until(lambda: self.answered(job)[1] >= _SOME, f"{_SOME} answers of {job}", every=1)
        assert self.answered(job)[1] < _COUNT

    def judge(self, *jobs):
        """The checker's verdict, once all of these are frozen."""
        words = [f"{job}={_COUNT}" for job in jobs]
        return self.made.clients.program("judge", "fake", "240", *words, part="admin", seconds=400)


@pytest.fixture
def releases(upgrade, earlier, tmp_path):
    return Releases(upgrade, earlier, tmp_path)


def test_a_job_that_the_earlier_release_queued_and_half_ran_is_finished_by_this_one(releases, figures):
    with releases.dispatch_by_earlier():
        releases.start_earlier()
        releases.submit_by_earlier("forward")
        releases.half_done("forward")
        # As in a rolling upgrade, both are there for a while.
        releases.start_later()
    releases.stop_earlier()
    verdict = releases.judge("forward")
    assert verdict["breaches"] == []
    assert verdict["visible"] == _COUNT
    workers, _ = releases.answered("forward")
    assert any("later" in worker for worker in workers)
    assert any("later" not in worker for worker in workers)
    figures.holds(f"a job of {_COUNT} queued and half run by {earlier_release.COMMIT} is finished by this release")


def test_a_job_that_this_release_queued_and_half_ran_is_finished_by_the_earlier_one(releases, figures):
    releases.start_later()
    releases.made.clients.program("submit", f"back={_COUNT}", "--stored")
    releases.half_done("back")
    with releases.dispatch_by_earlier():
        releases.start_earlier()
        releases.stop_later()
        verdict = releases.judge("forward", "back")
    assert verdict["breaches"] == []
    assert verdict["visible"] == 2 * _COUNT
    workers, _ = releases.answered("back")
    assert any("later" in worker for worker in workers)
    assert any("later" not in worker for worker in workers)
    figures.holds(f"the other way around: {earlier_release.COMMIT} finishes what this release began")


def _earlier_worker(made):
    """The earlier release's workers as a Deployment, with the settings that it knew."""
    store, broker = made.store, made.broker
    plain = {
        **QUICK,
        "BACKBURNER_ENGINE": "fake",
        "BACKBURNER_MODEL": "fake",
        "BACKBURNER_FAKE_LATENCY_SECONDS": "0.3",
        "BACKBURNER_CONCURRENCY": "4",
        "BACKBURNER_KAFKA_SESSION_SECONDS": "6",
        "BACKBURNER_DRAIN_SECONDS": "10",
        "BACKBURNER_FREEZE_GRACE_SECONDS": str(_GRACE_SECONDS),
        "BACKBURNER_QUEUE_URL": broker.queue_url,
        "BACKBURNER_PREFIX": made.name,
        "BACKBURNER_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "BACKBURNER_KAFKA_SECURITY_CA_FILE": "/authorities/kafka.crt",
        "BACKBURNER_STORE_URL": f"s3://{store.bucket}/{made.name}",
        "BACKBURNER_STORE_ENDPOINT": store.endpoint,
        "AWS_REGION": store.region,
        "SSL_CERT_FILE": "/authorities/store.crt",
        "HOME": "/tmp",
    }
    secret = {
        "BACKBURNER_KAFKA_SECURITY_USERNAME": ("kafka-worker", "username"),
        "BACKBURNER_KAFKA_SECURITY_PASSWORD": ("kafka-worker", "password"),
        "AWS_ACCESS_KEY_ID": ("store", "access-key"),
        "AWS_SECRET_ACCESS_KEY": ("store", "secret-key"),
    }
    env = [{"name": name, "value": value} for name, value in plain.items()]
    env += [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": source, "key": key}}}
        for name, (source, key) in secret.items()
    ]
    container = {
        "name": "worker",
        "image": made.images.name("worker", earlier_release.TAG),
        "imagePullPolicy": "Never",
        "env": env,
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 2},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "authorities", "mountPath": "/authorities"}],
    }
    spec = {
        "terminationGracePeriodSeconds": 40,
        "enableServiceLinks": False,
        "nodeSelector": GPU_LABEL,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "authorities", "configMap": {"name": "authorities"}}],
    }
    labels = {"app": _OLD}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": _OLD},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }
