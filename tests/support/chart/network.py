"""Who may reach whom, by the NetworkPolicies of a render: an evaluator, since few test clusters enforce any."""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from chart.workloads import Object, selects


@dataclass(frozen=True)
class Peer:
    """One end of a connection: a pod, or an address outside the cluster."""

    labels: Mapping[str, str] = field(default_factory=dict)
    namespace: str = ""
    """The pod's namespace; empty for what is outside."""
    address: str = "198.51.100.7"
    ports: Mapping[str, int] = field(default_factory=dict)
    """The pod's ports by name, which policies may use."""

    @property
    def namespace_labels(self) -> dict[str, str]:
        """The labels of its namespace."""
        return {"kubernetes.io/metadata.name": self.namespace}


def allowed(objects: Iterable[Object], source: Peer, target: Peer, port: int, protocol: str = "TCP") -> bool:
    """Whether a connection may be made: both ends' policies have to allow it, and who has none is open."""
    policies = [one for one in objects if one["kind"] == "NetworkPolicy"]
    served = target, port, protocol
    return _one_way(policies, "Egress", source, target, served) and _one_way(
        policies, "Ingress", target, source, served
    )


def policies_of(objects: Iterable[Object], pod: Peer, direction: str) -> list[Object]:
    """The policies that apply to a pod in that direction, `Ingress` or `Egress`."""
    return [
        one
        for one in objects
        if one["kind"] == "NetworkPolicy"
        and one["metadata"].get("namespace") == pod.namespace
        and direction in _directions(one["spec"])
        and selects(one["spec"].get("podSelector", {}), dict(pod.labels))
    ]


def _directions(spec: Object) -> list[str]:
    """As the API server fills them in."""
    said: list[str] | None = spec.get("policyTypes")
    return said if said is not None else ["Ingress", *(["Egress"] if spec.get("egress") else [])]


def _one_way(policies: list[Object], direction: str, pod: Peer, other: Peer, served: tuple[Peer, int, str]) -> bool:
    if not pod.namespace:
        return True
    applying = policies_of(policies, pod, direction)
    word, peers = ("ingress", "from") if direction == "Ingress" else ("egress", "to")
    return not applying or any(
        _peers_match(rule.get(peers), policy["metadata"]["namespace"], other)
        and _ports_match(rule.get("ports"), *served)
        for policy in applying
        for rule in policy["spec"].get(word) or []
    )


def _peers_match(peers: list[Object] | None, own: str, other: Peer) -> bool:
    return not peers or any(_peer_matches(one, own, other) for one in peers)


def _peer_matches(peer: Object, own: str, other: Peer) -> bool:
    if block := peer.get("ipBlock"):
        address = ipaddress.ip_address(other.address)
        inside = address in ipaddress.ip_network(block["cidr"])
        return inside and not any(address in ipaddress.ip_network(one) for one in block.get("except", []))
    if not other.namespace:
        return False
    if "namespaceSelector" in peer:
        if not selects(peer["namespaceSelector"], other.namespace_labels):
            return False
    elif other.namespace != own:
        return False
    return "podSelector" not in peer or selects(peer["podSelector"], dict(other.labels))


def _ports_match(ports: list[Object] | None, served: Peer, port: int, protocol: str) -> bool:
    return not ports or any(_port_matches(one, served, port, protocol) for one in ports)


def _port_matches(said: Object, served: Peer, port: int, protocol: str) -> bool:
    number: Any = said.get("port")
    if said.get("protocol", "TCP") != protocol:
        return False
    if isinstance(number, str):
        number = served.ports.get(number)
        return number == port
    return number is None or number <= port <= said.get("endPort", number)
