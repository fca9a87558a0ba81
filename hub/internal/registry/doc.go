// Package registry holds the rules of devices, their enrolments and their certificates, which are the same for every
// platform: who may register anew, what a secret is worth, which certificate a device may still use.
//
// Functions that write take a [Tx] and run inside a transaction of package commit, where nothing can change beneath
// them; functions that only read take a [Reader] and work on any snapshot, also while the disk accepts no writes. Both
// are interfaces declared here, so that the package needs neither the storage nor the committer.
//
//	secret, hash := registry.NewSecret()
//	err := committer.Do(ctx, func(tx *commit.Tx) error {
//		_, err := registry.Register(tx, registry.Registration{Device: key, SecretHash: hash})
//		return err
//	})
//	// ... only now tell the device its secret
//
// Errors wrap the kinds of package core; those that a dialect has to tell apart are sentinels below.
package registry
