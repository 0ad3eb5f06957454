"""Who may reach whom: asked of the evaluator for the rendered policies, and the evaluator against known cases."""

import pytest
from chart.network import Peer, allowed, policies_of
from chart.renders import NAMESPACE, RELEASE, case_files, case_name
from chart.workloads import workloads

from backburner.settings.queue_url import parse_queue

FILES = pytest.mark.parametrize("file", case_files(), ids=case_name)
STRANGER = Peer({"app": "other"}, "other", "10.1.0.9")
NEIGHBOUR = Peer({"app": "other"}, NAMESPACE, "10.1.0.8")
DNS = Peer({"k8s-app": "kube-dns"}, "kube-system", "10.1.0.2")
OUTSIDE = Peer(address="198.51.100.7")
METADATA = Peer(address="169.254.169.254")
SMTP_PORT = 25


def pods(render):
    """A pod of each workload, by its part; of several groups of workers each has its own."""
    found = {}
    for number, one in enumerate(workloads(render.objects)):
        found.setdefault(one.component, []).append(Peer(one.labels, NAMESPACE, f"10.0.0.{number + 1}", one.ports))
    return found


def has_policies(render):
    return any(one["kind"] == "NetworkPolicy" for one in render.objects)


@FILES
def test_every_pod_is_shut_off_both_ways_but_for_what_is_named(renders, count, file):
    render = renders[case_name(file)]
    if not has_policies(render):
        pytest.skip("no policies, as the values say")
    for peers in pods(render).values():
        for pod in peers:
            for direction in ("Ingress", "Egress"):
                assert policies_of(render.objects, pod, direction), f"{pod.labels}: no policy for {direction}"
            questions = {
                "a stranger's SSH": allowed(render.objects, STRANGER, pod, 22),
                "a neighbour's SSH": allowed(render.objects, NEIGHBOUR, pod, 22),
                "the world's SSH": allowed(render.objects, OUTSIDE, pod, 22),
                "mail to the world": allowed(render.objects, pod, OUTSIDE, SMTP_PORT),
            }
            assert [what for what, may in questions.items() if may] == [], pod.labels
            assert allowed(render.objects, pod, DNS, 53, "UDP")
            count(len(questions) + 3, "questions to the network policies")


@FILES
def test_parts_do_not_talk_to_each_other(renders, count, file):
    render = renders[case_name(file)]
    if not has_policies(render):
        pytest.skip("no policies, as the values say")
    found = pods(render)
    for source in ("gateway", "dispatcher", "worker", "bootstrap"):
        for target in ("dispatcher", "worker", "bootstrap"):
            for one in found.get(source, []):
                for other in found.get(target, []):
                    if one is other or ({source, target} == {"worker"} and is_leader_set(render)):
                        continue
                    assert not allowed(render.objects, one, other, 8000), (source, target)
                    count(1, "questions to the network policies")


def is_leader_set(render):
    return any(one["kind"] == "LeaderWorkerSet" for one in render.objects)


def test_the_smallest_installation_reaches_what_it_needs(renders, count):
    render = renders["smallest"]
    found = pods(render)
    (gateway,), (worker,), (dispatcher,) = found["gateway"], found["worker"], found["dispatcher"]
    broker = Peer({"app": "kafka"}, "queue", "10.2.0.1")
    objects = render.objects
    answers = {
        "callers reach the gateway's API": (allowed(objects, STRANGER, gateway, 8000), True),
        "callers outside reach it too": (allowed(objects, OUTSIDE, gateway, 8000), True),
        "monitoring reads the workers' metrics": (allowed(objects, STRANGER, worker, 8080), True),
        "a worker reaches the queue": (allowed(objects, worker, broker, 9092), True),
        "a dispatcher reaches the queue": (allowed(objects, dispatcher, broker, 9092), True),
        "a gateway reaches the queue": (allowed(objects, gateway, broker, 9092), True),
        "a worker reaches the store": (allowed(objects, worker, OUTSIDE, 443), True),
        "nobody calls a dispatcher's API": (allowed(objects, STRANGER, dispatcher, 8000), False),
        "a worker reaches no database": (allowed(objects, worker, broker, 5432), False),
        "a worker reaches no metadata server": (allowed(objects, worker, METADATA, 80), False),
        "a gateway reaches no metadata server": (allowed(objects, gateway, METADATA, 80), False),
        "a worker does not reach the API server's own port": (allowed(objects, worker, OUTSIDE, 6443), False),
        "the bootstrap does": (allowed(objects, found["bootstrap"][0], OUTSIDE, 6443), True),
    }
    assert {what: is_so for what, (is_so, wanted) in answers.items() if is_so is not wanted} == {}
    count(len(answers), "questions to the network policies")


