package api

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// docsPath is where the API is described for people.
const docsPath = "/v1/docs"

//go:embed docs.html
var docsTemplate string

//go:embed docs.css
var docsStyle string

// docsPage is the page for people: the OpenAPI document, in HTML. It needs no token, as the document does not, and no
// script.
var docsPage = sync.OnceValues(func() ([]byte, error) { return renderDocs(openAPI) })

// docsPolicy lets the page have its own style, and nothing else from anywhere.
var docsPolicy = sync.OnceValue(func() string {
	sum := sha256.Sum256([]byte(docsStyle))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
})

func (s *Server) docs(w http.ResponseWriter, r *http.Request) {
	page, err := docsPage()
	if err != nil {
		s.fail(w, r, err)
		return
	}
	h := w.Header()
	h.Set("Content-Security-Policy", docsPolicy())
	h.Set("Referrer-Policy", "no-referrer")
	send(w, http.StatusOK, "text/html; charset=utf-8", page)
}

// forBrowsers shows people who look around the description; programs get what they got.
func (s *Server) forBrowsers(others http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Vary", "Accept")
		if (r.Method == http.MethodGet || r.Method == http.MethodHead) && strings.Contains(r.Header.Get("Accept"), "text/html") {
			http.Redirect(w, r, docsPath, http.StatusFound)
			return
		}
		others(w, r)
	}
}

// What of an OpenAPI document is shown.
type (
	apiDocument struct {
		Info  struct{ Title, Version, Description string }
		Tags  []struct{ Name, Description string }
		Paths map[string]map[string]*apiOperation

		Components struct{ Schemas map[string]*apiSchema }
	}
	apiOperation struct {
		OperationID, Summary, Description string

		Tags        []string
		Scope       string `json:"x-scope"`
		Parameters  []apiParameter
		RequestBody struct{ Content map[string]apiMedia }
		Responses   map[string]struct{ Content map[string]apiMedia }
	}
	apiParameter struct {
		Name, In, Description string

		Required bool
		Schema   apiSchema
	}
	apiMedia struct {
		Schema  *apiSchema
		Example json.RawMessage
	}
	apiSchema struct {
		Ref              string `json:"$ref"`
		Type, Format     string
		Description      string
		Enum             []string
		Default          any
		Minimum, Maximum json.Number
		Items            *apiSchema
		Properties       map[string]*apiSchema
		RequiredFields   []string `json:"required"`
	}
)

// What the template gets.
type (
	docsData struct {
		Title, Version, Description string
		Style                       template.CSS
		Groups                      []docsGroup
		Schemas                     []docsSchema
	}
	docsGroup struct {
		Name, Description string
		Operations        []docsOperation
	}
	docsOperation struct {
		Method, Path, ID, Summary, Description, Scope, Curl string

		Parameters []docsField
		Body       docsBody
		Answers    []docsAnswer
	}
	docsBody   struct{ Type docsType }
	docsAnswer struct {
		Status string
		Media  string
		Type   docsType
	}
	docsSchema struct {
		Name, Description string
		Fields            []docsField
	}
	docsField struct {
		Name, In, Description, Limits string

		Required bool
		Type     docsType
	}
	// docsType is the name of a type, and the schema that it leads to, if any.
	docsType struct{ Before, Name, Schema, After string }
)

// renderDocs makes the page of an OpenAPI document.
func renderDocs(document []byte) ([]byte, error) {
	var doc apiDocument
	if err := json.Unmarshal(document, &doc); err != nil {
		return nil, fmt.Errorf("read the OpenAPI document: %w", err)
	}
	data := docsData{Title: doc.Info.Title, Version: doc.Info.Version, Description: doc.Info.Description, Style: template.CSS(docsStyle)}
	for _, t := range doc.Tags {
		data.Groups = append(data.Groups, docsGroup{t.Name, t.Description, doc.operations(t.Name)})
	}
	for _, name := range slices.Sorted(maps.Keys(doc.Components.Schemas)) {
		s := doc.Components.Schemas[name]
		data.Schemas = append(data.Schemas, docsSchema{name, s.Description, s.fields()})
	}
	t, err := template.New("docs").Parse(docsTemplate)
	if err != nil {
		return nil, err
	}
	var page bytes.Buffer
	err = t.Execute(&page, data)
	return page.Bytes(), err
}

// docsMethods is the order in which the operations of one path are shown.
var docsMethods = []string{"get", "post", "put", "patch", "delete"}

