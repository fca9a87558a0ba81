//go:build mips || mipsle || mips64 || mips64le

package sqlitebox

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/fairlead-iot/fairlead/outbox"
)

// Open fails: the SQLite library does not exist for this machine.
func Open(context.Context, Config) (outbox.Store, error) {
	return nil, fmt.Errorf("open outbox: %w: there is no SQLite for %s/%s; use outbox.NewMemory or another driver",
		errors.ErrUnsupported, runtime.GOOS, runtime.GOARCH)
}
