// Package metrics shows what the hub is doing in the form that Prometheus reads. Everything is counted where it happens,
// by the parts themselves; here it is only read, when somebody asks.
package metrics

import (
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// A Kind says how a number behaves.
type Kind int

// The kinds.
const (
	Gauge   Kind = iota // goes up and down
	Counter             // only grows, from zero at the start
)

// A Metric is a number, or with Label one for each value of a label.
type Metric struct {
	Name string // without the prefix "fairlead_"
	Help string
	Kind Kind
	// Read returns the number now; ok is false where it is not known.
	Read func() (v float64, ok bool)
	// Label is the name of a label, and Value this metric's; several metrics of one name then differ in it. May be empty.
	Label, Value string
}

// New returns the handler for /metrics: the given metrics, and those of the Go runtime and of the process. A version is
// shown as a label of fairlead_build_info. It panics if two metrics are the same or a name is not allowed.
func New(version string, log *slog.Logger, list []Metric) http.Handler {
	r := prometheus.NewRegistry()
	// Package collectors, which has these too, links database/sql.
	r.MustRegister(prometheus.NewGoCollector(), prometheus.NewProcessCollector(prometheus.ProcessCollectorOpts{})) //nolint:staticcheck // see above
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "fairlead_build_info", Help: "1, with the version of the hub as a label.", ConstLabels: prometheus.Labels{"version": version},
	})
	info.Set(1)
	r.MustRegister(info)
	c := collector{}
	for _, m := range list {
		var labels prometheus.Labels
		if m.Label != "" {
			labels = prometheus.Labels{m.Label: m.Value}
		}
		c = append(c, described{m, prometheus.NewDesc("fairlead_"+m.Name, m.Help, nil, labels)})
	}
	r.MustRegister(c)
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)})
}

// described is a metric and how the library calls it.
type described struct {
	Metric
	desc *prometheus.Desc
}

type collector []described

func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, m := range c {
		out <- m.desc
	}
}

func (c collector) Collect(out chan<- prometheus.Metric) {
	for _, m := range c {
		kind := prometheus.GaugeValue
		if m.Kind == Counter {
			kind = prometheus.CounterValue
		}
		if v, ok := m.Read(); ok {
			out <- prometheus.MustNewConstMetric(m.desc, kind, v)
		}
	}
}
