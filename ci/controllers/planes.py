"""Two control planes: the real one over an empty etcd, and `dryfit up`."""

import os
import pathlib
import re
import socket
import subprocess
import sys
import time

from player import Client, Metrics, Player, now  # noqa: F401

HERE = pathlib.Path(__file__).resolve().parent
DRYFIT, JUDGES = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
NODES = ["node-a", "node-b", "node-c"]


class Side:
    """A control plane with its player."""

    def __init__(self, name, work, kubeconfig, address, token):
        self.name, self.work, self.kubeconfig, self.address, self.token = name, work, kubeconfig, address, token
        self.player = Player(address, token, NODES)

    def client(self):
        return Client(self.address, self.token)

    def kubectl(self, command, text, namespace):
        environment = {"KUBECONFIG": str(self.kubeconfig), "HOME": str(self.work), "PATH": os.environ["PATH"]}
        command = command.replace("kubectl", f"{JUDGES / 'kubectl'} -n {namespace}")
        done = subprocess.run(["bash", "-c", command], env=environment, cwd=HERE, input=text, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            return f"{self.name}: $ {command}\n{done.stdout}{done.stderr}"
        return None


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(children, work, name, *command):
    log = open(work / f"{name}.log", "w")
    children.append(subprocess.Popen([str(part) for part in command], stdout=log, stderr=log, cwd=work))


def until(what, ask, seconds=30):
    for _ in range(seconds * 10):
        if ask():
            return
        time.sleep(0.1)
    raise SystemExit(f"{what}: not within {seconds} s")


def ready(address, token):
    try:
        return Client(address, token).ask("GET", "/readyz")[0] == 200
    except OSError:
        return False


def real(children, work, controllers=True, rate=1000):
    """With a scheduler; with `controllers`, a controller manager and a metrics server as well. `rate`: their requests a second."""
    run = lambda *command: subprocess.run([str(part) for part in command], check=True, capture_output=True, cwd=work)
    run("openssl", "genrsa", "-out", "sa.key", "2048")
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "metrics.key", "-out", "metrics.crt", "-subj", "/CN=localhost", "-days", "2")
    (work / "tokens").write_text("token,admin,admin,system:masters\n")
    client, peer, port = free_port(), free_port(), free_port()
    urls = [f"--listen-client-urls=http://127.0.0.1:{client}", f"--advertise-client-urls=http://127.0.0.1:{client}"]
    urls += [f"--listen-peer-urls=http://127.0.0.1:{peer}", f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}"]
    start(children, work, "etcd", JUDGES / "etcd", "--name=x", f"--initial-cluster=x=http://127.0.0.1:{peer}", "--data-dir=etcd", "--unsafe-no-fsync", *urls)
    start(
        children, work, "kube-apiserver", JUDGES / "kube-apiserver", f"--etcd-servers=http://127.0.0.1:{client}", f"--secure-port={port}",
        "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none", "--cert-dir=certs", "--service-account-issuer=https://x",
        "--service-account-key-file=sa.key", "--service-account-signing-key-file=sa.key", "--token-auth-file=tokens", "--authorization-mode=RBAC",
        "--service-cluster-ip-range=10.100.0.0/16", "--watch-cache=true",
    )  # fmt: skip
    address = f"127.0.0.1:{port}"
    config = work / "real.kubeconfig"
    config.write_text(
        f"apiVersion: v1\nkind: Config\ncurrent-context: r\nclusters: [{{name: r, cluster: {{server: 'https://{address}', insecure-skip-tls-verify: true}}}}]\n"
        "users: [{name: r, user: {token: token}}]\ncontexts: [{name: r, context: {cluster: r, user: r}}]\n"
    )
    until("kube-apiserver", lambda: ready(address, "token"))
    start(children, work, "kube-scheduler", JUDGES / "kube-scheduler", f"--kubeconfig={config}", "--leader-elect=false", "--secure-port=0", f"--kube-api-qps={rate}", f"--kube-api-burst={2 * rate}")
    side = Side("kubernetes", work, config, address, "token")
    if not controllers:
        # Nobody else makes it.
        side.client().ask("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
        return side
    start(
        children, work, "kube-controller-manager", JUDGES / "kube-controller-manager", f"--kubeconfig={config}", "--service-account-private-key-file=sa.key",
        "--leader-elect=false", "--secure-port=0", "--controllers=*,-nodeipam", f"--kube-api-qps={rate}", f"--kube-api-burst={2 * rate}",
    )  # fmt: skip
    metrics = Metrics(address, "token", work / "metrics.crt", work / "metrics.key")
    metrics.start()
    api = side.client()
    api.ask("POST", "/api/v1/namespaces/kube-system/services", {"metadata": {"name": "metrics"}, "spec": {"type": "ExternalName", "externalName": "localhost"}})
    service = {"namespace": "kube-system", "name": "metrics", "port": metrics.port}
    spec = {"group": "metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100, "insecureSkipTLSVerify": True, "service": service}
    api.ask("POST", "/apis/apiregistration.k8s.io/v1/apiservices", {"metadata": {"name": "v1beta1.metrics.k8s.io"}, "spec": spec})
    return side


def ours(children, work, *more, name="dryfit", nodes=0):
    config = work / f"{name}.kubeconfig"
    start(children, work, name, DRYFIT, "up", "--kube-only", "--listen", "127.0.0.1:0", "--kubeconfig", config, "--nodes", nodes, *more)
    until("dryfit up", lambda: "listening" in (work / f"{name}.log").read_text())
    text = config.read_text()
    return Side("dryfit", work, config, re.search(r"https://(\S+)", text)[1], re.search(r"token: (\S+)", text)[1])
