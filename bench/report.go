package main

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/fairlead-iot/fairlead/bench/internal/machine"
)

// A report is all that was measured; its JSON is what -json writes.
type report struct {
	Date          time.Time `json:"date"`
	Machine       string    `json:"machine"`
	FileSystem    string    `json:"file_system"`
	Mosquitto     string    `json:"mosquitto"`
	Seconds       float64   `json:"seconds_per_run"`
	DatabaseBytes int64     `json:"database_bytes"` // at the end, with everything that all scenarios have written
	HubResident   int64     `json:"hub_resident_bytes"`
	Results       []*result `json:"results"`
}

// A result is what one scenario has measured.
type result struct {
	Name   string          `json:"name"`
	Text   string          `json:"text"`
	Unit   string          `json:"unit"`
	Less   bool            `json:"less_is_better"`
	Syncs  []machine.Syncs `json:"syncs_per_second"` // of the disk alone, before each round
	Runs   []*runResult    `json:"runs"`
	NotRun []notRun        `json:"not_run,omitempty"`
	Page50 time.Duration   `json:"page_p50_ns,omitempty"` // of growth: to read a page of samples
	Page99 time.Duration   `json:"page_p99_ns,omitempty"`
}

// notRun is a subject that could not be measured.
type notRun struct {
	Server string `json:"server"`
	Why    string `json:"why"`
}

type runResult struct {
	Round                  int           `json:"round"`
	Server                 string        `json:"server"`
	Rival                  string        `json:"compared_with,omitempty"`
	Value                  float64       `json:"value"` // in the unit of the scenario
	Suite                  string        `json:"tls,omitempty"`
	Operations             uint64        `json:"operations"`
	Seconds                float64       `json:"seconds"`
	CPUPerMillion          float64       `json:"server_cpu_seconds_per_million"`
	GeneratorCPUPerMillion float64       `json:"generator_cpu_seconds_per_million"`
	OthersPercent          float64       `json:"others_percent"` // of the machine, used by neither server nor generator
	StolenPercent          float64       `json:"stolen_percent"` // of the machine, by other guests of the host
	P50                    time.Duration `json:"latency_p50_ns"`
	P99                    time.Duration `json:"latency_p99_ns"`
}

// line is the run for people.
func (r *runResult) line(unit string) string {
	if r.Seconds == 0 { // nothing that took time
		return fmt.Sprintf("%10s %s", number(r.Value), unit)
	}
	latency := ""
	if r.P99 > 0 { // it was measured
		latency = fmt.Sprintf("  p50 %s  p99 %s", micros(r.P50), micros(r.P99))
	}
	return fmt.Sprintf("%10s %s  %6.2f CPU s/M%s  (others used %.0f %% of the machine)", number(r.Value), unit, r.CPUPerMillion, latency, r.OthersPercent)
}

// of returns one number of each run of a server, in the order of the rounds.
func (l *result) of(server string, number func(*runResult) float64) (list []float64) {
	for _, r := range l.Runs {
		if r.Server == server {
			list = append(list, number(r))
		}
	}
	return list
}

func value(r *runResult) float64 { return r.Value }

// ratios returns what a server has come to in each round, as a multiple of another one.
func (l *result) ratios(server, other string) (list []float64) {
	base := l.of(other, value)
	for i, own := range l.of(server, value) {
		if i < len(base) {
			list = append(list, own/base[i])
		}
	}
	return list
}

// servers lists them in the order of the first round.
func (l *result) servers() (list []*runResult) {
	for _, r := range l.Runs {
		if !slices.ContainsFunc(list, func(o *runResult) bool { return o.Server == r.Server }) {
			list = append(list, r)
		}
	}
	return list
}

func (r *report) print(w io.Writer) {
	for _, l := range r.Results {
		l.print(w)
	}
	r.printBudgets(w)
	fmt.Fprintf(w, "\n%s; %s; %s; %s; runs of %.0f s. What the hub acknowledged was read back. Its folder has %d MiB, its process %d MiB.\n",
		r.Date.Format("2006-01-02"), r.Machine, r.FileSystem, r.Mosquitto, r.Seconds, r.DatabaseBytes>>20, r.HubResident>>20)
}

func (l *result) print(w io.Writer) {
	timed := slices.ContainsFunc(l.Runs, func(r *runResult) bool { return r.Seconds > 0 })
	fmt.Fprintf(w, "### %s\n\n| server | %s, median (min to max) | times |", l.Text, l.Unit)
	if timed {
		fmt.Fprint(w, " server CPU s per million | p50 | p99 |\n|---|---|---|---|---|---|\n")
	} else {
		fmt.Fprint(w, "\n|---|---|---|\n")
	}
	for _, s := range l.servers() {
		values := l.of(s.Server, value)
		fmt.Fprintf(w, "| %s | %s | %s |", s.Server, spread(values, number), l.times(s))
		if timed {
			duration := func(f func(*runResult) time.Duration) string {
				if s.P99 == 0 { // it was not measured
					return ""
				}
				return micros(time.Duration(median(l.of(s.Server, func(r *runResult) float64 { return float64(f(r)) }))))
			}
			fmt.Fprintf(w, " %.2f | %s | %s |", median(l.of(s.Server, func(r *runResult) float64 { return r.CPUPerMillion })),
				duration(func(r *runResult) time.Duration { return r.P50 }), duration(func(r *runResult) time.Duration { return r.P99 }))
		}
		fmt.Fprintln(w)
	}
	for _, n := range l.NotRun {
		fmt.Fprintf(w, "| %s | NOT RUN: %s | |", n.Server, n.Why)
		if timed {
			fmt.Fprint(w, " | | |")
		}
		fmt.Fprintln(w)
	}
	if timed && len(l.Syncs) > 0 {
		growing, inPlace := l.syncs()
		fmt.Fprintf(w, "\nThe disk alone: %s syncs/s of a file that grows, %s of one that is overwritten. Others used %.0f %% of the machine (median), other guests of the host %.0f %%.\n",
			spread(growing, number), spread(inPlace, number),
			median(l.all(func(r *runResult) float64 { return r.OthersPercent })),
			median(l.all(func(r *runResult) float64 { return r.StolenPercent })))
	}
	if l.Page50 > 0 {
		fmt.Fprintf(w, "\nA page of %d samples through the admin API: p50 %s, p99 %s.\n", pageSamples, micros(l.Page50), micros(l.Page99))
	}
	fmt.Fprintln(w)
}

// times says how a server compares with its rival.
func (l *result) times(s *runResult) string {
	list := l.ratios(s.Server, s.Rival)
	if len(list) == 0 {
		return ""
	}
	return fmt.Sprintf("**%.2f** (%.2f to %.2f) × %s", median(list), slices.Min(list), slices.Max(list), s.Rival)
}

func (l *result) syncs() (growing, inPlace []float64) {
	for _, s := range l.Syncs {
		growing, inPlace = append(growing, s.Growing), append(inPlace, s.InPlace)
	}
	return growing, inPlace
}

func (l *result) all(number func(*runResult) float64) (list []float64) {
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

func spread(list []float64, print func(float64) string) string {
	return fmt.Sprintf("%s (%s to %s)", print(median(list)), print(slices.Min(list)), print(slices.Max(list)))
}

// number prints with separators, small ones with a decimal.
func number(v float64) string {
	if v < 100 {
		return fmt.Sprintf("%.1f", v)
	}
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
	return number(d.Seconds()*1e6) + " µs"
}
