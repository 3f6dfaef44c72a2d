package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// natsModule is the module that holds the server's source; go.mod pins its
// version, so tests run the version that Freshet embeds.
const natsModule = "github.com/nats-io/nats-server/v2"

// FindNATS returns the nats-server program to use: bin if it is not empty, else
// $FRESHET_NATS_BIN, else one built from the version that go.mod names, which
// needs the go command and a working directory inside the module. The build is
// done once for each version and kept in the user's cache folder.
func FindNATS(ctx context.Context, bin string) (string, error) {
	if bin == "" {
		bin = os.Getenv("FRESHET_NATS_BIN")
	}
	if bin != "" {
		path, err := exec.LookPath(bin)
		if err != nil {
			return "", &MissingError{
				Program: "nats-server", Searched: bin,
				Remedy: "`go install " + natsModule + "@latest`, or unset FRESHET_NATS_BIN to have it built",
			}
		}
		return filepath.Abs(path)
	}
	version, err := goCommand(ctx, "list", "-m", "-f", "{{.Version}}", natsModule)
	if err != nil {
		return "", fmt.Errorf("find the version of nats-server: %w", err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("build nats-server: %w", err)
	}
	folder := filepath.Join(cache, "freshet")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", fmt.Errorf("build nats-server: %w", err)
	}
	path := filepath.Join(folder, fmt.Sprintf("nats-server-%s-%s-%s", version, runtime.GOOS, runtime.GOARCH))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := buildNATS(ctx, path); err != nil {
		return "", fmt.Errorf("build nats-server %s: %w", version, err)
	}
	return path, nil
}

// buildNATS builds the server at path. Of several processes that want it at
// once, one builds and the others wait.
func buildNATS(ctx context.Context, path string) error {
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close() // and with it the lock
	for {
		err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for another process that builds it: %w", context.Cause(ctx))
		case <-time.After(100 * time.Millisecond):
		}
	}
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	// Renamed when complete: whoever finds it at path finds all of it.
	temporary := fmt.Sprintf("%s.%d", path, os.Getpid())
	defer func() { _ = os.Remove(temporary) }() // it is there only after an error
	if _, err := goCommand(ctx, "build", "-trimpath", "-ldflags=-s -w", "-o", temporary, natsModule); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}

func goCommand(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return "", fmt.Errorf("go %s: %w: %s", args[0], err, strings.TrimSpace(string(exit.Stderr)))
		}
		return "", fmt.Errorf("go %s: %w", args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}
