package sqlite

import (
	"fmt"
	"path/filepath"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// locked is the error for a folder that another process has open; pid may be "".
func locked(path, pid string) error {
	if pid != "" {
		pid = " (process " + pid + ")"
	}
	return fmt.Errorf("%w: %s is held by another fairlead%s; stop that one or choose another folder than %s",
		core.ErrConflict, path, pid, filepath.Dir(path))
}
