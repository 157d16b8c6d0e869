package api

// Limits of POST /v1/users/import.
const (
	MaxImport       = 64 << 20 // bytes
	MaxImportErrors = 1000     // lines of errors in a response, unless all are asked for; more are only counted
)

// Types of an ImportEvent.
const (
	ImportProgress = "progress" // after each part of the list
	ImportError    = "error"    // a line that was not imported
	ImportResult   = "result"   // the last
)

// ImportCounts says what became of the lines of a list.
type ImportCounts struct {
	Rows      int `json:"rows"`
	Created   int `json:"created"`
	Updated   int `json:"updated"`
	Unchanged int `json:"unchanged"`
	Failed    int `json:"failed"`
}

// ImportEvent is a line of the response to POST /v1/users/import.
type ImportEvent struct {
	Type          string `json:"type"`
	*ImportCounts        // of progress and the result

	// Of an error: the line of the list, the column if it is known, and what is wrong.
	Line   int    `json:"line,omitempty"`
	Field  string `json:"field,omitempty"`
	Reason string `json:"reason,omitempty"`

	// Of the result.
	DryRun      bool     `json:"dry_run,omitempty"`
	ErrorsShown int      `json:"errors_shown,omitempty"`
	Complete    bool     `json:"complete,omitempty"` // all lines were read
	Problem     *Problem `json:"problem,omitempty"`  // why it is not complete
}
