// Package expr runs what consumers write: filters, which choose events, and transforms, which make the body of a callback. Both
// are CEL (https://cel.dev), checked when a subscription is made and bounded when they run.
//
// An expression sees the CloudEvents attributes by their names (id, source, type, subject, specversion, datacontenttype,
// dataschema: strings, "" when absent; time: a timestamp, null when absent), the others in the map extensions, and data. JSON
// is what CEL makes of it: objects are maps, all numbers are doubles. Data that is text/* is a string, all other data bytes;
// without data, data is null.
package expr
