// Package contract holds the shapes that cross a process boundary: events, callback commands, subscriptions, deliveries
// and the signed statements by which one part vouches to the next. It knows neither Redis, nor RabbitMQ, nor HTTP servers.
package contract
