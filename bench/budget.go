package main

import (
	"fmt"
	"io"
)

// A budget is a bound that a median of one scenario has to keep.
type budget struct {
	text     string
	scenario string
	server   string
	bound    float64
	most     bool   // bound is the most that is allowed, else the least
	unit     string // of bound
	measured func(l *result, server string) (float64, bool)
}

// timesRival is the median of the ratios to what the server is compared with.
func timesRival(l *result, server string) (float64, bool) {
	for _, s := range l.servers() {
		if s.Server == server {
			if list := l.ratios(server, s.Rival); len(list) > 0 {
				return median(list), true
			}
		}
	}
	return 0, false
}

// timesSync is the median of the rates to the rate at which the disk alone syncs, of the same round.
func timesSync(way func(growing, inPlace []float64) []float64) func(*result, string) (float64, bool) {
	return func(l *result, server string) (float64, bool) {
		base := way(l.syncs())
		var list []float64
		for i, v := range l.of(server, value) {
			list = append(list, v/base[i])
		}
		if len(list) == 0 {
			return 0, false
		}
		return median(list), true
	}
}

func absolute(l *result, server string) (float64, bool) {
	list := l.of(server, value)
	if len(list) == 0 {
		return 0, false
	}
	return median(list), true
}

// slowest is the 99th percentile of the latency, the median of the rounds, in milliseconds.
func slowest(l *result, server string) (float64, bool) {
	list := l.of(server, func(r *runResult) float64 { return r.P99.Seconds() * 1e3 })
	if len(list) == 0 {
		return 0, false
	}
	return median(list), true
}

func pageTime(l *result, _ string) (float64, bool) { return l.Page50.Seconds() * 1e3, l.Page50 > 0 }

func growing(growing, _ []float64) []float64 { return growing }
func inPlace(_, inPlace []float64) []float64 { return inPlace }

var budgets = []budget{
	{"QoS 1 in", "8x100", plainTCP, 2, false, "× mosquitto", timesRival},
	{"QoS 1 in over mutual TLS", "8x100", astarteTLS, 2.5, false, "× mosquitto", timesRival},
	{"QoS 1 in over mutual TLS", "8x100", plainTLS, 2.5, false, "× mosquitto", timesRival},
	{"one subscriber", "sub", plainTCP, 3, false, "× mosquitto", timesRival},
	{"one subscriber, mutual TLS", "sub", plainTLS, 3, false, "× mosquitto", timesRival},
	{"500 publishers with window 10", "500x10", plainTCP, 1.7, false, "× mosquitto", timesRival},
	{"500 publishers with window 10, mutual TLS", "500x10", astarteTLS, 1.7, false, "× mosquitto", timesRival},
	{"one publisher, window 1", "1x1", astarteTLS, 0.7, false, "× syncs of a file that grows", timesSync(growing)},
	{"the same", "1x1", astarteTLS, 0.7, false, "× syncs of a file that is overwritten", timesSync(inPlace)},
	{"one publisher, window 1", "1x1", plainTCP, 0.7, false, "× syncs of a file that grows", timesSync(growing)},
	{"the same", "1x1", plainTCP, 0.7, false, "× syncs of a file that is overwritten", timesSync(inPlace)},
	{"connecting, mutual TLS", "storm", astarteTLS, 1.7, false, "× mosquitto", timesRival},
	{"connecting, mutual TLS", "storm", plainTLS, 1.7, false, "× mosquitto", timesRival},
	{"idle connection, mutual TLS", "idle", astarteTLS, 40, true, "KiB", absolute},
	{"idle connection, mutual TLS", "idle", plainTLS, 40, true, "KiB", absolute},
	{"QoS 1 in when the hub has grown", "growth", grown, 0.9, false, "× an empty hub", timesRival},
	{"a page of 1,000 samples, median", "growth", grown, 50, true, "ms", pageTime},
	{"policies cost little", "policies", awsTLS, 0.9, false, "× the dialect mqtt", timesRival},
	{"shadow updates at 2,000/s, p99", "shadow", shadowPaced, 5, true, "ms", slowest},
	{"shadow updates, rate kept", "shadow", shadowPaced, 0.99 * shadowRate, false, "updates/s", absolute},
	{"describe one of 20,000 things, p99", "registry", readThing, 50, true, "ms", absolute},
	{"list things, p99", "registry", readThings, 50, true, "ms", absolute},
	{"search things, p99", "registry", readSearch, 50, true, "ms", absolute},
	{"list certificates, p99", "registry", readCertificates, 50, true, "ms", absolute},
	{"storing one at a time", "enqueue", boxAlone, 0.7, false, "× append and fsync", timesRival},
	{"storing from concurrent producers", "producers", box64, 60_000, false, "msgs/s", absolute},
	{"emptying an outbox, mutual TLS", "drain", drainFile, 50_000, false, "msgs/s", absolute},
	{"device program", "size", sizeHere, 15, true, "MB", absolute},
	{"device program", "size", sizeARM, 15, true, "MB", absolute},
	{"device program's memory", "resident", deviceIdle, 20, true, "MiB", absolute},
	{"device program's memory", "resident", devicePeak, 20, true, "MiB", absolute},
}

func (r *report) printBudgets(w io.Writer) {
	fmt.Fprint(w, "| budget | through | bound | measured | holds |\n|---|---|---|---|---|\n")
	for _, b := range budgets {
		bound, text, holds := "≥", "NOT RUN", ""
		if b.most {
			bound = "≤"
		}
		for _, l := range r.Results {
			if l.Name != b.scenario {
				continue
			}
			if v, ok := b.measured(l, b.server); ok {
				text, holds = fmt.Sprintf("%.2f", v), "yes"
				if v < b.bound != b.most && v != b.bound {
					holds = "**no**"
				}
			}
		}
		fmt.Fprintf(w, "| %s | %s | %s %g %s | %s | %s |\n", b.text, b.server, bound, b.bound, b.unit, text, holds)
	}
}
