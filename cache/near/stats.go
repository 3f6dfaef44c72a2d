package near

// Stats says how a layer is doing.
type Stats struct {
	// Sound says that the layer is in use: it knows that it hears of all
	// invalidations.
	Sound bool
	// Reason is why it is not, for people to read.
	Reason string
	// Entries is about how many entries there are, Bytes how much they take.
	Entries int
	Bytes   uint64
	// Senders is how many other processes the layer hears.
	Senders int
	// Emptied counts how often something may have been missed.
	Emptied uint64
	// Unsent counts own invalidations that could not be broadcast. The others
	// find that out by the numbers.
	Unsent uint64
}

// Stats returns how the layer is doing.
func (l *Layer) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	stats := Stats{
		Sound:   l.soundAt(l.clock()),
		Entries: l.shelf.entries.EstimatedSize(),
		Bytes:   l.shelf.entries.WeightedSize(),
		Senders: len(l.ear.senders),
		Emptied: l.emptied,
		Unsent:  l.unsent.Load(),
	}
	if !stats.Sound {
		_, stats.Reason = l.ear.until()
	}
	return stats
}