func (doc *apiDocument) operations(tag string) []docsOperation {
	var list []docsOperation
	for _, path := range slices.Sorted(maps.Keys(doc.Paths)) {
		for _, method := range docsMethods {
			if op := doc.Paths[path][method]; op != nil && slices.Contains(op.Tags, tag) {
				list = append(list, op.show(strings.ToUpper(method), path))
			}
		}
	}
	return list
}

func (op *apiOperation) show(method, path string) docsOperation {
	out := docsOperation{
		Method: method, Path: path, ID: op.OperationID, Summary: op.Summary, Description: op.Description, Scope: op.Scope,
		Curl: op.curl(method, path), Body: docsBody{typeOf(op.RequestBody.Content["application/json"].Schema)},
	}
	for _, p := range op.Parameters {
		out.Parameters = append(out.Parameters, docsField{p.Name, p.In, p.Description, p.Schema.limits(), p.Required, typeOf(&p.Schema)})
	}
	for _, status := range slices.Sorted(maps.Keys(op.Responses)) {
		if status == "default" { // the same for all
			continue
		}
		a := docsAnswer{Status: status}
		for media, m := range op.Responses[status].Content {
			a.Media, a.Type = media, typeOf(m.Schema)
		}
		out.Answers = append(out.Answers, a)
	}
	return out
}

func (s *apiSchema) fields() []docsField {
	var list []docsField
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		p := s.Properties[name]
		list = append(list, docsField{
			Name: name, Description: p.Description, Limits: p.limits(), Required: slices.Contains(s.RequiredFields, name), Type: typeOf(p),
		})
	}
	return list
}

func (s *apiSchema) limits() string {
	var list []string
	if s.Enum != nil {
		list = append(list, "one of "+strings.Join(s.Enum, ", "))
	}
	if s.Minimum != "" && s.Maximum != "" {
		list = append(list, fmt.Sprintf("%s to %s", s.Minimum, s.Maximum))
	}
	if s.Default != nil {
		list = append(list, fmt.Sprintf("default %v", s.Default))
	}
	return strings.Join(list, ", ")
}

func typeOf(s *apiSchema) docsType {
	switch {
	case s == nil:
		return docsType{}
	case s.Ref != "":
		name := s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]
		return docsType{Name: name, Schema: name}
	case s.Type == "array":
		t := typeOf(s.Items)
		return docsType{"array of " + t.Before, t.Name, t.Schema, t.After}
	case s.Type == "":
		return docsType{Name: "any"}
	case s.Format == "date-time":
		return docsType{Name: "time"}
	}
	return docsType{Name: s.Type}
}

// docsValues stand for the parts of paths in examples.
var docsValues = map[string]string{
	"dialect": "mqtt", "tenant": "dev", "device": "pump-7", "client": "pump-7%2Fpump-7", "serial": "SERIAL", "id": "ID", "channel": "pump-7/temp",
}

var pathPart = regexp.MustCompile(`\{(\w+)\}`)

// curl is an example of a request.
func (op *apiOperation) curl(method, path string) string {
	url := pathPart.ReplaceAllStringFunc(path, func(part string) string { return docsValues[part[1:len(part)-1]] })
	sep := "?"
	for _, p := range op.Parameters {
		if p.Required && p.In == "query" {
			url += sep + p.Name + "=" + docsValues[p.Name]
			sep = "&"
		}
	}
	parts := []string{`curl --cacert "$FAIRLEAD_CA"`}
	if op.Scope != "" {
		parts = append(parts, `-H "Authorization: Bearer $FAIRLEAD_TOKEN"`)
	}
	if body := op.RequestBody.Content["application/json"].Example; body != nil {
		var line bytes.Buffer
		if json.Compact(&line, body) != nil {
			return ""
		}
		if method != http.MethodPost {
			parts = append(parts, "-X "+method)
		}
		parts = append(parts, "-H 'Content-Type: application/json'", "-d '"+strings.ReplaceAll(line.String(), "'", `'\''`)+"'")
	} else if method != http.MethodGet {
		parts = append(parts, "-X "+method)
	}
	for _, r := range op.Responses {
		for media := range r.Content {
			switch media {
			case "text/event-stream":
				parts = append(parts, "-N")
			case "application/x-tar":
				parts = append(parts, "-o hub.tar")
			case "application/pkix-crl":
				parts = append(parts, "-o hub.crl")
			}
		}
	}
	return strings.Join(append(parts, `"$FAIRLEAD_URL`+url+`"`), " \\\n  ")
}
