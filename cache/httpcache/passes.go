package httpcache

import (
	"sync"
	"time"
)

const (
	// passFor is for how long nobody waits for the response of a key again after
	// it turned out not to be storable.
	passFor = 2 * time.Second
	// maxPasses bounds how many keys are remembered in that way.
	maxPasses = 4096
)

// passes are the keys whose responses could not be stored a short while ago.
type passes struct {
	mu    sync.Mutex
	byKey map[string]pass // guarded by mu
}

type pass struct {
	until    time.Time
	personal bool // only for requests with credentials
}

// mark remembers that the response of a key could not be stored.
func (p *passes) mark(key string, personal bool) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byKey == nil {
		p.byKey = map[string]pass{}
	}
	if old, ok := p.byKey[key]; ok && personal && !old.personal && old.until.After(now) {
		return
	}
	for other := range p.byKey {
		if len(p.byKey) < maxPasses {
			break
		}
		delete(p.byKey, other)
	}
	p.byKey[key] = pass{until: now.Add(passFor), personal: personal}
}

// of reports whether no request, or none with credentials, should wait for the
// response of a key.
func (p *passes) of(key string) (all, personal bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	found, ok := p.byKey[key]
	if !ok {
		return false, false
	}
	if !found.until.After(time.Now()) {
		delete(p.byKey, key)
		return false, false
	}
	return !found.personal, found.personal
}