def test_an_installation_that_names_who_may_call_is_closed_to_all_others(renders, count):
    render = renders["everything"]
    found, objects = pods(render), render.objects
    ingress, prometheus, keda = (
        Peer({"app": name}, name, "10.3.0.1") for name in ("ingress-nginx", "monitoring", "keda")
    )
    (gateway,), (dispatcher,), (test,) = found["gateway"], found["dispatcher"], found["test"]
    workers = {one.labels["backburner.dev/group"]: one for one in found["worker"]}
    broker, store, api = (Peer(address=address) for address in ("10.20.0.9", "10.30.0.9", "10.0.0.1"))
    answers = {
        "the ingress calls the gateway": (allowed(objects, ingress, gateway, 8000), True),
        "helm's test calls the gateway": (allowed(objects, test, gateway, 8000), True),
        "others do not": (allowed(objects, STRANGER, gateway, 8000), False),
        "the world does not": (allowed(objects, OUTSIDE, gateway, 8000), False),
        "the ingress reads no metrics": (allowed(objects, ingress, gateway, 8080), False),
        "Prometheus reads the workers' metrics": (allowed(objects, prometheus, workers["chat"], 8080), True),
        "Prometheus calls no gateway": (allowed(objects, prometheus, gateway, 8000), False),
        "KEDA reads the dispatchers' metrics": (allowed(objects, keda, dispatcher, 8080), True),
        "a worker reaches the queue where it is": (allowed(objects, workers["chat"], broker, 9093), True),
        "and nowhere else": (allowed(objects, workers["chat"], OUTSIDE, 9093), False),
        "a worker reaches the store where it is": (allowed(objects, workers["chat"], store, 9000), True),
        "and not elsewhere": (allowed(objects, workers["chat"], OUTSIDE, 9000), False),
        "a group with a source reaches it": (allowed(objects, workers["chat"], OUTSIDE, 9443), True),
        "a group without one does not": (allowed(objects, workers["managed"], OUTSIDE, 9443), False),
        "a group with servers elsewhere reaches them": (allowed(objects, workers["managed"], OUTSIDE, 8443), True),
        "a group with an engine of its own does not": (allowed(objects, workers["chat"], OUTSIDE, 8443), False),
        "a worker that looks at its node reaches the API": (allowed(objects, workers["chat"], api, 6443), True),
        "one that does not, does not": (allowed(objects, workers["managed"], api, 6443), False),
        "the bootstrap reaches the API": (allowed(objects, found["bootstrap"][0], api, 6443), True),
        "a gateway does not": (allowed(objects, gateway, api, 6443), False),
        "helm's test reaches nothing else": (allowed(objects, test, store, 9000), False),
    }
    assert {what: is_so for what, (is_so, wanted) in answers.items() if is_so is not wanted} == {}
    count(len(answers), "questions to the network policies")


def test_what_lies_behind_another_port_is_reached_where_the_values_say_so(render_with, count):
    cache = Peer(address="169.254.20.10")
    engine = Peer({"app": "vllm"}, "engines", "10.4.0.1")
    gke = Peer(address="169.254.169.252")
    workers = {
        "reclaimNotices": ["gcp"],
        "model": {"source": "", "path": "m"},
        "engine": {"kind": "openai-http", "urls": ["http://vllm.engines"]},
    }
    objects = render_with(
        {
            "networkPolicy": {
                "dnsTo": [{"ipBlock": {"cidr": "169.254.20.10/32"}}],
                "dnsPorts": [53, 5353],
                "enginePorts": [8000],
            },
            "workers": {"groups": {"chat": workers}},
        }
    )
    (worker,) = (
        Peer(each.labels, NAMESPACE, "10.0.0.9", each.ports)
        for each in workloads(objects)
        if each.component == "worker"
    )
    answers = {
        "a node's own cache answers names": (allowed(objects, worker, cache, 53, "UDP"), True),
        "and where OpenShift's does": (allowed(objects, worker, cache, 5353, "UDP"), True),
        "nobody else does": (allowed(objects, worker, DNS, 53, "UDP"), False),
        "servers behind a Service are reached at their own port": (allowed(objects, worker, engine, 8000), True),
        "Google's notices come from GKE's own server too": (allowed(objects, worker, gke, 988), True),
    }
    assert {what: is_so for what, (is_so, wanted) in answers.items() if is_so is not wanted} == {}
    count(len(answers), "questions to the network policies")


