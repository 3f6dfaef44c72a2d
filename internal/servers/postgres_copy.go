package servers

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// copyTree copies a data folder, without what skip reports by its relative
// path. A file that vanishes meanwhile is left out, as in any base backup of a
// running server.
func copyTree(from, to string, account *syscall.Credential, skip func(name string) bool) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil || skip(name) {
			return err
		}
		target := filepath.Join(to, name)
		if entry.IsDir() {
			err = os.Mkdir(target, 0o700)
		} else {
			err = copyFile(path, target)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return chown(target, account)
	})
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	// ReadFrom lets the kernel copy, or share, the blocks.
	_, err = out.ReadFrom(in)
	return errors.Join(err, out.Close())
}

// renewIdentifier gives a stopped cluster a new system identifier. It stands in
// pg_control and at the head of each segment of the write-ahead log.
func renewIdentifier(data string) error {
	// Made as initdb makes it: seconds in the upper half, then chance.
	identifier := uint64(time.Now().Unix())<<32 | uint64(rand.Uint32())
	err := editFile(filepath.Join(data, "global", "pg_control"), func(control []byte) error {
		return setControlIdentifier(control, identifier)
	})
	if err != nil {
		return fmt.Errorf("renew system identifier: %w", err)
	}
	segments, err := os.ReadDir(filepath.Join(data, "pg_wal"))
	if err != nil {
		return fmt.Errorf("renew system identifier: %w", err)
	}
	for _, segment := range segments {
		// 24 hexadecimal digits; beside them stand folders and history files.
		if len(segment.Name()) != 24 || strings.Trim(segment.Name(), "0123456789ABCDEF") != "" {
			continue
		}
		err := editFile(filepath.Join(data, "pg_wal", segment.Name()), func(page []byte) error {
			// XLogLongPageHeaderData: the field follows a page header of 24 bytes,
			// and no checksum covers it.
			binary.NativeEndian.PutUint64(page[24:], identifier)
			return nil
		})
		if err != nil {
			return fmt.Errorf("renew system identifier: %w", err)
		}
	}
	return nil
}

// setControlIdentifier writes the first field of pg_control. The checksum
// follows the fields, whose number depends on the version; it is found as the
// place where it is right.
func setControlIdentifier(control []byte, identifier uint64) error {
	castagnoli := crc32.MakeTable(crc32.Castagnoli)
	// The fields have had between 200 and 512 bytes in every version.
	for at := 200; at+4 <= min(len(control), 512); at += 4 {
		if binary.NativeEndian.Uint32(control[at:]) == crc32.Checksum(control[:at], castagnoli) {
			binary.NativeEndian.PutUint64(control, identifier)
			binary.NativeEndian.PutUint32(control[at:], crc32.Checksum(control[:at], castagnoli))
			return nil
		}
	}
	return errors.New("no checksum found in pg_control")
}

// editFile changes the first bytes of a file in place.
func editFile(path string, edit func(head []byte) error) error {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	head := make([]byte, 512)
	if _, err := file.ReadAt(head, 0); err != nil {
		return err
	}
	if err := edit(head); err != nil {
		return err
	}
	_, err = file.WriteAt(head, 0)
	return err
}
