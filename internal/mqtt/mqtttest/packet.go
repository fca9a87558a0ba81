package mqtttest

import (
	"bytes"
	"fmt"
	"reflect"

	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// next reads one packet, which owns its memory.
func next(r *mqtt.FrameReader, v mqtt.Version) (mqtt.Packet, error) {
	f, err := r.Next()
	if err != nil {
		return nil, err
	}
	p := mqtt.NewPacket(f.Type)
	if p == nil {
		return nil, fmt.Errorf("packet of %v", f.Type)
	}
	if f.Type == mqtt.TypeConnect {
		v = 0 // it says itself what it is
	}
	if err := p.Decode(f, v); err != nil {
		return nil, err
	}
	if m, ok := p.(*mqtt.Publish); ok {
		m.Topic, m.Payload = bytes.Clone(m.Topic), bytes.Clone(m.Payload)
	}
	return p, nil
}

// packet takes a packet, by value or by pointer, and returns a pointer to a copy.
func packet(v any) mqtt.Packet {
	rv := reflect.ValueOf(v)
	if rv.Kind() == reflect.Pointer && !rv.IsNil() {
		rv = rv.Elem()
	}
	if !rv.IsValid() {
		panic("mqtttest: nil is not a packet")
	}
	c := reflect.New(rv.Type())
	c.Elem().Set(rv)
	p, ok := c.Interface().(mqtt.Packet)
	if !ok {
		panic(fmt.Sprintf("mqtttest: %T is not a packet", v))
	}
	return p
}

// describe prints a packet for messages: its name and the fields that are set.
func describe(p mqtt.Packet) string {
	v := reflect.ValueOf(p).Elem()
	b := []byte(v.Type().Name())
	if a, ok := p.(*mqtt.Ack); ok {
		b = []byte(a.Type.String())
	}
	b = append(b, '{')
	for i := range v.NumField() {
		f := v.Field(i)
		if f.IsZero() || f.Kind() == reflect.Slice && f.Len() == 0 || f.Type() == reflect.TypeFor[mqtt.Type]() {
			continue
		}
		if b[len(b)-1] != '{' {
			b = append(b, ' ')
		}
		b = append(b, v.Type().Field(i).Name...)
		b = append(b, ':')
		switch {
		case f.Kind() == reflect.Pointer:
			b = fmt.Appendf(b, "%+v", f.Elem().Interface())
		case f.Kind() == reflect.String, f.Type() == reflect.TypeFor[[]byte]():
			b = fmt.Appendf(b, "%.200q", f.Interface())
		default:
			b = fmt.Appendf(b, "%v", f.Interface())
		}
	}
	return string(append(b, '}'))
}

// lacks returns how got differs from want in the fields that want sets; "" if it does not.
func lacks(want, got mqtt.Packet) string {
	w, g := reflect.ValueOf(want).Elem(), reflect.ValueOf(got).Elem()
	if w.Type() != g.Type() {
		return "it is another packet"
	}
	return lacksFields(w, g, "")
}

func lacksFields(w, g reflect.Value, path string) string {
	for i := range w.NumField() {
		wf, gf, name := w.Field(i), g.Field(i), path+w.Type().Field(i).Name
		switch {
		case wf.IsZero():
		case wf.Kind() == reflect.Pointer && !gf.IsNil():
			if d := lacksFields(wf.Elem(), gf.Elem(), name+"."); d != "" {
				return d
			}
		case !reflect.DeepEqual(wf.Interface(), gf.Interface()):
			return fmt.Sprintf("%s differs", name)
		}
	}
	return ""
}
