package rule

// TargetKind is what a target removes.
type TargetKind uint8

// The kinds of targets.
const (
	KeyTarget     TargetKind = iota // Text is an exact key
	PatternTarget                   // Text is a Redis glob, values escaped
	TagTarget                       // Text is an exact tag
	TagPattern                      // Text is a glob over tags (a widened tag): bump the epoch of all tags
)

// String returns key, pattern or tag (also for a widened tag).
func (k TargetKind) String() string {
	switch k {
	case KeyTarget:
		return "key"
	case PatternTarget:
		return "pattern"
	default:
		return "tag"
	}
}

// Target is something to invalidate.
type Target struct {
	Kind TargetKind
	Text string
	Rule int // index of the rule; -1 for a rule of another set
}
