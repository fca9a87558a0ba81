package api

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-iot/fairlead/hub/admin"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

var update = flag.Bool("update", false, "write openapi.json anew")

type object = map[string]any

// TestOpenAPI makes the document from the table of routes and from the types of package admin with their comments, and
// compares it with the one that is served. That answers are what the document says is checked by TestScenarios, with
// each answer it gets.
func TestOpenAPI(t *testing.T) {
	want := append(must(json.MarshalIndent(document(t), "", "  ")), '\n')
	if *update {
		if err := os.WriteFile("openapi.json", want, 0o644); err != nil {
			t.Fatal(err)
		}
		openAPI = want
	}
	if d := cmp.Diff(string(want), string(openAPI)); d != "" {
		t.Errorf("openapi.json is not up to date (write it with -update): -want +got\n%s", d)
	}
}

// schemas collects the schemas of types.
type schemas struct {
	t    *testing.T
	docs map[string]string // comments of package admin: "Device", "Device.ID"
	done object
}

func document(t *testing.T) object {
	s := &schemas{t: t, docs: comments(t), done: object{}}
	paths := object{}
	for _, rt := range (&Server{}).routes() {
		p, _ := paths[rt.path].(object)
		if p == nil {
			p = object{}
			paths[rt.path] = p
		}
		p[strings.ToLower(rt.method)] = s.operation(rt)
	}
	s.schema(reflect.TypeFor[admin.ErrorBody]())
	var tagList []any
	for _, tag := range tags {
		tagList = append(tagList, object{"name": tag.name, "description": tag.doc})
	}
	return object{
		"openapi": "3.1.0",
		"info": object{
			"title": "Fairlead admin API", "version": "1",
			"description": "What operators do with a Fairlead hub. Requests with unknown parameters or fields are refused. " +
				"Answers may get further fields; what is there stays.",
			"license": object{"name": "Apache-2.0", "identifier": "Apache-2.0"},
		},
		"tags":  tagList,
		"paths": paths,
		"components": object{
			"schemas":         s.done,
			"securitySchemes": object{"token": object{"type": "http", "scheme": "bearer"}},
			"responses": object{"error": object{
				"description": "A refusal, or a failure.",
				"content":     object{"application/json": object{"schema": ref("ErrorBody")}},
			}},
		},
	}
}

// pathDocs says what the parts of paths are.
var pathDocs = map[string]string{
	"dialect": "The dialect of the platform: mqtt, astarte.", "tenant": "The tenant's id.", "device": "The device's id.",
	"client": "The client id; a slash in it is %2F.", "serial": "The certificate's serial number, hexadecimal.", "id": "The id, as in the list.",
}

func (s *schemas) operation(rt route) object {
	op := object{"operationId": rt.id, "summary": rt.summary, "tags": []string{rt.tag}, "description": rt.doc, "security": []any{}}
	if rt.scope != 0 {
		op["security"] = []any{object{"token": []any{}}}
		takes := "Takes a token of scope " + rt.scope.String()
		if rt.whole {
			takes += " for all tenants"
		}
		op["description"] = rt.doc + " " + takes + "."
		op["x-scope"] = rt.scope.String()
	}
	var params []any
	for _, m := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(rt.path, -1) {
		params = append(params, object{"name": m[1], "in": "path", "required": true, "description": pathDocs[m[1]], "schema": object{"type": "string"}})
	}
	for _, p := range rt.params {
		params = append(params, object{"name": p.name, "in": "query", "required": p.required, "description": p.doc, "schema": paramSchema(p)})
	}
	if rt.media == "text/event-stream" {
		params = append(params, object{
			"name": "Last-Event-ID", "in": "header", "required": false,
			"description": "Begin behind the event of this number.", "schema": object{"type": "integer"},
		})
	}
	if params != nil {
		op["parameters"] = params
	}
	if rt.body != nil {
		op["requestBody"] = object{"required": true, "content": object{"application/json": object{
			"schema": s.schema(rt.body), "example": json.RawMessage(rt.example),
		}}}
	}
	status := rt.status
	if status == 0 {
		status = http.StatusOK
	}
	ok := object{"description": "Success."}
	switch {
	case rt.answer != nil:
		ok["content"] = object{"application/json": object{"schema": s.schema(rt.answer)}}
	case rt.media != "":
		ok["content"] = object{rt.media: object{}}
	}
	op["responses"] = object{fmt.Sprint(status): ok, "default": object{"$ref": "#/components/responses/error"}}
	return op
}

func paramSchema(p param) object {
	switch p.kind {
	case aNumber:
		return object{"type": "integer", "minimum": p.min, "maximum": p.max, "default": p.def}
	case aFlag:
		return object{"type": "boolean"}
	case aTime:
		return object{"type": "string", "format": "date-time"}
	}
	out := object{"type": "string"}
	if p.values != nil {
		out["enum"] = p.values
	}
	return out
}

