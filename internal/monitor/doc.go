// Package monitor tells operators and probes the truth about an instance: health,
// readiness, status, events and a dashboard over HTTP, statuses and control over
// NATS. It imports no component: it takes what satisfies a small interface.
package monitor
