// Package catalogue applies what admins say of a resource to its events: the JSON Schemas of its types and the bounds of its
// policy. Nothing here reads a network or a file: a schema stands alone.
package catalogue
