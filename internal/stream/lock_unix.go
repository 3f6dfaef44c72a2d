//go:build unix

package stream

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// storeLock keeps a second server off the store: JetStream does not look, and
// two servers on one folder destroy each other's files. The kernel drops the
// lock with the process, however that ends.
type storeLock struct{ file *os.File }

func lockStore(path string) (*storeLock, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock embedded store: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		dir := filepath.Dir(path)
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = fmt.Errorf("embedded store %q is %w; stop it, or set nats.embedded.store_dir to another folder, or let both use one NATS server through nats.url", dir, ErrInUse)
		} else {
			err = fmt.Errorf("lock embedded store %q: %w", dir, err)
		}
		return nil, errors.Join(err, file.Close())
	}
	return &storeLock{file: file}, nil
}

func (l *storeLock) release() error { return l.file.Close() }
