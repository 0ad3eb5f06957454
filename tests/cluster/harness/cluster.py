"""A real Kubernetes for the tests: the script that makes one in network namespaces, or a cluster that kubeconfig names.

What only the script can do (a node's power, a kubelet that hangs, simulated nodes) raises `NotHere` on the other.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
FOLDER_VARIABLE = "BACKBURNER_TEST_CLUSTER"
KIND_VARIABLE = "CLUSTER"
_DEFAULT_FOLDER = ROOT.parent / "shared" / "kube"
_COMMAND_SECONDS = 120.0
_UP_SECONDS = 300.0
_PATIENCE_SECONDS = 90.0
_POLL_SECONDS = 0.25
_MAX_SHOWN_CHARACTERS = 4000

GPU_LABEL = {"backburner.dev/test-pool": "gpu"}
"""Of the nodes that stand for a pool of GPU nodes."""
GPUS = 16
"""Of each such node."""
HOST = "10.199.0.1"
"""Where pods reach what the tests start beside the cluster."""


class ClusterMissing(Exception):
    """There is no cluster to test on, and why."""


class ServerMissing(Exception):
    """Broker or store that tests need beside a cluster is not there, and what to set."""


class NotHere(Exception):
    """This kind of cluster cannot do that."""


class CommandFailed(AssertionError):
    """A command that had to succeed did not; it holds what the command printed."""


class Cluster:
    """Commands against one cluster. Everything raises `CommandFailed` with the command's own words."""

    def __init__(self, script: Path | None) -> None:
        """`script` is the program that owns the cluster; None: it is whatever kubeconfig names."""
        self._script = script

    @property
    def is_own(self) -> bool:
        """Whether the tests made it, so that nodes may be lost and servers started beside it."""
        return self._script is not None

    @property
    def program(self) -> Path:
        """The script. Raises `NotHere` on a cluster that is somebody's."""
        if self._script is None:
            raise NotHere("this cluster is somebody's")
        return self._script

    # --- commands -----------------------------------------------------------------------------------------------

    def inside(self, *command: str | Path) -> list[str]:
        """The command, as it has to be run to be in the cluster's network, with kubectl and helm on PATH."""
        words = [str(word) for word in command]
        return [str(self._script), "exec", *words] if self._script is not None else words

    def run(
        self,
        *command: str | Path,
        stdin: str | None = None,
        check: bool = True,
        seconds: float = _COMMAND_SECONDS,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the cluster's network."""
        return _run(self.inside(*command), stdin=stdin, check=check, seconds=seconds, env=env)

    def start(self, *command: str | Path, log: Path, env: Mapping[str, str] | None = None) -> "subprocess.Popen[bytes]":
        """Start a program in the cluster's network; its output goes into the file."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            return subprocess.Popen(
                self.inside(*command),
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )

    def script(self, *words: str | Path, seconds: float = _UP_SECONDS, env: Mapping[str, str] | None = None) -> str:
        """A command of the script's own. Raises `NotHere` on a cluster that is somebody's."""
        return _run([str(self.program), *map(str, words)], seconds=seconds, env=env).stdout

    def helm(self, *words: str | Path, check: bool = True, seconds: float = _UP_SECONDS) -> str:
        """What helm prints."""
        return self.run("helm", *words, check=check, seconds=seconds).stdout

    def kubectl(
        self, *words: str | Path, stdin: str | None = None, check: bool = True, seconds: float = _COMMAND_SECONDS
    ) -> str:
        """What kubectl prints."""
        return self.run("kubectl", *words, stdin=stdin, check=check, seconds=seconds).stdout

    # --- objects ------------------------------------------------------------------------------------------------

    def get(self, *words: str) -> dict[str, Any]:
        """The object, or the list, that `kubectl get` names so."""
        found: dict[str, Any] = json.loads(self.kubectl("get", *words, "-o", "json"))
        return found

    def items(self, *words: str) -> list[dict[str, Any]]:
        """The objects that `kubectl get` lists so."""
        found: list[dict[str, Any]] = self.get(*words)["items"]
        return found

    def apply(self, *objects: Mapping[str, Any], namespace: str | None = None) -> None:
        """Make or change the objects."""
        several = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        self.kubectl("apply", "-f", "-", *(("-n", namespace) if namespace else ()), stdin=several)

    def until(
        self,
        condition: Callable[[], Any],
        what: str,
        *,
        seconds: float = _PATIENCE_SECONDS,
        every: float = _POLL_SECONDS,
    ) -> Any:
        """What the condition gives once that is true. Fails after that many seconds, and says what never came."""
        deadline = time.monotonic() + seconds
        while True:
            found = condition()
            if found:
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"within {seconds:.0f} s never: {what}")
            time.sleep(every)

    # --- what cuts power ----------------------------------------------------------------------------------------

    def lose(self, node: int) -> None:
        """Cut the node's power: its processes and pods are gone, and nothing says goodbye."""
        self.script("lose", str(node))

    def bring_back(self, node: int) -> None:
        """A new node of that number, as when a machine is replaced, with the pool's label and GPUs."""
        self.script("node", str(node))
        make_gpu_node(self, node)

    def kill_container(self, node: str, container: str) -> None:
        """SIGKILL to what runs in a container of that node."""
        folder = Path(self.run("printenv", "KUBECONFIG").stdout.strip()).parent
        socket = folder / node / "containerd.sock"
        self.run("ctr", "-a", socket, "-n", "k8s.io", "tasks", "kill", "-s", "SIGKILL", container)

    @contextmanager
    def paused(self, part: str) -> Iterator[None]:
        """The part, such as `kubelet-1`, hangs while the block lasts."""
        self.script("pause", part)
        try:
            yield
        finally:
            self.script("resume", part)


def make_gpu_node(cluster: Cluster, number: int) -> None:
    """The tests' own node of that number offers GPUs, which nothing backs, and is of the workers' pool."""
    cluster.script("gpus", str(GPUS), str(number))
    label, value = next(iter(GPU_LABEL.items()))
    cluster.kubectl("label", "node", f"node-{number}", f"{label}={value}", "--overwrite")


def find_cluster() -> Cluster:
    """The cluster to test on, not up yet. Raises `ClusterMissing` with what to do."""
    kind = os.environ.get(KIND_VARIABLE)
    if kind == "kubeconfig":
        return Cluster(None)
    if kind:
        raise ClusterMissing(f"{KIND_VARIABLE} is {kind!r}; the one kind that it may name is kubeconfig")
    named = os.environ.get(FOLDER_VARIABLE)
    script = (Path(named) if named else _DEFAULT_FOLDER) / "cluster"
    if not os.access(script, os.X_OK):
        raise ClusterMissing(
            f"there is no real Kubernetes here: no program {script}; set {FOLDER_VARIABLE} to the folder that has "
            f"`cluster`, or {KIND_VARIABLE}=kubeconfig to judge a cluster of yours"
        )
    if os.geteuid() != 0:
        raise ClusterMissing(f"{script} makes network namespaces, which needs root; run this as root")
    return Cluster(script.absolute())


@contextmanager
def running(cluster: Cluster, *, nodes: int) -> Iterator[Cluster]:
    """The cluster, up with that many real nodes, and down after the block; somebody's is left as it is."""
    if not cluster.is_own:
        cluster.kubectl("version")
        yield cluster
        return
    cluster.script("up")
    try:
        for number in range(2, nodes + 1):
            cluster.script("node", str(number))
        yield cluster
    finally:
        cluster.script("down")


def _run(
    command: Sequence[str],
    *,
    stdin: str | None = None,
    check: bool = True,
    seconds: float,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    try:
        done = subprocess.run(
            command,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            env={**os.environ, **(env or {})},
        )
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(f"{' '.join(command)}: not done in {seconds:.0f} s") from error
    if check and done.returncode != 0:
        words = f"{done.stdout}\n{done.stderr}".strip()[-_MAX_SHOWN_CHARACTERS:]
        raise CommandFailed(f"{' '.join(command)}: ended with {done.returncode}\n{words}")
    return done
