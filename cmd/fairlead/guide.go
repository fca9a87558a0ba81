package main

import (
	_ "embed"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"text/template"

	"github.com/fairlead-iot/fairlead/cmd/fairlead/internal/demo"
	"github.com/fairlead-iot/fairlead/hub"
)

// guide is what `fairlead up` prints: where to look, and how to point an official SDK here.
type guide struct {
	Version, URL, MQTT string
	MQTTWeb, MQTTPlain string            // over WebSocket; without TLS, "" if nowhere
	Anonymous          bool              // MQTTPlain needs no user name
	DataDir            string            // absolute
	Fresh              bool              // DataDir is a folder that is for this hub only
	Fallback           bool              // HTTPS is not on the port that clients expect
	CA                 string            // file of the root certificate, for a shell
	Plain              map[string]string // variables for plain MQTT devices; nil: none
	Astarte            bool
	Program            string            // a device on the official Astarte SDK
	AWS                map[string]string // variables for AWS IoT devices; nil: none
	AWSProgram         string            // a device on the official AWS IoT SDK
	AWSHosts           string            // the line of a hosts file that the SDK needs for WebSockets; "" if it needs none

	command, flags string
}

// astarteProgram is printed as it is, and run as it is by a test of the conformance suite.
//
//go:embed guide/astarte_device.py
var astarteProgram string

// awsProgram likewise.
//
//go:embed guide/aws_device.py
var awsProgram string

//go:embed guide/up.tmpl
var guideText string

var guideTemplate = template.Must(template.New("guide").Parse(guideText))

func newGuide(s hub.State, f upFlags) guide {
	g := guide{
		Version: s.Version, URL: s.URL, MQTT: s.MQTT,
		MQTTWeb: s.MQTTWeb, MQTTPlain: s.MQTTPlain, Anonymous: f.anonymous,
		DataDir:  s.DataDir,
		Fresh:    f.dataDir == defaultDataDir,
		Fallback: f.https == 0 && strings.HasSuffix(s.URL, fmt.Sprintf(":%d", hub.UnprivilegedHTTPSPort)),
		Program:  astarteProgram,
		command:  commandName(),
	}
	g.CA, g.Plain = shellWord(s.CA), s.Platforms["mqtt"]
	_, g.Astarte = s.Platforms["astarte"]
	g.AWS, g.AWSProgram = s.Platforms["aws"], awsProgram
	if g.AWS != nil && g.AWS["AWS_IOT_ENDPOINT"] != hub.AWSHost(g.AWS["AWS_DEFAULT_REGION"]) {
		addr, _, _ := net.SplitHostPort(s.Local)
		g.AWSHosts = addr + " " + hub.AWSHost(g.AWS["AWS_DEFAULT_REGION"])
	}
	if f.dataDir != defaultDataDir {
		g.flags = " --data-dir " + shellWord(f.dataDir)
	}
	return g
}

// Run returns the command line for another verb of this program on the same hub.
func (g guide) Run(verb string) string { return g.command + " " + verb + g.flags }

func (g guide) print(w io.Writer) error {
	var b strings.Builder
	if err := guideTemplate.Execute(&b, g); err != nil {
		return err
	}
	_, err := io.WriteString(w, b.String())
	return err
}

//go:embed guide/demo.tmpl
var demoText string

var demoTemplate = template.Must(template.New("demo").Parse(demoText))

// printDemo prints what there is to see of the demo.
func (g guide) printDemo(w io.Writer, devices []demo.Device) error {
	page := struct {
		guide
		Devices []demo.Device
		IDs     map[string]string // by name
	}{g, devices, map[string]string{}}
	for _, d := range devices {
		page.IDs[d.Name] = d.Key.ID
	}
	var b strings.Builder
	if err := demoTemplate.Execute(&b, page); err != nil {
		return err
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// commandName returns what to type to run this program again.
func commandName() string {
	exe, err := os.Executable()
	if err != nil {
		return "fairlead"
	}
	if strings.HasPrefix(exe, os.TempDir()) && strings.Contains(exe, "go-build") {
		return "go run ./cmd/fairlead" // the program itself is removed at its end
	}
	if found, err := exec.LookPath("fairlead"); err == nil && same(found, exe) {
		return "fairlead"
	}
	return shellWord(exe)
}

// same tells whether two paths lead to one file.
func same(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// shellWord quotes a word of a command line if it has to be.
func shellWord(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+./:,@") == "" {
		return s
	}
	return quote(s)
}
