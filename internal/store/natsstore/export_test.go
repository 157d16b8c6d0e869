package natsstore

// Sealed is a message body as the store writes one, for tests that write what it
// would not.
func Sealed(subject string, body []byte) []byte {
	return seal(subject, append(begin(headBytes+len(body)), body...))
}

// Unsealed is the body of such a message.
func Unsealed(data []byte) []byte { return data[headBytes:] }
