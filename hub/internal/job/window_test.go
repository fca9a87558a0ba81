package job

import (
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

const (
	eachMonth = 0x1ffe
	eachHour  = 1<<24 - 1
)

// twoAM is open from 02:00 to 03:30 of each day.
var twoAM = Window{Minutes: 1, Hours: 1 << 2, Months: eachMonth, Length: 90 * time.Minute}

func TestWindowNext(t *testing.T) {
	for _, tt := range []struct {
		name       string
		w          Window
		from, want string // "" is never
	}{
		{"today", twoAM, "2026-05-06T01:59:00Z", "2026-05-06T02:00:00Z"},
		{"now", twoAM, "2026-05-06T02:00:00Z", "2026-05-06T02:00:00Z"},
		{"tomorrow", twoAM, "2026-05-06T02:00:01Z", "2026-05-07T02:00:00Z"},
		{"next year", twoAM, "2026-12-31T23:59:59Z", "2027-01-01T02:00:00Z"},
		{"elsewhere", twoAM, "2026-05-06T03:30:00+02:00", "2026-05-06T02:00:00Z"},
		{"each quarter", Window{Minutes: 1 | 1<<15 | 1<<30 | 1<<45, Hours: eachHour, Months: eachMonth}, "2026-05-06T23:46:00Z", "2026-05-07T00:00:00Z"},
		{"31st", Window{Minutes: 1, Hours: 1, Days: 1 << 31, Months: eachMonth}, "2026-05-31T00:00:01Z", "2026-07-31T00:00:00Z"},
		{"last day", Window{Minutes: 1, Hours: 1, LastDay: true, Months: eachMonth}, "2028-02-01T00:00:00Z", "2028-02-29T00:00:00Z"},
		{"29 February", Window{Minutes: 1, Hours: 1, Days: 1 << 29, Months: 1 << 2}, "2096-03-01T00:00:00Z", "2104-02-29T00:00:00Z"},
		{"29 February of a year", Window{Minutes: 1, Hours: 1, Days: 1 << 29, Months: 1 << 2, Years: []int{2032}}, "2026-01-01T00:00:00Z", "2032-02-29T00:00:00Z"},
		{"30 February", Window{Minutes: 1, Hours: 1, Days: 1 << 30, Months: 1 << 2}, "2026-01-01T00:00:00Z", ""},
		{"Mondays", Window{Minutes: 1, Hours: 1, Weekdays: 1 << 1, Months: eachMonth}, "2026-05-06T00:00:00Z", "2026-05-11T00:00:00Z"},
		{"second Sunday", Window{Minutes: 1, Hours: 1, Weekdays: 1, Nth: 2, Months: eachMonth}, "2026-05-06T00:00:00Z", "2026-05-10T00:00:00Z"},
		{"last Friday", Window{Minutes: 1, Hours: 1, Weekdays: 1 << 5, Nth: -1, Months: eachMonth}, "2026-05-06T00:00:00Z", "2026-05-29T00:00:00Z"},
		{"year", Window{Minutes: 1, Hours: 1, Months: 1 << 1, Years: []int{2026, 2030}}, "2026-05-06T00:00:00Z", "2030-01-01T00:00:00Z"},
		{"years ago", Window{Minutes: 1, Hours: 1, Months: eachMonth, Years: []int{2025}}, "2026-05-06T00:00:00Z", ""},
		{"no hour", Window{Minutes: 1, Months: eachMonth}, "2026-05-06T00:00:00Z", ""},
	} {
		from, err := time.Parse(time.RFC3339, tt.from)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if at := tt.w.Next(from); !at.IsZero() {
			got = at.Format(time.RFC3339)
		}
		if got != tt.want {
			t.Errorf("%s: next at %q, want %q", tt.name, got, tt.want)
		}
	}
}

// at sets the clock to a time of a day of May, and does what is due then.
func (r *rig) at(day, hour, minute int) {
	r.Helper()
	r.now = time.Date(2026, 5, day, hour, minute, 0, 0, time.UTC)
	r.work()
}

// TestWindowsHoldARollout checks that devices get a job inside of its windows only, and that it says that it waits.
func TestWindowsHoldARollout(t *testing.T) {
	r := newRig(t) // 12:00
	r.create(Spec{ID: "a", Windows: []Window{twoAM}, Rollout: Rollout{PerMinute: 60}}, devices(100)...)
	r.expectState("a", "scheduled waiting=100")
	r.at(7, 1, 59)
	r.expectState("a", "scheduled waiting=100")
	r.at(7, 3, 29)
	r.expectState("a", "in_progress queued=60 waiting=40")
	r.at(7, 3, 30)
	r.expectState("a", "scheduled queued=60 waiting=40")
	r.update("d00000", "a", Update{State: Succeeded})
	r.update("d00001", "a", Update{State: InProgress})
	r.expectState("a", "scheduled queued=58 in_progress=1 succeeded=1 waiting=40")
	r.at(8, 2, 0)
	r.expectState("a", "in_progress queued=98 in_progress=1 succeeded=1")
	r.at(8, 12, 0)
	r.expectState("a", "in_progress queued=98 in_progress=1 succeeded=1")
}

func TestWindowsOverlapAndEnd(t *testing.T) {
	r := newRig(t)
	threeAM := Window{Minutes: 1, Hours: 1 << 3, Months: eachMonth, Length: time.Hour}
	begin, end := time.Date(2026, 5, 7, 12, 0, 0, 0, time.UTC), time.Date(2026, 5, 9, 3, 30, 0, 0, time.UTC)
	spec := Spec{ID: "a", Windows: []Window{twoAM, threeAM}, Start: begin, End: end, AtEnd: EndRollout, Continuous: true}
	var next []time.Time
	for _, h := range []int{2, 3, 26} {
		next = append(next, time.Date(2026, 5, 8, h, 0, 0, 0, time.UTC))
	}
	if got := spec.NextWindows(r.now, 7); len(got) != 4 || !got[0].Equal(next[0]) || !got[1].Equal(next[1]) || !got[2].Equal(next[2]) {
		t.Errorf("next windows %v, want those from %v on", got, next)
	}
	if got := spec.NextWindows(r.now, 2); len(got) != 2 {
		t.Errorf("the next two windows are %v", got)
	}
	r.do(func(s *Session) error { _, err := s.Create(spec, []string{"g"}, devices(1)); return err })
	join := func(d core.DeviceID) {
		t.Helper()
		r.do(func(s *Session) error { return s.Join("g", d) })
	}
	r.at(7, 2, 10)
	r.expectState("a", "scheduled waiting=1")
	r.at(8, 2, 0)
	r.expectState("a", "in_progress queued=1")
	r.at(8, 3, 59)
	join("e")
	r.expectState("a", "in_progress queued=2")
	r.at(8, 4, 0)
	r.expectState("a", "scheduled queued=2")
	join("f")
	r.expectState("a", "scheduled queued=2 waiting=1")
	r.at(9, 3, 0)
	r.expectState("a", "in_progress queued=3")
	r.at(9, 3, 30)
	join("g")
	r.expectState("a", "in_progress queued=3")
	r.update("d00000", "a", Update{State: Succeeded})
	r.update("e", "a", Update{State: Succeeded})
	r.expectState("a", "in_progress queued=1 succeeded=2")
	r.update("f", "a", Update{State: Succeeded})
	r.expectState("a", "completed succeeded=3") // a continuous job ends with its time
}

// TestRetriesOutsideOfWindows checks that what happens to executions has its consequences also while the job waits.
func TestRetriesOutsideOfWindows(t *testing.T) {
	r := newRig(t)
	r.create(Spec{ID: "a", Windows: []Window{twoAM}, Rollout: Rollout{PerMinute: 1}, Retries: []Retry{{Most: 1}}, Aborts: []Abort{{Percent: 100, Least: 1}}}, devices(2)...)
	r.at(7, 3, 29)
	r.at(7, 4, 0)
	r.expectState("a", "scheduled queued=1 waiting=1")
	r.update("d00000", "a", Update{State: Failed})
	r.expect("retry", r.pending("d00000"), "a/2 queued")
	r.update("d00000", "a", Update{State: Rejected})
	r.expectState("a", "canceled rejected=1")
}

// TestLeavingWhileItWaits checks that a device gets no job of a group that it left, or of a job that it was to have, before its
// turn; and that one that joins does not wait.
func TestLeavingWhileItWaits(t *testing.T) {
	r := newRig(t)
	create := func(id string, continuous bool) {
		r.do(func(s *Session) error {
			_, err := s.Create(Spec{ID: id, Continuous: continuous, Rollout: Rollout{PerMinute: 1}}, []string{"g"}, devices(3))
			return err
		})
	}
	leave := func(d core.DeviceID, still bool) {
		r.do(func(s *Session) error {
			return s.Leave("g", d, func([]string) (bool, error) { return still, nil })
		})
	}
	create("a", true)
	create("b", false)
	leave("d00002", true)
	r.expectState("a", "in_progress queued=1 waiting=2")
	leave("d00001", false)
	r.expectState("a", "in_progress queued=1 waiting=1")
	r.expectState("b", "in_progress queued=1 waiting=2") // a snapshot is what it was
	r.do(func(s *Session) error { return s.Join("g", "d00002") })
	r.expectState("a", "in_progress queued=2")
	r.do(func(s *Session) error { return s.Join("g", "d00001") })
	r.expect("back in the group", r.pending("d00001"), "a/1 queued")
	r.do(func(s *Session) error { return s.Forget("d00002") })
	r.expectState("a", "in_progress queued=2")
	r.expectState("b", "in_progress queued=1 waiting=1")
	r.do(func(s *Session) error { return s.Forget("d00001") })
	r.update("d00000", "b", Update{State: Succeeded})
	r.expectState("b", "completed succeeded=1")
	r.now = r.now.Add(time.Hour)
	r.work()
	r.expectState("a", "in_progress queued=1")
}

func TestForgettingTheLastThatWaits(t *testing.T) {
	r := newRig(t)
	r.create(Spec{ID: "a-1", Rollout: Rollout{PerMinute: 1}}, devices(2)...)
	r.create(Spec{ID: "a", Rollout: Rollout{PerMinute: 1}}, devices(2)...)
	for _, id := range []string{"a", "a-1"} {
		r.update("d00000", id, Update{State: Succeeded})
		r.expectState(id, "in_progress succeeded=1 waiting=1")
	}
	r.expect("forget", r.do(func(s *Session) error { return s.Forget("d00001") }), "a-1=completed", "a=completed")
}
