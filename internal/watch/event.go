package watch

// Fired is the event that a watch fired, for the streams of its owner.
type Fired struct{ Watch }

// Size implements hub.Event.
func (f *Fired) Size() int { return 256 + len(f.Note) }
