package mqttclient

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"

	"github.com/fairlead-iot/fairlead"
)

// tunnel asks a proxy for a connection to an address.
func tunnel(nc net.Conn, proxy *url.URL, address string) (net.Conn, error) {
	switch proxy.Scheme {
	case "http":
		return httpTunnel(nc, proxy, address)
	case "socks5", "socks5h":
		if err := socks5(nc, proxy.User, address); err != nil {
			return nil, unavailable("connect to "+address+" through proxy "+proxy.Host, err)
		}
		return nc, nil
	}
	return nil, fmt.Errorf("connect to %s: %w: proxy scheme %q", address, fairlead.ErrInvalid, proxy.Scheme)
}

func httpTunnel(nc net.Conn, proxy *url.URL, address string) (net.Conn, error) {
	doing := "connect to " + address + " through proxy " + proxy.Host
	b := "CONNECT " + address + " HTTP/1.1\r\nHost: " + address + "\r\n"
	if proxy.User != nil {
		password, _ := proxy.User.Password()
		b += "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(proxy.User.Username()+":"+password)) + "\r\n"
	}
	if _, err := io.WriteString(nc, b+"\r\n"); err != nil {
		return nil, unavailable(doing, err)
	}
	resp, err := readResponse(nc)
	if err != nil {
		return nil, unavailable(doing, err)
	}
	if resp.status/100 != 2 {
		return nil, resp.refusal(doing)
	}
	return &buffered{nc, resp.br}, nil
}

// buffered is a connection of which something was read ahead.
type buffered struct {
	net.Conn
	br *bufio.Reader
}

func (b *buffered) Read(p []byte) (int, error) { return b.br.Read(p) }

// socks5 is RFC 1928, with user name and password of RFC 1929.
func socks5(nc net.Conn, user *url.Userinfo, address string) error {
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil || len(host) > 255 {
		return fmt.Errorf("address %.300q", address)
	}
	const none, password = 0, 2
	methods := []byte{5, 1, none}
	if user != nil {
		methods = []byte{5, 2, none, password}
	}
	answer := make([]byte, 262)
	if err := roundTrip(nc, methods, answer[:2]); err != nil {
		return err
	}
	switch {
	case answer[0] == 5 && answer[1] == none:
	case answer[0] == 5 && answer[1] == password && user != nil:
		secret, _ := user.Password()
		name := user.Username()
		if len(name) > 255 || len(secret) > 255 {
			return fmt.Errorf("%w: the proxy's user name or password is longer than 255 bytes", fairlead.ErrInvalid)
		}
		b := append(append([]byte{1, byte(len(name))}, name...), byte(len(secret)))
		if err := roundTrip(nc, append(b, secret...), answer[:2]); err != nil {
			return err
		}
		if answer[1] != 0 {
			return &fairlead.PlatformError{Op: "sign in to the proxy", Code: strconv.Itoa(int(answer[1])), Kind: fairlead.ErrUnauthenticated}
		}
	default:
		return &fairlead.PlatformError{Op: "sign in to the proxy", Code: strconv.Itoa(int(answer[1])), Kind: fairlead.ErrUnauthenticated}
	}
	b := append([]byte{5, 1, 0, 3, byte(len(host))}, host...)
	if err := roundTrip(nc, append(b, byte(port>>8), byte(port)), answer[:5]); err != nil {
		return err
	}
	if answer[0] != 5 || answer[1] != 0 {
		return &fairlead.PlatformError{Op: "ask the proxy for a connection", Code: strconv.Itoa(int(answer[1])), Kind: fairlead.ErrUnavailable}
	}
	rest := map[byte]int{1: 4 - 1, 3: int(answer[4]), 4: 16 - 1}[answer[3]] + 2
	_, err = io.ReadFull(nc, answer[:rest])
	return err
}

func roundTrip(nc net.Conn, request, answer []byte) error {
	if _, err := nc.Write(request); err != nil {
		return err
	}
	_, err := io.ReadFull(nc, answer)
	return err
}
