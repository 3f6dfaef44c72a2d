package warmer

// State is what a warmer is doing.
type State string

// The states of a warmer.
const (
	StateStarting     State = "starting"      // Run has not begun
	StateIdle         State = "idle"          // no rule warms
	StateActive       State = "active"        // taking tasks
	StatePaused       State = "paused"        // told to take none
	StateNATSDown     State = "nats_down"     // the stream of tasks is not to be had
	StateRedisDown    State = "redis_down"    // Redis does not do what it is asked to
	StatePostgresDown State = "postgres_down" // Postgres does not answer
	StateStopped      State = "stopped"       // Run has returned
)

// States lists every state.
func States() []State {
	return []State{StateStarting, StateIdle, StateActive, StatePaused, StateNATSDown, StateRedisDown, StatePostgresDown, StateStopped}
}

// Status is a snapshot of a warmer.
type Status struct {
	ID     string `json:"id"`
	State  State  `json:"state"`
	Reason string `json:"reason,omitempty"` // why it is not simply active

	Results Results `json:"results"` // of all tasks
	Queries int64   `json:"queries"` // sent to Postgres

	Rules []RuleStatus `json:"rules,omitempty"` // by rule, of those that warm
}

// Results counts what became of tasks.
type Results struct {
	Filled  int64 `json:"filled"`  // stored
	Refused int64 `json:"refused"` // not stored: the key was invalidated meanwhile
	Missing int64 `json:"missing"` // there is no row: removed, or remembered as absent
	Failed  int64 `json:"failed"`  // the query failed, or its result is no JSON
	Dropped int64 `json:"dropped"` // of other rules, unreadable, or of a query that keeps failing
	Merged  int64 `json:"merged"`  // served by a task for the same key that was about to begin
}

// RuleStatus is what a rule's warm queries have done.
type RuleStatus struct {
	Rule    string  `json:"rule"`
	Results Results `json:"results"`
	Reason  string  `json:"reason,omitempty"` // why its last query failed; empty when it did not
}
