// Package hub is the server side of the platforms that Fairlead speaks, in one process: MQTT and the REST APIs, devices
// and their certificates, documents and samples, in an embedded database.
//
//	h, err := hub.New(hub.Config{DataDir: "fairlead-data", Development: true})
//	if err != nil {
//		return err
//	}
//	go func() {
//		<-h.Ready()
//		fmt.Println("REST at", h.State().URL, "and MQTT at", h.State().MQTT)
//	}()
//	return h.Run(ctx) // until ctx ends
//
// This package wires the parts below hub/internal together and decides nothing itself; ARCHITECTURE.md at the root of
// the repository says which part does what. Programs on the same machine find a running hub through its data folder:
// [ReadState].
package hub
