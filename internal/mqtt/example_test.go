package mqtt_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"

	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// Two packets are written with one buffer and read again.
func Example() {
	var b []byte
	b = (&mqtt.Publish{Topic: []byte("plant/7/temp"), QoS: 1, ID: 1, Payload: []byte("21.5")}).Append(b, mqtt.V311)
	b = mqtt.AppendPingReq(b)

	frames := mqtt.NewFrameReader(bufio.NewReader(bytes.NewReader(b)), 64<<10)
	for {
		f, err := frames.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(f.Type)
		if f.Type == mqtt.TypePublish {
			var p mqtt.Publish
			if err := p.Decode(f, mqtt.V311); err != nil {
				fmt.Println(err)
				return
			}
			fmt.Printf("%s: %s\n", p.Topic, p.Payload)
		}
	}
	// Output:
	// PUBLISH
	// plant/7/temp: 21.5
	// PINGREQ
}
