//go:build !(mips || mipsle || mips64 || mips64le)

package sqlitebox_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/fairlead-iot/fairlead/outbox"
	"github.com/fairlead-iot/fairlead/outbox/sqlitebox"
)

// A device stores what it measures, and sends it when it can.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "outbox")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	store, err := sqlitebox.Open(ctx, sqlitebox.Config{Path: filepath.Join(dir, "outbox.db")})
	if err != nil {
		log.Fatal(err)
	}
	box, err := outbox.Open(ctx, outbox.Config{
		Store:    store,
		MaxBytes: 16 << 20,
		MaxAge:   7 * 24 * time.Hour,
		Policy:   outbox.DropOldest,
		OnDrop:   func(d outbox.Drop) { log.Printf("dropped %q: %v", d.Entry.Header, d.Reason) },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer box.Close()

	for _, m := range []outbox.Message{
		{Header: []byte("temperature"), Payload: []byte("21.5")},
		{Header: []byte("alarm"), Payload: []byte("door open"), Priority: outbox.High},
		{Header: []byte("temperature"), Payload: []byte("21.6"), Lifetime: time.Hour},
	} {
		if _, err := box.Append(ctx, m); err != nil { // on disk when it returns
			log.Fatal(err)
		}
	}

	r := box.Reader()
	entries, err := r.Next(ctx, 100)
	if err != nil {
		log.Fatal(err)
	}
	var arrived []outbox.ID
	for _, e := range entries {
		fmt.Printf("%s: %s\n", e.Header, e.Payload) // send it, and wait for the acknowledgement
		arrived = append(arrived, e.ID)
	}
	if err := box.Delete(ctx, arrived...); err != nil {
		log.Fatal(err)
	}
	fmt.Println(box.Stats().Messages, "left")
	// Output:
	// alarm: door open
	// temperature: 21.5
	// temperature: 21.6
	// 0 left
}
