package consumer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/freshet-dev/freshet/internal/catalog"
	"github.com/freshet-dev/freshet/internal/cdc"
)

const (
	connectTimeout = 10 * time.Second
	writeTimeout   = 10 * time.Second
	farewell       = time.Second // for the walsender to answer the end of the copy
)

// applicationName is what Postgres shows for our connections.
func applicationName(name string) string {
	full := "freshet/" + name
	return full[:min(len(full), 63)]
}

// replication is the connection that the walsender serves. One goroutine owns it.
type replication struct {
	pg     *pgconn.PgConn // nil once streaming has begun
	conn   net.Conn
	reader *moderatedReader
	pid    uint32 // of the walsender
	out    [1 + 4 + 1 + 4*8 + 1]byte
}

// system is the answer to IDENTIFY_SYSTEM.
type system struct {
	id       uint64
	timeline uint32
	walEnd   cdc.LSN
}

// openReplication connects to the walsender.
func openReplication(ctx context.Context, url, name string) (*replication, error) {
	cfg, err := pgconn.ParseConfig(url)
	if err != nil {
		return nil, hopeless("correct postgres.url", "parse connection string: %w", err)
	}
	for key, value := range cdc.TextForm() {
		cfg.RuntimeParams[key] = value
	}
	cfg.RuntimeParams["TimeZone"] = "UTC"
	cfg.RuntimeParams["statement_timeout"] = "0"
	cfg.RuntimeParams["replication"] = "database"
	cfg.RuntimeParams["application_name"] = applicationName(name)
	r := &replication{}
	cfg.BuildFrontend = func(src io.Reader, w io.Writer) *pgproto3.Frontend {
		r.reader = newModeratedReader(src)
		return pgproto3.NewFrontend(r.reader, w)
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	r.pg, err = pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, connectError(err, cfg.User)
	}
	// Such a database stores bytes of any encoding, and refuses to send one that is not UTF-8 as UTF-8: the session would end at
	// that row each time. As they are they come through, and what is not UTF-8 widens.
	if r.pg.ParameterStatus("server_encoding") == "SQL_ASCII" {
		if _, err := r.pg.Exec(ctx, "SET client_encoding = 'SQL_ASCII'").ReadAll(); err != nil {
			return nil, errors.Join(fmt.Errorf("set client_encoding: %w", err), r.close(ctx))
		}
	}
	r.pid, err = r.backendPID(ctx)
	if err != nil {
		return nil, errors.Join(err, r.close(ctx))
	}
	return r, nil
}

// connectError names the remedy where there is one.
func connectError(err error, role string) error {
	switch {
	case hasCode(err, codeNoPrivilege):
		return hopeless("ALTER ROLE "+catalog.QuoteIdent(role)+" REPLICATION;", "connect for replication: %w", err)
	case hasCode(err, codeTooManyConns):
		return withRemedy("raise max_wal_senders, or max_connections", "connect for replication: %w", err)
	}
	return fmt.Errorf("connect for replication: %w", err)
}

// backendPID asks the walsender for its process id: behind a pooler the one in the handshake is somebody else's.
func (r *replication) backendPID(ctx context.Context) (uint32, error) {
	results, err := r.pg.Exec(ctx, "SELECT pg_catalog.pg_backend_pid()").ReadAll()
	if err != nil {
		return 0, fmt.Errorf("read process id of walsender: %w", err)
	}
	if len(results) != 1 || len(results[0].Rows) != 1 || len(results[0].Rows[0]) != 1 {
		return 0, errors.New("read process id of walsender: want one row")
	}
	pid, err := strconv.ParseUint(string(results[0].Rows[0][0]), 10, 32)
	if err != nil {
		return 0, fmt.Errorf("read process id of walsender: %w", err)
	}
	return uint32(pid), nil
}

// identify asks which server and history this is, and where its WAL ends.
func (r *replication) identify(ctx context.Context) (system, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	res, err := pglogrepl.IdentifySystem(ctx, r.pg)
	if err != nil {
		return system{}, fmt.Errorf("identify system: %w", err)
	}
	id, err := strconv.ParseUint(res.SystemID, 10, 64)
	if err != nil {
		return system{}, fmt.Errorf("identify system: system id %q: %w", res.SystemID, err)
	}
	return system{id: id, timeline: uint32(res.Timeline), walEnd: cdc.LSN(res.XLogPos)}, nil
}

