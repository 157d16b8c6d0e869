// Package presence decides. It holds every rule about what a user's
// availability is and how it may change, and nothing else: no clock, no I/O, no
// goroutine, no logger, no context. Time is an argument.
//
// [Apply] takes what happened to a user and returns the user's next [State].
// [Compose] says what a state shows at an instant, and when that changes by
// itself. [View] says what one watcher may see of it. [Explain] says why.
//
// It is separate so that a rule stands once, is tested as a table, and can run
// inside a store's update, where it may run again: each function here is pure,
// and a State that was handed out is never written to.
//
// It must not import anything else of this module, and must not speak any
// vendor's vocabulary.
package presence
