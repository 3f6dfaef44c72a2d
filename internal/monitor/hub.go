package monitor

import (
	"bytes"
	"encoding/json"
	"sync"
	"sync/atomic"
)

const (
	// followers is how many may follow /events at once.
	followers = 100
	// followerBuffer is how many messages wait for one of them: some seconds' worth.
	// One that is further behind is dropped, and begins anew by itself.
	followerBuffer = 128
)

// hub passes messages to everybody who follows, and waits for nobody. Its zero value
// is ready.
type hub struct {
	count atomic.Int32 // of followers: what nobody follows is not encoded

	mu     sync.Mutex // guards everything below, and the sending to followers
	all    map[chan []byte]struct{}
	closed bool
}

// join returns the messages from now on. The channel is closed when its reader is too
// slow, or the hub closes. It returns nil when there are too many already.
func (h *hub) join() chan []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || len(h.all) >= followers {
		return nil
	}
	if h.all == nil {
		h.all = map[chan []byte]struct{}{}
	}
	messages := make(chan []byte, followerBuffer)
	h.all[messages] = struct{}{}
	h.count.Store(int32(len(h.all)))
	return messages
}

func (h *hub) leave(messages chan []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drop(messages)
}

// drop is called with mu held; a follower that has been dropped may be again.
func (h *hub) drop(messages chan []byte) {
	if _, found := h.all[messages]; !found {
		return
	}
	delete(h.all, messages)
	close(messages)
	h.count.Store(int32(len(h.all)))
}

func (h *hub) followed() bool { return h.count.Load() > 0 }

// send passes a message on. It never waits.
func (h *hub) send(name string, value any) {
	if !h.followed() {
		return
	}
	message := encodeEvent(name, value)
	h.mu.Lock()
	defer h.mu.Unlock()
	for messages := range h.all {
		select {
		case messages <- message:
		default:
			h.drop(messages)
		}
	}
}

// close ends all and takes no more.
func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for messages := range h.all {
		h.drop(messages)
	}
}

// encodeEvent is a message in the form of server-sent events.
func encodeEvent(name string, value any) []byte {
	data, err := json.Marshal(value)
	if err != nil { // a bug: plain data
		data = []byte("null")
	}
	var text bytes.Buffer
	text.WriteString("event: " + name + "\ndata: ")
	text.Write(data) // JSON has no line ends
	text.WriteString("\n\n")
	return text.Bytes()
}