// start begins streaming from lsn. The server moves an lsn before the slot's confirmed position forward without a
// word, so the caller compares first.
func (r *replication) start(ctx context.Context, slot, publication string, lsn cdc.LSN) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	err := pglogrepl.StartReplication(ctx, r.pg, `"`+slot+`"`, pglogrepl.LSN(lsn), pglogrepl.StartReplicationOptions{
		Mode:       pglogrepl.LogicalReplication,
		PluginArgs: []string{"proto_version '1'", "publication_names " + publicationNames(publication)},
	})
	if err != nil {
		return fmt.Errorf("start replication from slot %q: %w", slot, err)
	}
	hijacked, err := r.pg.Hijack()
	if err != nil {
		return fmt.Errorf("start replication from slot %q: %w", slot, err)
	}
	if n := hijacked.Frontend.ReadBufferLen(); n > 0 {
		return fmt.Errorf("start replication from slot %q: %d bytes of the stream were read ahead", slot, n)
	}
	r.conn, r.pg = hijacked.Conn, nil
	return nil
}

// publicationNames writes a list of one publication: an identifier inside a literal.
func publicationNames(name string) string {
	identifier := `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
	return `'` + strings.ReplaceAll(identifier, `'`, `''`) + `'`
}

// moderate says whether the stream is behind. While it is, the kernel is asked to make the socket readable only when a
// large read is worth it: Go's poller watches the socket whether or not anybody reads, and would be woken for each of the
// walsender's sends, at the walsender's cost.
func (r *replication) moderate(backlog bool) {
	if r.reader.backlog == backlog {
		return
	}
	r.reader.backlog = backlog
	bytes := 1
	if backlog {
		bytes = pauseAim
	}
	conn := r.conn
	if inner, ok := conn.(interface{ NetConn() net.Conn }); ok { // TLS
		conn = inner.NetConn()
	}
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, bytes) // without it reading is slower, no more
	})
}

// fill waits for bytes until deadline. It returns false without an error when none came.
func (r *replication) fill(deadline time.Time) (bool, error) {
	if r.reader.backlog {
		// Less than a large read may be all that there is: look again soon.
		deadline = time.Now().Add(r.reader.pause + 2*pauseMost)
	}
	if err := r.conn.SetReadDeadline(deadline); err != nil {
		return false, fmt.Errorf("read from walsender: %w", err)
	}
	err := r.reader.fill()
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return false, nil
	}
	return false, fmt.Errorf("read from walsender: %w", err)
}

// status tells the walsender how far the stream was received and what the slot may forget.
func (r *replication) status(received, flushed cdc.LSN, replyRequested bool) error {
	// Zero would be read as "never confirmed anything".
	if flushed == 0 {
		return errors.New("send status: nothing to confirm")
	}
	b := r.out[:]
	b[0] = 'd'
	binary.BigEndian.PutUint32(b[1:], uint32(len(b)-1))
	b[5] = 'r'
	binary.BigEndian.PutUint64(b[6:], uint64(max(received, flushed)))
	binary.BigEndian.PutUint64(b[14:], uint64(flushed))
	binary.BigEndian.PutUint64(b[22:], uint64(flushed))
	binary.BigEndian.PutUint64(b[30:], uint64(time.Since(postgresEpoch).Microseconds()))
	b[38] = 0
	if replyRequested {
		b[38] = 1
	}
	return r.write(b)
}

var postgresEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func (r *replication) write(b []byte) error {
	if err := r.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return fmt.Errorf("write to walsender: %w", err)
	}
	if _, err := r.conn.Write(b); err != nil {
		return fmt.Errorf("write to walsender: %w", err)
	}
	return nil
}

// leave ends the copy and waits a moment for the walsender to say the same, so that it has read the last status and
// the slot is free when leave returns.
func (r *replication) leave() {
	defer r.conn.Close()
	if r.write([]byte{'c', 0, 0, 0, 4}) != nil {
		return
	}
	deadline := time.Now().Add(farewell)
	for {
		kind, _, ok, err := r.reader.next()
		if err != nil || ok && (kind == 'c' || kind == 'E') {
			break
		}
		if ok {
			continue
		}
		if more, err := r.fill(deadline); err != nil || !more {
			return
		}
	}
	_ = r.write([]byte{'X', 0, 0, 0, 4}) // the connection is closed next in any case
}

// close ends the connection at once.
func (r *replication) close(ctx context.Context) error {
	if r.pg != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
		defer cancel()
		return r.pg.Close(ctx)
	}
	return r.conn.Close()
}

// serverError decodes an ErrorResponse.
func serverError(body []byte) error {
	var msg pgproto3.ErrorResponse
	if err := msg.Decode(body); err != nil {
		return fmt.Errorf("decode error of walsender: %w", err)
	}
	return fmt.Errorf("walsender: %w", pgconn.ErrorResponseToPgError(&msg))
}
