package core

import "net/netip"

// Network returns what is counted together where addresses are limited: an IPv4 address, or the /64 of an IPv6 address, which
// is what one customer of a provider has at least; the zero prefix for no address.
func Network(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.Prefix(bits) // of no address: an error, and the zero prefix
	return p
}
