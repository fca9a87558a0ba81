package hub

import (
	"net/http"
	"sync/atomic"

	"github.com/fairlead-iot/fairlead/hub/internal/api"
	"github.com/fairlead-iot/fairlead/hub/internal/metrics"
	"github.com/fairlead-iot/fairlead/hub/internal/refusal"
	"github.com/fairlead-iot/fairlead/hub/internal/retain"
)

const gauge, counter = metrics.Gauge, metrics.Counter

// metrics returns the handler of /metrics. Nothing in it is read from the database, so that it answers when that does
// not. The names are documented in docs/admin-api.md; dashboards are built on them.
func (h *Hub) metrics(p *parts, stats *api.Stats) http.Handler {
	ready := func() (float64, bool) {
		if h.health(p) != nil {
			return 0, true
		}
		return 1, true
	}
	list := []metrics.Metric{
		{Name: "ready", Help: "1 if storage accepts writes and the hub is not stopping.", Kind: gauge, Read: ready},

		{Name: "api_sign_ins_failed_total", Help: "Requests to the admin API with an unknown token.", Kind: counter, Read: number(&stats.SignInsFailed)},
		{Name: "api_sign_ins_limited_total", Help: "Requests refused because too many with unknown tokens had come from their address.", Kind: counter, Read: number(&stats.SignInsLimited)},
		{Name: "api_event_streams", Help: "Open event streams.", Kind: gauge, Read: number(&stats.Streams)},
	}
	list = append(list, connectionMetrics(p)...)
	list = append(list, commitMetrics(p)...)
	list = append(list, storageMetrics(p)...)
	return metrics.New(Version(), h.cfg.Logger, list)
}

// number reads a counter.
func number(v *atomic.Int64) func() (float64, bool) {
	return func() (float64, bool) { return float64(v.Load()), true }
}

