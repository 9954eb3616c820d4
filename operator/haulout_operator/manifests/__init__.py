"""Children of a network as Kubernetes takes them: pure functions from specs to manifests."""
