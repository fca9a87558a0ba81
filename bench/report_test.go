package main

import (
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/bench/internal/machine"
)

func TestBudgets(t *testing.T) {
	one := &result{Name: "8x100", Unit: "msgs/s", Syncs: []machine.Syncs{{Growing: 10, InPlace: 20}, {Growing: 10, InPlace: 20}}}
	for round, v := range [][2]float64{{300, 100}, {200, 100}} { // 3 and 2 times, 2.5 in the middle
		one.Runs = append(one.Runs,
			&runResult{Round: round + 1, Server: astarteTLS, Rival: mosquittoTLS, Value: v[0], Seconds: 1},
			&runResult{Round: round + 1, Server: mosquittoTLS, Value: v[1], Seconds: 1})
	}
	latency := &result{Name: "growth", Unit: "msgs/s", Page50: 51 * time.Millisecond}
	small := &result{Name: "size", Unit: "MB", Runs: []*runResult{{Round: 1, Server: sizeARM, Value: 16}}}
	var b strings.Builder
	(&report{Results: []*result{one, latency, small}}).printBudgets(&b)
	for _, want := range []string{
		"| QoS 1 in over mutual TLS | fairlead, astarte | ≥ 2.5 × mosquitto | 2.50 | yes |",
		"| a page of 1,000 samples, median | fairlead, grown | ≤ 50 ms | 51.00 | **no** |",
		"| device program | linux/arm | ≤ 15 MB | 16.00 | **no** |",
		"| connecting, mutual TLS | fairlead, astarte | ≥ 1.7 × mosquitto | NOT RUN |  |",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no line %q in\n%s", want, b.String())
		}
	}
	(&report{Results: []*result{{Name: "registry", Unit: "ms", Runs: []*runResult{{Round: 1, Server: readThing, Value: 1, Seconds: 1}}}}}).print(&b) // nothing of the disk
	if got := one.ratios(astarteTLS, mosquittoTLS); len(got) != 2 || got[0] != 3 || got[1] != 2 {
		t.Errorf("got ratios %v", got)
	}
}

func TestPick(t *testing.T) {
	if all, err := pick(""); err != nil || len(all) < 6 {
		t.Errorf("got %d scenarios, %v", len(all), err)
	}
	if two, err := pick("storm,1x1"); err != nil || len(two) != 2 || two[0].name != "1x1" {
		t.Errorf("got %v, %v", two, err)
	}
	if _, err := pick("strom"); err == nil {
		t.Error("no error")
	}
}
