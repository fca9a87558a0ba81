package api

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// A Backup is one that is ready to be sent. It is closed in any case.
type Backup interface {
	Send(w io.Writer) error
	Close() error
}

// backupTimeout bounds how long a caller may not read.
const backupTimeout = time.Minute

// backup makes a backup and sends it. Until it can be sent, what goes wrong has an answer; later the connection breaks off,
// and the archive has no end.
func (s *Server) backup(w http.ResponseWriter, r *request) error {
	rc := http.NewResponseController(w)
	// The time that a request may take is not for this one.
	_ = rc.SetReadDeadline(time.Time{})
	_ = rc.SetWriteDeadline(time.Time{})
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	go func() {
		select {
		case <-s.stopped:
			cancel()
		case <-ctx.Done():
		}
	}()
	b, err := s.cfg.Backup(ctx)
	if err != nil {
		return reveal(err, core.ErrConflict, core.ErrTooLarge, core.ErrInvalid)
	}
	defer func() {
		if err := b.Close(); err != nil {
			s.cfg.Logger.Warn("what was copied for a backup is still there", "err", err)
		}
	}()
	s.cfg.Logger.Info("backup", "token", r.by(), "remote", r.RemoteAddr)
	h := w.Header()
	h.Set("Content-Type", "application/x-tar")
	h.Set("Content-Disposition", `attachment; filename="fairlead-backup.tar"`)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if err := b.Send(patient{w, rc}); err != nil {
		s.cfg.Logger.Warn("backup was not sent to its end", "err", err)
		panic(http.ErrAbortHandler) // nobody may take this for the end
	}
	return nil
}

// patient gives each write its own time.
type patient struct {
	http.ResponseWriter
	rc *http.ResponseController
}

func (p patient) Write(b []byte) (int, error) {
	_ = p.rc.SetWriteDeadline(time.Now().Add(backupTimeout)) // where that can be set
	return p.ResponseWriter.Write(b)
}
