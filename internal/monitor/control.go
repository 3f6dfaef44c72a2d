package monitor

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// ServiceName is the name of the NATS micro service that answers control requests.
const ServiceName = "freshet"

// ClientHeader is the header in which whoever asks says who it is: the name of its
// connection, which NATS does not pass on. It proves nothing; permissions do.
const ClientHeader = "Freshet-Client"

const (
	requestTime = 30 * time.Second // bounds a request that is answered when it is done
	activePoll  = 200 * time.Millisecond
	// most is how many requests of verbs that take long are served at once. More
	// wait where they are: each may hold a pass over Redis' keys.
	most = 64
	// mostOfCaller is how many bytes of what callers call themselves are kept.
	mostOfCaller = 200
)

// Verb is something that can be asked for.
type Verb struct {
	// Name is the last token of the subject.
	Name string
	// Help is one sentence.
	Help string
	// Active says that only the active worker answers.
	Active bool
	// Quiet verbs change nothing and are not announced as events.
	Quiet bool
	// Long verbs are served beside one another, so that one does not wait for the
	// time that another takes.
	Long bool
	// Check, if set, refuses what cannot be meant before Serve is called.
	Check func(request []byte) error
	// Serve reads the request with Decode and returns what is encoded as the result.
	// by is who asks, as far as it says so.
	Serve func(ctx context.Context, request []byte, by string) (any, error)
}

// ControlConfig configures a Control.
type ControlConfig struct {
	// Instance is the Freshet instance's name, ID that of the process.
	Instance, ID string
	// Version is a semantic version; anything else becomes 0.0.0-dev.
	Version string
	// Subject makes a verb's subject.
	Subject func(verb string) string
	// Active reports whether this process has the active worker. Nil: never.
	Active func() bool
	// Announce is told of each request that may have changed something.
	Announce func(verb, by string, request []byte, err error)
	// Logger defaults to discarding everything.
	Logger *slog.Logger
}

// Control answers control requests as the NATS micro service "freshet". Verbs that
// anybody may answer form one member of the service; those of the active worker
// another, which is there while the worker is: a request to an instance without
// one fails at once, as nobody listens.
type Control struct {
	cfg    ControlConfig
	conn   *nats.Conn
	verbs  []Verb
	inHand gate
	slots  chan struct{} // size most: one for each long request
}

// NewControl returns a Control; Run serves.
func NewControl(conn *nats.Conn, cfg ControlConfig, verbs ...Verb) *Control {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Active == nil {
		cfg.Active = func() bool { return false }
	}
	return &Control{cfg: cfg, conn: conn, verbs: verbs, slots: make(chan struct{}, most)}
}