// connectionMetrics are about clients: their connections, messages and refusals.
func connectionMetrics(p *parts) []metrics.Metric {
	mqtt := p.broker.Stats()
	list := []metrics.Metric{
		{Name: "mqtt_connections", Help: "Open MQTT connections that have signed in.", Kind: gauge, Read: number(&mqtt.Connections)},
		{Name: "mqtt_sessions", Help: "MQTT sessions, connected or not.", Kind: gauge, Read: number(&mqtt.Sessions)},
		{Name: "mqtt_connections_accepted_total", Help: "MQTT connections, on all ports.", Kind: counter, Read: number(&mqtt.Accepted)},
		{Name: "mqtt_connections_refused_total", Help: "MQTT connections, on all ports, that did not sign in.", Kind: counter, Read: number(&mqtt.Refused)},
		{Name: "mqtt_messages_received_total", Help: "Messages from MQTT clients.", Kind: counter, Read: number(&mqtt.MessagesIn)},
		{Name: "mqtt_messages_sent_total", Help: "Messages to MQTT clients.", Kind: counter, Read: number(&mqtt.MessagesOut)},
		{Name: "mqtt_messages_dropped_total", Help: "Messages that a full queue, a slow client or a rate lost.", Kind: counter, Read: number(&mqtt.Dropped)},
		{Name: "mqtt_messages_expired_total", Help: "Copies of messages whose expiry interval was over before they were sent.", Kind: counter, Read: number(&mqtt.Expired)},
		{Name: "mqtt_retained_messages", Help: "Retained messages, of all tenants.", Kind: gauge, Read: number(&mqtt.Retained)},
		{Name: "mqtt_retained_bytes", Help: "Their topics, payloads and properties.", Kind: gauge, Read: number(&mqtt.RetainedBytes)},
		{Name: "mqtt_retained_refused_total", Help: "Messages that were delivered but not retained, because the tenant had too many.", Kind: counter, Read: number(&mqtt.RetainedRefused)},
		{Name: "mqtt_subscriptions_limited_total", Help: "Subscriptions refused because the session or its device had too many.", Kind: counter, Read: number(&mqtt.FiltersRefused)},
		{Name: "mqtt_messages_throttled_total", Help: "Messages discarded because there were too many in a second.", Kind: counter, Label: "direction", Value: "in", Read: number(&mqtt.ThrottledIn)},
		{Name: "mqtt_messages_throttled_total", Help: "Messages discarded because there were too many in a second.", Kind: counter, Label: "direction", Value: "out", Read: number(&mqtt.ThrottledOut)},
		{Name: "mqtt_reads_delayed_total", Help: "Times that a client was not read from for a moment, because it had sent too many bytes in a second.", Kind: counter, Read: number(&mqtt.ReadsDelayed)},
		{Name: "mqtt_slow_clients_total", Help: "Connections closed because the client did not read.", Kind: counter, Read: number(&mqtt.SlowClients)},
		{Name: "mqtt_shed_clients_total", Help: "Of these, because too much waited for all clients together.", Kind: counter, Read: number(&mqtt.Shed)},
		{Name: "mqtt_protocol_failures_total", Help: "Connections closed because the client broke the protocol.", Kind: counter, Read: number(&mqtt.ProtocolFailures)},
		{Name: "mqtt_connections_pending", Help: "Open MQTT connections that have not signed in yet.", Kind: gauge, Read: func() (float64, bool) { return float64(p.pending.Open()), true }},
		{Name: "connections_delayed_total", Help: "Connections that had to wait because others from their address, or many in all, had come to nothing.", Kind: counter, Read: func() (float64, bool) { return float64(p.pace.Delayed()), true }},
		{Name: "https_connections", Help: "Open connections to the HTTPS port, without those that are MQTT.", Kind: gauge, Read: func() (float64, bool) { return float64(p.webGate.Open()), true }},
	}
	for limit, read := range map[string]func() int64{"mqtt_connects_per_device": p.deviceQuota.Exceeded, "https_connects_per_address": p.webQuota.Exceeded} {
		list = append(list, metrics.Metric{
			Name: "connects_too_many_total", Help: "Connections beyond what there may be in a minute. They were served, and counted as failed.", Kind: counter,
			Label: "limit", Value: limit, Read: func() (float64, bool) { return float64(read()), true },
		})
	}
	for limit, read := range map[string]func() int64{ // by the names that the limits have in the configuration
		"mqtt_connections":         mqtt.Full.Load,
		"mqtt_sessions":            mqtt.TenantFull.Load,
		"aws_service_limits":       mqtt.TooSoon.Load,
		"mqtt_auto_registered":     p.unregistered,
		"mqtt_sessions_per_device": mqtt.DeviceFull.Load,
		"mqtt_pending":             p.pending.Full,
		"mqtt_pending_per_address": p.pending.Crowded,
		"https_connections":        p.webGate.Full,
		"https_per_address":        p.webGate.Crowded,

		"failed_connects":             p.pace.Full,
		"failed_connects_per_address": p.pace.Crowded,
	} {
		list = append(list, metrics.Metric{
			Name: "connections_limited_total", Help: "Connections closed because a limit was reached.", Kind: counter,
			Label: "limit", Value: limit, Read: func() (float64, bool) { return float64(read()), true },
		})
	}
	for _, name := range p.names() {
		list = append(list, metrics.Metric{
			Name: "mqtt_connections_by_dialect", Help: "Open MQTT connections by the platform that they speak.", Kind: gauge,
			Label: "dialect", Value: name, Read: func() (float64, bool) { return float64(p.broker.CountConnections(name, 0)), true },
		})
	}
	for level, name := range map[uint8]string{3: "3.1", 4: "3.1.1", 5: "5"} {
		list = append(list, metrics.Metric{
			Name: "mqtt_connections_by_version", Help: "Open MQTT connections by version of MQTT.", Kind: gauge,
			Label: "version", Value: name, Read: func() (float64, bool) { return float64(p.broker.CountConnections("", level)), true },
		})
	}
	for _, r := range refusal.Reasons {
		list = append(list, metrics.Metric{
			Name: "refusals_total", Help: "Clients, messages, subscriptions and requests of devices that were refused.", Kind: counter,
			Label: "reason", Value: string(r), Read: func() (float64, bool) { return float64(p.refusals.Count(r)), true },
		})
	}
	return list
}

