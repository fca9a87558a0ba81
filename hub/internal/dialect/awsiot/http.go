package awsiot

import "net/http"

// Serves reports whether a request is for one of the platform's APIs.
func (d *Dialect) Serves(*http.Request) bool { return false }

// Handler serves them.
func (d *Dialect) Handler() http.Handler { return nil }
