package docpages

import "html/template"

// view is what a page shows.
type view struct {
	Title, About string
	Documents    []string
	Channels     []channel
	Groups       []group
	Schemas      []schema
	Style        template.CSS
}

// group is calls that belong together.
type group struct {
	Name  string
	Calls []call
}

// call is one operation.
type call struct {
	ID, Method, Path, Summary, About string
	Parameters                       []field
	Bodies                           []content
	Answers                          []answer
}

// content is a body of one media type.
type content struct {
	Media string
	Type  kind
}

type answer struct {
	Status, About string
	Bodies        []content
}

// channel is where messages are published or delivered.
type channel struct {
	Name, About, Address, Exchange string
	Messages                       []kind
}

// schema is a named part of the document.
type schema struct {
	Name, About string
	Type        kind
	Fields      []field
}

// field is a parameter, or a property of an object: one of an object in an object has the path to it.
type field struct {
	Name, In, About, Rules string
	Type                   kind
	Required               bool
}

// kind is a type in words, with the schema that it leads to, if any.
type kind struct{ Text, Schema string }
