package main

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// A report is all that was measured; its JSON is what -json writes.
type report struct {
	Machine       string        `json:"machine"`
	FileSystem    string        `json:"file_system"`
	Mosquitto     string        `json:"mosquitto"`
	Seconds       float64       `json:"seconds_per_run"`
	DatabaseBytes int64         `json:"database_bytes"` // at the end, with everything that all loads have written
	HubResident   int64         `json:"hub_resident_bytes"`
	Loads         []*loadResult `json:"loads"`
}

type loadResult struct {
	Name       string       `json:"name"`
	Text       string       `json:"text"`
	Publishers int          `json:"publishers"`
	Window     int          `json:"window"`
	SyncRates  []float64    `json:"syncs_per_second"` // of the disk alone, before each round
	Runs       []*runResult `json:"runs"`
}

type runResult struct {
	Round                  int           `json:"round"`
	Server                 string        `json:"server"`
	Suite                  string        `json:"tls,omitempty"`
	Messages               uint64        `json:"messages"`
	Seconds                float64       `json:"seconds"`
	Rate                   float64       `json:"messages_per_second"`
	CPUPerMillion          float64       `json:"server_cpu_seconds_per_million"`
	GeneratorCPUPerMillion float64       `json:"generator_cpu_seconds_per_million"`
	OthersPercent          float64       `json:"others_percent"` // of the machine, used by neither server nor generator
	StolenPercent          float64       `json:"stolen_percent"` // of the machine, by other guests of the host
	AckP50                 time.Duration `json:"ack_p50_ns"`
	AckP99                 time.Duration `json:"ack_p99_ns"`
}

// of returns one number of each run of a server, in the order of the rounds.
func (l *loadResult) of(server string, number func(*runResult) float64) (list []float64) {
	for _, r := range l.Runs {
		if r.Server == server {
			list = append(list, number(r))
		}
	}
	return list
}

// ratios returns how many times faster the hub was in each round.
func (l *loadResult) ratios(server string) (list []float64) {
	rate := func(r *runResult) float64 { return r.Rate }
	other := l.of(server, rate)
	for i, own := range l.of(fairlead, rate) {
		list = append(list, own/other[i])
	}
	return list
}

func (l *loadResult) servers() (list []string) {
	for _, r := range l.Runs {
		if !slices.Contains(list, r.Server) {
			list = append(list, r.Server)
		}
	}
	return list
}

func (r *report) print(w io.Writer) {
	for _, l := range r.Loads {
		fmt.Fprintf(w, "### %s\n\n", l.Text)
		fmt.Fprintln(w, "| server | msgs/s, median (min to max) | hub is faster by | server CPU s per million | ack p50 | ack p99 |")
		fmt.Fprintln(w, "|---|---|---|---|---|---|")
		for _, s := range l.servers() {
			ratio := "1"
			if s != fairlead {
				ratios := l.ratios(s)
				ratio = fmt.Sprintf("**%.2f** (%.2f to %.2f)", median(ratios), slices.Min(ratios), slices.Max(ratios))
			}
			rates := l.of(s, func(r *runResult) float64 { return r.Rate })
			number := func(f func(*runResult) time.Duration) time.Duration {
				return time.Duration(median(l.of(s, func(r *runResult) float64 { return float64(f(r)) })))
			}
			fmt.Fprintf(w, "| %s | %s (%s to %s) | %s | %.2f | %s | %s |\n", s,
				thousands(median(rates)), thousands(slices.Min(rates)), thousands(slices.Max(rates)), ratio,
				median(l.of(s, func(r *runResult) float64 { return r.CPUPerMillion })),
				micros(number(func(r *runResult) time.Duration { return r.AckP50 })),
				micros(number(func(r *runResult) time.Duration { return r.AckP99 })))
		}
		fmt.Fprintf(w, "\nThe disk alone: %s syncs/s (%s to %s). Generator: %.2f CPU s per million to the hub. "+
			"Others used %.0f %% of the machine (median), other guests of the host %.0f %%.\n\n",
			thousands(median(l.SyncRates)), thousands(slices.Min(l.SyncRates)), thousands(slices.Max(l.SyncRates)),
			median(l.of(fairlead, func(r *runResult) float64 { return r.GeneratorCPUPerMillion })),
			median(l.all(func(r *runResult) float64 { return r.OthersPercent })),
			median(l.all(func(r *runResult) float64 { return r.StolenPercent })))
	}
	var total uint64
	for _, l := range r.Loads {
		for _, run := range l.Runs {
			if run.Server == fairlead {
				total += run.Messages
			}
		}
	}
	fmt.Fprintf(w, "All that the hub acknowledged was read back through AppEngine. Measured were %s messages; its folder has %d MiB, "+
		"its process %d MiB.\n", thousands(float64(total)), r.DatabaseBytes>>20, r.HubResident>>20)
}

func (l *loadResult) all(number func(*runResult) float64) (list []float64) {
	for _, r := range l.Runs {
		list = append(list, number(r))
	}
	return list
}

// median returns the middle of a list, which must not be empty; of an even number, the mean of the two in the middle.
func median(list []float64) float64 {
	s := slices.Sorted(slices.Values(list))
	n := len(s)
	return (s[(n-1)/2] + s[n/2]) / 2
}

// thousands prints a number with separators.
func thousands(v float64) string {
	s := fmt.Sprintf("%.0f", v)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func micros(d time.Duration) string {
	if d >= 10*time.Millisecond {
		return fmt.Sprintf("%.1f ms", d.Seconds()*1e3)
	}
	return thousands(d.Seconds()*1e6) + " µs"
}
