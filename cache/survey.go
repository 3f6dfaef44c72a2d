package cache

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// survey is the masters of a deployment and how slots move between them, those
// that serve no slot yet included.
type survey struct {
	masters []*master
	owners  map[uint16]string // master's address by slot
	moves   moves
}

// moves is the slots' ways from one master's address to another's.
type moves map[[2]string]bool

// survey asks every master of a Cluster what it holds and what it gives away;
// each knows only its own part.
func (n *nodes) survey(ctx context.Context) (*survey, error) {
	topo, err := n.discover(ctx)
	if err != nil {
		return nil, err
	}
	s := &survey{masters: topo.masters, moves: moves{}}
	if n.single != nil {
		return s, nil
	}
	s.owners = make(map[uint16]string, slotCount)
	for slot, index := range topo.bySlot {
		if index > 0 {
			s.owners[uint16(slot)] = topo.masters[index-1].addr
		}
	}
	known := map[string]bool{}
	for _, m := range topo.masters {
		known[m.addr] = true
	}
	for i := 0; i < len(s.masters); i++ {
		m := s.masters[i]
		text, err := m.client.ClusterNodes(ctx).Result()
		if err != nil {
			return nil, fmt.Errorf("cluster nodes at %s: %w", m.addr, err)
		}
		seen, err := parseNodes(text, m.addr)
		if err != nil {
			return nil, err
		}
		for move := range seen.moves {
			s.moves[move] = true
		}
		for _, addr := range seen.masters {
			if !known[addr] {
				known[addr] = true
				s.masters = append(s.masters, &master{addr: addr, client: n.client(addr), noSlots: true})
			}
		}
	}
	return s, nil
}

// seenNodes is what one node says of its Cluster.
type seenNodes struct {
	masters []string // addresses of those that serve no slot and are at work
	moves   moves
}

// parseNodes reads the reply of CLUSTER NODES, asked at addr.
func parseNodes(text, addr string) (seenNodes, error) {
	seen := seenNodes{moves: moves{}}
	addrs := map[string]string{} // by node id
	var slots []string           // fields of the line about the node itself
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 8 {
			continue
		}
		flags := "," + fields[2] + ","
		nodeAddr := addr
		if strings.Contains(flags, ",myself,") {
			slots = fields[8:]
		} else {
			nodeAddr, _, _ = strings.Cut(fields[1], "@")
			if host, port, err := net.SplitHostPort(nodeAddr); err == nil {
				nodeAddr = net.JoinHostPort(host, port)
			}
		}
		addrs[fields[0]] = nodeAddr
		atWork := strings.Contains(flags, ",master,") && !strings.Contains(flags, ",fail,") &&
			!strings.Contains(flags, ",handshake,") && !strings.Contains(flags, ",noaddr,")
		if atWork && len(fields) == 8 {
			seen.masters = append(seen.masters, nodeAddr)
		}
	}
	if len(addrs) == 0 {
		return seen, errors.New("cluster nodes: no node in the reply")
	}
	for _, field := range slots {
		field = strings.Trim(field, "[]")
		if slot, to, ok := strings.Cut(field, "->-"); ok && isNumber(slot) {
			seen.moves[[2]string{addr, addrs[to]}] = true
		} else if slot, from, ok := strings.Cut(field, "-<-"); ok && isNumber(slot) {
			seen.moves[[2]string{addrs[from], addr}] = true
		}
	}
	return seen, nil
}

func isNumber(s string) bool {
	_, err := strconv.Atoi(s)
	return err == nil
}

// since returns the moves that happened or began between an earlier survey and
// this one, or nil if there are other masters than there were.
func (s *survey) since(before *survey) *moves {
	had, has := map[string]bool{}, map[string]bool{}
	for _, m := range before.masters {
		had[m.addr] = true
	}
	for _, m := range s.masters {
		has[m.addr] = true
		if !had[m.addr] {
			return nil
		}
	}
	for addr := range had {
		if !has[addr] {
			return nil
		}
	}
	happened := moves{}
	for move := range s.moves {
		happened[move] = true
	}
	for slot := range uint16(slotCount) {
		if from, to := before.owners[slot], s.owners[slot]; from != to {
			happened[[2]string{from, to}] = true
		}
	}
	return &happened
}

// moveSet collects the moves seen by the attempts at one pass.
type moveSet map[[2]string]bool

func (set moveSet) add(more moves) {
	for move := range more {
		set[move] = true
	}
}

// order divides masters into stages such that every master comes after those
// whose slots move to it: a key that moves during the pass is met at the latter
// if not at the former. Where slots move in a circle there is no such order,
// and every master comes twice, one after the other.
func (set moveSet) order(masters []*master) [][]*master {
	var stages [][]*master
	placed := map[string]bool{}
	for left := masters; len(left) > 0; {
		var stage, rest []*master
		for _, m := range left {
			ready := true
			for move := range set {
				if move[1] == m.addr && move[0] != m.addr && !placed[move[0]] && contains(left, move[0]) {
					ready = false
				}
			}
			if ready {
				stage = append(stage, m)
			} else {
				rest = append(rest, m)
			}
		}
		if len(stage) == 0 {
			return twice(masters)
		}
		for _, m := range stage {
			placed[m.addr] = true
		}
		stages, left = append(stages, stage), rest
	}
	return stages
}

func contains(masters []*master, addr string) bool {
	for _, m := range masters {
		if m.addr == addr {
			return true
		}
	}
	return false
}

func twice(masters []*master) [][]*master {
	var stages [][]*master
	for range 2 {
		for _, m := range masters {
			stages = append(stages, []*master{m})
		}
	}
	return stages
}

// within reports whether a pass in this order met every key in spite of the
// moves.
func (happened moves) within(order [][]*master) bool {
	first, last := map[string]int{}, map[string]int{}
	for i, stage := range order {
		for _, m := range stage {
			if _, ok := first[m.addr]; !ok {
				first[m.addr] = i
			}
			last[m.addr] = i
		}
	}
	for move := range happened {
		from, known := first[move[0]]
		if to := last[move[1]]; !known || from >= to {
			return false
		}
	}
	return true
}
