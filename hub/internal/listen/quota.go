package listen

import (
	"sync"
	"sync/atomic"
	"time"
)

// A Quota says who does something more often than so many times in a minute. It is for what costs the hub much and is right
// by itself, such as to sign in: who does it too often counts as one whose connections come to nothing, see [Pace].
// Connections from this machine are not counted: tests and benchmarks are there, and proxies, behind which all look alike.
//
// Calls may be concurrent. A nil Quota has no limit.
type Quota[K comparable] struct {
	Local bool // count connections from this machine, too; not to be changed later

	most int
	now  func() time.Time

	mu    sync.Mutex
	began time.Time // the minute
	used  map[K]int

	exceeded atomic.Int64
}

// maxQuotas bounds who is remembered for a minute; others may do as they like.
const maxQuotas = 1 << 18

// NewQuota returns a Quota; 0 is no limit.
func NewQuota[K comparable](most int) *Quota[K] {
	if most <= 0 {
		return nil
	}
	return &Quota[K]{most: most, now: time.Now, used: map[K]int{}}
}

// Keeps counts one for a connection on behalf of who, and reports whether there were not too many.
func (q *Quota[K]) Keeps(c *Conn, who K) bool {
	if q == nil || !q.Local && c.Remote().Addr().IsLoopback() {
		return true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if now := q.now(); now.Sub(q.began) >= time.Minute || now.Before(q.began) {
		q.began, q.used = now, map[K]int{}
	}
	n, known := q.used[who]
	if !known && len(q.used) >= maxQuotas {
		return true
	}
	if q.used[who] = n + 1; n < q.most {
		return true
	}
	q.exceeded.Add(1)
	return false
}

// Exceeded counts how often somebody was beyond the limit.
func (q *Quota[K]) Exceeded() int64 {
	if q == nil {
		return 0
	}
	return q.exceeded.Load()
}