// Run serves until ctx ends and the requests in hand are answered. It returns nil.
func (c *Control) Run(ctx context.Context) error {
	defer c.inHand.close()
	members := map[bool]micro.Service{}
	defer func() {
		for _, member := range members {
			_ = member.Stop() // the connection may have gone
		}
	}()
	tick := time.NewTicker(activePoll)
	defer tick.Stop()
	complained := false
	for {
		for _, active := range []bool{false, true} {
			wanted := !active || c.cfg.Active()
			member := members[active]
			switch {
			case wanted && (member == nil || member.Stopped()):
				added, err := c.member(ctx, active)
				if err == nil && added != nil {
					members[active] = added
				}
				if err != nil && !complained {
					c.cfg.Logger.Warn("control requests are not answered for now", "error", err)
				}
				complained = err != nil
			case !wanted && member != nil:
				_ = member.Stop() // the connection may have gone
				delete(members, active)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// member joins the service with the verbs of one kind; nil when there are none.
func (c *Control) member(ctx context.Context, active bool) (micro.Service, error) {
	var verbs []Verb
	for _, v := range c.verbs {
		if v.Active == active {
			verbs = append(verbs, v)
		}
	}
	if len(verbs) == 0 || !c.conn.IsConnected() {
		return nil, nil
	}
	role := "any"
	if active {
		role = "active"
	}
	service, err := micro.AddService(c.conn, micro.Config{
		Name: ServiceName, Version: semantic(c.cfg.Version), Description: "Freshet instance " + c.cfg.Instance,
		Metadata: map[string]string{"instance": c.cfg.Instance, "id": c.cfg.ID, "role": role},
	})
	if err != nil {
		return nil, fmt.Errorf("join the micro service: %w", err)
	}
	for _, v := range verbs {
		err := service.AddEndpoint(v.Name, micro.HandlerFunc(func(request micro.Request) {
			c.receive(context.WithoutCancel(ctx), v, request)
		}), micro.WithEndpointSubject(c.cfg.Subject(v.Name)), micro.WithEndpointMetadata(map[string]string{"help": v.Help}))
		if err != nil {
			_ = service.Stop() // what there was of it
			return nil, fmt.Errorf("serve %s: %w", v.Name, err)
		}
	}
	return service, nil
}

// receive serves a request. Micro counts what is answered before it returns, and
// looks at the request once more then: what takes long is answered past it.
func (c *Control) receive(ctx context.Context, v Verb, request micro.Request) {
	if !c.inHand.enter() {
		err := &RefusedError{Message: "the process stops", Remedy: "ask again"}
		c.answered(v, request.Error(code(err), err.Error(), encode(nil, err)))
		return
	}
	by := caller(request.Headers().Get(ClientHeader))
	var err error
	if v.Check != nil {
		if err = v.Check(request.Data()); err != nil {
			c.announce(v, by, request.Data(), err)
		}
	}
	if v.Long && err == nil {
		c.slots <- struct{}{} // for no longer than requestTime
		go func() {
			defer c.inHand.leave()
			defer func() { <-c.slots }()
			result, err := c.serve(ctx, v, request.Data(), by)
			msg := nats.NewMsg(request.Reply())
			msg.Data = encode(result, err)
			if err != nil {
				msg.Header.Set(micro.ErrorHeader, err.Error())
				msg.Header.Set(micro.ErrorCodeHeader, code(err))
			}
			c.answered(v, c.conn.PublishMsg(msg))
		}()
		return
	}
	defer c.inHand.leave()
	var result any
	if err == nil {
		result, err = c.serve(ctx, v, request.Data(), by)
	}
	if err != nil {
		c.answered(v, request.Error(code(err), err.Error(), encode(nil, err)))
		return
	}
	c.answered(v, request.Respond(encode(result, nil)))
}

func (c *Control) serve(ctx context.Context, v Verb, request []byte, by string) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	result, err := v.Serve(ctx, request, by)
	c.announce(v, by, request, err)
	return result, err
}

func (c *Control) announce(v Verb, by string, request []byte, err error) {
	if !v.Quiet && c.cfg.Announce != nil {
		c.cfg.Announce(v.Name, by, request, err)
	}
}

func (c *Control) answered(v Verb, err error) {
	if err != nil { // nobody waits for it, or the connection has gone
		c.cfg.Logger.Debug("a control request was not answered", "verb", v.Name, "error", err)
	}
}

// caller is what a caller calls itself, fit for a line of a log.
func caller(name string) string {
	name = strings.ToValidUTF8(name[:min(len(name), mostOfCaller)], "")
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, name)
}

// semantic returns version if micro accepts it.
func semantic(version string) string {
	if semverPattern.MatchString(version) {
		return version
	}
	return "0.0.0-dev"
}

// gate counts the requests in hand and lets none in once it is closed.
type gate struct {
	mu     sync.Mutex // guards closed, and wg against adding while it is waited for
	closed bool
	wg     sync.WaitGroup
}

func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.wg.Add(1)
	return true
}

func (g *gate) leave() { g.wg.Done() }

func (g *gate) close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.wg.Wait()
}
