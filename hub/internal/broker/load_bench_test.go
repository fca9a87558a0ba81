package broker

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/hub/internal/store/sqlite"
)

// BenchmarkLoad brings back 10,000 sessions, each with three subscriptions and ten queued messages, a tenth of them with a
// will: what a hub does before the first client may come. Half of the sessions expire, and were connected when the hub
// was killed.
func BenchmarkLoad(b *testing.B) {
	const sessions, queued = 10_000, 10
	dir := b.TempDir()
	st, err := sqlite.Open(b.Context(), sqlite.Config{Dir: dir})
	if err != nil {
		b.Fatal(err)
	}
	err = st.Update(func(tx store.Tx) error {
		for i := range sessions {
			s := core.Session{Key: core.SessionKey{Tenant: "t", Dialect: "plain", ClientID: fmt.Sprint("device-", i)}, Expiry: core.Forever}
			if i%2 == 0 {
				s.Expiry = 24 * time.Hour
			}
			if err := tx.InsertSession(&s); err != nil {
				return err
			}
			for k := range 3 {
				if err := tx.PutSubscription(core.Subscription{Session: s.Num, Filter: fmt.Sprintf("devices/%d/%d/#", i, k), QoS: 1}); err != nil {
					return err
				}
			}
			for k := range int64(queued) {
				m := core.Message{Topic: fmt.Sprintf("devices/%d/0/cmd", i), Payload: make([]byte, 100), QoS: 1}
				if err := tx.Enqueue(core.Queued{Session: s.Num, Seq: k + 1, ID: packetID(k + 1), Message: m}); err != nil {
					return err
				}
			}
			if i%10 == 0 {
				w := core.Will{Session: s.Key, Delay: time.Hour, Lasts: core.Forever, Message: core.Message{Topic: "gone", Payload: []byte("x")}}
				if err := tx.InsertWill(&w); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	if err := st.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		st, err := sqlite.Open(b.Context(), sqlite.Config{Dir: dir})
		if err != nil {
			b.Fatal(err)
		}
		com := commit.New(commit.Config{Store: st})
		br := New(Config{Committer: com, Store: st})
		ctx, stop := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() { com.Run(ctx) })
		if err := br.Load(b.Context()); err != nil {
			b.Fatal(err)
		}
		if got := br.stats.Sessions.Load(); got != sessions {
			b.Fatalf("%d sessions", got)
		}
		stop()
		wg.Wait()
		if err := st.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
