package servers

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"strconv"
	"strings"
)

// Ports are taken from below the ephemeral range of Linux (32768) and macOS
// (49152), so that no outgoing connection sits on a server's port when it is
// started again. A Redis Cluster node listens on its port + 10000 too.
const (
	firstPort   = 12000
	lastPort    = 22000
	clusterPort = 10000
	portTries   = 200
)

// portHold is a port on loopback that is ours until release.
type portHold struct {
	number int
	holder net.Listener // nil where the system has nothing to hold it with
}

// holdPort finds a free port. With cluster, the port 10000 above is free too.
func holdPort(ctx context.Context, cluster bool) (*portHold, error) {
	var last error
	for range portTries {
		number := firstPort + rand.IntN(lastPort-firstPort)
		hold := &portHold{number: number}
		// On Linux an abstract socket is a name that one process can hold, gone
		// with the process, and no file. Elsewhere only the bind below decides.
		if runtime.GOOS == "linux" {
			holder, err := (&net.ListenConfig{}).Listen(ctx, "unix", "@freshet-port-"+strconv.Itoa(number))
			if err != nil {
				last = err
				continue
			}
			hold.holder = holder
		}
		err := bindable(ctx, number)
		if err == nil && cluster {
			err = bindable(ctx, number+clusterPort)
		}
		if err == nil {
			return hold, nil
		}
		hold.release()
		last = err
	}
	return nil, fmt.Errorf("find a free port between %d and %d: %w", firstPort, lastPort, last)
}

// FreeAddr returns an address on loopback at which nobody listens. Until
// release, no server of this package is given it, in whatever process, and no
// outgoing connection lands on it.
func FreeAddr(ctx context.Context) (addr string, release func(), err error) {
	hold, err := holdPort(ctx, false)
	if err != nil {
		return "", nil, err
	}
	return hold.addr(), hold.release, nil
}

func (h *portHold) release() {
	if h.holder != nil {
		h.holder.Close()
	}
}

func (h *portHold) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(h.number)) }

func bindable(ctx context.Context, number int) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(number)))
	if err != nil {
		return err
	}
	return listener.Close()
}

// errPortTaken marks a start that failed because somebody else took the port
// between our look and the server's bind.
var errPortTaken = errors.New("port taken by another process")

// portTaken tells from a server's log whether its bind failed.
func portTaken(log string) bool {
	return strings.Contains(strings.ToLower(log), "address already in use")
}

// withPort runs start with a held port, and again with another one when it
// returns errPortTaken. On success the port stays held.
func withPort(ctx context.Context, cluster bool, start func(*portHold) error) error {
	const tries = 5
	var err error
	for range tries {
		var hold *portHold
		if hold, err = holdPort(ctx, cluster); err != nil {
			return err
		}
		if err = start(hold); err == nil {
			return nil
		}
		hold.release()
		if !errors.Is(err, errPortTaken) {
			return err
		}
	}
	return err
}
