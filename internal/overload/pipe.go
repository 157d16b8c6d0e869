package overload

import (
	"fmt"
	"os"
	"time"
)

// A Pipe measures how long bytes wait until they are read: the Go runtime reads connections
// that had bytes earlier before it reads a byte that is written to the pipe.
type Pipe struct {
	r, w *os.File
	read chan time.Time // when a byte was read; closed after an error
}

// OpenPipe opens a pipe. Close it.
func OpenPipe() (*Pipe, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("open a pipe: %w", err)
	}
	p := &Pipe{r, w, make(chan time.Time, 1)}
	go p.readAll()
	return p, nil
}

// readAll is waiting for a byte before Probe writes it, as the goroutine of a connection
// waits for a request.
func (p *Pipe) readAll() {
	defer close(p.read)
	var b [1]byte
	for {
		if _, err := p.r.Read(b[:]); err != nil {
			return
		}
		p.read <- time.Now()
	}
}

// Probe is a Probe. It returns 0 if the pipe is closed.
func (p *Pipe) Probe() time.Duration {
	sent := time.Now()
	if _, err := p.w.Write([]byte{0}); err != nil {
		return 0
	}
	return max(0, (<-p.read).Sub(sent))
}

// Close ends a probe under way.
func (p *Pipe) Close() {
	_ = p.w.Close() // of no use any more, like its other end
	_ = p.r.Close()
}
