package servers_test

import (
	"testing"

	"github.com/freshet-dev/freshet/internal/servers"
)

// What a test pays for servers of its own.

func BenchmarkPostgresStartClose(b *testing.B) {
	template, err := servers.NewPostgresTemplate(b.Context(), "")
	if err != nil {
		b.Fatal(err)
	}
	defer template.Close()
	for b.Loop() {
		p, err := servers.StartPostgres(b.Context(), servers.PostgresOptions{Template: template})
		if err != nil {
			b.Fatal(err)
		}
		if err := p.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRedisStartClose(b *testing.B) {
	for b.Loop() {
		r, err := servers.StartRedis(b.Context(), servers.RedisOptions{})
		if err != nil {
			b.Fatal(err)
		}
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNATSStartClose(b *testing.B) {
	for b.Loop() {
		n, err := servers.StartNATS(b.Context(), servers.NATSOptions{})
		if err != nil {
			b.Fatal(err)
		}
		if err := n.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
