package crash

import (
	"slices"
	"testing"
	"time"
)

func TestWillsCheck(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := map[string]time.Time{"1": start, "2": start.Add(time.Second), "3": start, "4": start}
	for _, c := range []struct{ name, published, want string }{
		{"as it should be", "1", ""},
		{"the open one too", "14", ""},
		{"the due one is missing", "4", Missing},
		{"twice", "11", Doubled},
		{"called off", "12", Invented},
		{"too early", "13", Disorder},
		{"of nobody", "15", Invented},
	} {
		w := &Wills{Where: "w"}
		for value, f := range map[string]Fate{"1": Due, "2": CalledOff, "3": Open, "4": Open} {
			w.decide(w.add(value), f)
		}
		for _, x := range w.list {
			if x.Value == "3" {
				x.NotBefore = start.Add(time.Second)
			}
		}
		got := kinds(w.Check(split(c.published), at))
		if c.want == "" && len(got) > 0 || c.want != "" && !slices.Equal(got, []string{c.want}) {
			t.Errorf("%s: got %v, want %q", c.name, got, c.want)
		}
		if c.want == Disorder && len(w.Check(split(c.published), nil)) > 0 {
			t.Errorf("%s: found without the time", c.name)
		}
	}
}
