"""The machines: what `cluster.yaml` says of them, and the same cluster on one machine, on Kubernetes and in figures."""
