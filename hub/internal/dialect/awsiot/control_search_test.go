package awsiot

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestSearch(t *testing.T) {
	g := newHTTPRig(t)
	g.tell(
		step{do: "POST /thing-types/pump", body: `{}`},
		step{do: "POST /thing-groups/root", body: `{}`},
		step{do: "POST /thing-groups/hall", body: `{"parentGroupName":"root"}`},
	)
	for i := range 30 {
		body := fmt.Sprintf(`{"attributePayload":{"attributes":{"n":"%d","side":"%s"}}}`, i, []string{"left", "right"}[i%2])
		if i%3 == 0 {
			body = strings.Replace(body, "{", `{"thingTypeName":"pump",`, 1)
		}
		g.tell(step{do: fmt.Sprintf("POST /things/t%02d", i), body: body})
	}
	g.tell(step{do: "PUT /thing-groups/addThingToThingGroup", body: `{"thingGroupName":"hall","thingName":"t05"}`})
	find := func(query string) string {
		t.Helper()
		body, err := json.Marshal(map[string]any{"queryString": query, "maxResults": 100})
		if err != nil {
			t.Fatal(err)
		}
		w := g.send(g.request("POST /indices/search", serviceControl, string(body), map[string]string{"Content-Type": "application/json"}))
		var out struct {
			Things []struct{ ThingName string }
		}
		if w.Code != 200 || json.Unmarshal(w.Body.Bytes(), &out) != nil {
			return w.Header().Get("x-amzn-ErrorType")
		}
		names := []string{}
		for _, x := range out.Things {
			names = append(names, x.ThingName)
		}
		return strings.Join(names, " ")
	}
	for query, want := range map[string]string{
		"thingName:t03":    "t03",
		"t03":              "t03",
		"thingName:t0*":    "t00 t01 t02 t03 t04 t05 t06 t07 t08 t09",
		"thingName:t?9":    "t09 t19 t29",
		"attributes.n:7":   "t07",
		`attributes.n:"7"`: "t07",
		"attributes.n:2? AND attributes.side:left": "t20 t22 t24 t26 t28",
		"attributes.n:2? attributes.side:left":     "t20 t22 t24 t26 t28",
		"thingTypeName:pump AND thingName:t1*":     "t12 t15 t18",
		"thingTypeName:pump AND NOT thingName:t*":  "",
		"thingName:t01 OR thingName:t02":           "t01 t02",
		"(t01 OR t02) AND attributes.side:right":   "t01",
		"t01 OR t02 AND attributes.side:right":     "t01",
		"thingGroupNames:hall":                     "t05",
		"thingGroupNames:root":                     "",
		"thingGroupNames:h* AND thingName:t0*":     "t05",
		"connectivity.connected:true":              "",
		"connectivity.connected:false AND t03":     "t03",
		"attributes.none:x":                        "",
		"*":                                        "t00 t01 t02 t03 t04 t05 t06 t07 t08 t09 t10 t11 t12 t13 t14 t15 t16 t17 t18 t19 t20 t21 t22 t23 t24 t25 t26 t27 t28 t29",
		"":                                         "InvalidQueryException",
		"(t01":                                     "InvalidQueryException",
		"t01)":                                     "InvalidQueryException",
		"shadow.x:1":                               "InvalidQueryException",
		"attributes.n>3":                           "",
		"AND":                                      "",
		"attributes.n:[1 TO 3]":                    "InvalidQueryException",
		strings.Repeat("(", 20) + "t" + strings.Repeat(")", 20): "InvalidQueryException",
		strings.Repeat("t01 ", 13):                              "InvalidQueryException",
	} {
		if got := find(query); got != want {
			t.Errorf("%q: got %q, want %q", query, got, want)
		}
	}
	g.tell(
		step{do: "POST /indices/search", body: `{"queryString":"thingName:t*","maxResults":2}`, has: []string{`"t01"`}, no: []string{`"t02"`}, capture: map[string]string{"next": "nextToken"}},
		step{do: "POST /indices/search", body: `{"queryString":"thingName:t*","maxResults":2,"nextToken":"${next}"}`, has: []string{`"t02"`, `"t03"`}, no: []string{`"t01"`}},
		step{do: "POST /indices/search", body: `{"indexName":"AWS_ThingGroups","queryString":"parentGroupNames:root"}`, has: []string{`"hall"`}},
		step{do: "POST /indices/search", body: `{"indexName":"x","queryString":"a"}`, want: notFound},
		step{do: "GET /indices", has: []string{"AWS_Things"}},
		step{do: "GET /indices/AWS_Things", has: []string{"ACTIVE"}},
	)
}

// FuzzQuery wants an answer to every query, and the same from what is looked at as from everything.
func FuzzQuery(f *testing.F) {
	f.Add(`attributes.a:x* AND (NOT thingName:"b c" OR -t)`, "x1")
	f.Fuzz(func(t *testing.T, text, value string) {
		q, err := parseQuery(text)
		if err != nil {
			return
		}
		if checkAttributes(map[string]string{"a": value}) != nil {
			return
		}
		raw, err := json.Marshal(thing{Name: "t", ID: "i", Attributes: map[string]string{"a": value}})
		if err != nil {
			t.Fatal(err)
		}
		ok := q.matches(func(field string) []string {
			return map[string][]string{"thingName": {"t"}, "thingId": {"i"}, "attributes.a": some(value)}[field]
		})
		if ok && !containsAll(raw, q.needles()) {
			t.Errorf("%q matches, and would not be looked at: %q", text, q.needles())
		}
	})
}