func ref(name string) object { return object{"$ref": "#/components/schemas/" + name} }

// schema returns the schema of a type, a reference for structs.
func (s *schemas) schema(typ reflect.Type) object {
	switch typ {
	case reflect.TypeFor[json.RawMessage]():
		return object{}
	case reflect.TypeFor[admin.Time]():
		return object{"type": "string", "format": "date-time"}
	}
	switch typ.Kind() {
	case reflect.Pointer:
		return s.schema(typ.Elem())
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Int64:
		return object{"type": "integer"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Slice:
		return object{"type": "array", "items": s.schema(typ.Elem())}
	case reflect.Struct:
		if typ.PkgPath() == "time" {
			return object{"type": "string", "format": "date-time"}
		}
		name := schemaName(typ)
		if s.done[name] == nil {
			s.done[name] = object{} // it may contain itself
			s.done[name] = s.structure(typ)
		}
		return ref(name)
	}
	s.t.Fatalf("no schema for %v", typ)
	return nil
}

// schemaName is the name of the Go type; a page of devices is a DevicePage.
func schemaName(typ reflect.Type) string {
	name, of, generic := strings.Cut(typ.Name(), "[")
	if !generic {
		return name
	}
	return strings.TrimSuffix(of[strings.LastIndexByte(of, '.')+1:], "]") + name
}

func (s *schemas) structure(typ reflect.Type) object {
	properties, required := object{}, []string{}
	s.fields(typ, properties, &required)
	slices.Sort(required)
	goName, _, _ := strings.Cut(typ.Name(), "[")
	return object{
		"type": "object", "description": s.docs[goName], "properties": properties, "required": required, "additionalProperties": false,
	}
}

func (s *schemas) fields(typ reflect.Type, properties object, required *[]string) {
	goName, _, _ := strings.Cut(typ.Name(), "[")
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		if f.Anonymous {
			s.fields(f.Type, properties, required)
			continue
		}
		p := s.schema(f.Type)
		if doc := s.docs[goName+"."+f.Name]; doc != "" {
			p = maps.Clone(p)
			p["description"] = doc
		}
		if enum := f.Tag.Get("enum"); enum != "" {
			p["enum"] = strings.Split(enum, ",")
		}
		properties[name] = p
		if options == "" {
			*required = append(*required, name)
		}
	}
}

// comments reads the comments of the types of package admin and of their fields.
func comments(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../../admin/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	docs := map[string]string{}
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		readComments(f, docs)
	}
	return docs
}

func readComments(f *ast.File, docs map[string]string) {
	ast.Inspect(f, func(n ast.Node) bool {
		g, ok := n.(*ast.GenDecl)
		if !ok {
			return true
		}
		for _, spec := range g.Specs {
			ts, ok := spec.(*ast.TypeSpec)
			if !ok {
				continue
			}
			docs[ts.Name.Name] = oneLine(g.Doc.Text())
			st, ok := ts.Type.(*ast.StructType)
			if !ok {
				continue
			}
			for _, f := range st.Fields.List {
				for _, name := range f.Names {
					docs[ts.Name.Name+"."+name.Name] = oneLine(f.Doc.Text() + f.Comment.Text())
				}
			}
		}
		return true
	})
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// A checker checks JSON against the served document: a small part of JSON Schema, the one that the document uses.
type checker struct{ doc object }

func newChecker(t *testing.T) *checker {
	t.Helper()
	c := &checker{}
	if err := json.Unmarshal(openAPI, &c.doc); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *checker) at(path ...string) any {
	var v any = c.doc
	for _, p := range path {
		m, _ := v.(object)
		v = m[p]
	}
	return v
}

// answer returns what is wrong with an answer to an operation, "" if nothing is.
func (c *checker) answer(method, path string, status int, media string, body []byte) string {
	op := c.at("paths", path, strings.ToLower(method))
	if op == nil {
		return "no such operation in the document"
	}
	responses := op.(object)["responses"].(object)
	res, ok := responses[fmt.Sprint(status)].(object)
	if !ok {
		if status < 400 {
			return fmt.Sprintf("status %d is not in the document", status)
		}
		res = c.at("components", "responses", "error").(object)
	}
	content, _ := res["content"].(object)
	if content == nil {
		if len(body) > 0 {
			return "there is a body, and none in the document"
		}
		return ""
	}
	m, ok := content[media].(object)
	if !ok {
		return fmt.Sprintf("media type %q is not in the document", media)
	}
	schema, ok := m["schema"].(object)
	if !ok {
		return ""
	}
	var v any
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return err.Error()
	}
	return c.check("", schema, v)
}

