package monitor

import "time"

// historyLength is how many seconds the charts show: 15 minutes.
const historyLength = 900

// Point is one second of the charts. What was not known then is nil.
type Point struct {
	Time      int64    `json:"time"`      // unix seconds
	Published *float64 `json:"published"` // row changes a second
	Applied   *float64 `json:"applied"`   // row changes a second
	P50       *float64 `json:"p50"`       // seconds from commit to Redis' reply
	P99       *float64 `json:"p99"`
	Age       *float64 `json:"age"` // of the watermark, in seconds
}

// Columns are points in the form that charts take.
type Columns struct {
	Time      []int64    `json:"time"`
	Published []*float64 `json:"published"`
	Applied   []*float64 `json:"applied"`
	P50       []*float64 `json:"p50"`
	P99       []*float64 `json:"p99"`
	Age       []*float64 `json:"age"`
}

// history keeps the last points. Its owner's mutex guards it.
type history struct {
	points [historyLength]Point
	n      int   // points ever added
	total  int64 // transactions of the last point's invalidator
}

// add makes a point of a frame and keeps it.
func (h *history) add(f Frame) Point {
	p := Point{Time: f.Time.Unix()}
	reader, worker := working(f.Reports)
	if reader != nil {
		p.Published = &reader.status.Rate
	}
	if worker != nil {
		s := &worker.status
		p.Applied = &s.ChangesPerSecond
		if age, known := worker.age(f.Time); known {
			seconds := age.Seconds()
			p.Age = &seconds
		}
		if s.Latency.Total != h.total && s.Latency.Count > 0 { // nothing new is no latency
			p50, p99 := s.Latency.P50.Seconds(), s.Latency.P99.Seconds()
			p.P50, p.P99 = &p50, &p99
		}
		h.total = s.Latency.Total
	}
	h.points[h.n%historyLength] = p
	h.n++
	return p
}

func (h *history) columns() Columns {
	n := min(h.n, historyLength)
	c := Columns{
		Time: make([]int64, n), Published: make([]*float64, n), Applied: make([]*float64, n),
		P50: make([]*float64, n), P99: make([]*float64, n), Age: make([]*float64, n),
	}
	for i := range n {
		p := h.points[(h.n-n+i)%historyLength]
		c.Time[i], c.Published[i], c.Applied[i], c.P50[i], c.P99[i], c.Age[i] = p.Time, p.Published, p.Applied, p.P50, p.P99, p.Age
	}
	return c
}

// partStatus is what is looked at of any part's own JSON.
type partStatus struct {
	State            string    `json:"state"`
	Active           bool      `json:"active"`
	Rate             float64   `json:"rate"`
	ChangesPerSecond float64   `json:"changes_per_second"`
	Retained         int64     `json:"retained_wal"`
	MaxWAL           int64     `json:"max_wal"`
	Governor         bool      `json:"governor"`
	Late             bool      `json:"heartbeat_late"`
	NearLimit        bool      `json:"near_limit"`
	PendingGaps      int       `json:"pending_gaps"`
	LastGap          string    `json:"last_gap"`
	LastGapAt        time.Time `json:"last_gap_at"`
	DeadLetters      int64     `json:"dead_letters"`
	DeadAt           time.Time `json:"dead_letter_at"`
	LostOld          []struct {
		Table string    `json:"table"`
		At    time.Time `json:"at"`
	} `json:"lost_old"`
	Position struct {
		Time time.Time `json:"time"`
	} `json:"position"`
	Latency struct {
		Count int           `json:"count"`
		P50   time.Duration `json:"p50"`
		P99   time.Duration `json:"p99"`
		Total int64         `json:"total"`
	} `json:"latency"`
}
