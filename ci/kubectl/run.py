#!/usr/bin/env python3
"""Drives the real kubectl against `dryfit up --kube-only`.

    python3 ci/kubectl/run.py DRYFIT JUDGES

JUDGES is the folder that `ci/judges/build` prints. First the same commands go to a real kube-apiserver and to ours, and what kubectl
prints must be the same but for times, uids and versions; then a story is told on ours alone, since it needs nodes.
"""

import difflib
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
DRYFIT, JUDGES = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
KUBECTL = JUDGES / "kubectl"
# What two servers cannot share.
PRIVATE = [
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "UID"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "TIME"),
    (re.compile(r"resourceVersion: \"\d+\""), "resourceVersion: N"),
    (re.compile(r"\b\d+(ms|s|m\d*s?)\b"), "AGE"),
    (re.compile(r"10\.\d+\.\d+\.\d+"), "ADDRESS"),
    (re.compile(r"kube-api-access-[a-z0-9]{5}\b"), "kube-api-access-*"),
    (re.compile(r"https://127\.0\.0\.1:\d+"), "SERVER"),
]


def normal(text):
    for pattern, word in PRIVATE:
        text = pattern.sub(word, text)
    return "\n".join(re.sub(r" +", " ", line).rstrip() for line in text.splitlines())


def kubectl(config, command, home):
    environment = {"KUBECONFIG": str(config), "HOME": str(home), "PATH": os.environ["PATH"]}
    done = subprocess.run(["bash", "-c", command.replace("kubectl", str(KUBECTL))], env=environment, cwd=HERE, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(children, work, name, *command):
    log = open(work / f"{name}.log", "w")
    children.append(subprocess.Popen([str(part) for part in command], stdout=log, stderr=log, cwd=work))


def until(what, ask):
    for _ in range(300):
        if ask():
            return
        time.sleep(0.1)
    raise SystemExit(f"{what} did not come up within 30 s")


def real(children, work):
    """A kube-apiserver over an empty etcd, nothing else."""
    subprocess.run(["openssl", "genrsa", "-out", work / "sa.key", "2048"], check=True, capture_output=True)
    (work / "tokens").write_text("token,admin,admin,system:masters\n")
    client, peer, port = free_port(), free_port(), free_port()
    etcd = [f"--listen-client-urls=http://127.0.0.1:{client}", f"--advertise-client-urls=http://127.0.0.1:{client}"]
    etcd += [f"--listen-peer-urls=http://127.0.0.1:{peer}", f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}"]
    start(children, work, "etcd", JUDGES / "etcd", "--name=x", f"--initial-cluster=x=http://127.0.0.1:{peer}", "--data-dir=etcd", "--unsafe-no-fsync", *etcd)
    start(
        children, work, "kube-apiserver", JUDGES / "kube-apiserver", f"--etcd-servers=http://127.0.0.1:{client}", f"--secure-port={port}",
        "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none", "--cert-dir=certs", "--service-account-issuer=https://x",
        "--service-account-key-file=sa.key", "--service-account-signing-key-file=sa.key", "--token-auth-file=tokens", "--authorization-mode=RBAC",
        "--service-cluster-ip-range=10.100.0.0/16",
    )  # fmt: skip
    config = work / "real.kubeconfig"
    config.write_text(
        f"apiVersion: v1\nkind: Config\ncurrent-context: r\nclusters: [{{name: r, cluster: {{server: 'https://127.0.0.1:{port}', insecure-skip-tls-verify: true}}}}]\n"
        "users: [{name: r, user: {token: token}}]\ncontexts: [{name: r, context: {cluster: r, user: r}}]\n"
    )
    until("kube-apiserver", lambda: kubectl(config, "kubectl get --raw /readyz", work)[1].strip() == "ok")
    # No controller manager makes it.
    until("the account of pods", lambda: kubectl(config, "kubectl create serviceaccount default", work)[0] == 0)
    return config


def ours(children, work, nodes):
    config = work / f"ours-{nodes}.kubeconfig"
    start(children, work, f"dryfit-{nodes}", DRYFIT, "up", "--kube-only", "--listen", "127.0.0.1:0", "--kubeconfig", config, "--nodes", nodes)
    until("dryfit up", lambda: "listening" in (work / f"dryfit-{nodes}.log").read_text())
    return config


def commands():
    """Lines of the list, and what may differ: `# differs: why` in front of a command."""
    why = None
    for line in (HERE / "commands.txt").read_text().splitlines():
        if line.startswith("# differs: "):
            why = line.removeprefix("# differs: ")
        elif line and not line.startswith("#"):
            yield line, why
            why = None


def compare(children, work):
    left, right = real(children, work), ours(children, work, 0)
    wrong, count = 0, 0
    for command, why in commands():
        (theirs, said), (mine, answered) = kubectl(left, command, work), kubectl(right, command, work)
        same = theirs == mine and normal(said) == normal(answered)
        count += 1
        if same == (why is None):
            continue
        wrong += 1
        print(f"$ {command}\n  exit codes {theirs}, {mine}" + (f"\n  no longer differs ({why})" if same else ""))
        print("\n".join(list(difflib.unified_diff(normal(said).splitlines(), normal(answered).splitlines(), "kube-apiserver", "dryfit", lineterm="", n=1))[:40]))
    print(f"{count} commands, {wrong} of them not the same on both servers")
    return wrong


def story(children, work):
    """Commands with what they must print, on a cluster with nodes."""
    config = ours(children, work, 3)
    wrong, count, expected = 0, 0, []
    lines = (HERE / "story.txt").read_text().splitlines()
    for index, line in enumerate(lines):
        if not line.startswith("$ "):
            continue
        expected = []
        for below in lines[index + 1 :]:
            if not below.startswith("  "):
                break
            expected.append(below.strip())
        code, said = kubectl(config, line[2:], work)
        count += 1
        missing = [word for word in expected if not re.search(word, said)]
        if missing:
            wrong += 1
            print(f"{line}\n  exit code {code}\n{said}\n  does not say {missing}")
    children[-1].send_signal(signal.SIGTERM)
    if (code := children[-1].wait(timeout=10)) != 0:
        wrong += 1
        print(f"dryfit up ended with {code} on SIGTERM")
    print(f"{count} commands of the story, {wrong} of them did not say what they should")
    return wrong


def main():
    children, wrong = [], 0
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        try:
            wrong = compare(children, work) + story(children, work)
        finally:
            for child in reversed(children):
                child.kill()
                child.wait()
    sys.exit(1 if wrong else 0)


main()
