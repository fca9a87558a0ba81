// Package access holds the rules of who may use the admin API: what a token is, what it opens, and who may make which.
//
//	text, hash := access.NewToken()
//	err := committer.Do(ctx, func(tx *commit.Tx) error {
//		_, err := access.Create(tx, caller, core.Token{ID: access.NewID(), Hash: hash, Name: "grafana", Scope: core.ScopeRead})
//		return err
//	})
//	// ... only now tell the token
//
// Errors wrap the kinds of package core.
package access
