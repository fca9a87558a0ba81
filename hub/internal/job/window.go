package job

import (
	"slices"
	"time"
)

// A Window recurs: it begins at each minute, hour and day that its fields name, all in UTC, and lasts for Length. Sets are bits.
type Window struct {
	Minutes  uint64        `json:"minutes"`            // 0 to 59
	Hours    uint32        `json:"hours"`              // 0 to 23
	Days     uint32        `json:"days,omitempty"`     // of the month, 1 to 31
	LastDay  bool          `json:"lastDay,omitempty"`  // of the month, too
	Weekdays uint8         `json:"weekdays,omitempty"` // 0 is Sunday; with Days, either will do
	Nth      int           `json:"nth,omitempty"`      // of the weekdays of a month only that one; -1: the last; 0: each
	Months   uint16        `json:"months"`             // 1 to 12
	Years    []int         `json:"years,omitempty"`    // nil: each
	Length   time.Duration `json:"length"`
}

// horizon is how many days are looked through for the next window: the days of the week come back after 28 years, at most 40
// over a century's end.
const horizon = 41 * 366

// Next returns the first beginning of the window at or after t; the zero time: there is none.
func (w *Window) Next(t time.Time) time.Time {
	t = t.UTC().Add(time.Minute - time.Nanosecond).Truncate(time.Minute)
	day := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
	from := t.Hour()*60 + t.Minute()
	for range horizon {
		if len(w.Years) > 0 && day.Year() > slices.Max(w.Years) {
			break
		}
		if w.on(day) {
			for m := from; m < 24*60; m++ {
				if w.Hours>>(m/60)&1 == 1 && w.Minutes>>(m%60)&1 == 1 {
					return day.Add(time.Duration(m) * time.Minute)
				}
			}
		}
		day, from = day.AddDate(0, 0, 1), 0
	}
	return time.Time{}
}

// on reports whether the window begins on a day.
func (w *Window) on(day time.Time) bool {
	if w.Months>>day.Month()&1 == 0 || len(w.Years) > 0 && !slices.Contains(w.Years, day.Year()) {
		return false
	}
	if w.Days == 0 && !w.LastDay && w.Weekdays == 0 {
		return true
	}
	last := day.AddDate(0, 1, -day.Day()).Day()
	if w.Days>>day.Day()&1 == 1 || w.LastDay && day.Day() == last {
		return true
	}
	if w.Weekdays>>day.Weekday()&1 == 0 {
		return false
	}
	switch {
	case w.Nth > 0:
		return (day.Day()-1)/7 == w.Nth-1
	case w.Nth < 0:
		return day.Day() > last-7
	}
	return true
}

// open reports whether devices may get the job now, and when that changes; the zero time: never, as far as can be seen.
func (s *Spec) open(now time.Time) (open bool, change time.Time) {
	if now.Before(s.Start) {
		return false, s.Start
	}
	if len(s.Windows) == 0 {
		return true, time.Time{}
	}
	for i := range s.Windows {
		w := &s.Windows[i]
		begins := w.Next(now.Add(-w.Length + time.Nanosecond))
		if begins.IsZero() {
			continue
		}
		at := begins
		if is := !begins.After(now); is {
			if at = begins.Add(w.Length); !open {
				open, change = true, time.Time{}
			}
			if at.After(change) {
				change = at
			}
		} else if !open && (change.IsZero() || at.Before(change)) {
			change = at
		}
	}
	return open, change
}

// NextWindows returns when the next windows of a job begin after now, at most n, and not after its end.
func (s *Spec) NextWindows(now time.Time, n int) (list []time.Time) {
	if len(s.Windows) == 0 {
		return nil
	}
	for at := now; len(list) < n; at = list[len(list)-1] {
		var next time.Time
		for i := range s.Windows {
			from := at.Add(time.Nanosecond)
			if from.Before(s.Start) {
				from = s.Start
			}
			if x := s.Windows[i].Next(from); !x.IsZero() && (next.IsZero() || x.Before(next)) {
				next = x
			}
		}
		if next.IsZero() || !s.End.IsZero() && !next.Before(s.End) {
			return list
		}
		list = append(list, next)
	}
	return list
}
