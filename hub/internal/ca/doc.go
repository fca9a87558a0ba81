// Package ca is the hub's certificate authority: it signs the certificates of devices and of the hub's own TLS
// ports, and tells whether a certificate that a client shows is one of ours.
//
// There are two levels. The root certificate is what clients are told to trust; its key signs nothing but issuing
// certificates. The issuing certificate signs everything else and is renewed, with a new key, after two thirds of
// its life, so that no client ever has to be given a new root for it. Older issuing certificates stay trusted
// until they end, because certificates that they signed are out in the field.
//
// Everything is kept in files of one folder, so that an operator can back it up, look at it with openssl, or
// bring certificates of an own PKI:
//
//	root.pem     root.key         what clients trust; the key may be kept elsewhere, see Config.OfflineRoot
//	issuing.pem  issuing.key      the issuing certificate in use
//	issuing-ID.pem, .key          earlier ones; their keys are kept to sign revocation lists only
//	server.pem   server.key       the certificate of the TLS ports, with its issuing certificate; made anew at need
//
// Keys have mode 0600 and the form PKCS#8. Each file is written whole, synced and then put in place, in an order in
// which a crash at any moment leaves a folder that [Open] can complete. A folder that a crash cannot explain is
// reported and not touched. One process at a time may have a folder open; the owner of the data folder sees to that.
package ca
