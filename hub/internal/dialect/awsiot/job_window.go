package awsiot

import (
	"encoding/json"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/job"
)

const (
	maxWindowMinutes = 1430 // of a maintenance window (API reference, MaintenanceWindow)
	maxCronBytes     = 256  // of the expression that says when it begins
	maxWindows       = 20
	listedWindows    = 7 // in the answer to DescribeJob
)

// jobWindows reads the maintenanceWindows of a schedulingConfig or of a job template.
func jobWindows(list []json.RawMessage, now time.Time) ([]job.Window, error) {
	if len(list) > maxWindows {
		return nil, refuse(invalidRequest, "There are more than %d maintenanceWindows", maxWindows)
	}
	var windows []job.Window
	for _, raw := range list {
		var x struct {
			StartTime         string
			DurationInMinutes int64
		}
		if err := part("maintenanceWindows", raw, &x); err != nil {
			return nil, err
		}
		if x.DurationInMinutes < 1 || x.DurationInMinutes > maxWindowMinutes {
			return nil, refuse(invalidRequest, "durationInMinutes of a maintenance window must be between 1 and %d", maxWindowMinutes)
		}
		w, ok := parseCron(x.StartTime)
		if !ok {
			return nil, refuse(invalidRequest, "startTime %.256q of a maintenance window is no cron expression of six fields, in UTC: "+
				"cron(MINUTES HOURS DAY-OF-MONTH MONTH DAY-OF-WEEK YEAR), such as cron(0 2 ? * SUN *)", x.StartTime)
		}
		w.Length = time.Duration(x.DurationInMinutes) * time.Minute
		if w.Next(now).IsZero() {
			return nil, refuse(invalidRequest, "There is no time that startTime %.256q of a maintenance window means", x.StartTime)
		}
		windows = append(windows, w)
	}
	return windows, nil
}

// A cronField says which numbers a field of a cron expression may have, and which words stand for them.
type cronField struct {
	least, most int
	words       []string // of least and those behind it
}

var (
	cronMinutes  = cronField{least: 0, most: 59}
	cronHours    = cronField{least: 0, most: 23}
	cronDays     = cronField{least: 1, most: 31}
	cronMonths   = cronField{1, 12, []string{"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}}
	cronWeekdays = cronField{1, 7, []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}}
	cronYears    = cronField{least: 1970, most: 2199}
)

// parseCron reads a cron expression as AWS's services write them, with or without "cron(" and ")" around it: minutes, hours,
// day of the month, month, day of the week (1 is Sunday), year. Of the two days one has to be "?" or "*". (Amazon EventBridge
// user guide, "Cron expressions"; of its wildcards W, the nearest weekday, is not known here.)
func parseCron(text string) (w job.Window, ok bool) {
	if len(text) > maxCronBytes {
		return w, false
	}
	text = strings.ToUpper(strings.TrimSpace(text))
	if inner, found := strings.CutPrefix(text, "CRON("); found {
		if text, found = strings.CutSuffix(inner, ")"); !found {
			return w, false
		}
	}
	f := strings.Fields(text)
	if len(f) != 6 || anyDay(f[2]) == anyDay(f[4]) && !anyDay(f[2]) {
		return w, false
	}
	minutes, ok1 := cronMinutes.set(f[0])
	hours, ok2 := cronHours.set(f[1])
	months, ok3 := cronMonths.set(f[3])
	w.Minutes, w.Hours, w.Months = minutes, uint32(hours), uint16(months<<1)
	ok = ok1 && ok2 && ok3
	if f[5] != "*" {
		years, ok5 := cronYears.list(f[5])
		w.Years, ok = years, ok && ok5
	}
	switch {
	case !anyDay(f[2]):
		return w, ok && monthDays(f[2], &w)
	case !anyDay(f[4]):
		return w, ok && weekdays(f[4], &w)
	}
	return w, ok
}

func anyDay(field string) bool { return field == "?" || field == "*" }

// monthDays reads the field of days of the month: numbers, and L for the last.
func monthDays(field string, w *job.Window) bool {
	parts := strings.Split(field, ",")
	n := len(parts)
	parts = slices.DeleteFunc(parts, func(p string) bool { return p == "L" })
	if w.LastDay = len(parts) < n; len(parts) == 0 {
		return true
	}
	days, ok := cronDays.set(strings.Join(parts, ","))
	w.Days = uint32(days << 1)
	return ok
}

// weekdays reads the field of days of the week: "MON-FRI", "6#2" for the second Friday of a month, "6L" for its last.
func weekdays(field string, w *job.Window) bool {
	day, nth, found := strings.Cut(field, "#")
	if found {
		n, err := strconv.Atoi(nth)
		if err != nil || n < 1 || n > 5 {
			return false
		}
		w.Nth = n
	} else if rest, last := strings.CutSuffix(field, "L"); last && rest != "" {
		day, w.Nth = rest, -1
	} else if last {
		day = "SAT"
	}
	days, ok := cronWeekdays.set(day)
	w.Weekdays = uint8(days)
	return ok && (w.Nth == 0 || bits.OnesCount64(days) == 1)
}

// set reads a field as a set of bits, the first of which is the least number.
func (f cronField) set(field string) (set uint64, ok bool) {
	list, ok := f.list(field)
	for _, n := range list {
		set |= 1 << (n - f.least)
	}
	return set, ok
}

// list reads a field: numbers and words, ranges of them, and steps, with commas between.
func (f cronField) list(field string) (list []int, ok bool) {
	for p := range strings.SplitSeq(field, ",") {
		p, step, stepped := strings.Cut(p, "/")
		by := 1
		if stepped {
			n, err := strconv.Atoi(step)
			if err != nil || n < 1 || n > f.most {
				return nil, false
			}
			by = n
		}
		from, to := f.least, f.most
		if p != "*" {
			first, last, ranged := strings.Cut(p, "-")
			if from, ok = f.number(first); !ok {
				return nil, false
			}
			switch {
			case ranged:
				if to, ok = f.number(last); !ok || to < from {
					return nil, false
				}
			case !stepped:
				to = from
			}
		}
		for n := from; n <= to; n += by {
			list = append(list, n)
		}
	}
	slices.Sort(list)
	return slices.Compact(list), true
}

func (f cronField) number(text string) (int, bool) {
	if i := slices.Index(f.words, text); i >= 0 {
		return f.least + i, true
	}
	n, err := strconv.Atoi(text)
	return n, err == nil && n >= f.least && n <= f.most
}

// A scheduledRollout is a maintenance window to come, in the answer to DescribeJob.
type scheduledRollout struct {
	StartTime string `json:"startTime"`
}

func scheduledRollouts(s *job.Spec, now time.Time) (list []scheduledRollout) {
	for _, at := range s.NextWindows(now, listedWindows) {
		list = append(list, scheduledRollout{at.Format(time.RFC3339)})
	}
	return list
}
