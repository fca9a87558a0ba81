package astarte

import (
	"maps"
	"slices"

	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// Introspection is the set of interfaces that a device declares, by name. A device has at most one interface of a name. Like any map it
// is for one goroutine at a time; a [Device] keeps its own, see [Device.Interfaces].
type Introspection map[string]*Interface

// NewIntrospection returns the introspection that declares some interfaces. Of equal names the last one counts.
func NewIntrospection(interfaces ...*Interface) Introspection {
	in := make(Introspection, len(interfaces))
	for _, i := range interfaces {
		in.Add(i)
	}
	return in
}

// Add declares an interface, in place of one of the same name.
func (in Introspection) Add(i *Interface) { in[i.Name()] = i }

// Remove removes the interface of that name, if there is one.
func (in Introspection) Remove(name string) { delete(in, name) }

// All returns the interfaces in order of their names.
func (in Introspection) All() []*Interface {
	all := make([]*Interface, 0, len(in))
	for _, name := range slices.Sorted(maps.Keys(in)) {
		all = append(all, in[name])
	}
	return all
}

// ServerOwned returns the interfaces about which Astarte sends data, in order of their names.
func (in Introspection) ServerOwned() []*Interface {
	return slices.DeleteFunc(in.All(), func(i *Interface) bool { return !i.IsServerOwned() })
}

// String returns what the device tells Astarte: "org.example.Climate:1:0;org.example.Lamp:0:3".
func (in Introspection) String() string {
	versions := make(map[string]astartewire.InterfaceVersion, len(in))
	for name, i := range in {
		versions[name] = astartewire.InterfaceVersion{Major: i.Major(), Minor: i.Minor()}
	}
	return string(astartewire.AppendIntrospection(nil, versions))
}
