// Package bearer checks the JWTs (RFC 7519, as RFC 8725 and RFC 9068 have it) that callers send as bearer tokens, with the
// public keys (RFC 7517) of the issuers that the configuration names. It trusts nothing that a token says before its signature
// is checked: no key, no address of one, no algorithm that the key is not made for.
package bearer
