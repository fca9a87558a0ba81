package topic_test

import (
	"fmt"

	"github.com/fairlead-iot/fairlead/internal/topic"
)

func ExampleTree() {
	var subscriptions topic.Tree[string, byte] // client and granted QoS
	for filter, client := range map[string]string{"plant/#": "console", "plant/+/temp": "logger", "plant/8/temp": "other"} {
		if _, err := subscriptions.Add(filter, client, 1); err != nil {
			fmt.Println(err)
		}
	}
	subscriptions.Match("plant/7/temp", func(client string, qos byte) {
		fmt.Println(client, qos)
	})
	// Unordered output:
	// console 1
	// logger 1
}

func ExampleCovers() {
	fmt.Println(topic.Covers("tenant/7/#", "tenant/7/+/state"))
	fmt.Println(topic.Covers("tenant/7/#", "tenant/+/state"))
	// Output:
	// true
	// false
}
