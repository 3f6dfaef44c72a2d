package cache

import (
	"fmt"
	"strings"
)

// describe writes a step for people.
func (r *play) describe(w *world, c choice, reply any) string {
	switch c.kind {
	case stepRequest:
		q := r.parked[c.index]
		return q.a.spec.name + ": " + r.say(q.ops[q.next], reply)
	case stepLoss:
		q := r.parked[c.index]
		return q.a.spec.name + " has no reply to " + q.ops[q.next].name + " and sends it again"
	case stepGhost:
		g := w.ghosts[c.index]
		return g.q.a.spec.name + " sent before: " + r.say(g.q.ops[g.next], reply)
	case stepEvent:
		return r.s.events[c.index].name
	default:
		return "time passes"
	}
}

func (r *play) say(op operation, reply any) string {
	text := op.name
	args := op.args
	switch {
	case len(args) == 0:
	case args[0] == "evalsha":
		text += " " + args[3]
		if op.name == "fill" || op.name == "store" {
			text += " " + sayValue(args[3+number(args[2])+flagOf01(op.name == "fill"):][0])
		}
	case args[0] == "scan":
		text += " " + args[1] + " " + args[3]
	default:
		text += " " + strings.Join(args[1:], " ")
	}
	return text + " → " + sayReply(op.name, reply)
}

func flagOf01(b bool) int { return int(bit(b)) }

func sayKeys(keys []int) string {
	text := ""
	for _, key := range keys {
		text += " " + exploreKeys[key]
	}
	return text
}

// sayReply writes what the reply means.
func sayReply(name string, reply any) string {
	switch reply := reply.(type) {
	case nil:
		return "nil"
	case string:
		return sayValue(reply)
	case versions:
		return fmt.Sprint("versions ", reply)
	case page:
		return strings.Join(reply.names, " ")
	case []any:
		if name == "miss" {
			return [...]string{"present", "absent", "load", "wait"}[reply[0].(int64)]
		}
		var all []string
		for _, one := range reply {
			all = append(all, sayReply("", one))
		}
		return strings.Join(all, ", ")
	default:
		return fmt.Sprint(reply)
	}
}

// sayValue writes a value with what its header says of it.
func sayValue(raw string) string {
	e, err := decodeEntry([]byte(raw))
	if err != nil || e.plain() {
		return raw
	}
	text := string(e.payload)
	if e.tagged {
		text += " (tags " + e.epoch
		for _, g := range e.tags {
			text += " " + g.tag + "=" + g.gen
		}
		text += ")"
	}
	return text
}
