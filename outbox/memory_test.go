package outbox_test

import (
	"testing"

	"github.com/fairlead-iot/fairlead/outbox"
	"github.com/fairlead-iot/fairlead/outbox/outboxtest"
)

func TestMemory(t *testing.T) {
	outboxtest.Run(t, func(testing.TB, string) outbox.Store { return outbox.NewMemory() })
}
