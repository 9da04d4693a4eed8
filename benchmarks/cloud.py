#!/usr/bin/env python3
"""Ours and moto side by side, asked by the same client over one kept-alive connection per worker.

    pip install 'moto[server,ec2,iam,sqs]==5.2.5'
    python benchmarks/cloud.py --dryfit target/release/dryfit --moto-server "$(command -v moto_server)"

Per question: calls per second as this client saw them, and the server's own CPU per call (from /proc), which a busy machine and a slow
client do not change. Requests are signed in form only: neither server checks signatures here.
"""

import argparse
import http.client
import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.parse

TICKS = os.sysconf("SC_CLK_TCK")
HEADERS = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}


def scope(service):
    return f"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261121/us-west-2/{service}/aws4_request, SignedHeaders=host, Signature=00"


class Server:
    def __init__(self, name, command, port):
        self.name, self.port = name, port
        begun = time.monotonic()
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while True:
            try:
                self.connection = http.client.HTTPConnection("127.0.0.1", port)
                self.ask("sts", Action="GetCallerIdentity", Version="2011-06-15")
                break
            except OSError:
                if self.process.poll() is not None or time.monotonic() - begun > 60:
                    raise SystemExit(f"{name} does not answer")
                time.sleep(0.002)
        self.start = time.monotonic() - begun
        self.idle = self.rss()

    def rss(self):
        return int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{self.process.pid}/status").read())[1]) / 1024

    def cpu(self):
        fields = open(f"/proc/{self.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def request(self, connection, service, body, headers=None):
        connection.request("POST", "/", body, {**(headers or HEADERS), "Authorization": scope(service)})
        response = connection.getresponse()
        return response.status, response.read()

    def ask(self, service, **parameters):
        status, body = self.request(self.connection, service, urllib.parse.urlencode(parameters))
        if status >= 400:
            raise SystemExit(f"{self.name}: {parameters.get('Action')}: {body[:300]}")
        return body.decode()

    def json(self, target, **members):
        headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"AmazonSQS.{target}"}
        status, body = self.request(self.connection, "sqs", json.dumps(members), headers)
        if status >= 400:
            raise SystemExit(f"{self.name}: {target}: {body[:300]}")
        return json.loads(body or b"{}")

    def measure(self, call, count, workers=1):
        """Calls per second, milliseconds of the server's CPU per call, milliseconds per call; at most so many calls, and five seconds."""
        connections = [http.client.HTTPConnection("127.0.0.1", self.port) for _ in range(workers)]
        done = [0] * workers
        cpu, begun = self.cpu(), time.monotonic()

        def work(worker):
            while done[worker] < count // workers and time.monotonic() - begun < 5:
                call(connections[worker])
                done[worker] += 1

        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.monotonic() - begun
        calls = sum(done)
        return calls / took, (self.cpu() - cpu) * 1000 / calls, took * 1000 * workers / calls

    def stop(self):
        self.process.terminate()
        self.process.wait()


def image(server):
    found = server.ask("ec2", Action="DescribeImages", Version="2016-11-15", **{"Filter.1.Name": "architecture", "Filter.1.Value.1": "x86_64"})
    return re.search(r"<imageId>(ami-[0-9a-f]+)", found)[1]


def questions(server):
    ec2 = {"Version": "2016-11-15"}
    trivial = urllib.parse.urlencode({"Action": "GetCallerIdentity", "Version": "2011-06-15"})
    yield "trivial call (GetCallerIdentity)", server.measure(lambda c: server.request(c, "sts", trivial), 4000, 2)
    ami = image(server)
    for _ in range(10):
        server.ask("ec2", Action="RunInstances", ImageId=ami, InstanceType="m5.large", MinCount="100", MaxCount="100", **ec2)
    listed = urllib.parse.urlencode({"Action": "DescribeInstances", "MaxResults": "1000", **ec2})
    yield "DescribeInstances of 1,000", server.measure(lambda c: server.request(c, "ec2", listed), 30)
    whole = urllib.parse.urlencode({"Action": "DescribeInstanceTypes", **ec2})
    yield "all instance types, one reply", server.measure(lambda c: server.request(c, "ec2", whole), 5)
    subnets = re.findall(r"<subnetId>(subnet-[0-9a-f]+)", server.ask("ec2", Action="DescribeSubnets", **ec2))[:3]
    types = sorted(set(re.findall(r"<instanceType>([cmr]5[a-z]*\.[0-9]*x?large)</", server.ask("ec2", Action="DescribeInstanceTypes", **ec2))))
    server.ask("ec2", Action="CreateLaunchTemplate", LaunchTemplateName="bench", **{"LaunchTemplateData.ImageId": ami}, **ec2)
    fleet = {"Action": "CreateFleet", "Type": "instant", "TargetCapacitySpecification.TotalTargetCapacity": "1",
             "TargetCapacitySpecification.DefaultTargetCapacityType": "on-demand", "OnDemandOptions.AllocationStrategy": "lowest-price",
             "LaunchTemplateConfigs.1.LaunchTemplateSpecification.LaunchTemplateName": "bench",
             "LaunchTemplateConfigs.1.LaunchTemplateSpecification.Version": "$Latest", **ec2}
    for at, (name, subnet) in enumerate(((n, s) for n in types for s in subnets), 1):
        if at > 177:
            break
        fleet[f"LaunchTemplateConfigs.1.Overrides.{at}.InstanceType"] = name
        fleet[f"LaunchTemplateConfigs.1.Overrides.{at}.SubnetId"] = subnet
    body = urllib.parse.urlencode(fleet)
    yield "CreateFleet with 177 overrides", server.measure(lambda c: server.request(c, "ec2", body), 200)
    url = server.json("CreateQueue", QueueName="bench")["QueueUrl"]

    def cycle(_):
        server.json("SendMessage", QueueUrl=url, MessageBody="m")
        (message,) = server.json("ReceiveMessage", QueueUrl=url)["Messages"]
        server.json("DeleteMessage", QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])

    yield "SQS send, receive, delete: first 1,000", server.measure(cycle, 1000)
    server.measure(cycle, 3000)
    yield "SQS send, receive, delete: after 4,000 more", server.measure(cycle, 1000)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--dryfit", default="target/release/dryfit")
    arguments.add_argument("--moto-server", help="left out: ours alone")
    chosen = arguments.parse_args()
    servers = [("ours", [chosen.dryfit, "cloud", "--listen", "127.0.0.1:4591"], 4591)]
    if chosen.moto_server:
        servers.append(("moto", [chosen.moto_server, "-H", "127.0.0.1", "-p", "4592"], 4592))
    for name, command, port in servers:
        server = Server(name, command, port)
        print(f"{name}: first answer {server.start * 1000:.0f} ms after start; {server.idle:.0f} MiB idle")
        for question, (rate, cpu, wall) in questions(server):
            print(f"{name}: {question}: {rate:,.0f}/s; {cpu:.3f} ms of server CPU; {wall:.2f} ms per call")
            sys.stdout.flush()
        print(f"{name}: {server.rss():.0f} MiB at the end")
        server.stop()


if __name__ == "__main__":
    main()
