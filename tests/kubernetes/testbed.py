"""A Kubernetes to test on: yours, the one that a command makes, or kind; with the image in it.

    KUBECONFIG        a cluster that is there; HAULOUT_IMAGE names an image that its nodes can get, and HAULOUT_TESTBED,
                      if it was made by one, how to break it
    HAULOUT_TESTBED   a command: `up --nodes N` prints a kubeconfig, `load IMAGE.tar`, `path` prints a folder of
                      programs, `down`
    kind              when it and docker are there

`make cluster` and `make cluster-down` are this file's `up` and `down`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "haulout"
IMAGE = "localhost/haulout:dev"
ARCHIVE = ROOT / "build" / "haulout.tar"
KIND_NAME = "haulout"
UPGRADE_FROM = Path(__file__).with_name("upgrade-from")


class NoCluster(Exception):
    """Nothing to test on; says what is missing."""


@dataclass(frozen=True)
class Earlier:
    """A release of before: its chart, its image, and that as a file."""

    chart: Path
    image: str
    archive: Path


@dataclass(frozen=True)
class Cluster:
    """Where kubectl and helm go, and what to install."""

    kubeconfig: str
    image: str
    pull_policy: str
    programs: str  # folder with kubectl and helm, in front of PATH; may be empty
    archive: Path = ARCHIVE  # the image as a file
    testbed: str = ""  # the command that made it, where it can break machines; empty elsewhere

    def environment(self) -> dict[str, str]:
        path = os.environ["PATH"]
        return {
            **os.environ,
            "KUBECONFIG": self.kubeconfig,
            "PATH": f"{self.programs}:{path}" if self.programs else path,
        }

    def run(self, *command: str, check: bool = True, timeout: float = 300, text: str | None = None) -> str:
        """A command against this cluster; its output."""
        done = subprocess.run(
            command, env=self.environment(), input=text, capture_output=True, text=True, timeout=timeout, check=False
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout if check else done.stdout + done.stderr

    def load_again(self, tag: str) -> str:
        """The same image under another tag on every machine: a release that brings nothing new; its tag."""
        name = f"{self.image.rpartition(':')[0]}:{tag}"
        for machine in self.run("kubectl", "get", "nodes", "-o", "name").split():
            ctr = [f"{self.programs}/ctr", "-n", "k8s.io", "images", "tag", "--force", self.image, name]
            self.break_machine("in-node", machine.rpartition("/")[2], *ctr)
        return tag

    def load(self, archive: Path) -> None:
        """An image on every machine."""
        if self.testbed:
            subprocess.run([self.testbed, "load", str(archive)], check=True, capture_output=True)
        else:
            subprocess.run(["kind", "load", "image-archive", str(archive), "--name", KIND_NAME], check=True)

    def bring_back(self, machine: str) -> None:
        """A machine that was killed, as a new one: no image is on it but what is put there."""
        self.break_machine("start-node", machine)
        ctr = [f"{self.programs}/ctr", "-n", "k8s.io", "images", "import", str(self.archive)]
        self.break_machine("in-node", machine, *ctr)

    def break_machine(self, *command: str) -> None:
        """A command of the testbed: `kill-node n2`, `start-node n2`, `freeze-api`, `thaw-api`, `in-node n1 …`."""
        subprocess.run([self.testbed, *command], check=True, capture_output=True)


def find_cluster(nodes: int = 1) -> Cluster:
    """Bring up what there is."""
    given = os.environ.get("KUBECONFIG")
    testbed = os.environ.get("HAULOUT_TESTBED")
    if given and os.environ.get("HAULOUT_IMAGE"):
        programs = _last_line(testbed, "path") if testbed else ""
        archive = Path(os.environ.get("HAULOUT_ARCHIVE") or ARCHIVE)
        return Cluster(given, os.environ["HAULOUT_IMAGE"], "IfNotPresent", programs, archive, testbed or "")
    if testbed:
        archive = build_image()
        kubeconfig = given or _last_line(testbed, "up", "--nodes", str(nodes))
        subprocess.run([testbed, "load", str(archive)], check=True, capture_output=True)
        return Cluster(kubeconfig, IMAGE, "Never", _last_line(testbed, "path"), archive, testbed)
    if shutil.which("kind") and shutil.which("docker"):
        archive = build_image()
        if KIND_NAME not in _last_lines("kind", "get", "clusters").split():
            subprocess.run(["kind", "create", "cluster", "--name", KIND_NAME, "--wait", "120s"], check=True)
        subprocess.run(["kind", "load", "image-archive", str(archive), "--name", KIND_NAME], check=True)
        kubeconfig = ROOT / "build" / "kubeconfig"
        kubeconfig.write_text(_last_lines("kind", "get", "kubeconfig", "--name", KIND_NAME))
        return Cluster(str(kubeconfig), IMAGE, "Never", "", archive)
    raise NoCluster(
        "no Kubernetes to test on: set KUBECONFIG and HAULOUT_IMAGE, or HAULOUT_TESTBED, or install kind and docker"
    )


def build_image() -> Path:
    """The image of this tree as a file."""
    ready = os.environ.get("HAULOUT_ARCHIVE")
    if ready:
        return Path(ready)
    _build(ROOT, IMAGE, ARCHIVE)
    return ARCHIVE


def build_earlier() -> Earlier:
    """The release that `upgrade-from` names, from the history of this repository.

    Raises:
        NoCluster: the commit is not here.
    """
    commit = UPGRADE_FROM.read_text().split()[0]
    tree = ARCHIVE.parent / f"earlier-{commit[:12]}"
    earlier = Earlier(tree / "helm" / "haulout", f"{IMAGE.rpartition(':')[0]}:{commit[:12]}", tree.with_suffix(".tar"))
    if not tree.exists():
        tree.mkdir(parents=True)
        packed = subprocess.run(["git", "-C", str(ROOT), "archive", commit], capture_output=True, check=False)
        if packed.returncode:
            tree.rmdir()
            raise NoCluster(f"commit {commit} of {UPGRADE_FROM.name} is not in this clone: git fetch --unshallow")
        subprocess.run(["tar", "-x", "-C", str(tree)], input=packed.stdout, check=True)
    if not earlier.archive.exists():
        _build(tree, earlier.image, earlier.archive)
    return earlier


def _build(tree: Path, image: str, archive: Path) -> None:
    archive.parent.mkdir(exist_ok=True)
    environment = {**os.environ, "IMAGE": image, "ARCHIVE": str(archive)}
    if "BASE" not in environment and os.environ.get("HAULOUT_TESTBED"):  # no registry: a base of our own
        environment["BASE"] = _last_line(str(ROOT / ".ci" / "image-base"))
    subprocess.run([tree / ".ci" / "image"], check=True, env=environment, stdout=subprocess.DEVNULL)


def install_arguments(cluster: Cluster, image: str = "") -> list[str]:
    """Values that name the image, the one of this tree unless told otherwise."""
    repository, _, tag = (image or cluster.image).rpartition(":")
    values = {"image.repository": repository, "image.tag": tag, "image.pullPolicy": cluster.pull_policy}
    return [part for name, value in values.items() for part in ("--set", f"{name}={value}")]


def _last_line(*command: str) -> str:
    return _last_lines(*command).strip().splitlines()[-1]


def _last_lines(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def up() -> None:
    """A cluster with the chart installed."""
    cluster = find_cluster()
    command = ["helm", "upgrade", "--install", "haulout", str(CHART), *install_arguments(cluster)]
    cluster.run(*command, "--wait", "--timeout=10m", timeout=700)
    sys.stdout.write(cluster.run("helm", "get", "notes", "haulout"))
    folder = f"PATH={cluster.programs}:$PATH " if cluster.programs else ""
    sys.stdout.write(f"\nexport {folder}KUBECONFIG={cluster.kubeconfig}\n")


def down() -> None:
    """End what `up` made."""
    testbed = os.environ.get("HAULOUT_TESTBED")
    if testbed:
        subprocess.run([testbed, "down"], check=True)
    elif shutil.which("kind"):
        subprocess.run(["kind", "delete", "cluster", "--name", KIND_NAME], check=True)


if __name__ == "__main__":
    try:
        {"up": up, "down": down}[sys.argv[1]]()
    except (NoCluster, AssertionError) as e:
        sys.exit(str(e))
