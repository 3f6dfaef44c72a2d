// Package deploytest checks what deploy/ ships: by the parsers of Prometheus,
// Kubernetes, kustomize and Compose, and against real processes of Freshet. It is a
// module of its own because those parsers bring more than the rest of the project
// together. `make test-deploy` runs it.
package deploytest
