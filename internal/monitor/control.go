package monitor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

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
	// Serve reads the request with Decode and returns what is encoded as the result.
	// by is who asks, as far as it says so.
	Serve func(ctx context.Context, request []byte, by string) (any, error)
}

// Answer is the JSON that a control request is answered with.
type Answer struct {
	OK     bool            `json:"ok"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  string          `json:"error,omitempty"` // what is wrong, and the remedy
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
	cfg   ControlConfig
	conn  *nats.Conn
	verbs []Verb
}

// NewControl returns a Control; Run serves.
func NewControl(conn *nats.Conn, cfg ControlConfig, verbs ...Verb) *Control {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Active == nil {
		cfg.Active = func() bool { return false }
	}
	return &Control{cfg: cfg, conn: conn, verbs: verbs}
}

// Run serves until ctx ends and the requests in hand are answered. It returns nil.
func (c *Control) Run(ctx context.Context) error {
	var serving sync.WaitGroup
	defer serving.Wait()
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
				added, err := c.member(ctx, &serving, active)
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
func (c *Control) member(ctx context.Context, serving *sync.WaitGroup, active bool) (micro.Service, error) {
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
			serving.Go(func() { c.serve(context.WithoutCancel(ctx), v, request) })
		}), micro.WithEndpointSubject(c.cfg.Subject(v.Name)), micro.WithEndpointMetadata(map[string]string{"help": v.Help}))
		if err != nil {
			_ = service.Stop() // what there was of it
			return nil, fmt.Errorf("serve %s: %w", v.Name, err)
		}
	}
	return service, nil
}

func (c *Control) serve(ctx context.Context, v Verb, request micro.Request) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	by := request.Headers().Get(ClientHeader)
	result, err := v.Serve(ctx, request.Data(), by)
	if !v.Quiet && c.cfg.Announce != nil {
		c.cfg.Announce(v.Name, by, request.Data(), err)
	}
	var answer Answer
	if err == nil {
		answer.OK = true
		answer.Result, err = json.Marshal(result)
	}
	if err != nil {
		code := "500"
		var bad *BadRequestError
		if errors.As(err, &bad) {
			code = "400"
		}
		err = refuse(request, code, err.Error())
	} else {
		err = request.RespondJSON(answer)
	}
	if err != nil {
		c.cfg.Logger.Debug("a control request was not answered", "verb", v.Name, "error", err)
	}
}

func refuse(request micro.Request, code, reason string) error {
	body, err := json.Marshal(Answer{Error: reason})
	if err != nil {
		return err
	}
	return request.Error(code, reason, body)
}

// BadRequestError says what is wrong with a request.
type BadRequestError struct{ Message string }

func (e *BadRequestError) Error() string { return e.Message }

// Decode reads a request's JSON strictly: an empty body is an empty request, a field
// that there is not is an error.
func Decode[T any](request []byte) (T, error) {
	var value T
	if len(bytes.TrimSpace(request)) == 0 {
		return value, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(request))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&value)
	if err == nil {
		if _, more := decoder.Token(); more != io.EOF {
			err = errors.New("one JSON object only")
		}
	}
	if err != nil {
		return value, &BadRequestError{fmt.Sprintf("the request cannot be read: %v", err)}
	}
	return value, nil
}

// semantic returns version if micro accepts it.
func semantic(version string) string {
	if semverPattern.MatchString(version) {
		return version
	}
	return "0.0.0-dev"
}