def egress(objects, component, port):
    labels = {"app.kubernetes.io/name": "backburner", "app.kubernetes.io/instance": RELEASE}
    labels |= {"app.kubernetes.io/component": component, "backburner.dev/group": "chat"}
    return allowed(objects, Peer(labels, NAMESPACE, "10.0.0.9"), OUTSIDE, port)


def test_the_token_endpoint_is_reached_by_every_part_of_the_queue(render_with):
    kafka = {"securityProtocol": "SASL_SSL", "mechanism": "OAUTHBEARER", "existingSecret": {"name": "k"}}
    objects = render_with({"kafka": kafka | {"oauth": {"tokenUrl": "https://login.example.com:8443/token"}}})
    reached = {part: egress(objects, part, 8443) for part in ("gateway", "dispatcher", "worker", "bootstrap", "test")}
    assert reached == {"gateway": True, "dispatcher": True, "worker": True, "bootstrap": True, "test": False}


@pytest.mark.parametrize("endpoint", ["http://elasticmq:9324", "http%3A%2F%2Felasticmq%3A9324"])
def test_the_queues_endpoint_is_reached_escaped_or_not(render_with, endpoint):
    url = f"sqs://us-east-1?endpoint={endpoint}"
    assert parse_queue(url).endpoint == "http://elasticmq:9324"
    assert egress(render_with({"queue": {"url": url}}), "dispatcher", 9324)


def test_the_issuers_keys_are_reached_at_a_port_of_their_own(render_with):
    gateway = {"oidc": {"issuer": "https://id.example.com", "audience": ["batch"]}}
    gateway["edge"] = {"jwksUri": "https://id.example.com:8443/keys"}
    objects = render_with({"gateway": gateway})
    assert [egress(objects, "gateway", port) for port in (443, 8443, 9443)] == [True, True, False]


# --- the evaluator itself -------------------------------------------------------------------------------------------

WEB = Peer({"app": "web"}, "a", "10.0.0.1", {"http": 8000})
CLIENT = Peer({"app": "client"}, "a", "10.0.0.2")


def policy(namespace="a", **spec):
    return {"kind": "NetworkPolicy", "metadata": {"name": "p", "namespace": namespace}, "spec": spec}


@pytest.mark.parametrize(
    ("rules", "source", "port", "may"),
    [
        ([], CLIENT, 8000, False),
        ([{}], STRANGER, 1, True),
        ([{"ports": [{"port": "http"}]}], OUTSIDE, 8000, True),
        ([{"ports": [{"port": "http"}]}], OUTSIDE, 8001, False),
        ([{"ports": [{"port": 8000, "endPort": 8002}]}], OUTSIDE, 8002, True),
        ([{"ports": [{"port": 8000, "protocol": "UDP"}]}], OUTSIDE, 8000, False),
        ([{"from": [{"podSelector": {}}]}], CLIENT, 8000, True),
        ([{"from": [{"podSelector": {}}]}], STRANGER, 8000, False),
        ([{"from": [{"namespaceSelector": {}}]}], STRANGER, 8000, True),
        ([{"from": [{"namespaceSelector": {}}]}], OUTSIDE, 8000, False),
        ([{"from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "x"}}}]}], STRANGER, 8000, False),
        ([{"from": [{"ipBlock": {"cidr": "198.51.100.0/24"}}]}], OUTSIDE, 8000, True),
        ([{"from": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["198.51.100.0/24"]}}]}], OUTSIDE, 8000, False),
    ],
)
def test_the_evaluator_answers_as_kubernetes_defines_it(rules, source, port, may):
    objects = [policy(podSelector={"matchLabels": {"app": "web"}}, policyTypes=["Ingress"], ingress=rules)]
    assert allowed(objects, source, WEB, port) is may


def test_both_ends_have_to_allow_a_connection():
    shut = policy(podSelector={"matchLabels": {"app": "client"}}, policyTypes=["Egress"])
    assert allowed([], CLIENT, WEB, 8000)
    assert not allowed([shut], CLIENT, WEB, 8000)
    assert allowed([policy("b", podSelector={}, policyTypes=["Egress"])], CLIENT, WEB, 8000)
