package stream

// cursor is the last message that was received, whatever the chain says of it.
type cursor struct {
	stream string
	seq    uint64 // 0: none
	id     string
}

// found is what lies at the cursor's sequence.
type found struct {
	exists bool
	id     string // its Freshet-Id, empty for a foreign message
}

// attachAt decides where reading begins after a connect, a reconnect or any
// doubt, and why it is not simply behind the cursor. When the cursor is not in
// this stream, nothing tells which of its messages were processed: begin at
// the first, because applying again leaves nothing stale (I4).
func attachAt(at cursor, info Info, here found) (from uint64, reason string) {
	first := max(info.FirstSeq, 1)
	switch {
	case at.seq == 0:
		return first, ""
	case at.stream != info.ID:
		return first, reasonReplaced
	case at.seq > info.LastSeq:
		return first, reasonShort
	case here.exists && here.id != at.id:
		return first, reasonOther
	case at.seq+1 < first:
		return first, reasonRemoved
	default:
		// Messages removed behind the cursor but not from the front are found
		// by the chain.
		return at.seq + 1, ""
	}
}
