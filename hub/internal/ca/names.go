package ca

import (
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// subjectNames are the names of a server certificate, each list sorted and without repetitions.
type subjectNames struct {
	dns []string
	ips []netip.Addr
}

// parseNames checks and sorts names. Errors wrap core.ErrInvalid.
func parseNames(names []string) (subjectNames, error) {
	var s subjectNames
	for _, n := range names {
		if ip, err := netip.ParseAddr(n); err == nil {
			if ip.Zone() != "" {
				return s, fmt.Errorf("%w: address %q has a zone, which certificates do not know", core.ErrInvalid, n)
			}
			s.ips = append(s.ips, ip.Unmap())
			continue
		}
		n = strings.ToLower(n)
		if !hostName(n) {
			return s, fmt.Errorf("%w: %.300q is neither a host name, *.domain nor an IP address", core.ErrInvalid, n)
		}
		s.dns = append(s.dns, n)
	}
	if len(s.dns)+len(s.ips) == 0 {
		return s, fmt.Errorf("%w: no names", core.ErrInvalid)
	}
	slices.Sort(s.dns)
	s.dns = slices.Compact(s.dns)
	slices.SortFunc(s.ips, netip.Addr.Compare)
	s.ips = slices.Compact(s.ips)
	return s, nil
}

// hostName tells whether n is a host name in lower case, in its ASCII form, possibly with a wildcard for the first
// label. The underscore is no part of host names, but of names that container networks give.
func hostName(n string) bool {
	if rest, ok := strings.CutPrefix(n, "*."); ok {
		n = rest
		if !strings.Contains(n, ".") { // verifiers refuse a wildcard for a whole top-level domain
			return false
		}
	}
	if n == "" || len(n) > 253 {
		return false
	}
	labels := strings.Split(n, ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' ||
			strings.Trim(l, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	// All digits at the end make a mistyped address.
	return strings.Trim(labels[len(labels)-1], "0123456789") != ""
}

// match tells whether a certificate is for exactly these names.
func (s subjectNames) match(c *x509.Certificate) bool {
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	have, err := parseNames(names)
	return err == nil && slices.Equal(have.dns, s.dns) && slices.Equal(have.ips, s.ips)
}

// addresses returns the IP addresses as crypto/x509 wants them.
func (s subjectNames) addresses() []net.IP {
	var ips []net.IP
	for _, ip := range s.ips {
		ips = append(ips, ip.AsSlice())
	}
	return ips
}

func (s subjectNames) list() []string {
	l := slices.Clone(s.dns)
	for _, ip := range s.ips {
		l = append(l, ip.String())
	}
	return l
}
