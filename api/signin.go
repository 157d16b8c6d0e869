package api

// CreateSignIn signs a person in. Account is needed if several accounts of the server have
// a user with the address.
type CreateSignIn struct {
	Email    string `json:"email"`
	Password string `json:"password"`
	Account  string `json:"account,omitempty"`
}

// SignedIn says who signed in. The secret is in the cookie alone.
type SignedIn struct {
	ID          string `json:"id"`
	Account     string `json:"account"`
	User        string `json:"user"`
	Email       string `json:"email"`
	DisplayName string `json:"display_name"`
	Expires     Time   `json:"expires"` // at the latest
}

// BrowserSignIn is a browser in which a person is signed in.
type BrowserSignIn struct {
	ID      string `json:"id"`
	Browser string `json:"browser"`
	Address string `json:"address"`
	Created Time   `json:"created"`
	Used    Time   `json:"used"`    // the last time, to the hour
	Expires Time   `json:"expires"` // if it is not used any more
	Current bool   `json:"current"` // the caller's
}

// BrowserSignIns are all of a person, the newest first.
type BrowserSignIns struct {
	SignIns []BrowserSignIn `json:"sign_ins"`
}

// SignInMethods are the ways in which people can sign in.
type SignInMethods struct {
	Password bool   `json:"password"`
	Provider string `json:"provider"` // the name of the OpenID provider; "": none
}

// Invitation is a link with which a user can choose a password.
type Invitation struct {
	URL     string `json:"url"`
	Expires Time   `json:"expires"`
}

// AcceptInvitation uses up the secret of a link: what follows the # of its URL.
type AcceptInvitation struct {
	Secret   string `json:"secret"`
	Password string `json:"password"`
}

// SetPassword replaces the caller's password.
type SetPassword struct {
	Current string `json:"current"`
	New     string `json:"new"`
}
