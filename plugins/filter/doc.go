// Package filter is what both plugins of the runner share: the wrapper that turns every fault into a refusal, their one
// configuration, and the rules for headers that only the gateway may set.
package filter
