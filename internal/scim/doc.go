// Package scim is SCIM 2.0 (RFC 7643 and RFC 7644) under /scim/v2/: identity providers
// create, change, deactivate and delete the users and groups of an account with it.
//
// It is separate from the other dialects because identity providers have their own words,
// errors and leniency: names in any case, booleans as strings, attributes that nobody here
// knows. Resources are JSON objects that tables of attributes describe; filters, changes
// and the published schemas all read the same tables.
//
// It guarantees that a request changes all that it asks for or nothing, that an object of
// another account gets the same response as one that does not exist, and that it neither
// gives nor takes anybody's role.
//
// It must not change users or groups around package provision.
package scim
