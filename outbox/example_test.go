package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/outbox"
)

// With the policy Refuse the producer learns that there is no room, and decides.
func ExampleConfig_refuse() {
	ctx := context.Background()
	box, err := outbox.Open(ctx, outbox.Config{Store: outbox.NewMemory(), MaxMessages: 2})
	if err != nil {
		log.Fatal(err)
	}
	defer box.Close()
	for i := range 3 {
		_, err := box.Append(ctx, outbox.Message{Payload: fmt.Append(nil, i)})
		fmt.Println(i, errors.Is(err, fairlead.ErrFull))
	}
	// Output:
	// 0 false
	// 1 false
	// 2 true
}

// A sender that has lost its connection begins anew with what was not acknowledged.
func ExampleReader_Rewind() {
	ctx := context.Background()
	box, err := outbox.Open(ctx, outbox.Config{Store: outbox.NewMemory()})
	if err != nil {
		log.Fatal(err)
	}
	defer box.Close()
	first, err := box.Append(ctx, outbox.Message{Payload: []byte("first")})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := box.Append(ctx, outbox.Message{Payload: []byte("second")}); err != nil {
		log.Fatal(err)
	}

	r := box.Reader()
	for range 2 {
		entries, err := r.Next(ctx, 10)
		if err != nil {
			log.Fatal(err)
		}
		for _, e := range entries {
			fmt.Printf("sent %s\n", e.Payload)
		}
		if err := box.Delete(ctx, first); err != nil { // only this one was acknowledged
			log.Fatal(err)
		}
		r.Rewind()
	}
	// Output:
	// sent first
	// sent second
	// sent second
}
