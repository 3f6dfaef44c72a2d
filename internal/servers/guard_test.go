package servers_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// ownerDir, when set, makes the test binary an owner of servers that says what
// it has started and then waits for its end.
const ownerDir = "FRESHET_TEST_OWNER_DIR"

type owned struct {
	PIDs []int  // of the servers
	Data string // the Postgres server's folder
}

func TestMain(m *testing.M) {
	if dir := os.Getenv(ownerDir); dir != "" {
		if err := own(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// own starts servers and never closes them.
func own(dir string) error {
	ctx := context.Background()
	p, err := servers.StartPostgres(ctx, servers.PostgresOptions{Dir: dir})
	if err != nil {
		return err
	}
	r, err := servers.StartRedis(ctx, servers.RedisOptions{Dir: dir, AppendOnly: true})
	if err != nil {
		return err
	}
	// One that has been killed and started: its guard must know the new process.
	if err := errors.Join(r.Kill(), r.Start(ctx)); err != nil {
		return err
	}
	n, err := servers.StartNATS(ctx, servers.NATSOptions{Dir: dir})
	if err != nil {
		return err
	}
	report := owned{PIDs: []int{p.PID(), r.PID(), n.PID()}, Data: p.DataDir()}
	if err := json.NewEncoder(os.Stdout).Encode(report); err != nil {
		return err
	}
	_, err = bufio.NewReader(os.Stdin).ReadString('\n')
	return err
}

func TestServersEndWithTheirOwner(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		end  func(*osexec.Cmd) error
	}{
		{"killed", func(cmd *osexec.Cmd) error { return cmd.Process.Kill() }},
		{"interrupted", func(cmd *osexec.Cmd) error {
			// To the whole group, as a terminal does.
			return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			parent := enterableDir(t)
			cmd := osexec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), ownerDir+"="+parent)
			cmd.Stderr = os.Stderr
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			if _, err := cmd.StdinPipe(); err != nil {
				t.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var got owned
			if err := json.NewDecoder(out).Decode(&got); err != nil {
				t.Fatalf("owner said nothing: %v", errors.Join(err, cmd.Wait()))
			}
			pids := got.PIDs
			for _, pid := range got.PIDs {
				if !existing(t, pid) {
					t.Fatalf("server %d does not run; the test would prove nothing", pid)
				}
				pids = append(pids, childrenOf(t, pid)...)
			}
			id := segmentOf(t, got.Data)

			if err := tc.end(cmd); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // it was killed, and says so
			servertest.Eventually(t, patience, func() (bool, string) {
				for _, pid := range pids {
					if existing(t, pid) {
						return false, fmt.Sprintf("process %d outlives its owner", pid)
					}
				}
				left, err := filepath.Glob(filepath.Join(parent, "*"))
				if err != nil || len(left) > 0 {
					return false, fmt.Sprintf("left behind: %v (%v)", left, err)
				}
				return !segmentExists(t, id), "shared memory segment " + id + " outlives its owner"
			})
		})
	}
}
