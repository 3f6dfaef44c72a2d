// Package monitor tells operators and probes the truth about a process: health
// and readiness over HTTP. It imports no component: it takes what satisfies a
// small interface.
package monitor
