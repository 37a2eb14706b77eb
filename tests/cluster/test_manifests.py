"""Workloads as an operator writes them: YAML, applied, run by the controllers."""

from testbed import waiting
from testbed.pods import GPU

DEPLOYMENT = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {EPOCHS: "3"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: trainers}
spec:
  replicas: 3
  selector: {matchLabels: {app: trainers}}
  template:
    metadata: {labels: {app: trainers}}
    spec:
      hostNetwork: true
      terminationGracePeriodSeconds: 0
      containers:
      - name: main
        image: plumbline.test/shell:1
        imagePullPolicy: Never
        envFrom: [{configMapRef: {name: settings}}]
        resources: {limits: {nvidia.com/gpu: 2}}
"""


def held(cluster):
    """Return the GPUs of every running pod of the deployment."""
    found = {name: cluster.node.held(name, "main", GPU) for name in cluster.node.pod_resources()}
    return [uuid for name, uuids in found.items() if name.startswith("trainers-") for uuid in uuids]


def test_the_pods_of_a_deployment_get_gpus_of_their_own(cluster):
    cluster.serve("--device-list-strategy=cdi-cri")

    settings, deployment = cluster.apply(DEPLOYMENT)
    try:
        assert (settings.data.EPOCHS, deployment.spec.replicas) == ("3", 3)
        waiting.poll(lambda: len(held(cluster)) == 6, what=lambda: cluster.explain("not three"))
        assert len(set(held(cluster))) == 6

        # Applied again with another number: what is gone is free at once.
        cluster.apply(DEPLOYMENT.replace("replicas: 3", "replicas: 1"))
        waiting.poll(lambda: len(held(cluster)) == 2, what=lambda: cluster.explain("not one"))
        rest = cluster.pod("rest", gpus=6).wait_running()
        assert {*rest.held(), *held(cluster)} == set(cluster.machine.uuids)
    finally:
        cluster.apply(DEPLOYMENT.replace("replicas: 3", "replicas: 0"))
        cluster.delete(settings, deployment)
