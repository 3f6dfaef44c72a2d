package servers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// PostgresTemplate is a fresh database cluster to copy new ones from: a copy
// takes a tenth of the time that initdb takes. Each copy gets a system
// identifier of its own, as clusters have that were made by initdb. Close it
// when no further server is started from it; servers started already do not
// need it.
type PostgresTemplate struct {
	bin   string
	guard *guard
}

// NewPostgresTemplate makes a template with the programs that FindPostgres(bin)
// finds.
func NewPostgresTemplate(ctx context.Context, bin string) (*PostgresTemplate, error) {
	bin, err := FindPostgres(bin)
	if err != nil {
		return nil, err
	}
	g, err := newGuard("", "postgres-template")
	if err != nil {
		return nil, err
	}
	t := &PostgresTemplate{bin: bin, guard: g}
	account, err := serverAccount()
	if err == nil {
		err = initCluster(ctx, bin, g.folder, account)
	}
	if err != nil {
		return nil, errors.Join(err, g.close())
	}
	return t, nil
}

// Close removes the template.
func (t *PostgresTemplate) Close() error { return t.guard.close() }

// copyTo makes a cluster in folder/data.
func (t *PostgresTemplate) copyTo(folder string, account *syscall.Credential) error {
	from, to := filepath.Join(t.guard.folder, "data"), filepath.Join(folder, "data")
	if err := copyTree(from, to, account, func(string) bool { return false }); err != nil {
		return fmt.Errorf("copy database cluster: %w", err)
	}
	return renewIdentifier(to)
}

// initCluster runs initdb in folder/data and creates the database app.
func initCluster(ctx context.Context, bin, folder string, account *syscall.Credential) error {
	if err := chown(folder, account); err != nil {
		return err
	}
	data := filepath.Join(folder, "data")
	if err := runAs(ctx, account, folder, filepath.Join(bin, "initdb"),
		"-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"); err != nil {
		return err
	}
	cmd := commandAs(ctx, account, folder, filepath.Join(bin, "postgres"), "--single", "-F", "-D", data, "postgres")
	cmd.Stdin = strings.NewReader("CREATE DATABASE app\n")
	if out, err := cmd.CombinedOutput(); err != nil || bytes.Contains(out, []byte("ERROR")) {
		return fmt.Errorf("create database app: %w: %s", err, out)
	}
	return nil
}

// serverAccount is who Postgres runs as: it refuses to be root, so root steps
// down to the account that the package made for it, or to nobody. Nil means
// ourselves.
func serverAccount() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil //nolint:nilnil // nil is what os/exec calls "as we are"
	}
	for _, name := range []string{"postgres", "nobody"} {
		account, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(account.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(account.Gid, 10, 32)
		if err := errors.Join(uidErr, gidErr); err != nil {
			return nil, fmt.Errorf("account %s: %w", name, err)
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("postgres refuses to run as root, and there is neither an account postgres nor nobody to run it as: run as another user")
}

func chown(path string, account *syscall.Credential) error {
	if account == nil {
		return nil
	}
	return os.Lchown(path, int(account.Uid), int(account.Gid))
}

// commandAs prepares one of Postgres' tools. When ctx ends, the tool does.
func commandAs(ctx context.Context, account *syscall.Credential, folder, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = folder
	cmd.Env = environment()
	cmd.WaitDelay = 5 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: account}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd
}

func runAs(ctx context.Context, account *syscall.Credential, folder, program string, args ...string) error {
	out, err := commandAs(ctx, account, folder, program, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(program), err, bytes.TrimSpace(out))
	}
	return nil
}
