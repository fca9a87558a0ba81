package sqlite

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/durable"
)

// lock takes the lock of a folder, which the system gives back when the process ends, however it ends.
func lock(path string) (unlock func() error, err error) {
	unlock, err = durable.Lock(path)
	switch {
	case errors.Is(err, fairlead.ErrInUse):
		return nil, fmt.Errorf("%w: %v; stop that one or choose another folder than %s", core.ErrConflict, err, filepath.Dir(path))
	case err != nil:
		return nil, fmt.Errorf("sqlite: %w: %w", core.ErrStorage, err)
	}
	return unlock, nil
}
