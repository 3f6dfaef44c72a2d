package monitor

// Flood sends a message past the feed's limit.
func (w *Watch) Flood(text string) { w.hub.send("flood", text) }
