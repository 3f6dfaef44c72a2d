//go:build !unix

package stream

import (
	"fmt"
	"os"
)

// storeLock is a file that the owner keeps open. Systems without flock get no
// more than that.
type storeLock struct{ file *os.File }

func lockStore(path string) (*storeLock, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock embedded store: %w", err)
	}
	return &storeLock{file: file}, nil
}

func (l *storeLock) release() error { return l.file.Close() }