func (c *checker) check(at string, schema object, v any) string {
	if r, ok := schema["$ref"].(string); ok {
		return c.check(at, c.at("components", "schemas", strings.TrimPrefix(r, "#/components/schemas/")).(object), v)
	}
	if enum, ok := schema["enum"].([]any); ok && !slices.Contains(enum, v) {
		return fmt.Sprintf("%s is %v, want one of %v", at, v, enum)
	}
	ok := true
	switch schema["type"] {
	case nil:
		return ""
	case "object":
		m, isObject := v.(object)
		if !isObject {
			return at + " is no object"
		}
		properties := schema["properties"].(object)
		for _, name := range schema["required"].([]any) {
			if _, there := m[name.(string)]; !there {
				return fmt.Sprintf("%s.%s is missing", at, name)
			}
		}
		for k, x := range m {
			p, known := properties[k].(object)
			if !known {
				return fmt.Sprintf("%s.%s is not in the document", at, k)
			}
			if bad := c.check(at+"."+k, p, x); bad != "" {
				return bad
			}
		}
	case "array":
		list, isArray := v.([]any)
		if !isArray {
			return at + " is no array"
		}
		for i, x := range list {
			if bad := c.check(fmt.Sprintf("%s[%d]", at, i), schema["items"].(object), x); bad != "" {
				return bad
			}
		}
	case "string":
		_, ok = v.(string)
	case "boolean":
		_, ok = v.(bool)
	case "integer":
		n, isNumber := v.(json.Number)
		_, err := n.Int64()
		ok = isNumber && err == nil
	case "number":
		_, ok = v.(json.Number)
	}
	if !ok {
		return fmt.Sprintf("%s is %v, want a %v", at, v, schema["type"])
	}
	return ""
}

// TestChecker: the checker must be able to find something.
func TestChecker(t *testing.T) {
	c := newChecker(t)
	good := `{"items":[{"id":"a"}]}`
	for body, want := range map[string]bool{
		good: true, `{}`: false, `{"items":null}`: false, `{"items":[{"id":1}]}`: false, `{"items":[{}]}`: false,
		`{"items":[],"more":1}`: false, `{"items":[{"id":"a","devices":{"total":1.5,"connected":0}}]}`: false,
	} {
		if bad := c.answer("GET", "/v1/tenants", 200, "application/json", []byte(body)); (bad == "") != want {
			t.Errorf("%s: got %q", body, bad)
		}
	}
	if c.answer("GET", "/v1/none", 200, "application/json", nil) == "" || c.answer("GET", "/v1/tenants", 201, "application/json", []byte(good)) == "" ||
		c.answer("GET", "/v1/tenants", 200, "text/plain", []byte(good)) == "" {
		t.Error("an operation, status or media type that is not in the document was accepted")
	}
}

// TestRoutes looks for what would be forgotten in the table.
func TestRoutes(t *testing.T) {
	ids := map[string]bool{}
	for _, rt := range (&Server{}).routes() {
		name := rt.method + " " + rt.path
		if rt.id == "" || ids[rt.id] || rt.doc == "" || !strings.HasSuffix(rt.doc, ".") {
			t.Errorf("%s: id %q, doc %q", name, rt.id, rt.doc)
		}
		if rt.summary == "" || len(rt.summary) > 40 || strings.HasSuffix(rt.summary, ".") {
			t.Errorf("%s: summary %q", name, rt.summary)
		}
		if !slices.ContainsFunc(tags, func(tag struct{ name, doc string }) bool { return tag.name == rt.tag }) {
			t.Errorf("%s: there is no tag %q", name, rt.tag)
		}
		for _, m := range pathPart.FindAllStringSubmatch(rt.path, -1) {
			if pathDocs[m[1]] == "" || docsValues[m[1]] == "" {
				t.Errorf("%s: nothing is said about %s", name, m[0])
			}
		}
		if rt.body != nil {
			d := json.NewDecoder(strings.NewReader(rt.example))
			d.DisallowUnknownFields()
			if err := d.Decode(reflect.New(rt.body).Interface()); err != nil {
				t.Errorf("%s: example %s: %v", name, rt.example, err)
			}
		}
		ids[rt.id] = true
		if rt.method != http.MethodGet && rt.scope < core.ScopeWrite {
			t.Errorf("%s changes something and takes scope %v", name, rt.scope)
		}
		if (rt.do == nil) == (rt.stream == nil) {
			t.Errorf("%s: want do or stream", name)
		}
		for _, p := range rt.params {
			if p.doc == "" || p.kind == aNumber && (p.max <= p.min || p.def < p.min || p.def > p.max) && p.name != "after" {
				t.Errorf("%s: parameter %s: %+v", name, p.name, p)
			}
		}
	}
}
