//go:build natscli

package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
)

// Every nats command that docs/monitoring.md shows does what the page says, with the
// real command line: `make test-natscli` builds it.
func TestNATSCommandLine(t *testing.T) {
	t.Parallel()
	binary := os.Getenv("NATS_COMMAND")
	if binary == "" {
		t.Fatal("NATS_COMMAND does not say where the nats command is: run `make test-natscli`")
	}
	folder := t.TempDir()
	if err := os.Symlink(binary, filepath.Join(folder, "nats")); err != nil {
		t.Fatal(err)
	}
	s := newShop(t, "")
	warm(t, s)
	p := runService(t, s.config, "")
	awaitActive(t, patience, p)
	s.settle(p)
	t.Cleanup(s.traffic())
	conn, err := nats.Connect(s.nats.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	if err := conn.Publish("freshet.shop.dead.public.orders", []byte("a letter")); err != nil {
		t.Fatal(err)
	}

	page, err := os.ReadFile("../../docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	for _, m := range regexp.MustCompile("`(nats [a-z][^`]+)`").FindAllStringSubmatch(string(page), -1) {
		shown[m[1]] = true
	}
	for _, tc := range []struct{ line, want string }{ // in this order: nothing is to be heard while it is paused
		{`nats sub 'freshet.shop.changes.public.orders'`, `"table":"orders"`},
		{`nats sub 'freshet.shop.progress.>'`, `"lsn"`},
		{`nats sub 'freshet.shop.invalidated.*'`, `"sender"`},
		{`nats sub freshet.shop.watermark`, `"lsn"`},
		{`nats sub 'freshet.shop.status.>'`, `"role":"consumer"`},
		{`nats sub --all 'freshet.shop.events.>'`, `"kind"`},
		{`nats sub --all 'freshet.shop.dead.>'`, `a letter`},
		{`nats stream info freshet-shop-warm`, `freshet.shop.warm.`},
		{`nats kv ls freshet-shop`, `watermark`},

		{`nats service ls`, `freshet`},
		{`nats service info freshet`, `freshet.shop.ctl.`},
		{`nats service stats freshet`, `invalidate`},
		{`nats service stats`, ``}, // named in a sentence
		{`nats service ping freshet`, `rtt=`},

		{`nats req freshet.shop.ctl.status ''`, `"role":"invalidator"`},
		{`nats req freshet.shop.ctl.explain '{"table":"orders","row":{"id":42,"client_id":7}}'`, `orders:client:7`},
		{`nats req freshet.shop.ctl.events '{"since":"1h"}'`, `"kind":"slot_created"`},
		{`nats req freshet.shop.ctl.invalidate '{"keys":["order:42"]}'`, `"removed"`},
		{`nats req freshet.shop.ctl.replay '{"since":"10m"}'`, `"job":"replay-`},
		{`nats req freshet.shop.ctl.verify '{"sample":1000}'`, `"job":"verify-`},
		{`nats req freshet.shop.ctl.pause ''`, `"paused":true`},
		{`nats req freshet.shop.ctl.resume ''`, `"paused":false`},
	} {
		line, want := tc.line, tc.want
		if !shown[line] {
			t.Errorf("docs/monitoring.md does not show %s", line)
		}
		delete(shown, line)
		if want == "" {
			continue
		}
		if out, err := natsCommand(t, folder, s.nats.URL(), line); err != nil || !strings.Contains(out, want) {
			t.Errorf("%s: %v, want %q in\n%s", line, err, want, out)
		}
	}
	// Last: the service begins anew.
	const reload = `nats req freshet.shop.ctl.reload ''`
	if out, err := natsCommand(t, folder, s.nats.URL(), reload); err != nil || !strings.Contains(out, `"taken":true`) {
		t.Errorf("%s: %v\n%s", reload, err, out)
	}
	delete(shown, reload)
	for line := range shown {
		t.Errorf("not tried: %s", line)
	}
}

// natsCommand runs a line of the shell; one that follows a subject ends with its
// first message.
func natsCommand(t *testing.T, folder, url, line string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if strings.HasPrefix(line, "nats sub") {
		line += " --count 1"
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	cmd.Env = append(os.Environ(), "NATS_URL="+url, "PATH="+folder+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	return string(out), errors.Join(err, ctx.Err())
}
