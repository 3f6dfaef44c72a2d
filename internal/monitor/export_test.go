package monitor

// Flood sends a message past the feed's limit.
func (w *Watch) Flood(text string) { w.hub.send("flood", text) }

// Join follows without a connection.
func (w *Watch) Join() <-chan []byte { return w.hub.join() }
