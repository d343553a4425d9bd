// Writes goldens.json: what Go's own text/template makes of the templates and the expressions beside this file, under the
// rules of Ollama for the variables. Run with `go run main.go` in this folder.
package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"text/template"
	"text/template/parse"
)

func marshal(v any) string { b, _ := json.Marshal(v); return string(b) }

type Args map[string]any

func (a Args) String() string { return marshal(map[string]any(a)) }

type CallFunction struct {
	Index     int    `json:"index"`
	Name      string `json:"name"`
	Arguments Args   `json:"arguments"`
}
type Call struct {
	ID       string       `json:"id,omitempty"`
	Function CallFunction `json:"function"`
}
type Message struct {
	Role       string   `json:"role"`
	Content    string   `json:"content"`
	Thinking   string   `json:"thinking,omitempty"`
	Images     []string `json:"images,omitempty"`
	ToolCalls  []Call   `json:"tool_calls,omitempty"`
	ToolName   string   `json:"tool_name,omitempty"`
	ToolCallID string   `json:"tool_call_id,omitempty"`
}
type Types []string

func (t *Types) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*t = Types{one}
		return nil
	}
	var many []string
	err := json.Unmarshal(b, &many)
	*t = many
	return err
}
func (t Types) MarshalJSON() ([]byte, error) {
	if len(t) == 1 {
		return json.Marshal(t[0])
	}
	return json.Marshal([]string(t))
}
func (t Types) String() string {
	switch len(t) {
	case 0:
		return ""
	case 1:
		return t[0]
	}
	return "[" + strings.Join(t, " ") + "]"
}

type Property struct {
	Type        Types  `json:"type,omitempty"`
	Items       any    `json:"items,omitempty"`
	Description string `json:"description,omitempty"`
	Enum        []any  `json:"enum,omitempty"`
}
type Properties map[string]Property

func (p Properties) String() string { return marshal(map[string]Property(p)) }

type Parameters struct {
	Type       string     `json:"type"`
	Required   []string   `json:"required,omitempty"`
	Properties Properties `json:"properties"`
}
type Function struct {
	Name        string     `json:"name"`
	Description string     `json:"description"`
	Parameters  Parameters `json:"parameters"`
}
type Tool struct {
	Type     string   `json:"type"`
	Function Function `json:"function"`
}
type Tools []Tool

func (p Parameters) String() string { return marshal(p) }
func (f Function) String() string   { return marshal(f) }
func (t Tool) String() string       { return marshal(t) }
func (t Tools) String() string      { return marshal([]Tool(t)) }

func script(p Property) string {
	names := map[string]string{"string": "string", "number": "number", "integer": "number", "boolean": "boolean",
		"array": "any[]", "object": "Record<string, any>", "null": "null"}
	var out []string
	for _, t := range p.Type {
		if name, ok := names[t]; ok {
			out = append(out, name)
		} else {
			out = append(out, "any")
		}
	}
	if len(out) == 0 {
		return "any"
	}
	return strings.Join(out, " | ")
}

var funcs = template.FuncMap{
	"json":          marshal,
	"currentDate":   func(...string) string { return "2025-07-26" },
	"yesterdayDate": func(...string) string { return "2025-07-25" },
	"toTypeScriptType": func(v any) string {
		if p, ok := v.(Property); ok {
			return script(p)
		}
		return "any"
	},
}

// names collects the fields that a tree uses.
func names(n parse.Node, into map[string]bool) {
	switch n := n.(type) {
	case *parse.ListNode:
		if n != nil {
			for _, c := range n.Nodes {
				names(c, into)
			}
		}
	case *parse.ActionNode:
		names(n.Pipe, into)
	case *parse.TemplateNode:
		if n.Pipe != nil {
			names(n.Pipe, into)
		}
	case *parse.IfNode:
		names(n.Pipe, into)
		names(n.List, into)
		names(n.ElseList, into)
	case *parse.WithNode:
		names(n.Pipe, into)
		names(n.List, into)
		names(n.ElseList, into)
	case *parse.RangeNode:
		names(n.Pipe, into)
		names(n.List, into)
		names(n.ElseList, into)
	case *parse.PipeNode:
		for _, c := range n.Cmds {
			for _, a := range c.Args {
				names(a, into)
			}
		}
	case *parse.FieldNode:
		for _, name := range n.Ident {
			into[name] = true
		}
	case *parse.VariableNode:
		for _, name := range n.Ident {
			into[name] = true
		}
	}
}

// opening leaves out all that stands behind the first .Response in an action.
func opening(list *parse.ListNode, done *bool) *parse.ListNode {
	if list == nil {
		return nil
	}
	kept := &parse.ListNode{NodeType: parse.NodeList}
	for _, n := range list.Nodes {
		if *done {
			break
		}
		switch n := n.(type) {
		case *parse.IfNode:
			n.List, n.ElseList = opening(n.List, done), opening(n.ElseList, done)
		case *parse.WithNode:
			n.List, n.ElseList = opening(n.List, done), opening(n.ElseList, done)
		case *parse.RangeNode:
			n.List, n.ElseList = opening(n.List, done), opening(n.ElseList, done)
		case *parse.ActionNode:
			for _, c := range n.Pipe.Cmds {
				if f, ok := c.Args[0].(*parse.FieldNode); ok && f.Ident[0] == "Response" {
					*done = true
				}
			}
		}
		kept.Nodes = append(kept.Nodes, n)
	}
	return kept
}

