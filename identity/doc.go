// Package identity is who a device is: its private key, its certificate, its tokens and shared secrets, and their
// renewal in time.
//
// A device that makes its own key and has a certificate signed for it:
//
//	key, err := identity.LoadOrMakeKey("/var/lib/pump/device.key")
//	if err != nil {
//		return err
//	}
//	csr, err := identity.CSR(key, identity.Request{Subject: pkix.Name{CommonName: "pump-7"}})
//	if err != nil {
//		return err
//	}
//	chain, err := identity.ParseChain(askTheAuthority(csr))
//	if err != nil {
//		return err
//	}
//	id, err := identity.New(key, chain)
//
// A device that was given files by the factory:
//
//	id, err := identity.Load("/etc/pump/device.key", "/etc/pump/device.crt")
//
// Either way the platform packages take the [Identity], and so does [crypto/tls]:
//
//	cfg := &tls.Config{GetClientCertificate: id.GetClientCertificate}
//
// # Keys in hardware
//
// A key is any [crypto.Signer]. TPM, PKCS #11 and secure element libraries for Go have one; hand it to [New] and [CSR] like any other.
// This package then never sees the private part, and stores only certificates.
//
// # Files
//
// Keys and secrets are written with mode 0600 (on Windows with an access list for the owner, the system and administrators), and refused if others may
// read them: a key that others could read has to count as known. All files are put in place whole and synced, so that a power cut
// leaves the old content or the new one.
//
// # Secrets
//
// A [Secret] does not show itself in any log, error or JSON document; only [Secret.Reveal] gives it away.
package identity
