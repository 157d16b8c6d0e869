//go:build tools

package tools

// The clients that oapi-codegen generates import it: e2e compiles one.
import _ "github.com/oapi-codegen/runtime"