type Conversation struct {
	Messages   []Message `json:"messages"`
	Tools      Tools     `json:"tools"`
	Prompt     string    `json:"prompt"`
	Suffix     string    `json:"suffix"`
	Think      *bool     `json:"think"`
	ThinkLevel string    `json:"think_level"`
}

func render(source string, c Conversation) (string, error) {
	t, err := template.New("").Option("missingkey=zero").Funcs(funcs).Parse(source)
	if err != nil {
		return "", err
	}
	used := map[string]bool{}
	for _, part := range t.Templates() {
		names(part.Root, used)
	}
	if !used["Messages"] && !used["Response"] {
		t = template.Must(template.New("").Option("missingkey=zero").Funcs(funcs).Parse(source + "{{ .Response }}"))
	}
	var out bytes.Buffer
	with := func(values map[string]any) map[string]any {
		values["Think"], values["IsThinkSet"] = c.Think != nil && *c.Think, c.Think != nil
		values["ThinkLevel"] = c.ThinkLevel
		if _, ok := values["Response"]; !ok {
			values["Response"] = ""
		}
		return values
	}
	if c.Prompt != "" && c.Suffix != "" {
		err = t.Execute(&out, with(map[string]any{"Prompt": c.Prompt, "Suffix": c.Suffix}))
		return out.String(), err
	}
	var system []string
	var messages []*Message
	for i := range c.Messages {
		m := c.Messages[i]
		if m.Role == "system" {
			system = append(system, m.Content)
		}
		if n := len(messages); n > 0 && messages[n-1].Role == m.Role && m.Role != "tool" {
			messages[n-1].Content += "\n\n" + m.Content
		} else {
			messages = append(messages, &m)
		}
	}
	if used["Messages"] {
		err = t.Execute(&out, with(map[string]any{
			"System": strings.Join(system, "\n\n"), "Messages": messages, "Tools": c.Tools}))
		return out.String(), err
	}
	turn := map[string]any{"System": "", "Prompt": "", "Response": "", "First": true}
	next := func() error {
		err := t.Execute(&out, with(turn))
		turn = map[string]any{"System": "", "Prompt": "", "Response": "", "First": false}
		return err
	}
	for _, m := range messages {
		if (m.Role == "system" && (turn["Prompt"] != "" || turn["Response"] != "")) || (m.Role == "user" && turn["Response"] != "") {
			if err := next(); err != nil {
				return "", err
			}
		}
		if key := map[string]string{"system": "System", "user": "Prompt", "assistant": "Response"}[m.Role]; key != "" {
			turn[key] = m.Content
		}
	}
	done := false
	t.Tree.Root = opening(t.Tree.Root, &done)
	err = next()
	return out.String(), err
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func read(path string, into any) {
	b, err := os.ReadFile(path)
	check(err)
	check(json.Unmarshal(b, into))
}

type Result struct {
	Text  string `json:"text"`
	Error string `json:"error,omitempty"`
}

func result(text string, err error) Result {
	if err != nil {
		return Result{Error: err.Error()}
	}
	return Result{Text: text}
}

func main() {
	var conversations map[string]json.RawMessage
	read("conversations.json", &conversations)
	templates := map[string]map[string]Result{}
	files, err := filepath.Glob("*.gotmpl")
	check(err)
	sort.Strings(files)
	for _, file := range files {
		source, err := os.ReadFile(file)
		check(err)
		results := map[string]Result{}
		for name, raw := range conversations {
			var c Conversation
			check(json.Unmarshal(raw, &c))
			results[name] = result(render(string(source), c))
		}
		templates[strings.TrimSuffix(file, ".gotmpl")] = results
	}
	var sources []string
	read("language.json", &sources)
	var data any
	check(json.Unmarshal([]byte(`{"name":"lair","yes":true,"no":false,"one":1,"zero":0,"float":1.5e-7,"list":["a","b","c"],
		"map":{"b":"2","a":"1"},"mixed":[1,"x",{"k":[true,null]}],"empty":[],"emptymap":{}}`), &data))
	var language []Result
	for _, source := range sources {
		var out bytes.Buffer
		t, err := template.New("").Option("missingkey=zero").Funcs(funcs).Parse(source)
		if err == nil {
			err = t.Execute(&out, data)
		}
		language = append(language, result(out.String(), err))
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	check(encoder.Encode(map[string]any{"templates": templates, "language": language, "data": data}))
	check(os.WriteFile("goldens.json", b.Bytes(), 0o644))
}
