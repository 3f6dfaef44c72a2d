package stream

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
)

func TestPastEvents(t *testing.T) {
	t.Parallel()
	s := open(t, testConfig(t))
	if past, err := s.PastEvents(testContext(t), 3); err != nil || len(past) != 0 {
		t.Errorf("nothing happened: got %s, %v", past, err)
	}
	for i := range 5 {
		s.Emit(Event{Kind: "gap", Message: fmt.Sprint(i)})
	}
	s.Emit(Event{Kind: "takeover", Message: "last"})
	last(t, s, s.cfg.eventsName(), "freshet.shop.events.takeover") // in order, so all are there
	for most, want := range map[int][]string{0: nil, 1: {"last"}, 3: {"3", "4", "last"}, 100: {"0", "1", "2", "3", "4", "last"}} {
		past, err := s.PastEvents(testContext(t), most)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, data := range past {
			var e Event
			if err := json.Unmarshal(data, &e); err != nil {
				t.Fatal(err)
			}
			got = append(got, e.Message)
		}
		if !slices.Equal(got, want) {
			t.Errorf("the last %d: got %v, want %v", most, got, want)
		}
	}
}