func commitMetrics(p *parts) []metrics.Metric {
	commits := p.committer.Stats()
	queued := func(bytes bool) func() (float64, bool) {
		return func() (float64, bool) {
			n, size := p.committer.Queued()
			if bytes {
				n = size
			}
			return float64(n), true
		}
	}
	return []metrics.Metric{
		{Name: "commits_total", Help: "Transactions on disk.", Kind: counter, Read: number(&commits.Commits)},
		{Name: "commit_batches_total", Help: "Batches in them: how many shared the cost of a sync.", Kind: counter, Read: number(&commits.Batches)},
		{Name: "commit_failures_total", Help: "Transactions that the disk refused.", Kind: counter, Read: number(&commits.Failures)},
		{Name: "commit_queue_batches", Help: "Batches that wait for a transaction.", Kind: gauge, Read: queued(false)},
		{Name: "commit_queue_bytes", Help: "Memory of the batches that wait for a transaction.", Kind: gauge, Read: queued(true)},
	}
}

// storageMetrics are about the database, its disk, and what was dropped from it.
func storageMetrics(p *parts) []metrics.Metric {
	size := func(log bool) func() (float64, bool) {
		return func() (float64, bool) {
			db, wal, err := p.store.Size()
			if log {
				db = wal
			}
			return float64(db), err == nil
		}
	}
	kept := func(of func(retain.Status) int64) func() (float64, bool) {
		return func() (float64, bool) { return float64(of(p.keeper.Status())), true }
	}
	oldest := func() (float64, bool) {
		at := p.keeper.Status().Oldest
		if at.IsZero() {
			return 0, true
		}
		return float64(at.UnixMicro()) / 1e6, true
	}
	return []metrics.Metric{
		{Name: "storage_bytes", Help: "Size of the database and of its log.", Kind: gauge, Label: "part", Value: "database", Read: size(false)},
		{Name: "storage_bytes", Help: "Size of the database and of its log.", Kind: gauge, Label: "part", Value: "log", Read: size(true)},
		{Name: "storage_used_bytes", Help: "What of the database holds data; the rest of its file is free for new data.", Kind: gauge, Read: kept(func(s retain.Status) int64 { return s.Used })},
		{Name: "storage_limit_bytes", Help: "Size of the data at which the oldest samples are dropped; 0 for none.", Kind: gauge, Read: kept(func(s retain.Status) int64 { return s.SampleLimit })},
		{Name: "storage_tenant_limit_bytes", Help: "Size of a tenant's samples at which its oldest are dropped; 0 for none.", Kind: gauge, Read: kept(func(s retain.Status) int64 { return s.TenantLimit })},
		{Name: "storage_largest_tenant_bytes", Help: "What the samples of the tenant that has most take; 0 while no limit is near.", Kind: gauge, Read: kept(func(s retain.Status) int64 { return s.Largest })},
		{Name: "storage_oldest_samples_seconds", Help: "When the oldest samples that are kept were received, in seconds since 1970; 0 for none.", Kind: gauge, Read: oldest},
		{Name: "disk_free_bytes", Help: "Room on the disk of the data folder.", Kind: gauge, Read: kept(func(s retain.Status) int64 { return s.DiskFree })},
		{Name: "disk_refusals_total", Help: "Times that the disk became so full that writes are refused.", Kind: counter, Read: number(&p.keeper.Stats().Refusals)},
		{Name: "samples_dropped_total", Help: "Samples dropped because they were old, or the oldest.", Kind: counter, Read: number(&p.keeper.Stats().Samples)},
		{Name: "events_dropped_total", Help: "Events dropped because they were old, or the oldest.", Kind: counter, Read: number(&p.keeper.Stats().Events)},
	}
}
